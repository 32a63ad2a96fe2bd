"""Loops compiled ahead, while Vastus is installed: where they lie, and which of them fit.

The name of their folder says what they were made from: the versions of Python, numba and NumPy, the system, the kind of
processor, and the source of all loops. A folder of another name is never looked at. A loop that is not in it (other
versions, other types of arguments, a source changed since) is compiled when it is first used, and kept as
``vastus.compiled`` says.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import sysconfig
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

PACKAGE: Final = Path(__file__).parent
FOLDER: Final = "compiled_loops"
"""Folder of the package that holds one folder of loops for each Python that it was installed with."""
KINDS: Final = PACKAGE / "loop_kinds.json"
"""Which loops are compiled ahead, and for which types of arguments; ``tools/note_loop_kinds.py`` writes it."""

_AVX2_LEVEL: Final = "x86-64-v3"
_AVX2_FEATURES: Final = ("avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "xsave")
"""What a processor of this level has (x86-64 psABI, microarchitecture levels), as LLVM names it."""
_ANY: Final = "generic"


@cache
def processor_level() -> str:
    """Name the kind of processor that the code is made for, as LLVM does: with AVX2, or any of its architecture."""
    import llvmlite.binding as llvm

    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return _ANY
    features = llvm.get_host_cpu_features()
    return _AVX2_LEVEL if all(features.get(name, False) for name in _AVX2_FEATURES) else _ANY


def python_tag() -> str:
    """Name the Python that the code is made for, such as ``cpython-311``."""
    return sys.implementation.cache_tag or "python"


@cache
def folder() -> Path | None:
    """Find the folder of the loops that fit this installation; None where there is none that we may read."""
    if not any_folder():
        return None
    found = PACKAGE / FOLDER / folder_name()
    return found if os.access(found, os.R_OK | os.X_OK) else None


def any_folder() -> bool:
    """Tell whether loops were compiled for any Python, also where they do not fit here."""
    try:
        return any(path.name.count("-") > 1 for path in (PACKAGE / FOLDER).iterdir())
    except OSError:
        return False


def folder_name() -> str:
    """Name the folder after all that its code depends on."""
    import numba
    import numpy as np

    made_from = hashlib.sha256()
    python = (sys.version.partition(" ")[0], str(sysconfig.get_config_var("EXT_SUFFIX")))  # with system and processor
    for part in (numba.__version__, np.__version__.partition(".")[0], *python):
        made_from.update(part.encode() + b"\n")
    for source in sources():
        made_from.update(source.read_bytes())
    return f"{python_tag()}-{processor_level()}-{made_from.hexdigest()[:16]}"


def sources() -> list[Path]:
    """List the files whose change makes compiled loops stale: all loops, and what types they are compiled for."""
    kernels = [*PACKAGE.glob("*kernels.py"), *PACKAGE.glob("*/*kernels.py")]  # deeper ones would cost each start 2 ms
    return [*sorted(kernels), PACKAGE / "loops.py", KINDS]


def file_name(loop: Callable[..., Any], signature: tuple[Any, ...]) -> str:
    """Name the file of a loop for one kind of arguments.

    Args:
        loop: the Python function.
        signature: numba's types of its arguments.
    """
    kind = hashlib.sha256(repr(signature).encode()).hexdigest()[:16]
    return f"{loop.__module__}.{loop.__qualname__}.{kind}.nbc"


def is_ahead(loop: Callable[..., Any]) -> bool:
    """Tell whether a loop lies ready for any kind of arguments.

    Args:
        loop: the Python function.
    """
    ready = folder()
    return ready is not None and any(ready.glob(f"{loop.__module__}.{loop.__qualname__}.*.nbc"))
