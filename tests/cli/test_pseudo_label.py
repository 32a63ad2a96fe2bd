from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from toy_bundle import CLASS_STEP_HU, PAINTED, write_toy_bundle
from vastus.cli.main import app
from vastus.errors import MissingInputError, SettingsError
from vastus.synthesis.phantom import make_phantom


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_bundle(tmp_path_factory.mktemp("weights")).folder


def run(*arguments: object):  # type: ignore[no-untyped-def]
    return CliRunner().invoke(app, ["pseudo-label", *map(str, arguments)])


def write_scan(path: Path) -> np.ndarray:
    phantom = make_phantom(PAINTED.spacing_mm, z_range_mm=(200.0, 400.0), noise_hu=0)
    classes = phantom.labels.array % 100
    outside = np.where(phantom.ct.array > -900, -100.0, -1000.0)
    hu = np.where(classes > 0, classes * CLASS_STEP_HU, outside).astype(np.int16)
    nib.save(nib.Nifti1Image(hu, phantom.ct.affine), path)
    return np.asarray(classes)


def test_scans_become_a_training_set_without_what_is_excluded(weights: Path, tmp_path: Path) -> None:
    truth = write_scan(tmp_path / "leg.nii.gz")
    (tmp_path / "masks").mkdir()
    affine = nib.load(tmp_path / "leg.nii.gz").affine
    mask = np.zeros(truth.shape, np.uint8)
    mask[:, :, :10] = 1
    nib.save(nib.Nifti1Image(mask, affine), tmp_path / "masks" / "leg.nii.gz")
    result = run(
        tmp_path / "leg.nii.gz", "-o", tmp_path / "set", "--weights", weights, "--exclude", tmp_path / "masks", "-t", 1
    )
    assert result.exit_code == 0, result.output
    labels = np.asanyarray(nib.load(tmp_path / "set" / "labelsTr" / "leg.nii.gz").dataobj)
    assert (labels[:, :, :12] == 255).all()
    rest, expected = labels[:, :, 13:], truth[:, :, 13:]
    known = rest != 255
    # The toy network goes by the intensity alone, which other voxel sizes only blur at borders.
    assert known[expected > 0].mean() > 0.5
    assert (rest[known] == expected[known]).mean() > 0.98


def test_what_is_doubted_is_not_labelled(weights: Path, tmp_path: Path) -> None:
    truth = write_scan(tmp_path / "leg.nii.gz")
    result = run(
        tmp_path / "leg.nii.gz", "-o", tmp_path / "set", "--weights", weights, "--doubt", "anterior,gracilis", "-t", 1
    )
    assert result.exit_code == 0, result.output
    labels = np.asanyarray(nib.load(tmp_path / "set" / "labelsTr" / "leg.nii.gz").dataobj)
    assert not np.isin(labels, [1, 2, 3, 4, 5, 9]).any()
    assert np.isin([6, 13, 28], labels).all()
    assert (labels[truth == 3] == 255).mean() > 0.9


def test_an_earlier_round_gives_the_outlines(weights: Path, tmp_path: Path) -> None:
    truth = write_scan(tmp_path / "leg.nii.gz")
    affine = nib.load(tmp_path / "leg.nii.gz").affine
    earlier = np.where(np.isin(truth, [2, 3]), 5, truth).astype(np.uint8)  # two of its muscles bear the name of a third
    (tmp_path / "round1").mkdir()
    nib.save(nib.Nifti1Image(earlier, affine), tmp_path / "round1" / "leg.nii.gz")
    given = ["-o", tmp_path / "set", "--weights", weights, "-t", 1]
    outlines = ["--outlines", tmp_path / "round1"]
    result = run(tmp_path / "leg.nii.gz", *given, *outlines, "--rename", "anterior")
    assert result.exit_code == 0, result.output
    labels = np.asanyarray(nib.load(tmp_path / "set" / "labelsTr" / "leg.nii.gz").dataobj)
    for muscle in (2, 3):
        own = labels[truth == muscle]
        assert (own == muscle).mean() > 0.5
        assert (own == 5).mean() < 0.02
    for alone in (outlines, ["--rename", "anterior"]):
        assert isinstance(run(tmp_path / "leg.nii.gz", *given, *alone).exception, SettingsError)
    write_scan(tmp_path / "other.nii.gz")
    missing = run(tmp_path / "other.nii.gz", *given, *outlines, "--rename", "anterior")
    assert isinstance(missing.exception, MissingInputError)
    assert "other" in str(missing.exception)


def test_two_scans_of_one_name_and_a_missing_folder_are_refused(tmp_path: Path) -> None:
    same = run(tmp_path / "a" / "leg.nii.gz", tmp_path / "b" / "leg.nii.gz", "-o", tmp_path / "set")
    assert isinstance(same.exception, SettingsError)
    assert "leg" in str(same.exception)
    gone = run(tmp_path / "leg.nii.gz", "-o", tmp_path / "set", "--exclude", tmp_path / "masks")
    assert isinstance(gone.exception, MissingInputError)
    unknown = run(tmp_path / "leg.nii.gz", "-o", tmp_path / "set", "--doubt", "anterior,femor")
    assert isinstance(unknown.exception, SettingsError)
    assert "femor" in str(unknown.exception)
    assert not (tmp_path / "set").exists()
