from pathlib import Path

import pytest

pytest.importorskip("torch")
import torch

from training.tiny import Stripes, tiny_config
from vastus.errors import MissingInputError, SettingsError
from vastus.preprocessing import PreprocessingSettings
from vastus.training.checkpoint import load_state
from vastus.training.config import TrainConfig, save_config
from vastus.training.loop import TrainOptions, train
from vastus.training.networks import build_network
from vastus.training.transfer import (
    TrainedWeights,
    differing_preprocessing,
    fit_weights,
    inherit_settings,
    initial_weights,
    read_weights,
)

OLD = ("background", "femur", "sartorius")
NEW = ("background", "sartorius", "gracilis", "femur", "psoas")
WINDOW = (32, 32, 16)


@pytest.mark.parametrize(
    ("name", "arguments", "prefixes"),
    [
        ("resunet", {"channels": (8, 16), "encoder_blocks": (1, 1)}, ("auxiliary.", "logits.")),
        ("unet", {"channels": (4, 8), "strides": (2,)}, ("model.2.",)),
    ],
)
def test_logits_of_common_classes_are_unchanged(
    name: str, arguments: dict[str, object], prefixes: tuple[str, ...]
) -> None:
    torch.manual_seed(0)
    trained = build_network(name, class_count=3, window_size=WINDOW, arguments=arguments).eval()
    fresh = build_network(name, class_count=5, window_size=WINDOW, arguments=arguments)
    fitted = fit_weights(trained.state_dict(), fresh.state_dict(), OLD, NEW, prefixes)
    fresh.load_state_dict(fitted)
    for key, value in trained.state_dict().items():
        if not key.startswith(prefixes):
            assert torch.equal(value, fitted[key])
    if name == "resunet":
        image = torch.rand(1, 1, *WINDOW)
        with torch.inference_mode():
            before, after = trained(image), fresh.eval()(image)
        for old, new in ((0, 0), (1, 3), (2, 1)):
            torch.testing.assert_close(before[:, old], after[:, new])


def test_the_same_classes_in_another_order_are_matched_by_name() -> None:
    old = {"logits.bias": torch.tensor([1.0, 2.0, 3.0])}
    fresh = {"logits.bias": torch.zeros(3)}
    fitted = fit_weights(old, fresh, OLD, ("background", "sartorius", "femur"), ("logits.",))
    assert fitted["logits.bias"].tolist() == [1.0, 3.0, 2.0]


def test_a_run_starts_from_the_averaged_weights_of_another(tmp_path: Path) -> None:
    quiet = TrainOptions(workers=0, progress=False)
    train(tiny_config(steps=3), Stripes(), Stripes(seed=9), tmp_path / "old", options=quiet)
    weights = initial_weights(read_weights(tmp_path / "old"), tiny_config(classes=list(NEW)))
    state = load_state(tmp_path / "old")
    assert state is not None
    assert torch.equal(weights["stem.weight"], state.average["stem.weight"])
    assert torch.equal(weights["logits.weight"][3], state.average["logits.weight"][1])
    config = tiny_config(classes=list(NEW), steps=1, learning_rate=1e-9, weight_decay=0.0)
    train(config, Stripes(), Stripes(seed=9), tmp_path / "new", initial_weights=weights, options=quiet)
    begun = load_state(tmp_path / "new")
    assert begun is not None
    torch.testing.assert_close(begun.network["stem.weight"], weights["stem.weight"])


def test_other_networks_shapes_and_empty_runs_are_refused(tmp_path: Path) -> None:
    save_config(tiny_config(), tmp_path / "config.json")
    with pytest.raises(MissingInputError, match="no checkpoint"):
        read_weights(tmp_path)
    train(tiny_config(steps=1), Stripes(), Stripes(), tmp_path, options=TrainOptions(workers=0, progress=False))
    given = read_weights(tmp_path)
    with pytest.raises(SettingsError, match="--network resunet"):
        initial_weights(given, tiny_config(network="unet", network_arguments={}))
    wider = {"channels": [16, 16], "encoder_blocks": [1, 1], "head_channels": 8}
    with pytest.raises(SettingsError, match="shape"):
        initial_weights(given, tiny_config(network_arguments=wider))


def _trained(spacing_mm: tuple[float, float, float] = (3.0, 3.0, 4.0)) -> TrainedWeights:
    preprocessing = PreprocessingSettings(spacing_mm=spacing_mm, window_size=(64, 64, 64), gamma=0.7)
    return TrainedWeights(Path("w"), "unet", {"channels": [4, 8], "strides": [2]}, OLD, preprocessing, {})


def test_what_the_settings_leave_open_is_as_the_weights_were_trained() -> None:
    config = TrainConfig.from_dict(inherit_settings({"steps": 1}, _trained()))
    assert config.network == "unet" and config.network_arguments == {"channels": [4, 8], "strides": [2]}
    assert config.settings == _trained().preprocessing
    assert differing_preprocessing(_trained(), config) is None


def test_what_the_settings_say_goes_before_the_weights() -> None:
    values = {"steps": 1, "preprocessing": {"spacing_mm": [2.0, 2.0, 2.0]}, "network_arguments": {"channels": [8, 8]}}
    config = TrainConfig.from_dict(inherit_settings(values, _trained()))
    assert config.settings == _trained((2.0, 2.0, 2.0)).preprocessing
    assert config.network_arguments == {"channels": [8, 8]}
    notice = differing_preprocessing(_trained(), config)
    assert notice is not None
    assert "spacing_mm (3.0, 3.0, 4.0) there, (2.0, 2.0, 2.0) here" in notice and "gamma" not in notice


def test_weights_of_another_network_give_no_settings() -> None:
    values = {"network": "resunet", "steps": 1}
    assert inherit_settings(values, _trained()) == values
