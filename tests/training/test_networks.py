import pytest

pytest.importorskip("torch")
import torch

from vastus.anatomy import CLASS_COUNT
from vastus.errors import SettingsError
from vastus.training.networks import NETWORKS, build_network, network_entry, parameter_count
from vastus.training.resunet import ResUNet


def test_the_papers_unetr_has_the_published_number_of_parameters() -> None:
    # Hatamizadeh et al. 2022 print 92.58 M; MONAI's own UNETR with the paper's 14 classes has 92.80 M.
    fourteen = parameter_count(build_network("unetr", class_count=14))
    assert fourteen == 92_802_478
    # Each further class is one more row of the last 1x1x1 convolution: 16 features and a bias.
    assert parameter_count(build_network("unetr")) == fourteen + 16 * (16 + 1)


@pytest.mark.parametrize("name", ["resunet", "unetr_small", "unet"])
def test_logits_have_the_shape_of_the_window(name: str) -> None:
    window = (32, 32, 16)
    network = build_network(name, window_size=window).eval()
    with torch.inference_mode():
        assert network(torch.zeros(1, 1, *window)).shape == (1, CLASS_COUNT, *window)


_SMALL = {"channels": (8, 16), "encoder_blocks": (1, 1), "head_channels": 8}


def test_resunet_gives_auxiliary_logits_in_training_only() -> None:
    network = ResUNet(5, channels=(8, 16), encoder_blocks=(1, 1))
    image = torch.rand(2, 1, 8, 8, 4)
    logits, auxiliary = network(image)
    assert logits.shape == (2, 5, 8, 8, 4)
    assert auxiliary.shape == (2, 5, 4, 4, 4)
    assert isinstance(network.eval()(image), torch.Tensor)


def test_a_coarse_step_of_resunet_leaves_the_full_resolution_head_out() -> None:
    network = build_network("resunet", class_count=5, window_size=(16, 16, 8), arguments=_SMALL)
    image = torch.rand(1, 1, 16, 16, 8)
    none, auxiliary = network(image, coarse_only=True)
    assert none is None
    torch.testing.assert_close(auxiliary, network(image)[1])
    auxiliary.square().mean().backward()
    without = {name.split(".")[0] for name, p in network.named_parameters() if p.grad is None}
    assert without == {"up_full", "image", "mix", "mix_norm", "logits"}


def test_every_parameter_of_the_default_network_gets_a_gradient() -> None:
    network = ResUNet(4, channels=(8, 16), encoder_blocks=(2, 1))
    logits, auxiliary = network(torch.rand(1, 1, 8, 8, 4))
    (logits.square().mean() + auxiliary.square().mean()).backward()
    assert [n for n, p in network.named_parameters() if p.grad is None] == []


def test_class_parameters_are_those_with_one_row_a_class() -> None:
    for name in NETWORKS:
        if name == "unetr":
            continue
        window = (32, 32, 16)
        few = build_network(name, class_count=7, window_size=window).state_dict()
        many = build_network(name, class_count=11, window_size=window).state_dict()
        changed = {k for k in few if few[k].shape != many[k].shape}
        prefixes = network_entry(name).class_parameters
        assert changed == {k for k in changed if k.startswith(prefixes)}
        for prefix in prefixes:
            assert any(k.startswith(prefix) for k in changed)


def test_unknown_names_windows_and_arguments_are_refused() -> None:
    with pytest.raises(SettingsError, match="resunet"):
        build_network("vnet")
    with pytest.raises(SettingsError, match="multiple"):
        build_network("resunet", window_size=(96, 96, 60))
    with pytest.raises(SettingsError, match="arguments"):
        build_network("resunet", arguments={"depth": 3})
