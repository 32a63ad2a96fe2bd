"""Starting weights: from a bundle or another run, also when the class list differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vastus.errors import MissingInputError, SettingsError
from vastus.preprocessing import PreprocessingSettings
from vastus.training.checkpoint import load_state
from vastus.training.config import CONFIG_FILE, TrainConfig, load_config
from vastus.training.networks import network_entry


@dataclass(frozen=True, slots=True, eq=False)
class TrainedWeights:
    """Weights with what is needed to fit them into another network.

    Attributes:
        path: where they were read.
        network: registry name.
        arguments: of the network, laid over the registry's.
        classes: names in the order of the output channels.
        preprocessing: what they were trained with.
        tensors: the ``state_dict``.
    """

    path: Path
    network: str
    arguments: dict[str, Any]
    classes: tuple[str, ...]
    preprocessing: PreprocessingSettings
    tensors: dict[str, Tensor]


def read_weights(path: Path) -> TrainedWeights:
    """Read the averaged weights of a run's folder, or those of a bundle."""
    if (path / CONFIG_FILE).is_file():
        state = load_state(path)
        if state is None:
            raise MissingInputError("This run has no checkpoint yet.", path=path)
        config = load_config(path / CONFIG_FILE)
        return TrainedWeights(
            path, config.network, config.network_arguments, config.classes, config.settings, state.average
        )
    from safetensors.torch import load_file

    from vastus.inference.bundle import load_bundle

    bundle = load_bundle(path)
    if not bundle.safetensors_path.is_file():
        raise MissingInputError("The bundle holds no weights for torch.", path=bundle.safetensors_path)
    tensors = {name: t.float() for name, t in load_file(str(bundle.safetensors_path)).items()}
    network = bundle.info.network
    return TrainedWeights(
        path, network.name, dict(network.arguments), bundle.info.classes, bundle.info.preprocessing, tensors
    )


def inherit_settings(values: dict[str, Any], given: TrainedWeights) -> dict[str, Any]:
    """Settings of a run that starts from weights: what ``values`` leave open is as the weights were trained.

    Args:
        values: the settings as a table; they may name some of the preprocessing.
        given: where network, its arguments and the preprocessing come from. Weights of another network than the one
            that ``values`` name give nothing (``initial_weights`` refuses them).

    Returns:
        ``values`` with what they lacked.
    """
    if values.get("network", given.network) != given.network:
        return values
    preprocessing = values.get("preprocessing") or {}
    inherited = {
        "network": given.network,
        "network_arguments": given.arguments,
        "preprocessing": given.preprocessing.to_dict() | preprocessing,
    }
    return inherited | {name: value for name, value in values.items() if name != "preprocessing"}


def differing_preprocessing(given: TrainedWeights, config: TrainConfig) -> str | None:
    """A notice where a run prepares its windows otherwise than its starting weights know them, or ``None``."""
    trained, now = given.preprocessing.to_dict(), config.settings.to_dict()
    differing = [f"{name} {trained[name]} there, {now[name]} here" for name in now if trained[name] != now[name]]
    if not differing:
        return None
    return f"The weights were trained with other preprocessing ({'; '.join(differing)})."


def said_of_head(given: TrainedWeights, config: TrainConfig) -> str | None:
    """Say what becomes of the head where the classes differ from those of the weights, or ``None``."""
    if given.classes == config.classes:
        return None
    kept = [name for name in config.classes[1:] if name in given.classes]
    fresh = [name for name in config.classes[1:] if name not in given.classes]
    said = (
        f"All layers but the last start from the weights; of {config.class_count - 1} structures {len(kept)} are known"
    )
    return f"{said} to them by name, and {len(fresh)} start new{': ' + ', '.join(fresh) if fresh else ''}."


