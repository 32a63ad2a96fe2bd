from pathlib import Path

import pytest

pytest.importorskip("torch")

from training.tiny import tiny_config
from vastus.errors import MissingInputError, SettingsError
from vastus.training.config import TrainConfig, load_config, save_config
from vastus.training.networks import FAST_SETTINGS, PAPER_SETTINGS


def test_a_saved_config_is_read_back_the_same(tmp_path: Path) -> None:
    config = tiny_config()
    save_config(config, tmp_path / "config.json")
    assert load_config(tmp_path / "config.json") == config


def test_toml_with_overrides(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('network = "unetr"\nsteps = 5\n[preprocessing]\ngamma = 1.0\n')
    config = load_config(path, steps=7, minutes=None)
    assert config.steps == 7
    assert config.settings.gamma == 1.0
    assert config.settings.spacing_mm == PAPER_SETTINGS.spacing_mm


def test_each_network_brings_its_own_preprocessing() -> None:
    assert TrainConfig(steps=1).settings == FAST_SETTINGS
    assert TrainConfig(steps=1, network="unetr").settings == PAPER_SETTINGS


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "How long"),
        ({"steps": 0}, "positive"),
        ({"steps": 1, "optimizer": "adamw"}, "optimizer"),
        ({"steps": 1, "optimiser": "sgd"}, "adamw or muon"),
        ({"steps": 1, "network": "vnet"}, "no network"),
        ({"steps": 1, "ema_decay": 1.0}, "ema_decay"),
        ({"steps": 1, "classes": ["femur"]}, "background"),
        ({"steps": "many"}, "wrong type"),
    ],
)
def test_wrong_settings_are_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        TrainConfig.from_dict(values)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        load_config(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("steps = = 3")
    with pytest.raises(SettingsError, match="can't be read"):
        load_config(tmp_path / "bad.toml")
