"""Imports of libraries without what they load and Vastus never uses: half a second of every command.

A package that is left out here is only told to be missing while the import runs, and only to the thread that imports:
another thread may import it meanwhile, and so may anybody afterwards. What a library wants to hold without using it is
put off: a stand-in is held, and the real module is imported when something in it is asked for.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Final

_HELD_BY_STATISTICS: Final = ("numpy.ctypeslib", "numpy.f2py", "numpy.rec", "numpy.testing")
"""What the statistics take of NumPy's and do not use."""

_FORMULAS: Final = ("formulaic", "formulaic.parser", "formulaic.utils", "formulaic.utils.constraints")

_HELD_BY_SCIPY: Final = (
    "numpy.char",
    "numpy.core",
    "numpy.ctypeslib",
    "numpy.f2py",
    "numpy.ma",
    "numpy.rec",
    "numpy.strings",
    "numpy.testing",
    "scipy.special",
)
"""SciPy takes all of NumPy's names into a table of its own, and ``ndimage.rotate`` needs two special functions."""


_GUARD: Final = threading.RLock()
"""Held while the lists of the interpreter are changed; never while something is imported."""


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
    # A new list each time: another thread that goes through the list must not miss a finder because one was taken out.
    with _GUARD:
        sys.meta_path = [finder, *sys.meta_path]
    try:
        yield
    finally:
        with _GUARD:
            sys.meta_path = [other for other in sys.meta_path if other is not finder]


class _StandIn(ModuleType):
    """Stands where a module is expected, and imports it when something in it is asked for."""

    def __getattr__(self, name: str) -> Any:
        with _GUARD:
            _take_away(self)
        return getattr(import_module(self.__name__), name)


def _take_away(stand_in: _StandIn) -> None:
    package, _, own = stand_in.__name__.rpartition(".")
    if sys.modules.get(stand_in.__name__) is stand_in:
        del sys.modules[stand_in.__name__]
    holder = sys.modules.get(package)  # none where it is a stand-in that was taken away before
    if holder is not None and vars(holder).get(own) is stand_in:
        delattr(holder, own)


def _is_installed(name: str) -> bool:
    if isinstance(sys.modules.get(name.rpartition(".")[0]), _StandIn):
        return True  # to look into a package that is put off would import it
    try:
        return find_spec(name) is not None
    except ValueError:  # a stand-in has no spec: another thread has just put one there
        return True


@contextmanager
def put_off(*modules: str) -> Iterator[None]:
    """Import within this block without these modules, until something in them is used.

    Loaded ones stay, and so does what a package already holds under that name (``numpy.rec`` before NumPy 2 is another
    module). One that is not installed is told to be missing, as always. Whoever imports such a module after the block
    gets the module itself.

    Args:
        modules: full names, such as ``numpy.f2py``; the package of each must be loaded.
    """
    stand_ins = []
    for name in modules:
        package, _, own = name.rpartition(".")
        if name in sys.modules or not _is_installed(name):
            continue
        with _GUARD:
            if name in sys.modules or (package and own in vars(sys.modules[package])):
                continue
            stand_ins.append(_StandIn(name))
            sys.modules[name] = stand_ins[-1]
            if package:
                setattr(sys.modules[package], own, stand_ins[-1])
    try:
        yield
    finally:
        with _GUARD:
            for stand_in in stand_ins:
                _take_away(stand_in)


def load_ndimage() -> Any:
    """Import SciPy's ``ndimage`` without what it holds and does not use.

    Returns:
        The package.
    """
    import scipy  # noqa: F401

    # Once it is there, nothing is put off: another thread may want these modules just now.
    with nullcontext() if "scipy.ndimage" in sys.modules else put_off(*_HELD_BY_SCIPY):
        from scipy import ndimage
    return ndimage


def load_statistics() -> Any:
    """Import SciPy's ``stats`` without what it holds of NumPy and does not use.

    Returns:
        The package.
    """
    import scipy  # noqa: F401

    if "scipy.stats" not in sys.modules:
        with put_off(*_HELD_BY_STATISTICS):
            import_module("scipy.stats")
    return import_module("scipy.stats")


def load_models() -> None:
    """Import statsmodels' logistic regression and power without formulas, and scikit-learn's metrics."""
    load_statistics()
    with put_off(*_HELD_BY_STATISTICS, *_FORMULAS):
        import_module("statsmodels.discrete.discrete_model")
        import_module("statsmodels.stats.power")
    with put_off(*_HELD_BY_STATISTICS):
        import_module("sklearn.metrics")


def load_numba() -> Any:
    """Import numba without YAML, which it needs only for a file of settings.

    Returns:
        The package.
    """
    with put_off("yaml"):
        import numba
    return numba


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
