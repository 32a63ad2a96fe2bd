"""One bad scan in a call never takes the good ones with it, whatever is wrong with it."""

from __future__ import annotations

import csv
import json
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

import dicom_factory as factory
from labelled_dicom import FULL_HEADER
from toy_bundle import CLASS_STEP_HU, PAINTED, write_toy_bundle
from vastus.cli.main import app
from vastus.errors import PacsError, UnsupportedScanError
from vastus.synthesis.phantom import make_phantom


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_bundle(tmp_path_factory.mktemp("weights")).folder


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    phantom = make_phantom(PAINTED.spacing_mm, z_range_mm=(250.0, 330.0), noise_hu=0)
    classes = phantom.labels.array % 100
    outside = np.where(phantom.ct.array > -900, -100.0, -1000.0)
    hu = np.where(classes > 0, classes * CLASS_STEP_HU, outside).astype(np.int16)
    path = tmp_path_factory.mktemp("good") / "good.nii"
    nib.save(nib.Nifti1Image(hu, phantom.ct.affine), path)
    return path


def run(*arguments: object, command: str = "segment"):
    return CliRunner().invoke(app, [command, *map(str, arguments)])


def test_headers_that_are_no_numbers_and_unknown_formats(tmp_path: Path, weights: Path, good: Path) -> None:
    raw = bytearray(good.read_bytes())
    struct.pack_into("<2f", raw, 112, 1.0, float("nan"))
    (tmp_path / "nan.nii").write_bytes(raw)
    (tmp_path / "a.stl").write_bytes(b"solid")
    out = tmp_path / "out"
    inputs = (tmp_path / "nan.nii", tmp_path / "a.stl", good)
    done = run(*inputs, "-o", out, "--weights", weights, "-t", 1)
    assert done.exit_code == 2 and "1 of 3 scans done" in done.output and "nan.nii" in done.output
    assert {row["subject"] for row in csv.DictReader((out / "volumes.csv").open())} == {"good"}


def test_a_first_input_that_is_not_there(tmp_path: Path, weights: Path, good: Path) -> None:
    other = tmp_path / "other.nii"
    other.write_bytes(good.read_bytes())
    done = run(tmp_path / "gone.nii", good, other, "-o", tmp_path / "out", "--weights", weights, "-t", 1)
    assert "2 of 3 scans done" in done.output and "gone.nii" in done.output
    labels = [(tmp_path / "out" / name / "labels.nii.gz").read_bytes() for name in ("good", "other")]
    assert labels[0] == labels[1]


def test_a_failure_that_nobody_foresaw(
    tmp_path: Path, weights: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vastus.io import scans

    read = scans.read_scan

    def fails(path: Path, **options: object):
        if path.name == "bad.nii":
            raise MemoryError("Allocation failed")
        return read(path, **options)

    monkeypatch.setattr(scans, "read_scan", fails)
    (tmp_path / "bad.nii").write_bytes(good.read_bytes())
    done = run(tmp_path / "bad.nii", good, "-o", tmp_path / "out", "--weights", weights, "-t", 1)
    assert done.exit_code == 1 and "MemoryError" in done.output and "1 of 2 scans done" in done.output
    assert (tmp_path / "out" / "good" / "run.json").is_file()


def dicom(folder: Path, **extra: object) -> Path:
    hu = np.full((16, 40, 40), -1000, np.int16)
    hu[:, 4:36, 4:36] = 40
    hu[3:13, 10:30, 10:30] = 600  # class 6 of the toy network
    spec = factory.series(16, hu=hu, step=4.0, pixel_spacing=(4.0, 4.0), extra={**FULL_HEADER, **extra})
    factory.write_series(folder, spec)
    return folder


def test_one_that_is_not_dicom_among_dicom(tmp_path: Path, weights: Path, good: Path) -> None:
    out = tmp_path / "out"
    done = run(good, dicom(tmp_path / "ct"), "-o", out, "--weights", weights, "-t", 1, "-f", "sr")
    assert done.exit_code == 2 and "1 of 2 scans done" in done.output
    assert (out / "ct" / "dicom" / "sr.dcm").is_file() and not (out / "good").exists()


def test_rows_count_though_results_could_not_be_sent(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object) -> None:
        raise PacsError("The PACS does not answer.")

    monkeypatch.setattr("vastus.dicom.pacs.store_checked", refuses)
    out = tmp_path / "out"
    folders = (dicom(tmp_path / "a"), dicom(tmp_path / "b"))
    done = run(
        *folders, "-o", out, "--weights", weights, "-t", 1, "-f", "rtstruct", "--send-to", "dicom://A@127.0.0.1:1"
    )
    assert done.exit_code == 8 and "0 of 2 scans done" in done.output
    assert {row["subject"] for row in csv.DictReader((out / "volumes.csv").open())} == {"a", "b"}


def test_what_results_must_repeat_is_refused_before_the_network(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vastus.inference.predictor import Predictor

    folder = dicom(tmp_path / "ct")
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        del dataset.FrameOfReferenceUID
        dataset.save_as(path)
    monkeypatch.setattr(Predictor, "segment", lambda *_: pytest.fail("the network ran"))
    done = run(folder, "-o", tmp_path / "out", "--weights", weights, "-t", 1, "-f", "sr")
    assert isinstance(done.exception, UnsupportedScanError)
    assert not (tmp_path / "out").exists()


def test_mended_values_are_said_in_the_record(tmp_path: Path, weights: Path) -> None:
    folder = dicom(tmp_path / "ct", PatientSex="F")
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes().replace(b"19500101", b"1950.1.1"))
    done = run(folder, "-o", tmp_path / "out", "--weights", weights, "-t", 1, "-f", "dicom-seg")
    assert done.exit_code == 0, done.output
    assert any("PatientBirthDate" in w for w in json.loads((tmp_path / "out" / "run.json").read_text())["warnings"])
    assert pydicom.dcmread(tmp_path / "out" / "dicom" / "seg.dcm").PatientBirthDate == "19500101"


def label_map(path: Path, count: int) -> Path:
    """A box of ``count`` voxels of sartorius."""
    array = np.zeros((8, 8, 6), np.uint8)
    array.reshape(-1)[:count] = 101
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([2.0, 2.0, 5.0, 1.0])), path)
    return path


