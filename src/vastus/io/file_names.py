"""Names that not every system takes."""

from __future__ import annotations

from typing import Final

_DEVICES: Final = frozenset({"con", "prn", "aux", "nul", "conin$", "conout$"})
_NUMBERED: Final = frozenset({"com", "lpt"})


def is_device_name(name: str) -> bool:
    """Say whether Windows takes a name for a device, whatever its case and its suffix: ``CON``, ``com1.nii.gz``."""
    stem = name.partition(".")[0].rstrip().lower()
    return stem in _DEVICES or (len(stem) == 4 and stem[:3] in _NUMBERED and stem[3] in "123456789¹²³")


def no_device(name: str) -> str:
    """Give a name that is no device's: ``_`` is put before one that is."""
    return f"_{name}" if is_device_name(name) else name
