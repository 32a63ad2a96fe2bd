"""What happened to every scan: an SQLite file in WAL mode, written by the command alone, readable beside it.

Workers never touch it: WAL needs memory shared within one machine, so a ledger on a cluster's shared disk is safe only
with a single writer.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from vastus.batch.task import MOST_TRIES, Ending, Outcome, ScanState, Task, Work
from vastus.errors import OutputError
from vastus.io.folder_lock import FolderLock, take_folder_lock
from vastus.io.tables import SCANS_FOLDER

LEDGER_FILE: Final = "ledger.sqlite"
LOCK_FILE: Final = "lock.sqlite"
_SCHEMA_VERSION = 1
_PIECE = 500
_SCHEMA = """
CREATE TABLE scans (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    path TEXT NOT NULL, series TEXT, fingerprint TEXT NOT NULL,
    state TEXT NOT NULL, work TEXT NOT NULL, tries INTEGER NOT NULL DEFAULT 0, cut_short INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0, seconds REAL, peak_bytes INTEGER, output_bytes INTEGER, voxels INTEGER,
    error TEXT, message TEXT, warnings TEXT, labels_key TEXT, measures_key TEXT, weights TEXT, version TEXT,
    finished TEXT, result_key TEXT, in_table INTEGER NOT NULL DEFAULT 0, seen INTEGER NOT NULL
);
CREATE INDEX queue ON scans (state, seen, cut_short, tries, id);
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE folders (path TEXT PRIMARY KEY, signature TEXT NOT NULL, found TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class FoundScan:
    """A scan as the inputs name it.

    Attributes:
        path: file, zip or folder.
        name: wished for; made unique by the ledger.
        fingerprint: changes when the files do.
        series: DICOM series in ``path``.
    """

    path: Path
    name: str
    fingerprint: str
    series: str | None = None

    @property
    def key(self) -> str:
        """Hexadecimal name of the scan's place, without any patient data in it."""
        import hashlib

        return hashlib.sha256(f"{self.path}\0{self.series or ''}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Keys:
    """What results depend on, beside the scan itself."""

    labels: str
    measures: str
    weights: str
    version: str


@dataclass(frozen=True, slots=True)
class History:
    """What finished segmentations took, in all: number of scans, seconds, voxels, bytes; the largest memory."""

    scans: int
    seconds: float
    voxels: int
    output_bytes: int
    peak_bytes: int


class Ledger:
    """The open ledger of one output folder. Only one can be open for writing at a time, whatever the machine does."""

    def __init__(self, folder: Path, *, dry: bool = False) -> None:
        """Open or start.

        Args:
            folder: of the output.
            dry: work on a copy in memory, beside whatever runs; nothing is written.

        Raises:
            OutputError: another command works on this folder, or the file can't be used.
        """
        self.folder = folder
        self._lock = None if dry else _take_lock(folder / LOCK_FILE)
        try:
            self._db = _copy_of(folder / LEDGER_FILE) if dry else _connect(folder / LEDGER_FILE)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                self._db.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version={_SCHEMA_VERSION};COMMIT;")
            elif version != _SCHEMA_VERSION:
                raise OutputError(
                    f"The ledger has version {version}, this Vastus writes {_SCHEMA_VERSION}.",
                    path=folder / LEDGER_FILE,
                    remedy="Choose another output folder.",
                )
        except sqlite3.Error as error:
            self._release()
            raise OutputError(f"The ledger can't be used ({error}).", path=folder / LEDGER_FILE) from error
        except OutputError:
            self._release()
            raise

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close; the folder is free for another command."""
        self._db.close()
        self._release()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is written at once or not at all.

        Raises:
            OutputError: the disk is full or fails.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise OutputError(f"The ledger can't be written ({error}).", path=self.folder / LEDGER_FILE) from error
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def fact(self, name: str) -> str | None:
        """A remembered value."""
        row = self._db.execute("SELECT value FROM facts WHERE name=?", (name,)).fetchone()
        return None if row is None else row[0]

    def remember(self, name: str, value: str) -> None:
        """Keep a value under a name."""
        self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def recall_folder(self, path: str, signature: str) -> dict[str, Any] | None:
        """What a folder was found to hold, if it is as it was then."""
        row = self._db.execute("SELECT signature, found FROM folders WHERE path=?", (path,)).fetchone()
        return json.loads(row["found"]) if row is not None and row["signature"] == signature else None

    def remember_folder(self, path: str, signature: str, found: dict[str, Any]) -> None:
        """Keep what a folder holds, so that the next run need not read its headers again."""
        self._db.execute("INSERT OR REPLACE INTO folders VALUES (?, ?, ?)", (path, signature, json.dumps(found)))

    def start_run(self) -> int:
        """Number of this run. What an earlier one left as running goes back into the queue, behind the others.

        What waited for a PACS or a network drive goes back too.
        """
        run = int(self.fact("run") or 0) + 1
        with self.transaction():
            self.remember("run", str(run))
            self._db.execute(
                "UPDATE scans SET state=?, cut_short=cut_short+1 WHERE state=?",
                (ScanState.PENDING.value, ScanState.RUNNING.value),
            )
            self._db.execute(
                "UPDATE scans SET state=? WHERE state=?", (ScanState.PENDING.value, ScanState.WAITING.value)
            )
        return run

    def register(self, found: Iterable[FoundScan], keys: Keys, run: int) -> int:
        """Enter scans and queue what has to be done (again); returns how many were given."""
        count = 0
        scans = iter(found)
        while True:
            # Searching an archive takes long; what was found is kept in pieces, whatever happens then.
            with self.transaction():
                piece = 0
                for scan in islice(scans, _PIECE):
                    self._register(scan, keys, run)
                    piece += 1
            count += piece
            if piece < _PIECE:
                return count

    def _register(self, scan: FoundScan, keys: Keys, run: int) -> None:
        row = self._db.execute("SELECT * FROM scans WHERE key=?", (scan.key,)).fetchone()
        if row is None:
            self._db.execute(
                "INSERT INTO scans (key, name, path, series, fingerprint, state, work, labels_key, measures_key, seen)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    scan.key,
                    self._unused(scan.name),
                    str(scan.path),
                    scan.series,
                    scan.fingerprint,
                    ScanState.PENDING.value,
                    Work.SEGMENT.value,
                    keys.labels,
                    keys.measures,
                    run,
                ),
            )
            return
        state, work = row["state"], row["work"]
        if (row["fingerprint"], row["labels_key"]) != (scan.fingerprint, keys.labels):
            state, work = ScanState.PENDING.value, Work.SEGMENT.value
        elif row["measures_key"] != keys.measures and state == ScanState.DONE.value:
            state, work = ScanState.PENDING.value, Work.MEASURE.value
        if state == ScanState.PENDING.value and row["result_key"]:
            # What is stored may be just what is wanted: weights were changed, and changed back before the scan's turn.
            segmented = f"{scan.fingerprint} {keys.labels} "
            if row["result_key"] == segmented + keys.measures:
                state = ScanState.DONE.value
            elif row["result_key"].startswith(segmented):
                work = Work.MEASURE.value
        fresh = state == ScanState.PENDING.value and row["state"] != ScanState.PENDING.value
        self._db.execute(
            "UPDATE scans SET state=?, work=?, fingerprint=?, labels_key=?, measures_key=?, seen=?,"
            " tries=CASE WHEN ? THEN 0 ELSE tries END WHERE id=?",
            (state, work, scan.fingerprint, keys.labels, keys.measures, run, fresh, row["id"]),
        )

    def _unused(self, wish: str) -> str:
        name, number = wish, 1
        while self._db.execute("SELECT 1 FROM scans WHERE name=?", (name,)).fetchone():
            number += 1
            name = f"{wish}_{number}"
        return name

    def try_again(self, states: Iterable[ScanState], run: int) -> None:
        """Queue scans of this run that were refused or set aside."""
        with self.transaction():
            for state in states:
                self._db.execute(
                    "UPDATE scans SET state=?, tries=0 WHERE state=? AND seen=?",
                    (ScanState.PENDING.value, state.value, run),
                )

    def measure_again(self, run: int) -> None:
        """Queue all finished scans of this run to be measured from their labels."""
        with self.transaction():
            self._db.execute(
                "UPDATE scans SET state=?, work=?, tries=0, result_key=NULL WHERE state=? AND seen=?",
                (ScanState.PENDING.value, Work.MEASURE.value, ScanState.DONE.value, run),
            )

    def claim(self, run: int) -> Task | None:
        """The next scan of the queue, marked as running; scans that failed before come last."""
        row = self._db.execute(
            "SELECT id, key, name, path, series, work FROM scans WHERE state=? AND seen=?"
            " ORDER BY cut_short, tries, id LIMIT 1",
            (ScanState.PENDING.value, run),
        ).fetchone()
        if row is None:
            return None
        self._db.execute(
            "UPDATE scans SET state=?, attempts=attempts+1, result_key=NULL WHERE id=?",
            (ScanState.RUNNING.value, row["id"]),
        )
        folder = self.folder / SCANS_FOLDER / row["name"]
        return Task(row["id"], row["key"], row["name"], Path(row["path"]), row["series"], folder, Work(row["work"]))

    def settle(self, outcome: Outcome, keys: Keys, finished: str) -> ScanState:
        """Enter how a try ended; returns the scan's new state."""
        scan_id = outcome.task.scan_id
        tries = self._db.execute("SELECT tries FROM scans WHERE id=?", (scan_id,)).fetchone()[0]
        state = {
            Ending.DONE: ScanState.DONE,
            Ending.REFUSED: ScanState.REFUSED,
            Ending.STOP: ScanState.PENDING,
            Ending.UNREACHABLE: ScanState.WAITING,
        }.get(outcome.ending)
        if state is None:
            tries += 1
            state = ScanState.SET_ASIDE if tries >= MOST_TRIES else ScanState.PENDING
        done = outcome.ending is Ending.DONE
        # Measuring again is short and must not stand for the time of a segmentation.
        segmented = done and outcome.task.work is Work.SEGMENT
        self._db.execute(
            "UPDATE scans SET state=?, tries=?, error=?, message=?, warnings=?, weights=?, version=?, finished=?,"
            " result_key=CASE WHEN ? THEN fingerprint||' '||labels_key||' '||measures_key END,"
            " in_table=MAX(in_table, ?), voxels=CASE WHEN ? THEN ? ELSE voxels END,"
            " seconds=CASE WHEN ? THEN ? ELSE seconds END, peak_bytes=MAX(COALESCE(peak_bytes, 0), ?),"
            " output_bytes=CASE WHEN ? THEN ? ELSE output_bytes END WHERE id=?",
            (
                state.value,
                tries,
                outcome.error or None,
                outcome.message or None,
                json.dumps(outcome.product.warnings),
                keys.weights,
                keys.version,
                finished,
                done,
                int(done),
                done,
                outcome.product.voxels,
                segmented or not done,
                outcome.seconds,
                outcome.peak_bytes,
                done,
                outcome.output_bytes,
                scan_id,
            ),
        )
        return state

    def put_back(self, task: Task) -> None:
        """Return a claimed scan to the queue as if it had never been taken."""
        self._db.execute(
            "UPDATE scans SET state=?, attempts=attempts-1 WHERE id=? AND state=?",
            (ScanState.PENDING.value, task.scan_id, ScanState.RUNNING.value),
        )

    def outdated_names(self) -> set[str]:
        """Scans with rows in the tables that are no longer what their scan is worth."""
        rows = self._db.execute("SELECT name FROM scans WHERE in_table=1 AND state<>?", (ScanState.DONE.value,))
        return {row["name"] for row in rows}

    def note_rows(self) -> None:
        """Note that the tables hold the rows of all finished scans and no others."""
        self._db.execute("UPDATE scans SET in_table=(state=?)", (ScanState.DONE.value,))

    def done_names(self, *, in_table: bool) -> Iterator[str]:
        """Names of finished scans whose rows the tables hold, or lack, in the order in which they were found."""
        query = "SELECT name FROM scans WHERE state=? AND in_table=? ORDER BY id"
        for row in self._db.execute(query, (ScanState.DONE.value, in_table)):
            yield row["name"]

    def counts(self, run: int | None = None) -> dict[ScanState, int]:
        """How many scans are in which state; with ``run``, only those its inputs named."""
        where, values = ("", ()) if run is None else (" WHERE seen=?", (run,))
        counts = dict.fromkeys(ScanState, 0)
        for row in self._db.execute(f"SELECT state, COUNT(*) AS n FROM scans{where} GROUP BY state", values):
            counts[ScanState(row["state"])] = row["n"]
        return counts

    def queued(self, run: int) -> dict[Work, int]:
        """How many scans wait for which work."""
        counts = dict.fromkeys(Work, 0)
        rows = self._db.execute(
            "SELECT work, COUNT(*) AS n FROM scans WHERE state=? AND seen=? GROUP BY work",
            (ScanState.PENDING.value, run),
        )
        for row in rows:
            counts[Work(row["work"])] = row["n"]
        return counts

    def queued_paths(self, run: int, work: Work) -> Iterator[Mapping[str, Any]]:
        """Path and series of what waits."""
        yield from self._db.execute(
            "SELECT path, series, name, id, key FROM scans WHERE state=? AND seen=? AND work=? ORDER BY id",
            (ScanState.PENDING.value, run, work.value),
        )

    def rows(self) -> Iterator[Mapping[str, Any]]:
        """Everything, scan by scan."""
        yield from self._db.execute("SELECT * FROM scans ORDER BY id")

    def history(self, labels_key: str) -> History:
        """What segmenting with these settings took so far."""
        row = self._db.execute(
            "SELECT COUNT(*) AS n, SUM(seconds) AS s, SUM(voxels) AS v, SUM(output_bytes) AS b, MAX(peak_bytes) AS p"
            " FROM scans WHERE finished IS NOT NULL AND voxels IS NOT NULL AND seconds IS NOT NULL AND labels_key=?",
            (labels_key,),
        ).fetchone()
        return History(row["n"], row["s"] or 0.0, row["v"] or 0, row["b"] or 0, row["p"] or 0)


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=30.0, isolation_level=None)


def _copy_of(path: Path) -> sqlite3.Connection:
    copy = _connect(Path(":memory:"))
    if path.exists():
        original = _connect(path)
        original.backup(copy)
        original.close()
    return copy


def _take_lock(path: Path) -> FolderLock:
    claim = take_folder_lock(path)
    if claim is None:
        raise OutputError(
            "Another vastus batch works on this folder.", path=path.parent, remedy="Wait for it, or choose another."
        )
    return claim
