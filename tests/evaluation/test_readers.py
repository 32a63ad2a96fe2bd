"""Agreement of more than two readers, from files to the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from vastus.cli.main import app
from vastus.evaluation.icc import IccForm, MissingCells, icc
from vastus.evaluation.readers import column_of
from vastus.evaluation.runner import Rater, RunSettings, evaluate
from vastus.io.labels import write_labels
from vastus.volume import Volume

SARTORIUS = 101
READERS = ("anna", "bert", "cleo")
# Voxels of sartorius that each reader drew, a row a case; the last column is the reference.
VOXELS = np.array([[40, 44, 36, 41], [80, 88, 70, 79], [120, 118, 110, 125], [20, 30, 24, 22], [64, 60, 50, 61]])


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    for row, counts in enumerate(VOXELS):
        for name, count in zip((*READERS, "reference"), counts, strict=True):
            array = np.zeros((8, 8, 6), np.uint8)
            array.reshape(-1)[:count] = SARTORIUS
            path = tmp_path / name / f"case{row}.nii.gz"
            path.parent.mkdir(exist_ok=True)
            write_labels(Volume(np.asfortranarray(array), np.diag([2.0, 2.0, 5.0, 1.0])), path)
    return tmp_path


def scored(folder: Path, missing: MissingCells = MissingCells.REFUSE, warn: list[str] | None = None):
    raters = tuple(Rater(name, folder / name) for name in READERS)
    return evaluate(
        raters, folder / "reference", RunSettings(missing=missing), warn=(warn if warn is not None else []).append
    )


def row_of(table, readers: int):
    return table[(table["name"] == "sartorius") & (table["side"] == "both") & (table["reader_count"] == readers)].iloc[
        0
    ]


def test_all_forms_over_all_readers_with_and_without_the_reference(drawn: Path) -> None:
    table = scored(drawn).readers
    for count in (3, 4):
        row = row_of(table, count)
        assert row["n"] == 5
        for form in IccForm:
            expected = icc(VOXELS[:, :count] * 20.0, form)
            found = tuple(row[f"{column_of(form)}{end}"] for end in ("", "_low", "_high"))
            assert found == pytest.approx((expected.value, expected.low, expected.high))
    assert set(table["readers"]) == {"anna; bert; cleo", "anna; bert; cleo; reference"}


def test_from_the_command_line(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vastus.evaluation.figures.figure_tasks", lambda *_: [])
    (drawn / "bert" / "case3.nii.gz").unlink()
    given = [str(drawn / "anna"), str(drawn / "reference"), "--names", "anna", "bert", "--second", str(drawn / "bert")]
    call = ["evaluate", *given, "--reader", f"cleo={drawn / 'cleo'}", "-o", str(tmp_path / "out")]
    refused = CliRunner().invoke(app, call)
    assert "1 of 5 references: case3" in str(refused.exception) and not (tmp_path / "out").exists()
    done = CliRunner().invoke(app, [*call, "--listwise"])
    assert done.exit_code == 0, done.output
    expected = icc(VOXELS[[0, 1, 2, 4], :3] * 20.0, IccForm.TWO_WAY_RANDOM_SINGLE)
    assert f"anna; bert; cleo: ICC(2,1) {expected.value:.3f}" in done.output and "over 4 case(s)" in done.output
    assert "case3: left out" in done.output
    text = (tmp_path / "out" / "summary.md").read_text()
    assert "ICC(3,k)" in text and "case3" in text
    assert "icc_1_k" in (tmp_path / "out" / "readers.csv").read_text().splitlines()[0]
    malformed = CliRunner().invoke(app, [*call[:-2], "--reader", "cleo", "-o", str(tmp_path / "x")])
    assert "NAME=PATH" in str(malformed.exception)


def test_names_that_look_alike_are_one_case(drawn: Path) -> None:
    import unicodedata

    (drawn / "reference" / "case0.nii.gz").rename(drawn / "reference" / unicodedata.normalize("NFD", "김민준.nii.gz"))
    for name in READERS:
        (drawn / name / "case0.nii.gz").rename(drawn / name / unicodedata.normalize("NFC", "김민준.nii.gz"))
    assert scored(drawn).case_count == 5
