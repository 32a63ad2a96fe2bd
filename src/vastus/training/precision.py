"""Whether bfloat16 pays on a device: where a processor lacks it torch falls back to loops that take minutes a step."""

from __future__ import annotations

import torch

from vastus.inference.arithmetic import torch_has_bf16

_ARM_INSTRUCTIONS = "bf16"
"""Name that torch gives to those of ARM, of which OpenVINO, whom the network's run asks, says nothing."""


def has_bf16(device: torch.device) -> bool:
    """Tell whether the device multiplies bfloat16 itself."""
    return torch_has_bf16(device.type) or (device.type == "cpu" and _arm_has_bf16())


def _arm_has_bf16() -> bool:
    asked = getattr(torch.cpu, "get_capabilities", None)  # older versions of torch tell nothing of ARM
    return asked is not None and bool(asked().get(_ARM_INSTRUCTIONS, False))
