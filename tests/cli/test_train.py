import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

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
    settings = {
        "network_arguments": {"channels": [8, 16], "encoder_blocks": [1, 1], "head_channels": 8},
        "preprocessing": {"spacing_mm": [12.0, 12.0, 12.0], "window_size": [32, 32, 16]},
        "batch_size": 1,
        "bf16": False,
        "validation_patches": 1,
        "seed": 5,
    }
    (tmp_path / "run.json").write_text(json.dumps(settings))
    run = tmp_path / "run"
    common = ["train", "--data", str(data), "-o", str(run), "--workers", "0", "--threads", "1"]
    first = runner.invoke(app, [*common, "--config", str(tmp_path / "run.json"), "--steps", "2"])
    assert first.exit_code == 0, first.output
    # The settings are in the run: only the new length has to be given.
    second = runner.invoke(app, [*common, "--steps", "3"])
    assert second.exit_code == 0, second.output
    assert "continues at step 2" in second.output
    assert json.loads((run / "config.json").read_text())["seed"] == 5
    exported = runner.invoke(app, ["export", str(run), "-o", str(tmp_path / "bundle"), "--name", "phantom"])
    assert exported.exit_code == 0, exported.output
    from vastus.inference.bundle import load_bundle

    assert load_bundle(tmp_path / "bundle").info.name == "phantom"


def test_a_run_from_shipped_weights_takes_their_network_and_preprocessing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    from vastus.cli.train import read_config
    from vastus.training.transfer import read_weights

    shipped = read_weights(Path("unet"))
    settings = read_config(None, tmp_path, {"network": None, "minutes": 3.0, "steps": None}, shipped)
    assert (settings.network, settings.settings) == ("unet", shipped.preprocessing)
    assert capsys.readouterr().err == ""
    (tmp_path / "run.toml").write_text("[preprocessing]\nspacing_mm = [1.5, 1.5, 2.0]\n")
    settings = read_config(tmp_path / "run.toml", tmp_path, {"minutes": 3.0}, shipped)
    assert settings.settings.spacing_mm == (1.5, 1.5, 2.0)
    assert settings.settings.window_size == shipped.preprocessing.window_size
    assert "spacing_mm" in capsys.readouterr().err


def test_all_scans_are_trained_on_and_a_pool_validates(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from training.nnunet_folder import write_data_set
    from vastus.cli.train import Inputs, build_sources, read_fold
    from vastus.training.config import TrainConfig
    from vastus.training.folder import FolderSource
    from vastus.training.sources import SyntheticSource

    data = write_data_set(tmp_path / "set", 3)
    settings = TrainConfig.from_dict(
        {"steps": 1, "preprocessing": {"spacing_mm": [12.0, 12.0, 12.0], "window_size": [32, 32, 16]}}
    )
    inputs = Inputs(data, None, tmp_path / "pool", read_fold("all"), 0.5, tmp_path / "cache")
    training, validation, _ = build_sources(settings, inputs)
    assert isinstance(training, FolderSource)
    assert len(training.cases) == 3
    assert isinstance(validation, SyntheticSource)
    assert validation.folder == tmp_path / "pool"
    assert validation.seed != settings.seed


def test_a_fold_that_is_no_fold_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    result = runner.invoke(app, ["train", "--data", str(tmp_path), "-o", str(tmp_path / "run"), "--fold", "some"])
    assert isinstance(result.exception, SettingsError)
