"""``vastus add-person`` and ``vastus mix-people``: what is refused before any work; the work itself is in synthesis."""

import numpy as np
import pytest
from typer.testing import CliRunner

from vastus.cli.main import app
from vastus.synthesis.dataset import write_image
from vastus.volume import Volume

runner = CliRunner()


@pytest.fixture
def labels(tmp_path):
    path = tmp_path / "patient.nii.gz"
    write_image(Volume(np.full((8, 8, 8), 2, np.uint8), np.eye(4)), path)
    return path


def test_a_name_that_is_there_is_kept(tmp_path, labels):
    (tmp_path / "atlas_patient.npz").write_bytes(b"theirs")
    result = runner.invoke(app, ["add-person", str(labels), "--atlas", str(tmp_path), "--names", "pelvic-reference"])
    assert result.exit_code != 0
    assert "of this name" in str(result.exception)
    assert (tmp_path / "atlas_patient.npz").read_bytes() == b"theirs"


@pytest.mark.parametrize("name", ["../there", "a b", ""])
def test_names_are_names_of_files(tmp_path, labels, name):
    labels = labels if name else tmp_path / "x y.nii.gz"
    command = ["add-person", str(labels), "--atlas", str(tmp_path), "--names", "pelvic-reference"]
    result = runner.invoke(app, [*command, "--person", name] if name else command)
    assert result.exit_code != 0
    assert "no name of a person" in str(result.exception)


def test_without_whole_people_nothing_is_made(tmp_path, labels):
    result = runner.invoke(app, ["add-person", str(labels), "--atlas", str(tmp_path), "--names", "pelvic-reference"])
    assert result.exit_code != 0
    assert "No atlas file" in str(result.exception)
    assert not list(tmp_path.glob("*.npz"))


def test_mixing_needs_people_that_are_there(tmp_path):
    result = runner.invoke(app, ["mix-people", "--atlas", str(tmp_path), "--person", "nobody"])
    assert result.exit_code != 0
    assert "no person 'nobody'" in str(result.exception)
