"""Imports of libraries without what they load and Vastus never uses: half a second of every command.

A package that is left out here is only told to be missing while the import runs, and only to the thread that imports:
another thread may import it meanwhile, and so may anybody afterwards.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from typing import Any


class _Missing(MetaPathFinder):
    def __init__(self, package: str) -> None:
        self._package, self._thread = package, threading.get_ident()

    def find_spec(self, fullname: str, *_: Any) -> None:
        """Refuse the package to the thread that made this finder; leave all else to the other finders."""
        if fullname == self._package and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"{fullname} is left out", name=fullname)


@contextmanager
def left_out(package: str) -> Iterator[None]:
    """Import within this block as if a package were not installed; one that is loaded already stays.

    Args:
        package: full name, such as ``scipy.linalg``.
    """
    finder = _Missing(package)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def load_nibabel() -> Any:
    """Import nibabel without pydicom, which it would load for an extension of NIfTI that Vastus never reads.

    Returns:
        The package.
    """
    with left_out("pydicom"):
        import nibabel
    return nibabel


def load_numba_arrays() -> None:
    """Import numba's array functions without SciPy's linear algebra, which they load only to see that it is there."""
    with left_out("scipy.linalg"):
        from numba.np import arraymath
    if hasattr(arraymath, "_HAVE_BLAS"):
        # A loop that needs it, of whomever, loads it then: SciPy is installed with Vastus.
        arraymath._HAVE_BLAS = True
