import csv
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from folder_of_phantoms import phantoms, write_case
from vastus.cli.main import app
from vastus.io.labels import write_labels


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["check-labels", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.output


def test_a_folder_is_checked_against_predictions_and_no_label_changes(tmp_path: Path) -> None:
    case = phantoms()[0]
    labels = case.labels.array.copy(order="F")
    labels[20:23, 30:33, 20:22] = 209
    written = write_case(tmp_path / "data", case, labels)
    before = written.labels_path.read_bytes()
    (tmp_path / "predictions").mkdir()
    write_labels(case.labels, tmp_path / "predictions" / "case0.nii.gz")
    output = run(tmp_path / "data", "-o", tmp_path / "check", "--predictions", tmp_path / "predictions")
    assert "case0  gracilis_left: island" in output
    assert written.labels_path.read_bytes() == before
    with (tmp_path / "check" / "findings.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["case"], r["structure"], r["side"], r["proposal"]) for r in rows] == [
        ("case0", "gracilis", "left", "yes")
    ]
    assert np.isclose(float(rows[0]["x_mm"]), (case.labels.affine @ [21, 31, 20.5, 1])[0], atol=6)


def test_a_sound_folder_gives_an_empty_list(tmp_path: Path) -> None:
    write_case(tmp_path / "data", phantoms()[1])
    assert "0 finding(s) in 1 scans" in run(tmp_path / "data", "--no-model")
    assert (tmp_path / "data" / "label-check" / "index.html").is_file()


def test_two_sources_of_a_model_are_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["check-labels", str(tmp_path), "--no-model", "--predictions", str(tmp_path)])
    assert "Give one of" in str(result.exception)