def test_a_case_that_can_not_be_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vastus.evaluation.figures.figure_tasks", lambda *_: [])
    for name in ("a", "b", "cut", "lost"):
        for reader in ("first", "second", "reference"):
            label_map(tmp_path / reader / f"{name}.nii.gz", 40 + len(name))
    cut = tmp_path / "second" / "cut.nii.gz"
    cut.write_bytes(cut.read_bytes()[:50])
    (tmp_path / "reference" / "lost.nii.gz").write_bytes(b"")
    out = tmp_path / "out"
    given = (tmp_path / "first", tmp_path / "reference", "--second", tmp_path / "second", "-o", out)
    done = run(*given, command="evaluate")
    assert done.exit_code == 2 and "2 case(s) failed and are not in the numbers: cut, lost" in done.output
    assert {row["subject"] for row in csv.DictReader((out / "scores.csv").open())} == {"a", "b"}
    assert set(json.loads((out / "evaluation.json").read_text())["failed"]) == {"cut", "lost"}
    assert "2 case(s) could not be scored" in (out / "summary.md").read_text()


def test_where_no_case_can_be_scored_nothing_is_written(tmp_path: Path) -> None:
    for reader in ("first", "reference"):
        label_map(tmp_path / reader / "a.nii.gz", 40)
    (tmp_path / "first" / "a.nii.gz").write_bytes(b"no")
    done = run(tmp_path / "first", tmp_path / "reference", "-o", tmp_path / "out", command="evaluate")
    assert "No case can be scored" in str(done.exception) and not (tmp_path / "out").exists()


def test_a_label_map_that_can_not_be_checked(tmp_path: Path, good: Path) -> None:
    data = tmp_path / "data"
    shape = nib.load(good).shape
    for name in ("a", "b", "cut", "alone"):
        for folder in ("imagesTr", "labelsTr"):
            (data / folder).mkdir(parents=True, exist_ok=True)
        if name != "alone":
            (data / "imagesTr" / f"{name}_0000.nii").write_bytes(good.read_bytes())
        labels = np.zeros(shape, np.uint8)
        labels[10:14, 10:14, 2:6] = 5
        nib.save(nib.Nifti1Image(labels, nib.load(good).affine), data / "labelsTr" / f"{name}.nii.gz")
    (data / "labelsTr" / "cut.nii.gz").write_bytes(b"no")
    done = run(data, "-o", tmp_path / "check", "--no-model", "--no-pictures", command="check-labels")
    assert done.exit_code == 2 and "1 of 3 scans could not be checked: cut" in done.output
    assert "finding(s) in 2 scans" in done.output and (tmp_path / "check" / "findings.csv").is_file()
    # What reading says of a label map is said here too: nobody knows what a bare 5 means.
    assert "without side" in done.output
    assert "alone.nii.gz: its scan is not in imagesTr" in done.output


def test_a_scan_that_can_not_be_pseudo_labelled(tmp_path: Path, weights: Path, good: Path) -> None:
    (tmp_path / "bad.nii").write_bytes(b"no")
    out = tmp_path / "set"
    done = run(tmp_path / "bad.nii", good, "-o", out, "--weights", weights, "-t", 1, command="pseudo-label")
    assert done.exit_code == 2 and "1 of 2 scan(s)" in done.output and "bad: " in done.output
    assert [path.name for path in (out / "labelsTr").iterdir()] == ["good.nii.gz"]
    assert json.loads((out / "dataset.json").read_text())["numTraining"] == 1


def test_a_name_that_no_system_takes(tmp_path: Path, weights: Path, good: Path) -> None:
    done = run(tmp_path / ("x" * 300 + ".nii"), good, "-o", tmp_path / "out", "--weights", weights, "-t", 1)
    assert done.exit_code == 2 and "MissingInputError" in done.output and "1 of 2 scans done" in done.output
