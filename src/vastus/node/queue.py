"""The queue: one row a series, in SQLite with a write-ahead log, so that a killed node goes on where it was."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

_LONGEST_WAIT_S = 600.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY, series TEXT NOT NULL, revision INTEGER NOT NULL, state TEXT NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '', not_before REAL NOT NULL DEFAULT 0,
    created REAL NOT NULL, changed REAL NOT NULL, UNIQUE (series, revision)
);
CREATE INDEX IF NOT EXISTS by_state ON jobs (state, not_before, id);
"""


_NEWER = (
    "EXISTS (SELECT 1 FROM jobs AS newer WHERE newer.series = jobs.series AND newer.revision > jobs.revision"
    " AND newer.state {state} ?)"
)


class JobState(Enum):
    """Where a series is on its way. SUPERSEDED: not sent any more, because a newer revision of the series came."""

    RECEIVING = "receiving"
    QUEUED = "queued"
    PROCESSING = "processing"
    SENDING = "sending"
    DONE = "done"
    SUPERSEDED = "superseded"
    SET_ASIDE = "set_aside"


@dataclass(frozen=True, slots=True)
class Job:
    """A series on its way.

    Attributes:
        series: hash of the series UID.
        revision: counts up when images of a series come after it was processed.
        tries: failed ones, of processing or of sending.
        hindered: how many of them failed for no fault of the series: a full disk, a PACS that is down.
        reason: why the last one failed; holds no patient data.
    """

    id: int
    series: str
    revision: int
    state: JobState
    tries: int
    reason: str
    changed: float
    hindered: int = 0

    @property
    def folder_name(self) -> str:
        """Where its images lie, under ``incoming``."""
        return f"{self.series}.{self.revision}"


