"""``njit``: numba's, with compiled loops kept so that several processes may compile and load them at one time.

numba names the files of a loop by number and notes in an index which number belongs to which types of arguments. Two
processes that compile one loop for different types at one time both take the first free number: one index then points
to the code of the other, and a loop that expects another order in memory reads wrong voxels. A process that is ended
between index and code leaves the same behind after an update. Here a file is named after the types, and holds what it
was made from: only code that was made for these types from this source is ever loaded.

Loops that were compiled while Vastus was installed (``vastus.loops_ahead``) are taken first.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from typing import Any

from vastus import loops_ahead
from vastus.light_imports import load_numba, load_numba_arrays

numba_njit: Any = load_numba().njit
load_numba_arrays()
from numba.core import caching  # noqa: E402  # numba is loaded by the lines above
from numba.core.runtime.nrt import rtsys as _runtime  # noqa: E402

# numba has no types.
_FunctionCache: Any = caching.FunctionCache
_IndexDataCacheFile: Any = caching.IndexDataCacheFile


class _NamedFiles(_IndexDataCacheFile):  # type: ignore[misc]
    """Files of one loop: an index, and one file for each kind of arguments, named after it."""

    def save(self, key: Any, data: Any) -> None:
        """Keep the code first, then the index: an index never points to nothing."""
        name = f"{self._index_name.removesuffix('.nbi')}.{_named(key)}.nbc"
        self._save_data(name, (self._made_from(key), data))
        overloads = self._load_index()
        overloads[key] = name
        self._save_index(overloads)

    def load(self, key: Any) -> Any:
        """Load the code for one kind of arguments; None where there is none, or where it was made from other source."""
        found = super().load(key)
        if isinstance(found, tuple) and len(found) == 2 and found[0] == self._made_from(key):
            return found[1]
        return None

    def _made_from(self, key: Any) -> str:
        return repr((self._version, self._source_stamp, key))


class _NamedCache(_FunctionCache):  # type: ignore[misc]
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = _NamedFiles(
            self._cache_path, self._impl.filename_base, self._impl.locator.get_source_stamp()
        )

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Load a kept loop without what only compiling needs: numba would first list all functions that it knows.

        Where the loop is not kept, numba lists them then.
        """
        _runtime.initialize(target_context)
        ahead = self._load_ahead(sig, target_context)
        if ahead is not None:
            return ahead
        with self._guard_against_spurious_io_errors():
            kept = self._load_overload(sig, target_context)
            if kept is not None:
                return kept
        return super().load_overload(sig, target_context)

    def _load_ahead(self, sig: Any, target_context: Any) -> Any:
        folder = loops_ahead.folder()
        if folder is None:
            return None
        path = folder / loops_ahead.file_name(self._py_func, sig)
        try:
            return self._impl.rebuild(target_context, pickle.loads(path.read_bytes()))
        except Exception:  # whatever ails the file: the loop is compiled, as if it had not been there
            return None


def njit(*, cache: bool = False, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Do the same as ``numba.njit``; compiled loops are kept in files that no two processes mix up.

    Args:
        cache: keep what is compiled.
        options: those of ``numba.njit``.
    """

    def compiled(function: Callable[..., Any]) -> Any:
        loop = numba_njit(**options)(function)
        if cache:
            loop._cache = _NamedCache(function)  # as its enable_caching does
        return loop

    return compiled


def is_kept(loop: Any) -> bool:
    """Tell whether a loop was compiled and kept before, from the source as it is now."""
    if not hasattr(loop, "py_func"):  # ``NUMBA_DISABLE_JIT``: a plain function, which is never compiled
        return True
    return loops_ahead.is_ahead(loop.py_func) or bool(loop._cache._cache_file._load_index())


def _named(key: Any) -> str:
    return hashlib.sha256(repr(key).encode()).hexdigest()[:16]
