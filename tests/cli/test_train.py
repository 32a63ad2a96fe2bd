import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tiny_training import TINY_TRAINING
from vastus.cli.main import app
from vastus.errors import MissingExtraError, SettingsError

runner = CliRunner()


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for arguments in (
        ["train", "--synthetic", "pool", "-o", str(tmp_path / "run")],
        ["export", str(tmp_path), "-o", str(tmp_path / "bundle")],
        ["crossval", "--data", str(tmp_path), "-o", str(tmp_path / "out")],
    ):
        result = runner.invoke(app, arguments)
        assert isinstance(result.exception, MissingExtraError)
        assert "vastus[train]" in str(result.exception)


def test_nothing_to_train_on_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    result = runner.invoke(app, ["train", "-o", str(tmp_path / "run"), "--steps", "3"])
    assert isinstance(result.exception, SettingsError)
    assert not (tmp_path / "run").exists()


def test_a_data_set_is_trained_on_continued_and_exported(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from training.nnunet_folder import write_data_set

    data = write_data_set(tmp_path / "set", 2)
    settings = TINY_TRAINING | {"seed": 5}
    (tmp_path / "run.json").write_text(json.dumps(settings))
    run = tmp_path / "run"
    common = ["train", "--data", str(data), "-o", str(run), "--workers", "0", "--threads", "1"]
    first = runner.invoke(app, [*common, "--config", str(tmp_path / "run.json"), "--steps", "2"])
    assert first.exit_code == 0, first.output
    stages = ["reading settings", "checking 2 of 2: case1", "preparing 1 of 2: case0", "training"]
    places = [first.output.index(stage) for stage in stages]
    assert places == sorted(places) and places[0] == len("vastus train: ")
    # The settings are in the run: only the new length has to be given.
    second = runner.invoke(app, [*common, "--steps", "3"])
    assert second.exit_code == 0, second.output
    assert "continues at step 2" in second.output and "preparing" not in second.output
    assert json.loads((run / "config.json").read_text())["seed"] == 5
    exported = runner.invoke(app, ["export", str(run), "-o", str(tmp_path / "bundle"), "--name", "phantom"])
    assert exported.exit_code == 0, exported.output
    from vastus.inference.bundle import load_bundle

    assert load_bundle(tmp_path / "bundle").info.name == "phantom"


def test_a_fold_that_is_no_fold_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    result = runner.invoke(app, ["train", "--data", str(tmp_path), "-o", str(tmp_path / "run"), "--fold", "some"])
    assert isinstance(result.exception, SettingsError)
