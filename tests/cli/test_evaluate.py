from __future__ import annotations

import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from vastus.cli import main
from vastus.io.labels import write_labels
from vastus.synthesis.phantom import make_phantom
from vastus.volume import Volume


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    root = tmp_path_factory.mktemp("maps")
    labels = make_phantom((10.0, 10.0, 14.0), noise_hu=0.0).labels
    write_labels(labels, root / "reference.nii.gz")
    write_labels(labels.with_array(np.roll(labels.array, 1, axis=2)), root / "first.nii.gz")
    write_labels(labels.with_array(np.roll(labels.array, 1, axis=0)), root / "second.nii.gz")
    elsewhere = labels.affine.copy()
    elsewhere[0, 3] += 5.0  # half a voxel
    write_labels(Volume(labels.array[:-1], elsewhere), root / "smaller.nii.gz")
    return root


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch):
    """Figures are tested beside their module; here they would only cost time."""
    monkeypatch.setattr("vastus.evaluation.figures.figure_tasks", lambda *_: [])


def test_two_models_are_scored_and_named(maps, tmp_path):
    arguments = ["evaluate", str(maps / "first.nii.gz"), str(maps / "reference.nii.gz"), "-o", str(tmp_path / "out")]
    options = ["--second", str(maps / "second.nii.gz"), "--names", "UNETR", "U-Net", "--tolerance-mm", "3"]
    result = CliRunner().invoke(main.app, arguments + options)
    assert result.exit_code == 0, result.output
    assert "UNETR: Dice 0." in result.output
    assert "U-Net: Dice 0." in result.output
    assert (tmp_path / "out" / "comparison.csv").is_file()
    assert "surface Dice at 3 mm" in (tmp_path / "out" / "summary.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("place", [2, 3])
def test_a_name_that_no_system_takes_is_one_line(maps, tmp_path, monkeypatch, capsys, place):
    words = ["vastus", "evaluate", str(maps / "reference.nii.gz"), str(maps / "reference.nii.gz"), "-o", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", [*words[:place], str(tmp_path / ("x" * 300)), *words[place + 1 :]])
    with pytest.raises(SystemExit) as ended:
        main.run()
    assert ended.value.code == 2
    loading, *message = capsys.readouterr().err.splitlines()
    assert loading == "vastus evaluate: loading"
    assert len(message) == 1 and "SettingsError: A name is longer than this system takes." in message[0]


def test_different_grids_end_with_code_2_and_no_output(maps, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    monkeypatch.setattr(
        sys,
        "argv",
        ["vastus", "evaluate", str(maps / "smaller.nii.gz"), str(maps / "reference.nii.gz"), "-o", str(out)],
    )
    with pytest.raises(SystemExit) as ended:
        main.run()
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert "GeometryError" in message
    assert "smaller.nii.gz" in message
    assert "reference.nii.gz" in message
    assert not out.exists()


def test_resample_brings_them_together(maps, tmp_path):
    arguments = ["evaluate", str(maps / "smaller.nii.gz"), str(maps / "reference.nii.gz"), "-o", str(tmp_path)]
    result = CliRunner().invoke(main.app, [*arguments, "--resample", "--merge-sides", "--empty", "exclude"])
    assert result.exit_code == 0, result.output
    assert "prediction: Dice 1.000" in result.output
