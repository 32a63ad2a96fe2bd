from pathlib import Path

import pytest

pytest.importorskip("torch")
import torch

from training.tiny import Stripes, tiny_config
from vastus.errors import MissingInputError, SettingsError
from vastus.training.checkpoint import load_state
from vastus.training.config import save_config
from vastus.training.loop import TrainOptions, train
from vastus.training.networks import build_network
from vastus.training.transfer import fit_weights, initial_weights

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
    weights = initial_weights(tmp_path / "old", tiny_config(classes=list(NEW)))
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
        initial_weights(tmp_path, tiny_config())
    train(tiny_config(steps=1), Stripes(), Stripes(), tmp_path, options=TrainOptions(workers=0, progress=False))
    with pytest.raises(SettingsError, match="--network resunet"):
        initial_weights(tmp_path, tiny_config(network="unet", network_arguments={}))
    wider = {"channels": [16, 16], "encoder_blocks": [1, 1], "head_channels": 8}
    with pytest.raises(SettingsError, match="shape"):
        initial_weights(tmp_path, tiny_config(network_arguments=wider))