class Queue:
    """All jobs; safe for threads of one process.

    Args:
        path: of the database.
        fsync: wait for the disk at every change. Without it a power failure may undo the last changes (never a kill),
            and no sender has to wait until a busy disk has written everybody's images.
    """

    def __init__(self, path: Path, *, fsync: bool) -> None:
        self._lock, self._path = threading.RLock(), path
        path.touch(mode=0o600)  # the files beside it get the same rights from SQLite
        self._db = sqlite3.connect(path, timeout=30, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute(f"PRAGMA synchronous={'FULL' if fsync else 'NORMAL'}")
        # Taking the log into the database waits for the disk: not in the middle of receiving, see ``checkpoint``.
        self._db.execute("PRAGMA wal_autocheckpoint=0")
        self._db.executescript(_SCHEMA)
        if "hindered" not in {row[1] for row in self._db.execute("PRAGMA table_info(jobs)")}:  # of an older version
            self._db.execute("ALTER TABLE jobs ADD COLUMN hindered INTEGER NOT NULL DEFAULT 0")

    def checkpoint(self) -> None:
        """Take the write-ahead log into the database, over a connection of its own that keeps nobody waiting."""
        other = sqlite3.connect(self._path, timeout=0, isolation_level=None)
        try:
            other.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.OperationalError:
            pass  # somebody writes; there is a next time
        finally:
            other.close()

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()

    def begin(self, series: str, revision: int) -> Job:
        """A new job in state RECEIVING."""
        now = time.time()
        with self._write():
            cursor = self._db.execute(
                "INSERT INTO jobs (series, revision, state, created, changed) VALUES (?, ?, ?, ?, ?)",
                (series, revision, JobState.RECEIVING.value, now, now),
            )
            return Job(int(cursor.lastrowid or 0), series, revision, JobState.RECEIVING, 0, "", now)

    def latest(self, series: str) -> Job | None:
        """The newest job of a series."""
        found = self._select("series = ? ORDER BY revision DESC LIMIT 1", (series,))
        return found[0] if found else None

    def in_state(self, *states: JobState) -> list[Job]:
        """All jobs in some states, oldest first."""
        marks = ",".join("?" * len(states))
        return self._select(f"state IN ({marks}) ORDER BY id", [s.value for s in states])

    def recent(self, count: int) -> list[Job]:
        """The jobs that changed last."""
        return self._select("1 ORDER BY changed DESC LIMIT ?", (count,))

    def next_ready(self, state: JobState) -> Job | None:
        """The oldest job in a state whose waiting time is over."""
        found = self._select("state = ? AND not_before <= ? ORDER BY id LIMIT 1", (state.value, time.time()))
        return found[0] if found else None

    def next_to_send(self) -> Job | None:
        """The oldest job that may be sent. One whose series is being received again waits for what becomes of that."""
        found = self._select(
            f"state = ? AND not_before <= ? AND NOT {_NEWER.format(state='=')} ORDER BY id LIMIT 1",
            (JobState.SENDING.value, time.time(), JobState.RECEIVING.value),
        )
        return found[0] if found else None

    def drop_superseded(self) -> list[Job]:
        """Mark what must not be processed or sent any more, because a newer revision of its series is there."""
        where = f"state IN (?, ?) AND {_NEWER.format(state='<>')}"
        values = (JobState.QUEUED.value, JobState.SENDING.value, JobState.RECEIVING.value)
        found = self._select(where, values)
        if found:
            with self._write():
                self._db.execute(
                    f"UPDATE jobs SET state = ?, not_before = 0, changed = ? WHERE {where}",
                    (JobState.SUPERSEDED.value, time.time(), *values),
                )
        return found

    def done_before(self, job: Job) -> Job | None:
        """The newest revision of the same series that is done, older than this job."""
        found = self._select(
            "series = ? AND revision < ? AND state = ? ORDER BY revision DESC LIMIT 1",
            (job.series, job.revision, JobState.DONE.value),
        )
        return found[0] if found else None

    def move(self, job: Job, state: JobState, reason: str = "") -> None:
        """Into another state; tries start again from 0."""
        with self._write():
            self._db.execute(
                "UPDATE jobs SET state = ?, reason = ?, tries = 0, hindered = 0, not_before = 0, changed = ?"
                " WHERE id = ?",
                (state.value, reason, time.time(), job.id),
            )

    def take(self, job: Job) -> None:
        """From QUEUED to PROCESSING; tries are kept."""
        with self._write():
            self._db.execute(
                "UPDATE jobs SET state = ?, changed = ? WHERE id = ?", (JobState.PROCESSING.value, time.time(), job.id)
            )

    def fail(self, job: Job, state: JobState, reason: str, wait_s: float, *, hindered: bool = False) -> None:
        """Count a failed try and go back to a state, after a wait that doubles with every try."""
        now = time.time()
        wait_s = min(_LONGEST_WAIT_S, wait_s * 2 ** min(job.tries, 20))
        with self._write():
            self._db.execute(
                "UPDATE jobs SET state = ?, reason = ?, tries = tries + 1, hindered = hindered + ?, not_before = ?,"
                " changed = ? WHERE id = ?",
                (state.value, reason, int(hindered), now + wait_s, now, job.id),
            )

    def forget(self, job: Job) -> None:
        """Remove a job."""
        with self._write():
            self._db.execute("DELETE FROM jobs WHERE id = ?", (job.id,))

    def counts(self) -> dict[JobState, int]:
        """Jobs in each state."""
        with self._lock:
            found = dict(self._db.execute("SELECT state, COUNT(*) FROM jobs GROUP BY state").fetchall())
        return {state: int(found.get(state.value, 0)) for state in JobState}

    def _select(self, where: str, values: Sequence[object]) -> list[Job]:
        columns = "id, series, revision, state, tries, reason, changed, hindered"
        with self._lock:
            rows = self._db.execute(f"SELECT {columns} FROM jobs WHERE {where}", values).fetchall()
        return [Job(r[0], r[1], r[2], JobState(r[3]), r[4], r[5], r[6], r[7]) for r in rows]

    @contextmanager
    def _write(self) -> Iterator[None]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
