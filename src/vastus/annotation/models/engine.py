"""Who gets the network when: people first, rankings in the gaps.

A person's request starts at once where no other person's runs. What the server computes for itself (rankings, the
warming up) runs when nobody waits, and stands still between two windows of the network while somebody does.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from vastus.annotation.refusals import BusyError, NotYoursError, StoppedError, UnknownItemError
from vastus.inference.bundle import Bundle
from vastus.inference.choices import RuntimeOptions
from vastus.volume import Volume

if TYPE_CHECKING:
    from vastus.inference.predictor import Predictor, Progress, Segmentation
    from vastus.preprocessing import Preprocessed

Result = TypeVar("Result")
_KEPT_LOADED: Final = 2
_MOST_WAITING: Final = 32
_AT_A_TIME: Final = 2
"""A person's request, and one that stands still for it."""


class Priority(Enum):
    """For whom the network works."""

    PERSON = "person"
    BACKGROUND = "background"


class RequestKind(Enum):
    """What is asked of the network."""

    LABEL = "label"
    UNCERTAINTY = "uncertainty"
    WARM_UP = "warm-up"


class State(Enum):
    """Where a request stands. ``PAUSED``: it has begun, and lets a person's go first."""

    WAITING = "waiting"
    RUNNING = "running"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a request is for: shown in the queue. ``who`` is empty for the server's own."""

    kind: RequestKind
    case_id: str = ""
    who: str = ""
    priority: Priority = Priority.PERSON


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A request as the queue shows it.

    Attributes:
        position: 1 for the one whose turn is next; 0 once it has begun.
        stage: of the segmentation; empty before it.
        done, total: windows of the network.
        seconds_left: in the network; None while it can't be told.
    """

    id: str
    purpose: Purpose
    state: State
    position: int
    stage: str
    done: int
    total: int
    seconds_left: float | None


@dataclass(slots=True, eq=False)
class _Job:
    id: str
    purpose: Purpose
    work: Callable[[Callable[[Bundle], PacedPredictor]], Any]
    future: Future[Any]
    priority: Priority
    state: State = State.WAITING
    stopped: bool = False
    stage: str = ""
    done: int = 0
    total: int = 0
    first_window: float = 0.0
    paused_s: float = 0.0

    def note(self, progress: Progress) -> None:
        """Remember how far it is."""
        self.stage, self.done, self.total = progress.stage.value, progress.done, progress.total
        if progress.done == 1:
            self.first_window, self.paused_s = time.monotonic(), 0.0

    def seconds_left(self) -> float | None:
        """From the windows after the first, which waits for what is loaded late."""
        if self.state is not State.RUNNING or not 1 < self.done <= self.total:
            return None
        spent = time.monotonic() - self.first_window - self.paused_s
        return spent / (self.done - 1) * (self.total - self.done)


class PacedPredictor:
    """A loaded network for one request: between two windows it looks whether to stand still, or to stop."""

    def __init__(self, predictor: Predictor, tell: Callable[[Progress], None]) -> None:
        self._predictor = predictor
        self._tell = tell

    def segment(self, scan: Volume) -> Segmentation:
        """Label one scan.

        Raises:
            StoppedError: somebody stopped the request.
        """
        return self._predictor.segment(scan, self._tell)

    def label(self, scan: Volume, seen: Callable[[], Preprocessed] | None = None) -> Volume:
        """Label one scan, without judging how good the labels are.

        Args:
            scan: in HU.
            seen: gives the scan as ``preprocess`` makes it for this network, where that was begun already.

        Raises:
            StoppedError: somebody stopped the request.
        """
        return self._predictor.label(scan, self._tell, seen=seen)


class Engine:
    """Runs networks in threads of their own, so that the server goes on answering. Thread-safe."""

    def __init__(self, options: RuntimeOptions | None = None) -> None:
        self._options = options or RuntimeOptions()
        self._threads = ThreadPoolExecutor(_AT_A_TIME, thread_name_prefix="network")
        self._loaded: OrderedDict[Path, Predictor] = OrderedDict()
        self._loading = threading.Lock()
        self._jobs: list[_Job] = []
        self._changed = threading.Condition()
        self._closed = False

    def submit(
        self,
        work: Callable[[Callable[[Bundle], PacedPredictor]], Result],
        purpose: Purpose = Purpose(RequestKind.LABEL),
    ) -> Future[Result]:
        """Queue work; it is given a function that turns a bundle into a loaded network.

        Raises:
            BusyError: too much is queued already.
        """
        future: Future[Result] = Future()
        with self._changed:
            if len(self._jobs) >= _MOST_WAITING:
                raise BusyError(f"{len(self._jobs)} requests for the network are waiting.", remedy="Try again later.")
            self._jobs.append(_Job(secrets.token_hex(8), purpose, work, future, purpose.priority))
            self._start_what_may()
        return future

    def warm(self, bundle: Bundle) -> Future[Segmentation]:
        """Load a network and label a small made-up scan with it: then the first real one finds all ready."""
        purpose = Purpose(RequestKind.WARM_UP, priority=Priority.BACKGROUND)
        return self.submit(lambda load: load(bundle).segment(_made_up_scan()), purpose)

    def promote(self, future: Future[Any]) -> None:
        """Somebody waits now for what was begun in the background."""
        with self._changed:
            for job in self._jobs:
                if job.future is future:
                    job.priority = Priority.PERSON
            self._start_what_may()
            self._changed.notify_all()

    def queue(self) -> list[QueueRow]:
        """What runs and what waits, in the order of its turn."""
        with self._changed:
            begun = [job for job in self._jobs if job.state is not State.WAITING]
            waiting = self._waiting()
            places = {job.id: number for number, job in enumerate(waiting, start=1)}
            return [
                QueueRow(
                    job.id,
                    job.purpose,
                    job.state,
                    places.get(job.id, 0),
                    job.stage,
                    job.done,
                    job.total,
                    job.seconds_left(),
                )
                for job in (*begun, *waiting)
            ]

    def stop(self, job_id: str, who: str) -> None:
        """Take a request out of the queue, or end it before its next window.

        Args:
            job_id: of the request.
            who: may stop what is their own, and what the server does for itself.

        Raises:
            UnknownItemError: it is not there (any more).
            NotYoursError: it is somebody else's.
        """
        with self._changed:
            job = next((j for j in self._jobs if j.id == job_id), None)
            if job is None:
                raise UnknownItemError("This request is not in the queue any more.")
            if job.purpose.who not in ("", who):
                raise NotYoursError("This request is somebody else's.", remedy="Ask them to stop it.")
            job.stopped = True
            if job.state is State.WAITING:
                self._jobs.remove(job)
            self._changed.notify_all()
        if job.state is State.WAITING and job.future.set_running_or_notify_cancel():
            job.future.set_exception(_stopped())

    def close(self) -> None:
        """Drop what is queued, and end what runs before its next window."""
        with self._changed:
            self._closed = True
            dropped = [job for job in self._jobs if job.state is State.WAITING]
            self._jobs = [job for job in self._jobs if job.state is not State.WAITING]
            self._changed.notify_all()
        for job in dropped:
            job.future.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _waiting(self) -> list[_Job]:
        waiting = [job for job in self._jobs if job.state is State.WAITING]
        return sorted(waiting, key=lambda job: job.priority is not Priority.PERSON)  # stable: else by arrival

    def _start_what_may(self) -> None:
        """Start the next person's request where none runs, and the server's own where nothing does."""
        for job in self._waiting():
            begun = [other for other in self._jobs if other.state is not State.WAITING]
            if self._closed or (begun and job.priority is not Priority.PERSON):
                return
            if any(other.priority is Priority.PERSON for other in begun):
                return
            job.state = State.RUNNING
            self._threads.submit(self._run, job)

    def _run(self, job: _Job) -> None:
        try:
            if not job.future.set_running_or_notify_cancel():
                return
            try:
                result = job.work(lambda bundle: PacedPredictor(self._predictor(bundle), lambda p: self._pace(job, p)))
            except StoppedError as error:
                # Without the traceback, which would keep the half-done work in memory.
                job.future.set_exception(error.with_traceback(None))
            except BaseException as error:  # handed on to whoever waits for the result
                job.future.set_exception(error)
            else:
                job.future.set_result(result)
        finally:
            with self._changed:
                self._jobs.remove(job)
                if not self._closed:
                    self._start_what_may()
                self._changed.notify_all()

    def _pace(self, job: _Job, progress: Progress) -> None:
        """Between two windows: stand still while a person wants the network, end when that is asked for."""
        with self._changed:
            job.note(progress)
            since = time.monotonic()
            while self._must_stand_still(job):
                job.state = State.PAUSED
                self._changed.wait()
            job.state = State.RUNNING
            job.paused_s += time.monotonic() - since
            if job.stopped or self._closed:
                raise _stopped()

    def _must_stand_still(self, job: _Job) -> bool:
        if job.stopped or self._closed or job.priority is Priority.PERSON:
            return False
        return any(other.priority is Priority.PERSON for other in self._jobs)

    def _predictor(self, bundle: Bundle) -> Predictor:
        from vastus.inference.predictor import Predictor

        with self._loading:
            predictor = self._loaded.pop(bundle.folder, None) or Predictor(bundle, self._options)
            self._loaded[bundle.folder] = predictor
            while len(self._loaded) > _KEPT_LOADED:
                self._loaded.popitem(last=False)
            return predictor


def _stopped() -> StoppedError:
    return StoppedError("The request was stopped.")


def _made_up_scan() -> Volume:
    """Two round thighs of fat and muscle, coarse: one or two windows of the network."""
    x, y, z = np.ogrid[-30:30, -20:20, 0:30]
    hu = np.full((60, 40, 30), -1000, np.int16)
    for middle in (-14, 14):
        from_axis = np.broadcast_to((x - middle) ** 2 + y**2 + 0 * z, hu.shape)
        hu[from_axis < 13**2] = -100
        hu[from_axis < 10**2] = 55
        hu[from_axis < 2**2] = 900
    return Volume(np.asfortranarray(hu), np.diag([6.0, 6.0, 6.0, 1.0]))  # in memory as files are read
