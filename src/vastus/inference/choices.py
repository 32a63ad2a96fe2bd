"""What a user may choose about the network's run. Light: the command line imports it for its help."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

MOST_THREADS: Final = 8
"""Threads taken by default at most: a scan has 8 to 20 windows, and every window in flight costs memory."""


class Device(Enum):
    """Where the network runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


class RuntimeName(Enum):
    """Which library runs the network."""

    AUTO = "auto"
    OPENVINO = "openvino"
    ONNXRUNTIME = "onnxruntime"
    TORCH = "torch"


class PrecisionChoice(Enum):
    """Arithmetic asked for; ``AUTO`` is the fastest one that the bundle names as checked and the device has."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "int8"


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """What the user asks for. ``threads`` None: all the process may use, at most ``MOST_THREADS``."""

    device: Device = Device.AUTO
    runtime: RuntimeName = RuntimeName.AUTO
    precision: PrecisionChoice = PrecisionChoice.AUTO
    threads: int | None = None
