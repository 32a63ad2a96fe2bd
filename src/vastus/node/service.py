"""The node as a whole: receive, wait until a series is complete, process, send, tidy up.

What a kill at any moment leaves behind is put right at the next start:

- An object is acknowledged after its file has its final name. Half-written files are removed.
- A series that was being processed is processed again, unless its finished results are there: they appear by one
  rename, so that they are whole or not there at all.
- Results keep their UIDs, so that a PACS that gets them twice still holds them once.
"""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from vastus.dicom.pacs import open_pacs, store_checked
from vastus.errors import SettingsError, VastusError
from vastus.io.atomic import ensure_private_folder
from vastus.io.folder_lock import FolderLock, take_folder_lock
from vastus.io.library_logs import without_values
from vastus.node.config import NodeConfig
from vastus.node.event_log import EventLog
from vastus.node.inbox import Inbox
from vastus.node.queue import Job, JobState, Queue
from vastus.node.receiver import Receiver, StorageMeter
from vastus.node.replacing import mark_as_replacing
from vastus.node.status import StatusServer
from vastus.node.worker_process import WorkerFailure, WorkerProcess

_TICK_S: Final = 0.1
_TIDY_EVERY_S: Final = 60.0
_RETRY_S: Final = 1.0
_SURROUNDINGS: Final = (OSError, sqlite3.Error, VastusError)
"""Errors while sending or tidying in which no series has a part: the disk, the network, the PACS, the settings."""


class _BadResultError(Exception):
    """The worker left nothing that could be sent."""


