from pathlib import Path

import pytest

pytest.importorskip("torch")

from training.nnunet_folder import write_data_set
from vastus.training.config import TrainConfig
from vastus.training.folder import FolderSource
from vastus.training.inputs import Inputs, build_sources, read_config, read_fold
from vastus.training.sources import SyntheticSource
from vastus.training.transfer import read_weights


def test_a_run_from_shipped_weights_takes_their_network_and_preprocessing(tmp_path: Path) -> None:
    told: list[str] = []
    shipped = read_weights(Path("unet"))
    settings = read_config(None, tmp_path, {"network": None, "minutes": 3.0, "steps": None}, shipped, told.append)
    assert (settings.network, settings.settings) == ("unet", shipped.preprocessing)
    assert not told
    (tmp_path / "run.toml").write_text("[preprocessing]\nspacing_mm = [1.5, 1.5, 2.0]\n")
    settings = read_config(tmp_path / "run.toml", tmp_path, {"minutes": 3.0}, shipped, told.append)
    assert settings.settings.spacing_mm == (1.5, 1.5, 2.0)
    assert settings.settings.window_size == shipped.preprocessing.window_size
    assert len(told) == 1 and "spacing_mm" in told[0]


def test_all_scans_are_trained_on_and_a_pool_validates(tmp_path: Path) -> None:
    data = write_data_set(tmp_path / "set", 3)
    settings = TrainConfig.from_dict(
        {"steps": 1, "preprocessing": {"spacing_mm": [12.0, 12.0, 12.0], "window_size": [32, 32, 16]}}
    )
    inputs = Inputs(data, None, tmp_path / "pool", read_fold("all"), 0.5, tmp_path / "cache")
    training, validation, _ = build_sources(settings, inputs, lambda _: None)
    assert isinstance(training, FolderSource)
    assert len(training.cases) == 3
    assert isinstance(validation, SyntheticSource)
    assert validation.folder == tmp_path / "pool"
    assert validation.seed != settings.seed