def mean_weights(own: TrainedWeights, others: Sequence[TrainedWeights]) -> dict[str, Tensor]:
    """Average the weights of trainings that started from the same weights; each counts once for every time it is given.

    Wortsman et al. 2022 ("model soups"): trainings from one start lie in one basin, and their mean is often better on
    new data than each of them. The mean of unrelated trainings is worthless.

    Args:
        own: the weights that the mean is made for.
        others: the weights to add; the sum is divided by their number and one.

    Returns:
        The ``state_dict`` of the mean, in float32. What is not a floating point number is that of ``own``.

    Raises:
        SettingsError: another network, other arguments, classes or preprocessing.
    """
    for other in others:
        differing = [
            name for name in ("network", "classes", "preprocessing") if getattr(other, name) != getattr(own, name)
        ]
        if own.tensors.keys() != other.tensors.keys() or any(
            own.tensors[name].shape != tensor.shape for name, tensor in other.tensors.items()
        ):
            differing.append("layers")
        if differing:
            raise SettingsError(
                f"There is no mean with these weights: they differ in {', '.join(differing)}.",
                path=other.path,
                remedy="Give weights of the same network, trained from the same start.",
            )
    parts = (own, *others)
    return {
        name: torch.stack([part.tensors[name].float() for part in parts]).mean(0)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in own.tensors.items()
    }


def initial_weights(given: TrainedWeights, config: TrainConfig) -> dict[str, Tensor]:
    """Weights of a bundle or run, fitted to the network and classes of a new run.

    Raises:
        SettingsError: another network, or shapes that differ for another reason than the classes.
    """
    if given.network != config.network:
        raise SettingsError(
            f"The weights belong to the network {given.network!r}, the run trains {config.network!r}.",
            path=given.path,
            remedy=f"Use --network {given.network}.",
        )
    torch.manual_seed(config.seed)
    fresh = config.new_network().state_dict()
    prefixes = network_entry(config.network).class_parameters
    return fit_weights(given.tensors, fresh, given.classes, config.classes, prefixes)


def fit_weights(
    given: dict[str, Tensor],
    fresh: dict[str, Tensor],
    given_classes: tuple[str, ...],
    classes: tuple[str, ...],
    prefixes: tuple[str, ...],
) -> dict[str, Tensor]:
    """Take ``given`` into the shapes of ``fresh``; rows of classes are matched by name, new classes stay fresh.

    Args:
        given, fresh: ``state_dict``s of the trained and the new network.
        given_classes, classes: their class names in order.
        prefixes: of the parameters that have one row a class; the others must have equal shapes.
    """
    pairs = [(classes.index(name), row) for row, name in enumerate(given_classes) if name in classes]
    result = {}
    for name, target in fresh.items():
        if name not in given:
            raise SettingsError(f"The weights have no {name}: other network arguments?")
        source = given[name]
        if not name.startswith(prefixes):
            if source.shape != target.shape:
                raise SettingsError(f"{name} has shape {tuple(source.shape)}, not {tuple(target.shape)}.")
            result[name] = source.clone()
            continue
        result[name] = _fit_rows(source, target, len(given_classes), len(classes), pairs)
    return result


def _fit_rows(source: Tensor, target: Tensor, n_given: int, n_new: int, pairs: list[tuple[int, int]]) -> Tensor:
    """Move the rows of common classes along every axis that counts classes in both tensors."""
    fitted = source
    for axis in range(source.ndim):
        if source.shape[axis] == n_given and target.shape[axis] == n_new:
            # Rows of new classes come from the fresh network where the shape allows it, else they start at zero.
            new_shape = (*fitted.shape[:axis], n_new, *fitted.shape[axis + 1 :])
            moved = target.clone() if new_shape == tuple(target.shape) else torch.zeros(new_shape)
            moved.index_copy_(
                axis,
                torch.tensor([new for new, _ in pairs], dtype=torch.long),
                fitted.index_select(axis, torch.tensor([old for _, old in pairs], dtype=torch.long)),
            )
            fitted = moved
    if fitted.shape != target.shape:
        raise SettingsError(f"A logit layer of shape {tuple(source.shape)} can't be fitted to {tuple(target.shape)}.")
    return fitted
