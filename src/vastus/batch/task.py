"""What travels between the command and its workers: a task there, an outcome back. Light: workers import it first.

Whatever works on a scan hides behind ``ProcessorFactory``: the command pickles the factory to every worker, which opens
it once (that loads the network) and then calls ``process`` for every scan. Tests and benchmarks put a stand-in there
that sleeps or crashes; ``vastus.batch.processor`` holds the one that segments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol

from vastus import errors
from vastus.errors import OutputError, VastusError

MOST_TRIES = 3
"""A scan whose worker died or failed unexpectedly this often is set aside."""


class Work(Enum):
    """How much of a scan is to be done."""

    SEGMENT = "segment"
    MEASURE = "measure"


class ScanState(Enum):
    """Where a scan stands in the ledger.

    ``REFUSED``: the scan itself can't be used; the error's name says why. ``SET_ASIDE``: it failed three times in ways
    that a good scan should not, for example by taking its worker down. ``WAITING``: what holds it (a PACS, a network
    drive) could not be reached; the next run tries again, and no try is counted.
    """

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    REFUSED = "refused"
    SET_ASIDE = "set_aside"
    WAITING = "waiting"


class Ending(Enum):
    """How one try ended.

    ``UNREACHABLE``: what holds the scan can't be reached, which is no fault of the scan.
    ``STOP``: something that would meet every scan (a full disk, weights that can't be loaded): the batch ends.
    """

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    CRASHED = "crashed"
    UNREACHABLE = "unreachable"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Task:
    """One scan to work on.

    Attributes:
        scan_id: number in the ledger.
        key: hexadecimal name without any patient data, for logs.
        name: in the tables, and of the folder.
        path: of the scan.
        series: DICOM series in it.
        folder: where its results go.
        work: what to do.
    """

    scan_id: int
    key: str
    name: str
    path: Path
    series: str | None
    folder: Path
    work: Work


@dataclass(frozen=True, slots=True)
class Product:
    """What a processor made of a scan, beside the files in its folder.

    Attributes:
        tables: file name -> rows as CSV text without the header, first column the scan's name.
        warnings: for the user.
        voxels: of the scan.
    """

    tables: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    voxels: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One try of one task.

    Attributes:
        task: what was tried.
        ending: how it ended.
        product: when done.
        error, message: name of the error and what it says, when not done.
        exit_code: of the command, when the batch has to stop.
        seconds: wall time of the try.
        peak_bytes: largest resident memory of the worker during it, 0 when unknown.
        output_bytes: of the files in the scan's folder.
        worker: who did it, for logs and metrics.
    """

    task: Task
    ending: Ending
    product: Product = field(default_factory=Product)
    error: str = ""
    message: str = ""
    exit_code: int = 0
    seconds: float = 0.0
    peak_bytes: int = 0
    output_bytes: int = 0
    worker: str = ""


class Processor(Protocol):
    """An opened processor: holds what is loaded once."""

    def process(self, task: Task) -> Product:
        """Do one scan: write its files into ``task.folder`` so that a finished file is never half there.

        It may be called again for a scan that was done or half done before.
        """
        ...


class ProcessorFactory(Protocol):
    """Opens a processor in a worker. Has to be picklable.

    Attributes:
        labels_key: changes when a scan would be segmented differently; then it is segmented again.
        measures_key: changes when only what is computed from labels would differ; then that is computed again.
        weights: name and digest for the ledger.
        tables: file name -> header of every table of the archive.
    """

    @property
    def labels_key(self) -> str: ...  # noqa: D102
    @property
    def measures_key(self) -> str: ...  # noqa: D102
    @property
    def weights(self) -> str: ...  # noqa: D102
    @property
    def tables(self) -> Mapping[str, tuple[str, ...]]: ...  # noqa: D102

    def open(self, threads: int) -> Processor:
        """Load what is needed.

        Args:
            threads: how many this worker may use.
        """
        ...


def named_error(error: str, message: str, exit_code: int) -> VastusError:
    """An error that happened in a worker, under its own name where ``vastus.errors`` has it."""
    kind = getattr(errors, error, None)
    if isinstance(kind, type) and issubclass(kind, VastusError) and kind is not errors.MissingExtraError:
        return kind(message)
    kind = OutputError if exit_code == OutputError.exit_code else VastusError
    found: VastusError = kind(message)
    found.exit_code = exit_code or found.exit_code
    return found
