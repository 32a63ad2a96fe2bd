"""Workers as processes of this machine. Each has its own model; the death of one costs only the scan it held.

Every worker is joined to the command by a pipe of its own. So it is known which task a dead worker had, no queue can be
left locked by a kill, and a worker whose command was killed notices and ends at once.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Any, Final

from vastus.batch.engine import NextTask
from vastus.batch.task import Outcome, ProcessorFactory, Task, named_error
from vastus.batch.worker import death_of, perform
from vastus.errors import DeviceError, VastusError

THREAD_VARIABLES: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)
_MOST_FAILED_STARTS = 3
_PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class _Ready:
    """A worker has loaded its network."""


@dataclass(frozen=True, slots=True)
class _Broken:
    """A worker can't load its network, and no other could."""

    error: str
    message: str
    exit_code: int


class LocalEngine:
    """``count`` worker processes with ``threads`` processor threads each.

    Args:
        count: scans at a time.
        threads: of each worker.
        gpus: CUDA devices as ``CUDA_VISIBLE_DEVICES`` names them; each worker sees one of them only.
        timeout_s: a scan that takes longer costs its worker the life; None: no limit.
    """

    def __init__(self, count: int, threads: int, gpus: tuple[str, ...] = (), timeout_s: float | None = None) -> None:
        self.count, self.threads, self.gpus, self.timeout_s = count, threads, gpus, timeout_s

    @property
    def workers(self) -> int:  # noqa: D102
        return self.count

    def outcomes(self, factory: ProcessorFactory, next_task: NextTask) -> Iterator[Outcome]:  # noqa: D102
        workers: list[_Worker] = []
        failed_starts = 0
        try:
            workers.extend(self._start(number, factory) for number in range(self.count))
            while _hand_out(workers, next_task):
                for ready in wait([worker.pipe for worker in workers]):
                    worker = next(w for w in workers if w.pipe is ready)
                    message = worker.receive()
                    if message is None:
                        workers[worker.number] = self._start(worker.number, factory)
                        if worker.task is not None:
                            yield worker.crash(self.timeout_s)
                        elif not worker.ready:
                            failed_starts += 1
                            _refuse_dying(failed_starts, self.count, worker)
                    elif isinstance(message, Outcome):
                        failed_starts = 0
                        yield message
                    elif isinstance(message, _Broken):
                        raise named_error(message.error, message.message, message.exit_code)
                    else:
                        failed_starts = 0
        finally:
            for worker in workers:
                worker.ask_to_end()
            for worker in workers:
                worker.end()

    def _start(self, number: int, factory: ProcessorFactory) -> _Worker:
        environment = dict.fromkeys(THREAD_VARIABLES, str(self.threads))
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpus[number % len(self.gpus)]
        with _environment(environment):
            return _Worker(number, factory, self.threads, self.timeout_s)


class _Worker:
    """The command's side of a worker process."""

    def __init__(self, number: int, factory: ProcessorFactory, threads: int, timeout_s: float | None) -> None:
        self.number = number
        self.task: Task | None = None
        self._given = 0.0
        self.ready = False
        # Spawned, not forked: a fork would copy the locks of threads that the command runs.
        context = mp.get_context("spawn")
        self.pipe, other = context.Pipe()
        self._process = context.Process(
            target=_work,
            args=(other, factory, f"worker-{number}", threads, timeout_s),
            daemon=True,
            name=f"vastus-worker-{number}",
        )
        self._process.start()
        other.close()

    def give(self, task: Task) -> None:
        """Hand a task over. If the worker has just died, ``receive`` tells."""
        self.task = task
        self._given = time.monotonic()
        with suppress(OSError):
            self.pipe.send(task)

    def receive(self) -> Outcome | _Ready | _Broken | None:
        """What the worker says; None when it has died."""
        try:
            message: Outcome | _Ready | _Broken = self.pipe.recv()
        except (EOFError, OSError):
            self._process.join(_PATIENCE_S)
            self.pipe.close()
            return None
        self.ready = True
        if isinstance(message, Outcome):
            self.task = None
        return message

    @property
    def death(self) -> str:
        """How the process ended."""
        code = self._process.exitcode
        return "unknown end" if code is None else f"signal {-code}" if code < 0 else f"exit code {code}"

    def crash(self, timeout_s: float | None) -> Outcome:
        """The outcome of the task it died on."""
        assert self.task is not None
        outcome = death_of(self.task, time.monotonic() - self._given, timeout_s, self.death)
        return replace(outcome, worker=f"worker-{self.number}")

    def ask_to_end(self) -> None:
        """Let it finish nothing but its tidying up."""
        self._process.terminate()

    def end(self) -> None:
        """Wait for its end, and insist."""
        self._process.join(_PATIENCE_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(_PATIENCE_S)
        self.pipe.close()


def _hand_out(workers: list[_Worker], next_task: NextTask) -> bool:
    """Give idle workers their tasks; false when all is done."""
    for worker in workers:
        if worker.ready and worker.task is None:
            task = next_task()
            if task is None:
                return any(w.task is not None for w in workers)
            worker.give(task)
    return True


def _refuse_dying(failed_starts: int, count: int, worker: _Worker) -> None:
    """Give up when as many starts as three for every worker failed and nothing succeeded in between."""
    if failed_starts >= _MOST_FAILED_STARTS * count:
        raise DeviceError(
            f"The workers die while they load the network ({worker.death}).",
            remedy="Try `vastus segment` on one scan; fewer --workers need less memory.",
        )


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Variables that a process started inside inherits."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _work(
    pipe: Connection[Any, Any], factory: ProcessorFactory, name: str, threads: int, timeout_s: float | None
) -> None:
    """The life of a worker process."""
    # Ctrl-C reaches every process of the terminal; the command decides and asks its workers to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        processor = factory.open(threads)
    except VastusError as error:
        pipe.send(_Broken(type(error).__name__, str(error), error.exit_code))
        return
    except Exception as error:  # whatever it is, the next worker would meet it too
        pipe.send(_Broken("DeviceError", f"The worker can't load ({type(error).__name__}).", DeviceError.exit_code))
        return
    pipe.send(_Ready())
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        pipe.send(perform(processor, task, name, timeout_s))


def _end_with_parent() -> None:
    """Nobody would take this worker's result any more, and a new command may already do its scan again."""
    parent = mp.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
