from __future__ import annotations

from pathlib import Path

import nibabel as nib
import pytest
from PIL import Image
from typer.testing import CliRunner

from vastus.cli.main import app
from vastus.errors import GeometryError, MissingInputError, SettingsError
from vastus.synthesis.phantom import make_phantom
from vastus.volume import Volume


def save(volume: Volume, path: Path) -> None:
    nib.save(nib.Nifti1Image(volume.array, volume.affine), path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("preview")
    scan, other = make_phantom((4.0, 4.0, 8.0)), make_phantom((6.0, 6.0, 8.0))
    save(scan.ct, folder / "scan.nii.gz")
    save(scan.labels, folder / "labels.nii.gz")
    save(other.labels, folder / "other.nii.gz")
    return folder


def test_ct_alone_is_half_as_high_as_with_labels(folder, tmp_path):
    for name, arguments in {"ct": [], "both": [str(folder / "labels.nii.gz")]}.items():
        picture = tmp_path / "new" / f"{name}.png"
        result = CliRunner().invoke(app, ["preview", str(folder / "scan.nii.gz"), *arguments, "-o", str(picture)])
        assert result.exit_code == 0, result.output
        assert str(picture) in result.output
    heights = [Image.open(tmp_path / "new" / f"{name}.png").height for name in ("ct", "both")]
    assert heights[1] > 1.8 * heights[0]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["nowhere.nii"], MissingInputError),
        (["scan.nii.gz", "other.nii.gz"], GeometryError),
        (["scan.nii.gz", "-o", "picture.jpg"], SettingsError),
    ],
)
def test_refusals_write_nothing(folder, monkeypatch, arguments, error):
    monkeypatch.chdir(folder)
    before = sorted(p.name for p in folder.iterdir())
    result = CliRunner().invoke(app, ["preview", *arguments])
    assert isinstance(result.exception, error)
    assert sorted(p.name for p in folder.iterdir()) == before
