"""Which arithmetic processor and graphics card compute natively: asked by every runtime, and by training."""

from __future__ import annotations

import os
import platform
from typing import Final

from vastus.inference.choices import Device
from vastus.inference.runtime_openvino import load_openvino

_X86: Final = ("x86_64", "amd64")
_LIMITS: Final = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""Variables that forbid newer instructions to oneDNN, which OpenVINO and torch use; the first one not empty counts."""
_WITHOUT_AVX2: Final = ("sse41", "avx")
_WITHOUT_BF16: Final = (*_WITHOUT_AVX2, "avx2", "avx2_vnni", "avx2_vnni_2", "avx512_core", "avx512_core_vnni")
"""Limits under which oneDNN refuses bfloat16, or imitates it at half the speed."""


def cpu_has_bf16() -> bool:
    """Tell whether this processor computes bfloat16 natively, and no variable forbids it."""
    return "BF16" in _capabilities() and _newest_instructions() not in _WITHOUT_BF16


def torch_has_bf16(device: str) -> bool:
    """Tell whether torch computes bfloat16 natively on a device; elsewhere it imitates it, slower than float32.

    Args:
        device: kind of device, as torch names it: ``cpu``, ``cuda``, ``mps``.
    """
    if device == Device.CPU.value:
        return cpu_has_bf16()
    if device != Device.CUDA.value:
        return False
    import torch

    return torch.cuda.is_bf16_supported(including_emulation=False)


def cpu_has_int8() -> bool:
    """Tell whether int8 was measured to be faster on processors like this one: x86 with AVX2 at least.

    On others (ARM) nobody has measured it.
    """
    on_x86 = platform.machine().lower() in _X86
    return on_x86 and "INT8" in _capabilities() and _newest_instructions() not in _WITHOUT_AVX2


def _capabilities() -> list[str]:
    """Ask OpenVINO what the processor computes; without OpenVINO nothing but float32 is known of it."""
    try:
        openvino = load_openvino()
    except ImportError:
        return []
    names: list[str] = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return names


def _newest_instructions() -> str:
    """Name the newest instructions that oneDNN may use, in small letters; empty if no variable limits them.

    OpenVINO itself asks the processor and does not look at these variables.
    """
    return next((value for value in map(os.environ.get, _LIMITS) if value), "").lower()
