"""Import nibabel without pydicom, which it would load for a NIfTI extension that Vastus never reads.

pydicom takes half of the time of nibabel's import. Another thread may import pydicom meanwhile: only the thread that
imports nibabel is told that there is none.
"""

from __future__ import annotations

import sys
import threading
from importlib.abc import MetaPathFinder
from typing import Any

_LEFT_OUT = "pydicom"


class _Without(MetaPathFinder):
    """Says, to one thread, that a package is not installed."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    def find_spec(self, name: str, *_: Any) -> None:
        """Refuse the package to the thread that made this finder; leave all else to the others."""
        if name == _LEFT_OUT and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"{name} is left out", name=name)


def load_nibabel() -> Any:
    """Import nibabel; the first import decides whether it knows pydicom.

    Returns:
        The package.
    """
    finder = _Without()
    sys.meta_path.insert(0, finder)
    try:
        import nibabel
    finally:
        sys.meta_path.remove(finder)
    return nibabel
