"""A processor that stands in for the network in tests and benchmarks of ``vastus.batch``: it sleeps, writes, or fails.

The name of a scan says what happens to it: ``kill...`` takes the worker down, ``bug...`` raises something unexpected,
``bad...`` is refused, ``full...`` meets a full disk, ``big...`` writes until the limit of the process is reached,
``hang...`` and ``grip...`` never come to an end, of ``away...`` the PACS does not answer, ``drive...`` lies on a drive
that is gone.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vastus.anatomy import SIDES, STRUCTURES
from vastus.batch.archive import stored_rows
from vastus.batch.engine import NextTask
from vastus.batch.task import Outcome, ProcessorFactory, Product, Task
from vastus.batch.worker import perform
from vastus.errors import BundleError, UnreachablePacsError, UnreadableScanError
from vastus.io.csv_tables import VolumeRow, write_volume_rows
from vastus.io.tables import VOLUME_COLUMNS, VOLUMES_FILE


@dataclass(frozen=True)
class StandIn:
    """Picklable factory; ``event_log`` gets a line for every opening and every finished scan."""

    seconds: float = 0.0
    weights: str = "stand-in (1)"
    labels_key: str = "labels 1"
    measures_key: str = "measures 1"
    event_log: Path | None = None
    broken: bool = False
    dies_at_start: bool = False

    @property
    def tables(self) -> Mapping[str, tuple[str, ...]]:
        return {VOLUMES_FILE: VOLUME_COLUMNS}

    def open(self, threads: int) -> _Processor:
        self.note(f"device {os.environ.get('CUDA_VISIBLE_DEVICES')}")
        if self.dies_at_start:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.broken:
            raise BundleError("No weights here.")
        self.note(f"open {os.getpid()} {threads} {os.environ.get('OMP_NUM_THREADS')}")
        return _Processor(self)

    def note(self, line: str) -> None:
        if self.event_log is not None:
            with self.event_log.open("a") as file:
                file.write(line + "\n")


class _Processor:
    def __init__(self, factory: StandIn) -> None:
        self._factory = factory

    def process(self, task: Task) -> Product:
        task.folder.mkdir(parents=True, exist_ok=True)
        half = task.folder / ".vastus-half"
        half.write_text("half")
        time.sleep(self._factory.seconds)
        if task.name.startswith("hang"):
            time.sleep(60)
        if task.name.startswith("grip"):  # a loop in C that never lets go of the interpreter
            sum(range(10**12))
        if task.name.startswith("kill"):
            os.kill(os.getpid(), signal.SIGKILL)
        if task.name.startswith("bug"):
            raise ZeroDivisionError("Patient DOE^JOHN")
        if task.name.startswith("bad"):
            raise UnreadableScanError("The file is damaged.", path=task.path)
        if task.name.startswith("away"):
            raise UnreachablePacsError("The PACS does not answer.")
        if task.name.startswith("drive"):
            raise OSError(errno.ESTALE, "Stale file handle")
        if task.name.startswith("full"):
            raise OSError(errno.ENOSPC, "No space left on device")
        if task.name.startswith("big"):
            (task.folder / "big").write_bytes(bytes(1 << 24))
        write_volume_rows(rows_of(task.name), task.folder / VOLUMES_FILE)
        half.unlink()
        self._factory.note(f"{task.work.value} {task.name}")
        return Product({VOLUMES_FILE: stored_rows(task.folder / VOLUMES_FILE)}, (), 1000)


def rows_of(name: str) -> list[VolumeRow]:
    """58 rows with volumes that depend on the name only."""
    size = 1.0 + sum(name.encode()) % 20 / 100
    return [
        VolumeRow(name, s.key, s.group, side, 1000.0 * s.class_id * size, 50.0, False)
        for side in SIDES
        for s in STRUCTURES
    ]


def write_inputs(folder: Path, names: list[str]) -> Path:
    """Files that look like scans to the search; the stand-in never reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.nii.gz").write_bytes(name.encode())
    return folder


class InlineEngine:
    """An engine without processes, for what has nothing to do with them."""

    workers = 1

    def outcomes(self, factory: ProcessorFactory, next_task: NextTask) -> Iterator[Outcome]:
        processor = factory.open(1)
        while (task := next_task()) is not None:
            yield perform(processor, task, "inline")
