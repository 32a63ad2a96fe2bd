"""Every version of every label, never changed, and who may save now.

A version is a file, written under a temporary name, flushed to the disk and renamed, and then a row in SQLite (WAL,
full synchronisation). The row is what makes it exist: a process killed at any moment leaves either no trace or a
whole version. Rows are only ever added; triggers in the data base refuse to change or delete one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Final

from vastus.annotation.project.layout import Layout
from vastus.annotation.refusals import LockedCaseError, NothingToUndoError, StaleParentError, UnknownItemError

FINAL_TAG: Final = "final"
ORIGINAL_TAG: Final = "original"
LOCK_SECONDS: Final = 15 * 60.0
_TIMEOUT_SECONDS: Final = 30.0
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS versions (
    case_id TEXT NOT NULL, version INTEGER NOT NULL, kind TEXT NOT NULL, made_by TEXT NOT NULL, author TEXT NOT NULL,
    created TEXT NOT NULL, parent INTEGER, equals INTEGER, note TEXT NOT NULL, tag TEXT NOT NULL, file TEXT NOT NULL,
    sha256 TEXT NOT NULL, PRIMARY KEY (case_id, version));
CREATE TABLE IF NOT EXISTS locks (case_id TEXT PRIMARY KEY, holder TEXT NOT NULL, expires REAL NOT NULL);
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS scores (
    case_id TEXT NOT NULL, model TEXT NOT NULL, score REAL NOT NULL, PRIMARY KEY (case_id, model));
CREATE TABLE IF NOT EXISTS outlines (
    case_id TEXT NOT NULL, version INTEGER NOT NULL, slice INTEGER NOT NULL, outline TEXT NOT NULL,
    PRIMARY KEY (case_id, version, slice));
CREATE TABLE IF NOT EXISTS strokes (
    case_id TEXT NOT NULL, version INTEGER NOT NULL, strokes TEXT NOT NULL, PRIMARY KEY (case_id, version));
CREATE TRIGGER IF NOT EXISTS no_stroke_change BEFORE UPDATE ON strokes
BEGIN SELECT RAISE(ABORT, 'strokes never change'); END;
CREATE TRIGGER IF NOT EXISTS no_stroke_loss BEFORE DELETE ON strokes
BEGIN SELECT RAISE(ABORT, 'strokes never go'); END;
CREATE TRIGGER IF NOT EXISTS no_outline_change BEFORE UPDATE ON outlines
BEGIN SELECT RAISE(ABORT, 'outlines never change'); END;
CREATE TRIGGER IF NOT EXISTS no_outline_loss BEFORE DELETE ON outlines
BEGIN SELECT RAISE(ABORT, 'outlines never go'); END;
CREATE TRIGGER IF NOT EXISTS no_change BEFORE UPDATE ON versions
BEGIN SELECT RAISE(ABORT, 'versions never change'); END;
CREATE TRIGGER IF NOT EXISTS no_loss BEFORE DELETE ON versions
BEGIN SELECT RAISE(ABORT, 'versions never go'); END;
"""
_COLUMNS: Final = "case_id, version, kind, made_by, author, created, parent, equals, note, tag, file, sha256"


class Kind(Enum):
    """How a version came about."""

    MODEL = "model"
    HUMAN = "human"
    TOOL = "tool"
    UNDO = "undo"


class CaseState(Enum):
    """How far a case is."""

    UNLABELLED = "unlabelled"
    MODEL = "model"
    CORRECTED = "corrected"
    FINAL = "final"


@dataclass(frozen=True, slots=True)
class Version:
    """One version of one label.

    Attributes:
        case_id: the case.
        number: 1, 2, ... in the order of saving.
        kind: model, human, tool or undo.
        made_by: the same, but for an undo that of the version it brings back.
        author: name of the user; for a model, who asked for it.
        created: UTC, ISO 8601.
        parent: the version this one was made from; of an undo, the one that the next undo brings back.
        equals: of an undo or an old version saved again: the version that it brings back.
        note: free text.
        tag: ``final``, ``original`` or the client's own; may be empty.
        file: name in the folder of versions.
        sha256: of the file.
    """

    case_id: str
    number: int
    kind: Kind
    made_by: Kind
    author: str
    created: str
    parent: int | None
    equals: int | None
    note: str
    tag: str
    file: str
    sha256: str

    @property
    def state(self) -> CaseState:
        """State of the case while this version is the current one."""
        if self.tag == FINAL_TAG:
            return CaseState.FINAL
        return CaseState.MODEL if self.made_by is Kind.MODEL else CaseState.CORRECTED


