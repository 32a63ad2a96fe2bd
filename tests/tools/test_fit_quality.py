"""Numbers of a fitted forecast, by hand; the fit itself needs scans."""

from __future__ import annotations

import csv
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from programs import load_program
from vastus.quality.features import Sections

PROGRAM = Path(__file__).parents[2] / "tools" / "fit_quality.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_program(PROGRAM)


def row(scan: str, dice: float, wrong: float) -> dict[str, object]:
    expected = 1 - wrong / 2
    return {
        "scan": scan, "label": "femur_right", "whole": True, "dice": dice, "expected": expected, "low": expected - 0.1,
        "high": expected + 0.1, "wrong": wrong, "confidence": 0.9,
    }  # fmt: skip


def test_clear_cases_are_counted_apart_from_those_beside_the_limit(tool: ModuleType):
    clear = [row("a", 0.9, 0.1), row("b", 0.2, 0.9), row("c", 0.95, 0.2), row("d", 0.5, 0.8)]
    beside = [row("a", 0.72, 0.7), row("b", 0.68, 0.3)]  # told the wrong way round
    found = tool.summarise([*clear, *beside])["drawn, structures"]
    assert (found["n"], found["wrong"]) == (6, 3)
    assert (found["clear"]["n"], found["clear"]["wrong"], found["clear"]["auroc"][0]) == (4, 2, 1.0)
    assert found["clear"]["auroc_of_the_rest"] == 0.0
    assert found["auroc"][0] == pytest.approx(8 / 9, abs=1e-3)


def test_what_was_expected_out_of_fold_is_written(tool: ModuleType, tmp_path: Path):
    rows = tool.Rows(
        [],
        [Sections(np.array([0, 29]), np.ones((2, 3), np.bool_))],
        np.array([0.9, 0.3]),
        np.array([True, True]),
        np.array([0, 1]),
        np.array(["train", "train"]),
        np.array(["plain", "plain"]),
        np.array(["older", "noise"]),
    )
    band = np.array([[-1.0, 0.9, 0.8, 1.0], [1.0, 0.5, 0.2, 0.7]])
    path = tmp_path / "new" / tool.FOLDS_FILE
    tool.write_folds(path, rows, ["s1", "s2"], np.array([True, True]), np.array([-1.0, 0.0]), (1.0, 0.0, band))
    with path.open(encoding="utf-8", newline="") as stream:
        first, second = csv.DictReader(stream)
    assert (first["scan"], first["view"], first["label"], first["expected"]) == (
        "s1",
        "older",
        "sartorius_right",
        "0.9000",
    )
    assert (second["scan"], second["label"], second["expected"], second["wrong"]) == (
        "s2", "sartorius_left", "0.7000", "0.5000",
    )  # fmt: skip


def test_without_looks_at_the_test_scans_nothing_is_scored(tool: ModuleType, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setattr(tool, "jobs_of", lambda _: iter(()))
    tool.score({}, tmp_path, tmp_path / "none.npz", None)
    assert "nothing to score" in capsys.readouterr().out
