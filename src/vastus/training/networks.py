"""The one registry of networks: a new network is one entry.

An entry knows how to build its network, its default arguments, the preprocessing it was made for, and which of its
parameters have one row a class (they are re-mapped by name when the class list changes).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from vastus.anatomy import CLASS_COUNT
from vastus.errors import MissingExtraError, SettingsError
from vastus.preprocessing import PreprocessingSettings

if TYPE_CHECKING:
    from torch import nn

Builder = Callable[[int, tuple[int, int, int], dict[str, Any]], "nn.Module"]
"""(class count, window size in voxels, arguments) -> network taking (B, 1, *window)."""


@dataclass(frozen=True, slots=True)
class NetworkEntry:
    """One network of the registry.

    Attributes:
        name: what ``--network`` takes.
        summary: one line for the documentation and the model card.
        build: the builder.
        settings: default preprocessing.
        arguments: default arguments of the builder; a run's own are laid over them.
        class_parameters: prefixes of the parameters with one row a class.
        auxiliary: in training mode it gives ``(logits, auxiliary logits)`` and takes ``coarse_only``.
        divisor: arguments -> number of which each side of the window must be a multiple, axis by axis.
    """

    name: str
    summary: str
    build: Builder
    settings: PreprocessingSettings
    class_parameters: tuple[str, ...]
    divisor: Callable[[dict[str, Any]], tuple[int, int, int]]
    arguments: dict[str, Any] = field(default_factory=dict)
    auxiliary: bool = False


PAPER_SETTINGS = PreprocessingSettings()
TRAINING_HU_WINDOW: Final = (-150.0, 250.0)
"""What a new network is trained with unless the run says otherwise; its bundle then says what it reads."""
FAST_SETTINGS = PreprocessingSettings(
    hu_window=TRAINING_HU_WINDOW, gamma=1.0, spacing_mm=(2.0, 2.0, 4.0), window_size=(96, 96, 64), antialias=True
)


def _unetr(class_count: int, window: tuple[int, int, int], arguments: dict[str, Any]) -> nn.Module:
    from monai.networks.nets import UNETR  # type: ignore[attr-defined]

    return UNETR(in_channels=1, out_channels=class_count, img_size=window, **arguments)


def _unet(class_count: int, window: tuple[int, int, int], arguments: dict[str, Any]) -> nn.Module:
    from monai.networks.nets import UNet  # type: ignore[attr-defined]

    return UNet(spatial_dims=3, in_channels=1, out_channels=class_count, **arguments)


def _resunet(class_count: int, window: tuple[int, int, int], arguments: dict[str, Any]) -> nn.Module:
    from vastus.training.resunet import ResUNet

    plain: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in arguments.items()}
    return ResUNet(class_count, **plain)


def _patch_divisor(arguments: dict[str, Any]) -> tuple[int, int, int]:
    return 16, 16, 16


def _unet_divisor(arguments: dict[str, Any]) -> tuple[int, int, int]:
    sides = math.prod(arguments["strides"])
    return sides, sides, sides


def _resunet_divisor(arguments: dict[str, Any]) -> tuple[int, int, int]:
    from vastus.training.resunet import DEFAULT_CHANNELS

    halvings = 2 ** (len(arguments.get("channels", DEFAULT_CHANNELS)) - 1)
    return 2 * halvings, 2 * halvings, halvings


_VIT_BASE = {
    "feature_size": 16,
    "hidden_size": 768,
    "mlp_dim": 3072,
    "num_heads": 12,
    "proj_type": "perceptron",
    "norm_name": "instance",
    "res_block": True,
    "dropout_rate": 0.0,
}
_ENTRIES = (
    NetworkEntry(
        "resunet",
        "residual U-Net with a strided stem, the default: made for speed on a CPU",
        _resunet,
        FAST_SETTINGS,
        class_parameters=("auxiliary.", "logits."),
        divisor=_resunet_divisor,
        auxiliary=True,
    ),
    NetworkEntry(
        "unetr",
        "UNETR with a ViT-B/16 encoder, as in the paper",
        _unetr,
        PAPER_SETTINGS,
        class_parameters=("out.",),
        divisor=_patch_divisor,
        arguments=_VIT_BASE,
    ),
    NetworkEntry(
        "unetr_small",
        "UNETR with hidden size 144",
        _unetr,
        PAPER_SETTINGS,
        class_parameters=("out.",),
        divisor=_patch_divisor,
        arguments=_VIT_BASE | {"hidden_size": 144, "mlp_dim": 576, "num_heads": 6},
    ),
    NetworkEntry(
        "unet",
        "3D U-Net with 16 to 256 features, the paper's baseline",
        _unet,
        PAPER_SETTINGS,
        class_parameters=("model.2.",),
        divisor=_unet_divisor,
        arguments={"channels": (16, 32, 64, 128, 256), "strides": (2, 2, 2, 2), "num_res_units": 2, "norm": "instance"},
    ),
)
NETWORKS: dict[str, NetworkEntry] = {entry.name: entry for entry in _ENTRIES}
DEFAULT_NETWORK = "resunet"


def network_entry(name: str) -> NetworkEntry:
    """The entry of a name; an unknown one is refused with the list of names."""
    if name not in NETWORKS:
        raise SettingsError(f"There is no network {name!r}.", remedy=f"Known are: {', '.join(NETWORKS)}.")
    return NETWORKS[name]


def build_network(
    name: str,
    *,
    class_count: int = CLASS_COUNT,
    window_size: tuple[int, int, int] | None = None,
    arguments: dict[str, Any] | None = None,
) -> nn.Module:
    """Build a network with fresh weights from torch's random state.

    Args:
        name: of the registry.
        class_count: logits a voxel, background included.
        window_size: voxels of a window; the entry's default if not given.
        arguments: laid over the entry's default arguments.

    Raises:
        SettingsError: unknown name or arguments, or a window that the network can't halve often enough.
        MissingExtraError: torch or MONAI are not installed.
    """
    entry = network_entry(name)
    window = window_size or entry.settings.window_size
    require_torch()
    laid_over = entry.arguments | (arguments or {})
    divisor = entry.divisor(laid_over)
    if any(w % d for w, d in zip(window, divisor, strict=True)):
        raise SettingsError(f"The window {window} of {name!r} must be a multiple of {divisor}.")
    try:
        return entry.build(class_count, window, laid_over)
    except TypeError as error:
        raise SettingsError(f"The network {name!r} does not take these arguments ({error}).") from error


def require_torch() -> None:
    """Refuse by name when the optional training part is not installed."""
    from importlib.util import find_spec

    if find_spec("torch") is None or find_spec("monai") is None:
        raise MissingExtraError("Training", "train")


def parameter_count(network: nn.Module) -> int:
    """Number of trained numbers, frozen or not."""
    return sum(p.numel() for p in network.parameters())
