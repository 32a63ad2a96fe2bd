"""Ingredients are left out without touching anything else, and their costs are means over the same bodies."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from programs import load_program
from vastus.synthesis.soft_tissues import LOOKS
from vastus.synthesis.tissues import Tissue

FOLDER = Path(__file__).parents[2] / "benchmarks"
NOT_OF_LOOKS = {"rectal_gas", "gas", "bladder", "labium", "natal_cleft", "calcium"}
"""Overlays of gas, fluid, fat, skin and calcium take the look of their tissue."""


@pytest.fixture(scope="module")
def benchmark(monkeypatch_module: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch_module.syspath_prepend(str(FOLDER))
    return load_program(FOLDER / "synthetic_ingredients.py")


@pytest.fixture(scope="module")
def monkeypatch_module() -> pytest.MonkeyPatch:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def test_every_name_is_one_that_bodies_have_and_none_stands_twice(benchmark: ModuleType) -> None:
    names = [name for group in benchmark.INGREDIENTS.values() for name in group]
    assert len(names) == len(set(names))
    assert set(names) - NOT_OF_LOOKS <= set(LOOKS)


def test_what_is_left_out_takes_no_place_and_keeps_its_number(benchmark: ModuleType) -> None:
    from vastus.synthesis.growth import NO_PART, Grid
    from vastus.synthesis.overlay import Overlay, lay_over
    from vastus.synthesis.shapes import Ball

    overlays = tuple(
        Overlay(name, Tissue.SOFT, Ball((x, 20.0, 20.0), (6.0, 6.0, 6.0)), (Tissue.FAT,))
        for name, x in (("testis", 10.0), ("lymph_node", 30.0))
    )
    left = benchmark.overlays_without(overlays, frozenset(("testis",)))
    shape = (40, 40, 40)
    part, depth = np.full(shape, NO_PART, np.uint8), np.zeros(shape, np.int8)
    tissue = np.full(shape, Tissue.FAT, np.uint8)
    lay_over(part, depth, tissue, Grid(np.zeros(3), (1.0, 1.0, 1.0), shape), left, 5)
    assert tissue[10, 20, 20] == Tissue.FAT
    assert tissue[30, 20, 20] == Tissue.SOFT
    assert part[30, 20, 20] == 6


def test_costs_compare_each_body_with_itself(benchmark: ModuleType) -> None:
    whole, bare = benchmark.WHOLE, "genitals"
    table = pd.DataFrame(
        [("a", "one", whole, 0.8, 30.0), ("a", "two", whole, 0.6, 10.0), ("a", "one", bare, 0.9, 5.0)],
        columns=["weights", "body", "left_out", "dice", "false_ml"],
    )
    (row,) = benchmark.costs(table).itertuples()
    assert (row.ingredient, row.bodies) == (bare, 1)
    assert row.dice_lost == pytest.approx(0.1)
    assert row.false_ml_added == pytest.approx(25.0)


def test_dice_is_a_mean_over_what_is_there(benchmark: ModuleType) -> None:
    true = np.array([101, 101, 202, 202, 0, 0])
    found = np.array([101, 201, 202, 0, 0, 103])
    assert benchmark.mean_dice(found, true) == pytest.approx((1.0 + 2 / 3) / 2)
