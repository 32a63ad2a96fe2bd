"""Whether the optional libraries are there, asked before long work starts."""

from __future__ import annotations

from importlib.util import find_spec

from vastus.errors import MissingExtraError


def need(feature: str, *modules: str) -> None:
    """Refuse a feature whose libraries are missing.

    Args:
        feature: for the message, e.g. ``"Writing DICOM SEG"``.
        modules: names of top-level modules.

    Raises:
        MissingExtraError: one of them is not installed.
    """
    if any(find_spec(module) is None for module in modules):
        raise MissingExtraError(feature, "dicom")
