"""Optimisers: AdamW, or Muon on the convolution kernels with AdamW for the rest."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

# Quintic Newton-Schulz coefficients of Jordan et al. 2024 (Muon): fast, not exact, singular values end near 1.
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
_NEWTON_SCHULZ_STEPS = 5


def orthogonalise(matrix: Tensor) -> Tensor:
    """The nearest matrix with singular values of about 1 (0.7..1.2), by Newton-Schulz iteration."""
    a, b, c = _NEWTON_SCHULZ
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(_NEWTON_SCHULZ_STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Muon (momentum, then orthogonalised) for kernels; parameter groups with ``adam=True`` get AdamW.

    One optimiser holds both, so that one state and one schedule are saved. ``lr`` of a group is the Muon or the AdamW
    rate. A kernel (out, in, ...) is taken as the matrix (out, in * ...).
    """

    def __init__(self, groups: Iterable[dict[str, Any]]) -> None:
        defaults = {
            "lr": 0.02,
            "weight_decay": 0.0,
            "momentum": 0.95,
            "adam": False,
            "betas": (0.9, 0.99),
            "eps": 1e-8,
        }
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                parameter.mul_(1.0 - group["lr"] * group["weight_decay"])
                if group["adam"]:
                    self._adam(parameter, group)
                else:
                    self._muon(parameter, group)

    def _muon(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"]
        momentum.lerp_(parameter.grad, 1.0 - group["momentum"])
        update = parameter.grad.lerp(momentum, group["momentum"])  # type: ignore[union-attr]
        matrix = update.reshape(update.shape[0], -1)
        scale = math.sqrt(max(1.0, matrix.shape[0] / matrix.shape[1]))
        parameter.add_(orthogonalise(matrix).reshape(update.shape), alpha=-group["lr"] * scale)

    def _adam(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["first"] = torch.zeros_like(parameter)
            state["second"] = torch.zeros_like(parameter)
        state["step"] += 1
        beta1, beta2 = group["betas"]
        state["first"].lerp_(parameter.grad, 1 - beta1)
        state["second"].mul_(beta2).addcmul_(parameter.grad, parameter.grad, value=1 - beta2)
        corrected = state["first"] / (1 - beta1 ** state["step"])
        size = (state["second"] / (1 - beta2 ** state["step"])).sqrt_().add_(group["eps"])
        parameter.addcdiv_(corrected, size, value=-group["lr"])


def build_optimiser(
    network: nn.Module, *, name: str, learning_rate: float, weight_decay: float, class_parameters: tuple[str, ...]
) -> torch.optim.Optimizer:
    """The optimiser of a run; every group keeps its full rate in ``base_lr`` for the schedule.

    Args:
        network: whose parameters are trained.
        name: ``adamw``: everything by AdamW at ``learning_rate``. ``muon``: kernels of at least two dimensions by Muon
            at ``learning_rate`` (0.02 is usual), the rest by AdamW at a tenth of it, and the layers that give the
            logits at four tenths: with 30 classes they otherwise hold everything up.
        learning_rate, weight_decay: see there; norms and biases are not decayed.
        class_parameters: prefixes of the logit layers.
    """
    kernels: list[Tensor] = []
    logits: list[Tensor] = []
    rest: list[Tensor] = []
    for parameter_name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter_name.startswith(class_parameters):
            logits.append(parameter)
        elif parameter.ndim >= 2 and "embedding" not in parameter_name:
            kernels.append(parameter)
        else:
            rest.append(parameter)
    if name == "adamw":
        groups: list[dict[str, Any]] = [
            {"params": kernels + [p for p in logits if p.ndim >= 2], "lr": learning_rate, "weight_decay": weight_decay},
            {"params": rest + [p for p in logits if p.ndim < 2], "lr": learning_rate, "weight_decay": 0.0},
        ]
        optimiser: torch.optim.Optimizer = torch.optim.AdamW([g for g in groups if g["params"]])
    else:
        groups = [
            {"params": kernels, "lr": learning_rate, "weight_decay": weight_decay},
            {"params": rest, "lr": 0.1 * learning_rate, "adam": True},
            {"params": logits, "lr": 0.4 * learning_rate, "adam": True},
        ]
        optimiser = Muon([g for g in groups if g["params"]])
    for group in optimiser.param_groups:
        group["base_lr"] = group["lr"]
    return optimiser


def schedule_factor(share: float, *, warmup: float, final: float) -> float:
    """Factor on the learning rate after a share (0..1) of the run: linear warm-up, then cosine down to ``final``."""
    share = min(max(share, 0.0), 1.0)
    if share < warmup:
        return max(share / warmup, 0.01)
    swing = (share - warmup) / max(1.0 - warmup, 1e-9)
    return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * swing))


def set_learning_rate(optimiser: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's rate to ``factor`` times its full rate."""
    for group in optimiser.param_groups:
        group["lr"] = group["base_lr"] * factor


@torch.no_grad()
def set_class_prior(network: nn.Module, frequencies: Tensor, class_parameters: tuple[str, ...]) -> None:
    """Start the logits at the classes' logarithmic frequencies, so that no step is spent on learning them.

    Args:
        network: freshly built.
        frequencies: (classes,), any scale; a class never seen gets a millionth.
        class_parameters: prefixes of the logit layers; of each the last bias with one entry a class is set.
    """
    share = frequencies.double() / frequencies.double().sum()
    prior = share.clamp_min(1e-6).log().float()
    parameters = dict(network.named_parameters())
    for prefix in class_parameters:
        biases = [n for n, p in parameters.items() if n.startswith(prefix) and p.shape == prior.shape and "bias" in n]
        if biases:
            parameters[biases[-1]].copy_(prior.to(parameters[biases[-1]].device))
