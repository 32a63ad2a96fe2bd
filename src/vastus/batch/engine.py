"""What carries tasks to workers: one thin interface, and how many workers a machine bears."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from vastus.batch.task import Outcome, ProcessorFactory, Task
from vastus.processors import usable_processors

NextTask = Callable[[], Task | None]
ASSUMED_WORKER_BYTES: Final = 3 * 1024**3
"""Memory set aside for a worker before the ledger knows better."""
_MEMORY_SHARE = 0.8


class BatchEngine(Protocol):
    """Runs tasks somewhere."""

    @property
    def workers(self) -> int:
        """How many tasks can run at a time."""
        ...

    def outcomes(self, factory: ProcessorFactory, next_task: NextTask) -> Iterator[Outcome]:
        """Run tasks until none is left.

        Args:
            factory: opened once in every worker.
            next_task: gives the next task, None while there is none. It is asked again after every outcome: what the
                caller does with one may have queued its task anew.

        Yields:
            One outcome for every task taken, in the order of their endings. Closing the generator stops all workers.

        Raises:
            VastusError: the workers can't work at all.
        """
        ...


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """Workers on this machine, and the processor threads of each."""

    workers: int
    threads: int


def plan_workers(workers: int | None, threads: int | None, worker_bytes: int) -> WorkerPlan:
    """As many workers as cores and free memory allow, one thread each while there are cores for all.

    Args:
        workers: number asked for; None: the most that fit.
        threads: of each worker, asked for; None: the cores shared out.
        worker_bytes: memory one worker needs at its peak; 0: not known.
    """
    cores = usable_processors()
    if workers is None:
        memory = free_memory_bytes()
        fit = max(1, int(memory * _MEMORY_SHARE) // (worker_bytes or ASSUMED_WORKER_BYTES)) if memory else 1
        workers = max(1, min(cores // (threads or 1), fit))
    return WorkerPlan(workers, threads or max(1, cores // workers))


def visible_gpus(count: int) -> tuple[str, ...]:
    """The CUDA devices that this process sees, by the names by which a worker must be told of them.

    Where ``CUDA_VISIBLE_DEVICES`` is set (by SLURM, for example), device 0 of this process is the first of that list,
    whatever its number in the machine.

    Args:
        count: how many there are.
    """
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return tuple(named[:count] if len(named) >= count else map(str, range(count)))


def free_memory_bytes() -> int:
    """Memory that can be used without swapping, within the limit of the container; 0 when not known."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        if sys.platform == "win32":
            return _free_on_windows()
        names: Any = getattr(os, "sysconf_names", {})
        if "SC_PHYS_PAGES" not in names:
            return 0
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii"))
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
        free = min(free, max(0, limit - used))
    except (OSError, ValueError):
        pass
    return free


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX of Windows."""

    _fields_ = (
        ("length", ctypes.c_uint32),
        ("load_percent", ctypes.c_uint32),
        ("total", ctypes.c_uint64),
        ("available", ctypes.c_uint64),
        ("total_paged", ctypes.c_uint64),
        ("available_paged", ctypes.c_uint64),
        ("total_virtual", ctypes.c_uint64),
        ("available_virtual", ctypes.c_uint64),
        ("available_extended", ctypes.c_uint64),
    )


def _free_on_windows() -> int:
    libraries: Any = getattr(ctypes, "windll", None)
    status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
    if libraries is None or not libraries.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return 0
    return int(status.available)
