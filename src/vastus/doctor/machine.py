"""What the machine is: processor, memory, disk, and where compiled loops are kept."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vastus import compiled, loops_ahead
from vastus.batch.engine import free_memory_bytes
from vastus.doctor.findings import Finding, State
from vastus.inference.processor import processor_name
from vastus.processors import usable_processors

MEMORY_WANTED_BYTES: Final = 2 * 1024**3
"""A large scan at full resolution took 1.15 GB; the system and a browser need some as well."""
DISK_WANTED_BYTES: Final = 2 * 1024**3
OLDEST_PYTHON: Final = (3, 11)


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine, without its name.

    Attributes:
        system: ``Linux``, ``Windows`` or ``Darwin`` (macOS), and the architecture.
        python: version.
        processor: as the system calls it.
        features: instruction sets that make the network fast -> whether they are there; None where nobody can tell.
        cores: that this process may use.
        free_memory_bytes: 0 where it is not known.
        free_disk_bytes: smaller one of the current folder's disk and that of temporary files.
    """

    system: str
    python: str
    processor: str
    features: Mapping[str, bool | None]
    cores: int
    free_memory_bytes: int
    free_disk_bytes: int


def look_at_machine() -> Machine:
    """Ask the system."""
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        processor=processor_name(),
        features=processor_features(),
        cores=usable_processors(),
        free_memory_bytes=free_memory_bytes(),
        free_disk_bytes=min(_free_disk_bytes(Path.cwd()), _free_disk_bytes(Path(tempfile.gettempdir()))),
    )


def findings_of(machine: Machine) -> tuple[Finding, ...]:
    """Judge a machine."""
    return (
        _python(),
        _processor(machine),
        _memory(machine.free_memory_bytes),
        _disk(machine.free_disk_bytes),
        _loops(),
    )


def processor_features() -> dict[str, bool | None]:
    """Instruction sets: from Linux's list of flags, else from what numpy found; AMX is not known to numpy."""
    flags = _linux_flags()
    if flags:
        return {
            "AVX2": "avx2" in flags,
            "AVX-512": "avx512f" in flags,
            "VNNI": bool(flags & {"avx512_vnni", "avx_vnni"}),
            "bfloat16": bool(flags & {"avx512_bf16", "amx_bf16", "bf16"}),
            "AMX": "amx_tile" in flags,
        }
    known = _numpy_features()
    return {
        "AVX2": known.get("AVX2"),
        "AVX-512": known.get("AVX512F"),
        "VNNI": known.get("AVX512VNNI"),
        "bfloat16": None,
        "AMX": None,
    }


def _linux_flags() -> set[str]:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
            named = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    except OSError:
        return set()
    return set(named.partition(":")[2].split())


def _numpy_features() -> dict[str, bool]:
    """What numpy found when it was loaded; empty where it does not tell."""
    import numpy as np

    inner: Any = getattr(np, "_core", None) or getattr(np, "core", None)
    found: Any = getattr(getattr(inner, "_multiarray_umath", None), "__cpu_features__", {})
    return dict(found)


def _free_disk_bytes(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0


def _python() -> Finding:
    here = platform.python_version()
    if sys.version_info < OLDEST_PYTHON:
        return Finding("Python", State.BROKEN, f"{here} is too old.", "Install Python 3.11 or newer.")
    if sys.maxsize < 2**32:
        return Finding("Python", State.BROKEN, f"{here} has 32 bits only.", "Install a Python of 64 bits.")
    return Finding("Python", State.OK, here)


def _processor(machine: Machine) -> Finding:
    there = [name for name, has in machine.features.items() if has]
    said = f"{machine.processor}, {machine.cores} core(s); {', '.join(there) or 'no fast instructions known'}"
    unknown = [name for name, has in machine.features.items() if has is None]
    if unknown and there:
        said += f"; not known: {', '.join(unknown)}"
    if machine.features.get("AVX2") is False and platform.machine().lower() in ("x86_64", "amd64"):
        return Finding("processor", State.WARNING, said, "Without AVX2 the network is slow: take another machine.")
    return Finding("processor", State.OK, said)


def _memory(free: int) -> Finding:
    if free == 0:
        return Finding("memory", State.OK, "not known on this system")
    said = f"{free / 1024**3:.1f} GB free"
    if free < MEMORY_WANTED_BYTES:
        return Finding("memory", State.WARNING, said, "A large scan needs up to 2 GB: close other programs.")
    return Finding("memory", State.OK, said)


def _disk(free: int) -> Finding:
    said = f"{free / 1024**3:.1f} GB free"
    if free < DISK_WANTED_BYTES:
        return Finding("disk", State.WARNING, said, "Free some space, here and in the folder for temporary files.")
    return Finding("disk", State.OK, said)


def _loops() -> Finding:
    if loops_ahead.folder() is not None:
        return Finding("compiled loops", State.OK, "were compiled when Vastus was installed")
    if compiled.keeps_compiled_loops(Path(compiled.__file__).parent, os.environ):
        if loops_ahead.any_folder():
            return Finding(
                "compiled loops",
                State.WARNING,
                "those of the installation do not fit this numba, Python or processor; each is compiled at first use.",
                "Run vastus warm once, or install Vastus again with pip install --no-build-isolation --no-cache-dir.",
            )
        return Finding(
            "compiled loops", State.OK, "were not compiled at the installation; compiled at first use, then kept"
        )
    return Finding(
        "compiled loops",
        State.WARNING,
        "can't be kept: they are compiled anew in each run, which takes half a minute or more.",
        "Set NUMBA_CACHE_DIR to a folder that you can write to.",
    )
