"""Workers of a Dask cluster. Their folders are the command's: input and output lie on a disk that all of them share."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from vastus.batch.engine import NextTask
from vastus.batch.task import Ending, Outcome, Processor, ProcessorFactory, Task
from vastus.batch.worker import death_of, perform
from vastus.errors import DeviceError, MissingExtraError, VastusError
from vastus.processors import usable_processors

_LOOK_EVERY_S: Final = 5.0
_CONNECT_S: Final = 20
_LOST: Final = "The connection to the Dask scheduler was lost."

_opened: dict[ProcessorFactory, Processor] = {}
_one_at_a_time = threading.Lock()


class DaskEngine:
    """Runs tasks on the workers of a scheduler that is already there.

    Args:
        address: of the scheduler, such as ``tcp://host:8786``.
        threads: of each worker; None: the cores of a machine shared among its workers.
        timeout_s: a scan that takes longer costs its worker process the life, and its nanny starts another; None: no
            limit.

    Raises:
        MissingExtraError: dask.distributed is not installed.
        DeviceError: no scheduler answers.
    """

    def __init__(self, address: str, threads: int | None = None, timeout_s: float | None = None) -> None:
        try:
            import distributed
        except ImportError as error:
            raise MissingExtraError("Working on a Dask cluster", "batch") from error
        self._threads, self._timeout_s = threads, timeout_s
        self._hosts: Counter[str] = Counter()
        self._looked = 0.0
        try:
            connect: Any = distributed.Client  # as its other parts, not annotated
            self._client = connect(address, set_as_default=False, timeout=_CONNECT_S)
        except (OSError, ValueError) as error:
            raise DeviceError(
                f"No Dask scheduler answers at {address}.", remedy="Start one with `dask scheduler`."
            ) from error
        self._look()

    @property
    def workers(self) -> int:
        """Workers that are there now; others may join later."""
        if time.monotonic() - self._looked > _LOOK_EVERY_S:
            self._look()
        return max(1, self._hosts.total())

    def _look(self) -> None:
        with suppress(OSError):
            workers = self._client.scheduler_info(n_workers=-1)["workers"]
            self._hosts = Counter(str(info["host"]) for info in workers.values())
        self._looked = time.monotonic()

    def outcomes(self, factory: ProcessorFactory, next_task: NextTask) -> Iterator[Outcome]:  # noqa: D102
        import distributed

        running: dict[str, tuple[Task, float]] = {}
        watch: Any = distributed.as_completed
        finished = watch(loop=self._client.loop)
        allowed_before = None
        try:
            # A scan that took its worker down goes back to the ledger's queue, which counts the tries; not to Dask's.
            allowed_before = self._client.run_on_scheduler(_allow_failures, failures=0)
            while True:
                # No more than one a worker: what waits at a worker would be suspected with it when it dies.
                while len(running) < self.workers and (task := next_task()) is not None:
                    future = self._submit(factory, task)
                    running[future.key] = (task, time.monotonic())
                    finished.add(future)
                if not running:
                    return
                future = next(finished)
                task, since = running.pop(future.key)
                yield _outcome(future, task, time.monotonic() - since, self._timeout_s)
        except (OSError, CancelledError) as error:
            allowed_before = None
            raise DeviceError(_LOST, remedy="Start it, then run again; finished scans are kept.") from error
        finally:
            if allowed_before is not None:
                with suppress(OSError, CancelledError):
                    self._client.cancel(list(finished.futures), asynchronous=False)
                    self._client.run_on_scheduler(_allow_failures, failures=allowed_before)
            self._client.close(timeout=2)

    def _submit(self, factory: ProcessorFactory, task: Task) -> Any:
        beside = max(self._hosts.values(), default=1)
        about = _Share(self._threads, beside, self._timeout_s)
        return self._client.submit(run_task, factory, task, about, pure=False, retries=0)


@dataclass(frozen=True, slots=True)
class _Share:
    """What a worker may use: threads (None: the machine's, shared with the workers beside it), and time."""

    threads: int | None
    beside: int
    timeout_s: float | None


def run_task(factory: ProcessorFactory, task: Task, share: _Share) -> Outcome:
    """On a worker: load once, then try the task. A worker with several threads still does one scan at a time."""
    from distributed import get_worker

    name = str(get_worker().name)
    with _one_at_a_time:
        processor = _opened.get(factory)
        if processor is None:
            try:
                processor = factory.open(share.threads or max(1, usable_processors() // share.beside))
            except VastusError as error:
                return Outcome(
                    task, Ending.STOP, error=type(error).__name__, message=str(error), exit_code=error.exit_code
                )
            _opened.clear()  # another run's network would only hold memory
            _opened[factory] = processor
        return perform(processor, task, name, share.timeout_s)


def _allow_failures(failures: int, dask_scheduler: Any = None) -> int:
    """On the scheduler: how many deaths of its worker a task survives; gives the number before."""
    before: int = dask_scheduler.allowed_failures
    dask_scheduler.allowed_failures = failures
    return before


def _outcome(future: Any, task: Task, seconds: float, timeout_s: float | None) -> Outcome:
    from distributed.scheduler import KilledWorker

    # Not the status: a result that was still with its worker when that died is "lost" for now and computed again
    # elsewhere; both calls wait for that.
    problem = future.exception()
    if problem is None:
        outcome: Outcome = future.result()
        return outcome
    if isinstance(problem, KilledWorker):
        return death_of(task, seconds, timeout_s)
    name = type(problem).__name__
    return Outcome(task, Ending.FAILED, error=name, message=f"The worker could not run this scan ({name}).")
