"""Where received objects land: a file each, in a folder a series, safe before they are acknowledged.

The files are the truth about what was received; the queue says what happens to a folder. Names are hashes of UIDs,
so that no UID can lead out of the folder and no name tells of a patient.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from vastus.dicom.pacs_address import file_name
from vastus.node.queue import Job, JobState, Queue

_PART = ".part"


class InboxFullError(Exception):
    """A limit is reached; the object was not kept."""


@dataclass(slots=True)
class _Open:
    """A series that is being received."""

    job: Job
    folder: Path
    last: float
    names: set[str] = field(default_factory=set)
    writing: int = 0


class Inbox:
    """Keeps objects and finds out when a series is complete."""

    def __init__(self, folder: Path, queue: Queue, *, series_instances: int, fsync: bool) -> None:
        """Go on where an earlier node stopped: half-written files are removed, open series stay open."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder, self._queue = folder, queue
        self._series_instances, self._fsync = series_instances, fsync
        self._lock = threading.Lock()
        self._open: dict[str, _Open] = {}
        for part in folder.glob(f"*/*{_PART}"):
            part.unlink(missing_ok=True)
        for job in queue.in_state(JobState.RECEIVING):
            if self.folder_of(job).is_dir():
                self._open[job.series] = self._entry(job)
            else:
                queue.forget(job)

    def folder_of(self, job: Job) -> Path:
        """Where the images of a job lie."""
        return self._folder / job.folder_name

    def count_images(self, job: Job) -> int:
        """How many images a job has; 0 when they were deleted."""
        return len(list(self.folder_of(job).glob("*.dcm")))

    def keep(self, series_uid: str, sop_instance_uid: str, content: bytes) -> bool:
        """Write one object. When this returns, it survives the end of the process.

        Returns:
            False when it was there already.

        Raises:
            InboxFullError: the series has too many objects.
            OSError: the disk.
        """
        series = hashlib.sha256(series_uid.encode()).hexdigest()[:32]
        name = file_name(sop_instance_uid)
        with self._lock:
            entry = self._open.get(series) or self._reopen(series, name)
            if entry is None or name in entry.names:
                return False
            if len(entry.names) >= self._series_instances:
                raise InboxFullError("too many objects in one series")
            entry.writing += 1
        try:
            self._write(entry.folder / name, content)
            with self._lock:
                entry.names.add(name)
        finally:
            with self._lock:
                entry.writing -= 1
                entry.last = time.monotonic()
        return True

    def complete(self, quiet_s: float) -> list[Job]:
        """Queue the series for which nothing came for ``quiet_s``.

        A revision to which no image came is forgotten: the node was killed, or the disk was full, after it was begun
        and before its first image was written. It holds what the revision before holds, which was processed.

        Raises:
            OSError, sqlite3.Error: of the disk or the queue, after all series were looked at; one that failed stays
                open, and is looked at again next time.
        """
        finished = []
        problem: Exception | None = None
        with self._lock:
            now = time.monotonic()
            for series, entry in list(self._open.items()):
                if entry.writing == 0 and now - entry.last >= quiet_s:
                    try:
                        if self._close(entry):
                            finished.append(entry.job)
                        del self._open[series]
                    except Exception as error:
                        problem = error
        if problem is not None:
            raise problem
        return finished

    def _close(self, entry: _Open) -> bool:
        """Queue a series, or forget it; the answer is which."""
        if entry.names - self._names_before(entry.job):
            self._queue.move(entry.job, JobState.QUEUED)
            return True
        shutil.rmtree(entry.folder, ignore_errors=True)
        self._queue.forget(entry.job)
        return False

    def claim(self) -> Job | None:
        """The next job to process; from here on, later images of its series start a new revision."""
        with self._lock:
            job = self._queue.next_ready(JobState.QUEUED)
            if job is not None:
                self._queue.take(job)
            return job

    def _reopen(self, series: str, name: str) -> _Open | None:
        """The folder an object of a series that is not open goes to; None if it is there already."""
        job = self._queue.latest(series)
        if job is not None and (self.folder_of(job) / name).exists():
            return None
        if job is not None and job.state is JobState.QUEUED:
            self._queue.move(job, JobState.RECEIVING)
        elif job is None or job.state is not JobState.RECEIVING:
            job = self._queue.begin(series, 1 if job is None else job.revision + 1)
        # In state RECEIVING without being open: it was begun, and then there was no room for its folder.
        self.folder_of(job).mkdir(mode=0o700, exist_ok=True)
        entry = self._open[series] = self._entry(job)
        return entry

    def _entry(self, job: Job) -> _Open:
        folder = self.folder_of(job)
        # A later revision is processed with the earlier images; at every start again, should the last have died here.
        for name in self._names_before(job):
            if not (folder / name).exists():
                (folder / name).hardlink_to(self._folder_before(job) / name)
        return _Open(job, folder, time.monotonic(), {path.name for path in folder.glob("*.dcm")})

    def _folder_before(self, job: Job) -> Path:
        return self._folder / f"{job.series}.{job.revision - 1}"

    def _names_before(self, job: Job) -> set[str]:
        """The images of the revision before."""
        return {path.name for path in self._folder_before(job).glob("*.dcm")}

    def _write(self, path: Path, content: bytes) -> None:
        # The thread in the name: two connections may send the same object at the same moment.
        part = path.with_name(f"{path.name}.{threading.get_ident()}{_PART}")
        try:
            with open(part, "wb", opener=_for_us_alone) as file:
                file.write(content)
                if self._fsync:
                    file.flush()
                    os.fsync(file.fileno())
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        if self._fsync:
            handle = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def _for_us_alone(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
