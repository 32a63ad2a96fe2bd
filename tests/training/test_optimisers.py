import pytest

pytest.importorskip("torch")
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vastus.training.optimisers import (
    Muon,
    build_optimiser,
    orthogonalise,
    schedule_factor,
    set_class_prior,
    set_learning_rate,
)
from vastus.training.resunet import ResUNet


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 24), st.integers(2, 40), st.integers(0, 1000))
def test_orthogonalised_matrices_have_singular_values_near_one(rows: int, columns: int, seed: int) -> None:
    # U V^T of the matrix, with a well-conditioned spectrum so that the few steps can converge.
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(rows, columns, generator=generator)
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    rank = min(rows, columns)
    made = u @ torch.diag(torch.linspace(1.0, 3.0, rank)) @ v
    values = torch.linalg.svdvals(orthogonalise(made))
    assert float(values.min()) > 0.6
    assert float(values.max()) < 1.3


def test_adam_part_equals_torchs_adamw() -> None:
    torch.manual_seed(0)
    ours, theirs = torch.nn.Linear(5, 3), torch.nn.Linear(5, 3)
    theirs.load_state_dict(ours.state_dict())
    mine = Muon([{"params": list(ours.parameters()), "adam": True, "lr": 0.01, "weight_decay": 0.1}])
    reference = torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=0.1, betas=(0.9, 0.99))
    for _ in range(5):
        x = torch.randn(7, 5)
        for model, optimiser in ((ours, mine), (theirs, reference)):
            optimiser.zero_grad()
            model(x).square().mean().backward()
            optimiser.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "rate"), [("muon", 0.02), ("adamw", 1e-3)])
def test_every_parameter_is_optimised_once(name: str, rate: float) -> None:
    network = ResUNet(4, channels=(8, 16), encoder_blocks=(1, 1))
    optimiser = build_optimiser(
        network, name=name, learning_rate=rate, weight_decay=0.01, class_parameters=("logits.", "auxiliary.")
    )
    listed = [id(p) for group in optimiser.param_groups for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in network.parameters())
    set_learning_rate(optimiser, 0.5)
    assert all(group["lr"] == pytest.approx(0.5 * group["base_lr"]) for group in optimiser.param_groups)


def test_schedule_rises_then_falls_to_its_end() -> None:
    at = [schedule_factor(s, warmup=0.1, final=0.01) for s in (0.0, 0.05, 0.1, 0.55, 1.0, 2.0)]
    assert at == pytest.approx([0.01, 0.5, 1.0, 0.505, 0.01, 0.01], abs=1e-9)


def test_class_prior_makes_the_first_prediction_the_frequencies() -> None:
    network = ResUNet(3, channels=(8, 16), encoder_blocks=(1, 1))
    for layer in (network.logits, network.auxiliary):
        torch.nn.init.zeros_(layer.weight)
    set_class_prior(network, torch.tensor([6.0, 3.0, 1.0]), ("logits.", "auxiliary."))
    logits, auxiliary = network(torch.rand(1, 1, 8, 8, 4))
    for given_logits in (logits, auxiliary):
        share = given_logits.softmax(1)[0, :, 0, 0, 0]
        torch.testing.assert_close(share, torch.tensor([0.6, 0.3, 0.1]), rtol=1e-5, atol=1e-6)