@dataclass(frozen=True, slots=True)
class Draft:
    """What is said about a version when it is saved. ``parent`` None: from whatever is current.

    Attributes:
        outlines: what was drawn, by slice (JSON text): from it the masks of these slices can be drawn again. None:
            those of the version before, as far as their slices are as they were.
        strokes: what was painted with the brush since the first version (JSON text). None: as in the version before.
    """

    kind: Kind
    author: str
    parent: int | None = None
    note: str = ""
    tag: str = ""
    outlines: Mapping[int, str] | None = None
    strokes: str | None = None


@dataclass(frozen=True, slots=True)
class Lock:
    """Who works on a case, and until when (seconds since 1970) at most."""

    holder: str
    expires: float


class Store:
    """The history of one project. Safe to use from any number of threads and processes."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        layout.temporary.mkdir(mode=0o700, parents=True, exist_ok=True)
        layout.history.touch(mode=0o600)
        with self._connection() as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(_SCHEMA)

    def clear_incoming(self) -> None:
        """Remove what a killed server left half received. Only for the one server of the project, when it starts."""
        shutil.rmtree(self.layout.temporary, ignore_errors=True)
        self.layout.temporary.mkdir(mode=0o700, exist_ok=True)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self.layout.history, timeout=_TIMEOUT_SECONDS, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous=FULL")
            yield connection
        finally:
            connection.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def versions(self, case_id: str) -> tuple[Version, ...]:
        """All versions of a case, oldest first."""
        with self._connection() as connection:
            return _versions(connection, case_id)

    def current(self, case_id: str) -> Version | None:
        """The newest version of a case."""
        with self._connection() as connection:
            return _current(connection, case_id)

    def currents(self) -> dict[str, Version]:
        """The newest version of every case that has one."""
        query = (
            f"SELECT {_COLUMNS} FROM versions v WHERE version = "
            "(SELECT MAX(version) FROM versions w WHERE w.case_id = v.case_id)"
        )
        with self._connection() as connection:
            found = [_version(row) for row in connection.execute(query)]
        return {version.case_id: version for version in found}

    def version(self, case_id: str, number: int) -> Version:
        """One version.

        Raises:
            UnknownItemError: there is none of that number.
        """
        with self._connection() as connection:
            return _one(connection, case_id, number)

    def outlines(self, version: Version) -> dict[int, str]:
        """What was drawn in the slices of a version; of an undo, that of the version it brings back."""
        number = version.number if version.equals is None else version.equals
        query = "SELECT slice, outline FROM outlines WHERE case_id = ? AND version = ? ORDER BY slice"
        with self._connection() as connection:
            return {int(k): str(text) for k, text in connection.execute(query, (version.case_id, number))}

    def strokes(self, version: Version) -> str:
        """What was painted with the brush up to a version (JSON list); of an undo, up to the one it brings back."""
        number = version.number if version.equals is None else version.equals
        query = "SELECT strokes FROM strokes WHERE case_id = ? AND version = ?"
        with self._connection() as connection:
            row = connection.execute(query, (version.case_id, number)).fetchone()
        return str(row[0]) if row else "[]"

    def file(self, version: Version) -> Path:
        """The file of a version."""
        return self.layout.versions(version.case_id) / version.file

    def final(self, case_id: str) -> Version | None:
        """The newest final version that the current one descends from: what a training may see."""
        by_number = {version.number: version for version in self.versions(case_id)}
        version = by_number[max(by_number)] if by_number else None
        while version is not None and version.tag != FINAL_TAG:
            version = by_number.get(version.parent) if version.parent is not None else None
        return version

    def tagged(self, case_id: str, tag: str) -> Version | None:
        """What a MONAI Label client gets for a tag: ``original`` is the newest of a model, ``final`` see ``final``."""
        if tag == FINAL_TAG:
            return self.final(case_id)
        found = [v for v in self.versions(case_id) if v.tag == tag or (tag == ORIGINAL_TAG and v.kind is Kind.MODEL)]
        return found[-1] if found else None

    def save(self, case_id: str, draft: Draft, write: Callable[[Path], None]) -> Version:
        """Add a version.

        Args:
            case_id: the case.
            draft: what is said about it.
            write: writes the label map to the path that it is given (ends in ``.nii.gz``).

        Raises:
            StaleParentError: ``draft.parent`` is not the current version.
            LockedCaseError: someone else holds the lock.
        """
        folder = self.layout.versions(case_id)
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.layout.temporary, suffix=".nii.gz")
        os.close(handle)
        temporary = Path(name)
        try:
            write(temporary)
            _flush(temporary)
            if sys.platform != "win32":  # there a file that is read-only can't be replaced or removed
                temporary.chmod(0o400)
            with temporary.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            with self._writing() as connection:
                _refuse_locked(connection, case_id, draft.author)
                version = _next_version(connection, case_id, draft, digest)
                # A file of this number without a row is what a killed process left: it is replaced.
                temporary.replace(folder / version.file)
                _flush(folder)
                _insert(connection, version)
                rows = [
                    (case_id, version.number, index, text) for index, text in sorted((draft.outlines or {}).items())
                ]
                connection.executemany("INSERT INTO outlines VALUES (?, ?, ?, ?)", rows)
                if draft.strokes not in (None, "[]"):
                    connection.execute("INSERT INTO strokes VALUES (?, ?, ?)", (case_id, version.number, draft.strokes))
                return version
        finally:
            temporary.unlink(missing_ok=True)

    def undo(self, case_id: str, author: str) -> Version:
        """Add a version that equals the parent of the current one.

        Raises:
            NothingToUndoError: no version, or the first one.
            LockedCaseError: someone else holds the lock.
        """
        with self._writing() as connection:
            _refuse_locked(connection, case_id, author)
            current = _current(connection, case_id)
            if current is None or current.parent is None:
                raise NothingToUndoError("There is nothing to undo: the current version has no parent.")
            back = _one(connection, case_id, current.parent)
            version = replace(
                back,
                number=current.number + 1,
                kind=Kind.UNDO,
                author=author,
                created=_now(),
                parent=back.parent,
                equals=back.number,
                note=f"undoes version {current.number}",
            )
            _insert(connection, version)
            return version

    def lock(self, case_id: str, holder: str, seconds: float = LOCK_SECONDS) -> Lock:
        """Take the lock of a case, or extend it.

        Raises:
            LockedCaseError: someone else holds it.
        """
        with self._writing() as connection:
            _refuse_locked(connection, case_id, holder)
            lock = Lock(holder, time.time() + seconds)
            connection.execute("INSERT OR REPLACE INTO locks VALUES (?, ?, ?)", (case_id, holder, lock.expires))
            return lock

    def refuse_locked(self, case_id: str, who: str) -> None:
        """Raise ``LockedCaseError`` if someone else holds the lock: asked before long work whose result is saved."""
        with self._connection() as connection:
            _refuse_locked(connection, case_id, who)

    def unlock(self, case_id: str, holder: str) -> None:
        """Give the lock back; nothing happens if there is none.

        Raises:
            LockedCaseError: someone else holds it.
        """
        with self._writing() as connection:
            _refuse_locked(connection, case_id, holder)
            connection.execute("DELETE FROM locks WHERE case_id = ?", (case_id,))

    def locks(self) -> dict[str, Lock]:
        """The locks that have not expired."""
        query = "SELECT case_id, holder, expires FROM locks WHERE expires > ?"
        with self._connection() as connection:
            return {case: Lock(holder, expires) for case, holder, expires in connection.execute(query, (time.time(),))}

    def setting(self, name: str) -> str | None:
        """A setting of the project."""
        with self._connection() as connection:
            row = connection.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else None

    def set_setting(self, name: str, value: str) -> None:
        """Keep a setting of the project."""
        with self._writing() as connection:
            connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))

    def scores(self, model: str) -> dict[str, float]:
        """The uncertainty of each case that has been ranked with a model."""
        with self._connection() as connection:
            rows = connection.execute("SELECT case_id, score FROM scores WHERE model = ?", (model,))
            return {str(case): float(score) for case, score in rows}

    def set_score(self, case_id: str, model: str, score: float) -> None:
        """Keep the uncertainty of a case under a model."""
        with self._writing() as connection:
            connection.execute("INSERT OR REPLACE INTO scores VALUES (?, ?, ?)", (case_id, model, score))


def _version(row: tuple[object, ...]) -> Version:
    case_id, number, kind, made_by, *rest = row
    return Version(case_id, number, Kind(kind), Kind(made_by), *rest)  # type: ignore[arg-type]


def _versions(connection: sqlite3.Connection, case_id: str) -> tuple[Version, ...]:
    query = f"SELECT {_COLUMNS} FROM versions WHERE case_id = ? ORDER BY version"
    return tuple(_version(row) for row in connection.execute(query, (case_id,)))


def _current(connection: sqlite3.Connection, case_id: str) -> Version | None:
    query = f"SELECT {_COLUMNS} FROM versions WHERE case_id = ? ORDER BY version DESC LIMIT 1"
    row = connection.execute(query, (case_id,)).fetchone()
    return _version(row) if row else None


def _one(connection: sqlite3.Connection, case_id: str, number: int) -> Version:
    query = f"SELECT {_COLUMNS} FROM versions WHERE case_id = ? AND version = ?"
    row = connection.execute(query, (case_id, number)).fetchone() if 0 < number < 2**31 else None
    if row is None:
        raise UnknownItemError(f"There is no version {number} of this case.")
    return _version(row)


def _next_version(connection: sqlite3.Connection, case_id: str, draft: Draft, digest: str) -> Version:
    """Make the version that a draft becomes.

    Raises:
        StaleParentError: ``draft.parent`` is not the current version.
    """
    current = _current(connection, case_id)
    number = current.number + 1 if current else 1
    parent = current.number if current else None
    equals = None
    if draft.parent is not None and draft.parent != parent:
        # Saving an old version again, unchanged, brings it back on purpose. Anything else would pass over what was
        # saved in the meantime.
        if not current or _one(connection, case_id, draft.parent).sha256 != digest:
            now = f"the current one is {parent}" if current else "there is none"
            raise StaleParentError(
                f"Version {draft.parent} is not the current one: {now}.",
                remedy="Load the current version and make the change there.",
            )
        equals = draft.parent
    return Version(
        case_id=case_id,
        number=number,
        kind=draft.kind,
        made_by=draft.kind,
        author=draft.author,
        created=_now(),
        parent=parent,
        equals=equals,
        note=draft.note,
        tag=draft.tag,
        file=f"{number:06d}.nii.gz",
        sha256=digest,
    )


def _insert(connection: sqlite3.Connection, version: Version) -> None:
    values = (
        version.case_id,
        version.number,
        version.kind.value,
        version.made_by.value,
        version.author,
        version.created,
        version.parent,
        version.equals,
        version.note,
        version.tag,
        version.file,
        version.sha256,
    )
    connection.execute(f"INSERT INTO versions ({_COLUMNS}) VALUES ({','.join('?' * len(values))})", values)


def _refuse_locked(connection: sqlite3.Connection, case_id: str, holder: str) -> None:
    row = connection.execute("SELECT holder, expires FROM locks WHERE case_id = ?", (case_id,)).fetchone()
    if row and row[1] > time.time() and row[0] != holder:
        raise LockedCaseError(
            f"{row[0]} is working on this case.", remedy="Wait until the case is released, or take another one."
        )


def _flush(path: Path) -> None:
    """Make a file's content, or a folder's names, survive a power cut."""
    if sys.platform == "win32" and path.is_dir():
        return
    # Windows flushes only what is open for writing, Linux takes a folder only for reading.
    handle = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
