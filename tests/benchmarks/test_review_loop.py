"""The played reader: what an order saves, by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from programs import load_program

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "review_loop.py"


@pytest.fixture(scope="module")
def loop() -> ModuleType:
    return load_program(PROGRAM)


def test_a_random_order_closes_the_gap_evenly_and_saves_nothing(loop: ModuleType):
    alike = [loop.Opened(np.array([0.6]), np.array([0.6])) for _ in range(8)]
    work, dice = loop.curve(alike, lambda _: 0.0, count_scans=True)
    assert dice == pytest.approx(0.6 + 0.4 * work)
    assert [loop.saved((work, dice), c) for c in loop.CLOSED] == pytest.approx([0, 0, 0])


def test_one_bad_scan_of_four_saves_half_of_the_work_for_half_of_the_gap(loop: ModuleType):
    good = loop.Opened(np.array([1.0]), np.array([0.9]))
    bad = loop.Opened(np.array([0.0]), np.array([0.2]))
    found = loop.curve([good, bad, good, good], loop.ORDERS["mean expected agreement"], count_scans=True)
    assert found[1] == pytest.approx([0.75, 1, 1, 1, 1])
    assert loop.saved(found, 0.5) == pytest.approx(1 - 0.125 / 0.5)
    misled = loop.curve([good, bad, good, good], lambda one: float(one.dice[0]), count_scans=True)
    assert loop.saved(misled, 0.5) == pytest.approx(1 - 0.875 / 0.5)


def test_work_is_counted_in_scans_or_in_their_structures(loop: ModuleType):
    large = loop.Opened(np.full(3, 0.5), np.full(3, 0.5))
    small = loop.Opened(np.full(1, 0.5), np.full(1, 0.5))
    order = loop.ORDERS["sum of what is to mend"]
    assert loop.curve([small, large], order, count_scans=True)[0] == pytest.approx([0, 0.5, 1])
    assert loop.curve([small, large], order, count_scans=False)[0] == pytest.approx([0, 0.75, 1])
    assert len(loop.single([large, small])) == 4


def test_tables_are_read_and_everything_is_written(loop: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    lines = ["scan,view,kind,whole,label,dice,expected"]
    for scan in range(4):
        for view in ("plain", "noise", "upside_down"):
            lines += [f"s{scan},{view},train,True,{k},{0.2 * scan + 0.1},{0.2 * scan + 0.05}" for k in "ab"]
    lines += ["s0,plain,train,False,a,0.0,0.0", "grown,crop,synthetic,True,a,0.0,0.0"]
    table = tmp_path / "agreement_folds.csv"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    scans = loop.read_scans(table)
    assert sorted(scans) == ["s0", "s1", "s2", "s3"] and all(len(views) == 2 for views in scans.values())
    monkeypatch.setattr(sys, "argv", ["review_loop.py", str(table), "-o", str(tmp_path / "out")])
    loop.main()
    written = (tmp_path / "out" / "review-loop.csv").read_text(encoding="utf-8").splitlines()
    assert len(written) == 1 + 3 * (5 + 5 + 2) and (tmp_path / "out" / "review-loop.png").stat().st_size > 1000