class Node:
    """Everything of one running node."""

    def __init__(self, config: NodeConfig, event_log: EventLog | None = None) -> None:
        """Open the queue and put right what an earlier node left.

        Raises:
            SettingsError: another node uses the folder.
            OutputError: the folder can't be written to.
        """
        self.config = config
        self.event_log = event_log or EventLog()
        readable = ensure_private_folder(config.data)
        self._folder_lock = _lock(config.data / "lock")
        self.queue = Queue(config.data / "queue.sqlite", fsync=config.fsync)
        self._results, self._work = config.data / "results", config.data / "work"
        shutil.rmtree(self._work, ignore_errors=True)
        for folder in (self._results, self._work):
            folder.mkdir(mode=0o700, exist_ok=True)
        for job in self.queue.in_state(JobState.PROCESSING):
            self._resume(job)
        self.inbox = Inbox(
            config.data / "incoming", self.queue, series_instances=config.limits.series_instances, fsync=config.fsync
        )
        self.storage = StorageMeter(config.data, config.limits.storage_gb)
        self._receiver = Receiver(config, self.inbox, self.event_log, self.storage)
        self._worker = WorkerProcess(config.processing, self._worker_said)
        self._status = StatusServer(config.status_port, self.queue, self.event_log, self.storage)
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        if readable:
            self.event_log.log("warning", about="Others on this machine can read the data folder. Make it 0700.")

    def start(self) -> None:
        """Start receiving and working.

        Raises:
            SettingsError: a port is taken, certificates (also the destination's) can't be used.
            MissingExtraError: a library for the destination is not installed.
        """
        if self.config.destination is not None:
            open_pacs(self.config.destination, self.config.destination_tls)
        self._status.start()
        self._receiver.start()
        for step, pause in ((self._watch, _TICK_S), (self._process_one, _TICK_S), (self._send_one, _TICK_S)):
            thread = threading.Thread(target=self._repeat, args=(step, pause), name=step.__name__, daemon=True)
            thread.start()
            self._threads.append(thread)
        self.event_log.log("started", port=self.config.port)

    def wait(self) -> None:
        """Until ``stop`` is called."""
        self._stopping.wait()

    def stop(self) -> None:
        """Stop; a series that is being processed starts again next time."""
        self._stopping.set()
        self._receiver.stop()
        self._worker.stop()
        for thread in self._threads:
            thread.join(10)
        self._status.stop()
        self.queue.close()
        self._folder_lock.release()
        self.event_log.log("stopped")

    def _worker_said(self, who: str, kind: str) -> None:
        self.event_log.count("worker_messages")
        self.event_log.log("library message", by=who, kind=kind)

    def _repeat(self, step: Callable[[], bool], pause_s: float) -> None:
        while not self._stopping.is_set():
            try:
                busy = step()
            except Exception as error:  # one bad moment (a full disk) must not end the thread
                if self._stopping.is_set():
                    return
                self.event_log.count("internal_errors")
                self.event_log.log("internal error", step=step.__name__, error=type(error).__name__)
                self._stopping.wait(_RETRY_S)
                continue
            if not busy:
                self._stopping.wait(pause_s)

    def _resume(self, job: Job) -> None:
        finished = (self._results / str(job.id)).is_dir()
        self.queue.move(job, JobState.SENDING if finished else JobState.QUEUED)

    _last_tidy = 0.0

    def _watch(self) -> bool:
        for job in self.inbox.complete(self.config.quiet_s):
            self.event_log.log("queued", job=job.id)
        if time.monotonic() - self._last_tidy > _TIDY_EVERY_S:
            self._last_tidy = time.monotonic()
            self.tidy()
        return False

    def _process_one(self) -> bool:
        # This thread alone processes: what is in this state now was left so by an error that could not even be
        # written down.
        for left in self.queue.in_state(JobState.PROCESSING):
            self._resume(left)
        job = self.inbox.claim()
        if job is None:
            return False
        start = time.monotonic()
        try:
            self._process(job)
        except WorkerFailure as failure:
            self._failed(job, failure)
        except Exception as error:  # whatever it is, the job must not stay in this state
            self._failed(job, WorkerFailure(type(error).__name__, hindered=isinstance(error, _SURROUNDINGS)))
        else:
            self.event_log.count("processed_series")
            self.event_log.log("processed", job=job.id, seconds=round(time.monotonic() - start, 2))
        return True

    def _process(self, job: Job) -> None:
        output, result = self._work / str(job.id), self._results / str(job.id)
        for left in (output, result):
            if left.exists():
                shutil.rmtree(left)
        output.mkdir(mode=0o700)
        self._worker.run(self.inbox.folder_of(job), output, f"job_{job.id}")
        if not output.is_dir():
            raise WorkerFailure("the worker left no output")
        output.replace(result)
        self.queue.move(job, JobState.SENDING)

    def _failed(self, job: Job, failure: WorkerFailure) -> None:
        if self._stopping.is_set():
            self.queue.move(job, JobState.QUEUED)
            return
        if failure.hindered:
            self.event_log.count("hindered_tries")
            self.event_log.log("hindered", job=job.id, reason=failure.reason, tries=job.tries + 1)
            self.queue.fail(job, JobState.QUEUED, failure.reason, _RETRY_S, hindered=True)
            return
        self.event_log.count("failed_tries")
        last = failure.final or self._was_last_try(job)
        self.event_log.log("set aside" if last else "failed", job=job.id, reason=failure.reason, tries=job.tries + 1)
        if last:
            self.queue.move(job, JobState.SET_ASIDE, failure.reason)
        else:
            self.queue.fail(job, JobState.QUEUED, failure.reason, _RETRY_S)

    def _was_last_try(self, job: Job) -> bool:
        return job.tries - job.hindered + 1 >= self.config.limits.tries

    def _send_one(self) -> bool:
        for dropped in self.queue.drop_superseded():
            self.event_log.count("superseded_series")
            self.event_log.log("superseded", job=dropped.id)
        job = self.queue.next_to_send()
        if job is None:
            return False
        try:
            self._send(job)
        except _SURROUNDINGS as error:
            self.event_log.count("failed_sends")
            self.event_log.log("not sent", job=job.id, error=type(error).__name__)
            problem = f": {without_values(error.problem)}" if isinstance(error, VastusError) else ""
            self.queue.fail(job, JobState.SENDING, f"{type(error).__name__}{problem}", 5 * _RETRY_S, hindered=True)
        except Exception as error:  # a result that can't be read or sent: it must not stand in the way of the others
            self._unsendable(job, type(error).__name__, final=isinstance(error, _BadResultError))
        else:
            self.queue.move(job, JobState.DONE)
            self.event_log.count("sent_series")
            self.event_log.log("done", job=job.id)
        return True

    def _unsendable(self, job: Job, error: str, *, final: bool) -> None:
        reason = "the worker left no DICOM results" if final else f"the result can't be sent ({error})"
        last = final or self._was_last_try(job)
        self.event_log.count("failed_sends")
        self.event_log.log("set aside" if last else "not sent", job=job.id, error=error)
        if last:
            self.queue.move(job, JobState.SET_ASIDE, reason)
        else:
            self.queue.fail(job, JobState.SENDING, reason, 5 * _RETRY_S)

    def _send(self, job: Job) -> None:
        paths = self._dicom_results(job)
        older = self.queue.done_before(job)
        if older is not None:
            mark_as_replacing(
                paths, self._dicom_results(older), self.inbox.count_images(job), self.inbox.count_images(older)
            )
        if self.config.destination is None:
            return
        from pydicom import dcmread

        if not paths:
            raise _BadResultError
        store_checked(self.config.destination, [dcmread(path) for path in paths], self.config.destination_tls)

    def _dicom_results(self, job: Job) -> list[Path]:
        return sorted((self._results / str(job.id) / "dicom").glob("*.dcm"))

    def tidy(self) -> None:
        """Delete what was kept long enough. A folder that can't be deleted keeps its job, and is tried again."""
        now = time.time()
        limits = self.config.limits
        for job in self.queue.in_state(JobState.DONE, JobState.SUPERSEDED, JobState.SET_ASIDE):
            hours = limits.keep_set_aside_hours if job.state is JobState.SET_ASIDE else limits.keep_done_hours
            if now - job.changed > hours * 3600:
                try:
                    self._delete(job)
                except _SURROUNDINGS as error:
                    self.event_log.count("internal_errors")
                    self.event_log.log("not deleted", job=job.id, error=type(error).__name__)
        self.queue.checkpoint()
        self.storage.measure()

    def _delete(self, job: Job) -> None:
        for folder in (self.inbox.folder_of(job), self._results / str(job.id)):
            if folder.exists():
                shutil.rmtree(folder)
        self.queue.forget(job)
        self.event_log.log("deleted", job=job.id)


def _lock(path: Path) -> FolderLock:
    path.touch(mode=0o600)
    claim = take_folder_lock(path)
    if claim is None:
        raise SettingsError("Another node uses this data folder.", path=path.parent)
    return claim
