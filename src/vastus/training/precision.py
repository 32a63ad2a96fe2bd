"""Whether bfloat16 pays on a device: where a processor lacks it torch falls back to loops that take minutes a step."""

from __future__ import annotations

import torch

_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16")
"""Names that torch gives to instructions that multiply bfloat16: x86 with AVX-512 or AMX, ARM."""


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 itself."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    asked = getattr(torch.cpu, "get_capabilities", None)
    if asked is not None:
        known = asked()
        return any(known.get(name, False) for name in _INSTRUCTIONS)
    # Before torch could name instructions it only told this one.
    return bool(torch.cpu._is_avx512_bf16_supported())
