"""``vastus crossval`` from the command line: which weights start which runs. The rest is in tests/training."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("torch")
import torch

from tiny_training import TINY_TRAINING
from training.nnunet_folder import write_data_set
from vastus.cli.main import app
from vastus.errors import SettingsError
from vastus.training.checkpoint import load_state

TINY = TINY_TRAINING | {"ema_decay": 0}
# Steps so small that they leave the weights where they start.
STILL = {"learning_rate": 1e-9, "weight_decay": 0.0, "batch_size": 1, "bf16": False, "validation_patches": 1}
runner = CliRunner()


@pytest.mark.slow
def test_every_fold_starts_from_the_given_weights_with_their_settings(tmp_path: Path) -> None:
    data = write_data_set(tmp_path / "set", 2)
    (tmp_path / "tiny.json").write_text(json.dumps(TINY))
    (tmp_path / "still.json").write_text(json.dumps(STILL))
    shared = ["--data", str(data), "--workers", "0", "--threads", "1"]
    first = runner.invoke(
        app, ["train", *shared, "-o", str(tmp_path / "start"), "--config", str(tmp_path / "tiny.json"), "--steps", "1"]
    )
    assert first.exit_code == 0, first.output
    result = runner.invoke(
        app,
        [
            "crossval",
            *shared,
            "-o",
            str(tmp_path / "cv"),
            "--networks",
            "resunet",
            "--folds",
            "2",
            "--steps",
            "1",
            "--config",
            str(tmp_path / "still.json"),
            "--init",
            str(tmp_path / "start"),
        ],
    )
    assert result.exit_code == 0, result.output
    given = load_state(tmp_path / "start")
    assert given is not None
    for fold in range(2):
        run = tmp_path / "cv" / "resunet" / f"fold_{fold}"
        begun = load_state(run)
        assert begun is not None
        torch.testing.assert_close(begun.network["stem.weight"], given.average["stem.weight"])
        assert json.loads((run / "config.json").read_text())["preprocessing"]["spacing_mm"] == [12.0, 12.0, 12.0]
    assert (tmp_path / "cv" / "summary.csv").is_file()


def test_weights_must_belong_to_one_of_the_networks(tmp_path: Path) -> None:
    common = ["crossval", "--data", str(tmp_path), "-o", str(tmp_path / "cv"), "--steps", "1"]
    other = runner.invoke(app, [*common, "--networks", "resunet", "--init", "unet"])
    assert isinstance(other.exception, SettingsError)
    assert "--networks unet" in str(other.exception)
    twice = runner.invoke(app, [*common, "--networks", "resunet,unet", "--init", "unet,unet"])
    assert isinstance(twice.exception, SettingsError)
    assert "Two weights" in str(twice.exception)
