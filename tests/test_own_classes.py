"""Structures of a lab's own through every command: train, export, segment, measure, evaluate."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from own_scan import NAMES, TABLE, own_labels, write_own_bundle, write_own_data_set
from tiny_training import TINY_TRAINING
from vastus.anatomy import Side
from vastus.cli.main import app
from vastus.errors import SettingsError
from vastus.inference.bundle import load_bundle
from vastus.inference.predictor import NOT_CHECKED
from vastus.io.labels import read_label_map
from vastus.io.own_structures import table_digest
from vastus.io.structure_tables import read_structure_table

runner = CliRunner()
TINY = TINY_TRAINING | {"steps": 2}


def ran(*arguments: str | Path) -> str:
    result = runner.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open(encoding="utf-8")))


def train(data: Path, run: Path, *more: str | Path) -> str:
    settings = run.parent / "tiny.json"
    settings.write_text(json.dumps(TINY))
    common = ("--fold", "all", "--workers", "0", "--threads", "1", "--config", settings)
    return ran("train", "--data", data, "-o", run, *common, *more)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_own_data_set(tmp_path_factory.mktemp("data") / "set")


@pytest.fixture(scope="module")
def segmented(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    folder = tmp_path_factory.mktemp("segmented")
    bundle = write_own_bundle(folder / "weights")
    scan = data / "imagesTr" / "case0_0000.nii.gz"
    ran("segment", scan, "-o", folder / "result", "--weights", bundle, "-f", "xlsx,seg.nrrd", "--threads", "1")
    return folder / "result"


def test_a_network_learns_them_and_its_bundle_names_them(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    said = train(data, tmp_path / "run")
    assert "structures of your own" not in said  # the table file declares them
    ran("export", tmp_path / "run", "-o", tmp_path / "bundle", "--name", "own")
    info = load_bundle(tmp_path / "bundle").info
    table = read_structure_table(data / "structure_table.csv")
    assert info.classes == ("background", *NAMES) and info.table == table
    assert "Thigh muscles, Femur, Sacrum, Hip bone" in (tmp_path / "bundle/docs/README.md").read_text()
    steps = json.loads((tmp_path / "bundle/configs/inference.json").read_text())["postprocessing"]["transforms"]
    assert [step["structures"][2]["name"] for step in steps] == ["sacrum", "sacrum"]
    # What a user with another set of classes does next: all but the head is taken over, and that is said.
    other = write_own_data_set(tmp_path / "other", table=False)
    names = json.loads((other / "dataset.json").read_text())
    names["labels"]["quadriceps"] = names["labels"].pop("thigh_muscles")
    (other / "dataset.json").write_text(json.dumps(names))
    said = train(other, tmp_path / "run2", "--init", tmp_path / "bundle")
    assert "structures of your own: quadriceps, sacrum; each is taken for a muscle that both sides have" in said
    assert "of 4 structures 3 are known to them by name, and 1 start new: quadriceps." in said


def test_a_scan_is_labelled_with_their_names_and_sides(segmented: Path) -> None:
    found = read_label_map(segmented / "labels.nii.gz", table=None)
    _, expected = own_labels()
    agree = found.volume.array == expected.array
    assert agree[expected.array > 0].mean() > 0.97
    assert set(np.unique(found.volume.array)) == {0, 101, 102, 104, 201, 202, 204, 3}
    assert found.table == read_structure_table(segmented / "structure_table.csv")
    record = json.loads((segmented / "run.json").read_text())
    assert record["structure_table"] == {
        "file": "structure_table.csv",
        "count": 4,
        "sha256": table_digest(found.table),
    }
    assert NOT_CHECKED in record["warnings"] and not record["agreement"]["structures"] and not record["alarms"]
    assert set(record["confidence"]["structures"]) == set(NAMES)


def test_tables_page_and_workbook_bear_their_names(segmented: Path) -> None:
    volumes = {(row["structure"], row["side"]): row for row in rows_of(segmented / "volumes.csv")}
    pairs = [("thigh_muscles", "merged"), ("femur", "bone"), ("hip_bone", "bone")]
    assert {(*at, row["group"]) for at, row in volumes.items()} == {
        *((key, side, group) for key, group in pairs for side in ("right", "left")),
        ("sacrum", "midline", "bone"),
    }
    assert all(float(row["volume_mm3"]) > 0 for row in volumes.values())
    measures = {(row["structure"], row["side"], row["measure"]) for row in rows_of(segmented / "measures.csv")}
    assert ("femur", "right", "femur_length") in measures and ("sacrum", "midline", "mean_hu") in measures
    assert not any(measure == "posterior_to_anterior" for _, _, measure in measures)
    assert not any(structure.endswith("_fat") for structure, *_ in measures)
    page = (segmented / "report.html").read_text()
    for words in ("Thigh muscles", "Merged", "In the midline", "3 pairs of structures and 1 of the midline"):
        assert words in page
    assert "Sartorius" not in page and "rgb(55, 160, 230)" in page
    from openpyxl import load_workbook

    sheet = load_workbook(segmented / "results.xlsx")["structures"]
    assert {(row[1], row[3]) for row in sheet.iter_rows(min_row=2, values_only=True)} == set(volumes)
    named = read_label_map(segmented / "labels.seg.nrrd", table=None)
    np.testing.assert_array_equal(
        named.volume.array, read_label_map(segmented / "labels.nii.gz", table=None).volume.array
    )


def test_what_the_table_does_not_allow_is_said_in_plain_words(segmented: Path, data: Path, tmp_path: Path) -> None:
    scan = data / "imagesTr" / "case0_0000.nii.gz"
    clinical = ("--sex", "F", "--age", "70", "--height-cm", "160", "--weight-kg", "55", "--grip-kg", "15")
    said = ran("measure", scan, segmented / "labels.nii.gz", "-o", tmp_path, *clinical)
    assert "7 of 7 structures measured" in said
    assert "need every muscle of the thigh" in said and "lacks single muscles of the thigh" in said
    assert "Nothing is published for: Thigh muscles." in said
    assert "sarcopenia" in said.lower()  # the diagnosis reads clinical values only, and is there
    indices = {
        (r["structure"], r["side"]) for r in rows_of(tmp_path / "measures.csv") if r["measure"] == "volume_per_height2"
    }
    assert ("thigh_muscles", "both") in indices


def test_the_same_numbers_come_from_a_table_named_on_the_command_line(
    segmented: Path, data: Path, tmp_path: Path
) -> None:
    lonely = tmp_path / "labels.nii.gz"
    lonely.write_bytes((segmented / "labels.nii.gz").read_bytes())
    (tmp_path / "mine.csv").write_text(TABLE)
    scan = data / "imagesTr" / "case0_0000.nii.gz"
    without = runner.invoke(app, ["measure", str(scan), str(lonely), "-o", str(tmp_path / "out")])
    assert without.exit_code != 0 and "structure_table.csv" in str(without.exception)
    ran(
        "measure",
        scan,
        lonely,
        "-o",
        tmp_path / "out",
        "--structures",
        tmp_path / "mine.csv",
        "--subject",
        "case0_0000",
    )
    named = {(r["structure"], r["side"]): r["volume_mm3"] for r in rows_of(tmp_path / "out" / "volumes.csv")}
    assert named == {(r["structure"], r["side"]): r["volume_mm3"] for r in rows_of(segmented / "volumes.csv")}


def test_predictions_are_scored_against_the_data_set(segmented: Path, data: Path, tmp_path: Path) -> None:
    reference = data / "labelsTr" / "case0.nii.gz"
    said = ran("evaluate", segmented / "labels.nii.gz", reference, "-o", tmp_path, "--merge-sides")
    assert "prediction: Dice 0.9" in said or "prediction: Dice 1.0" in said
    scores = {row["structure"]: row for row in rows_of(tmp_path / "scores.csv")}
    assert set(scores) == set(NAMES)
    assert scores["sacrum"]["side"] == "midline" and float(scores["sacrum"]["dice"]) > 0.9
    summary = (tmp_path / "summary.md").read_text()
    assert "| Thigh muscles |" in summary and "| **Merged** |" in summary and "Sartorius" not in summary
    assert json.loads((tmp_path / "evaluation.json").read_text())["settings"]["structures"][0]["name"] == NAMES[0]
    # Without merging, the reference's lack of sides is named, as for the built-in structures.
    sided = runner.invoke(
        app, ["evaluate", str(segmented / "labels.nii.gz"), str(reference), "-o", str(tmp_path / "b")]
    )
    assert "--merge-sides" in str(sided.exception)


def test_a_result_scored_against_itself_is_perfect_by_side_and_in_the_midline(segmented: Path, tmp_path: Path) -> None:
    labels = segmented / "labels.nii.gz"
    ran("evaluate", labels, labels, "-o", tmp_path)
    rows = rows_of(tmp_path / "scores.csv")
    assert {(row["structure"], row["side"]) for row in rows} == {
        *((key, side.value) for key in NAMES if key != "sacrum" for side in (Side.RIGHT, Side.LEFT)),
        ("sacrum", "midline"),
    }
    assert all(float(row["dice"]) == 1.0 for row in rows)


def test_a_batch_of_them_has_tables_page_and_workbook(data: Path, tmp_path: Path) -> None:
    from openpyxl import load_workbook

    scans, out, weights = data / "imagesTr", tmp_path / "out", write_own_bundle(tmp_path / "weights")
    batch = ("batch", scans, "-o", out, "--weights", weights, "--measures", "--pages", "--workers", "1")
    assert "1 scans done (1 worked on now)" in ran(*batch, "--workbook")
    assert read_structure_table(out / "structure_table.csv") == load_bundle(weights).info.table
    volumes = {(row["structure"], row["side"]): row for row in rows_of(out / "volumes.csv")}
    assert len(volumes) == 7 and float(volumes["sacrum", "midline"]["volume_mm3"]) > 0
    sure = {(row["structure"], row["side"]) for row in rows_of(out / "confidence.csv")}
    assert sure == {*volumes, ("all", "both")}
    (name,) = {row["subject"] for row in volumes.values()}
    assert "Thigh muscles" in (out / "scans" / name / "report.html").read_text()
    page = (out / "index.html").read_text()
    (entry,) = json.loads(page.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    assert '["total", "Muscles"]' in page and entry["found"] == 7
    muscles = [float(volumes["thigh_muscles", side]["volume_mm3"]) / 1000 for side in ("right", "left")]
    assert (entry["right"], entry["left"]) == pytest.approx(muscles, abs=0.06)
    book = load_workbook(out / "results.xlsx")
    sides = dict(zip(*list(book["sides"].values)[:2], strict=True))
    assert set(sides) == {"subject", *(f"{key}_{side}" for key, side in volumes)}
    whole = dict(zip(*list(book["structures"].values)[:2], strict=True))
    assert set(whole) == {"subject", *NAMES}

    # Measured anew from the stored labels: the same numbers, and nothing is segmented.
    before = (out / "scans" / name / "labels.nii.gz").stat().st_mtime_ns
    again = [sys.executable, "-m", "vastus", *map(str, batch[:6]), "--workers", "1", "--measure-again"]
    said = subprocess.run(again, capture_output=True, text=True, check=True).stdout
    assert "1 worked on now" in said
    assert {(row["structure"], row["side"]): row for row in rows_of(out / "volumes.csv")} == volumes
    assert (out / "scans" / name / "labels.nii.gz").stat().st_mtime_ns == before


def test_commands_that_know_the_built_in_structures_only_refuse_by_name(data: Path, tmp_path: Path) -> None:
    weights = write_own_bundle(tmp_path / "weights")
    check = ["check-labels", str(data), "-o", str(tmp_path / "out"), "--weights", str(weights)]
    result = runner.invoke(app, check)
    assert isinstance(result.exception, SettingsError)
    assert "The check of labels by a network knows the built-in structures only" in str(result.exception)
