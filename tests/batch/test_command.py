"""``vastus batch`` from end to end with a small network."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from toy_bundle import CLASS_STEP_HU, PAINTED, write_toy_bundle
from vastus.batch.forecast import voxel_count
from vastus.cli.main import app
from vastus.synthesis.phantom import make_phantom


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_bundle(tmp_path_factory.mktemp("weights")).folder


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two good scans and a damaged one."""
    folder = tmp_path_factory.mktemp("scans")
    for name, low in {"p1/ct": 250.0, "p2/ct": 262.0}.items():
        phantom = make_phantom(PAINTED.spacing_mm, z_range_mm=(low, 342.0), noise_hu=0)
        classes = phantom.labels.array % 100
        hu = np.where(classes > 0, classes * CLASS_STEP_HU, np.where(phantom.ct.array > -900, -100.0, -1000.0))
        path = folder / f"{name}.nii.gz"
        path.parent.mkdir()
        nib.save(nib.Nifti1Image(hu.astype(np.int16), phantom.ct.affine), path)
    (folder / "p3.nii.gz").write_bytes(b"damaged")
    return folder


def invoke(*arguments: object, code: int = 2) -> str:
    result = CliRunner().invoke(app, ["batch", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.stdout


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open()))


@pytest.mark.slow
def test_an_archive_is_forecast_segmented_and_measured_again(tmp_path: Path, weights: Path, scans: Path) -> None:
    out = tmp_path / "out"
    common = (scans, "-o", out, "--weights", weights, "--device", "cpu", "-w", 1, "-t", 1)
    forecast = json.loads(invoke(*common, "--dry-run", "--json", code=0))
    assert (forecast["found"], forecast["to_segment"], forecast["unreadable"]) == (3, 3, 1)
    assert forecast["based_on"] == 1 and forecast["seconds"] > 0 and forecast["needed_bytes"] > 1000
    assert not out.exists()

    said = invoke(*common)
    assert "2 scans done (3 worked on now), 1 refused" in said
    assert {p.name for p in (out / "scans/p1-ct").iterdir()} == {
        "labels.nii.gz",
        "volumes.csv",
        "measures.csv",
        "levels.csv",
        "run.json",
        "thumbnail.jpg",
        "confidence.csv",
    }
    rows = table(out / "volumes.csv")
    assert len(rows) == 2 * 58 and {r["subject"] for r in rows} == {"p1-ct", "p2-ct"}
    assert [(r["subject"], r["error"]) for r in table(out / "failed.csv")] == [("p3", "UnreadableScanError")]
    labels = (out / "scans/p1-ct/labels.nii.gz").read_bytes()

    assert not (out / "measures.csv").exists()

    # From the stored labels: further measures and a page; the network is not asked.
    record = (out / "scans/p1-ct/run.json").read_bytes()
    result = json.loads(invoke(*common, "--measures", "--pages", "--json"))
    assert result["worked"] == 2 and result["scans"]["done"] == 2
    assert (out / "scans/p1-ct/labels.nii.gz").read_bytes() == labels
    assert (out / "scans/p1-ct/run.json").read_bytes() == record
    assert "</html>" in (out / "scans/p1-ct/report.html").read_text()
    assert {r["subject"] for r in table(out / "measures.csv")} == {"p1-ct", "p2-ct"}
    assert sorted(map(str, table(out / "volumes.csv"))) == sorted(map(str, rows))
    assert (out / "measures.parquet").is_file()
    assert json.loads(invoke(*common, "--measures", "--pages", "--json"))["worked"] == 0

    settings = tmp_path / "settings.toml"
    settings.write_text("percentiles = [50]\n")
    before = len(table(out / "measures.csv"))
    changed = json.loads(invoke(*common, "--measures", "--pages", "--json", "--measure-settings", settings))
    assert changed["worked"] == 2 and len(table(out / "measures.csv")) < before
    assert (out / "scans/p1-ct/labels.nii.gz").read_bytes() == labels


def test_voxels_are_counted_by_headers(tmp_path: Path) -> None:
    from dicom_factory import series, write_series

    write_series(tmp_path / "dicom", series())
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), np.eye(4)), tmp_path / "a.nii.gz")
    (tmp_path / "b.nii.gz").write_bytes(b"damaged")
    (tmp_path / "c.nrrd").write_bytes(b"damaged")
    assert voxel_count(tmp_path / "dicom", None) == 10 * 12 * 8
    assert voxel_count(tmp_path / "a.nii.gz", None) == 60
    assert [voxel_count(tmp_path / n, None) for n in ("b.nii.gz", "c.nrrd", "none.nii")] == [0, 0, 0]


def test_an_input_that_is_not_there_is_refused_by_name(tmp_path: Path, weights: Path) -> None:
    from vastus.errors import MissingInputError

    with pytest.raises(MissingInputError):
        invoke(tmp_path / "none", "-o", tmp_path / "o", "--weights", weights, "--device", "cpu")
