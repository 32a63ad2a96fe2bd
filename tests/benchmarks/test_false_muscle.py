"""False muscle is counted in mL where it lies: outside the wall of muscles, within it, or nowhere near."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from programs import load_program
from vastus.anatomy import BY_KEY, Side

SPACING_MM = (2.0, 2.0, 5.0)
VOXEL_ML = 0.02
GRACILIS = BY_KEY["gracilis"].label_value(Side.LEFT)


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    return load_program(Path(__file__).parents[2] / "benchmarks" / "false_muscle.py")


def ring() -> np.ndarray:
    """A square ring of one drawn structure, 40 voxels wide, in three slices of five."""
    drawn = np.zeros((60, 60, 5), int)
    drawn[10:50, 10:50, 1:4] = 5
    drawn[20:40, 20:40, 1:4] = 0
    return drawn


def test_a_ring_encloses_its_hole_in_its_own_slices_only(benchmark: ModuleType) -> None:
    full = benchmark.enclosed(ring() != 0)
    assert full[30, 30, 2]
    assert not full[30, 30, 0]
    assert not full[5, 5, 2]


@pytest.mark.parametrize(("x", "outside", "inside"), [(2, 4, 0), (29, 0, 4), (20, 0, 0), (8, 0, 0), (15, 0, 0)])
def test_counts_by_place(benchmark: ModuleType, x: int, outside: int, inside: int) -> None:
    predicted = np.zeros((60, 60, 5), int)
    predicted[x : x + 2, 29:31, 2] = GRACILIS
    found = benchmark.false_muscle(predicted, ring(), SPACING_MM)
    assert found.outside_ml == pytest.approx(outside * VOXEL_ML)
    assert found.inside_ml == pytest.approx(inside * VOXEL_ML)
    assert found.structures_ml == ({"gracilis": pytest.approx(4 * VOXEL_ML)} if outside or inside else {})


@pytest.mark.parametrize("key", ["quadratus_femoris", "multifidus", "femur"])
def test_bones_and_what_was_not_drawn_count_nowhere(benchmark: ModuleType, key: str) -> None:
    predicted = np.zeros((60, 60, 5), int)
    predicted[1:3, 1:3, 2] = BY_KEY[key].label_value(Side.RIGHT)
    assert benchmark.false_muscle(predicted, ring(), SPACING_MM).outside_ml == 0.0
