"""One process at a time in a folder: a lock that the system frees when the process ends, in whatever way."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from vastus.errors import OutputError


class FolderLock:
    """A lock file that this process holds until ``release``; also a context."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def release(self) -> None:
        """Let others in; a second call does nothing."""
        self._connection.close()

    def __enter__(self) -> FolderLock:
        """Return the lock, which is held already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let others in."""
        self.release()


def take_folder_lock(file: Path) -> FolderLock | None:
    """Hold a lock file, made if missing; ``None`` where somebody else holds it.

    An exclusive transaction of SQLite on an empty file: the same on every platform, also between two users in one
    process.

    Raises:
        OutputError: the file can't be made or locked.
    """
    connection = None
    try:
        connection = sqlite3.connect(file, timeout=0.0, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        if "locked" in str(error):
            return None
        raise OutputError(f"The folder can't be locked ({error}).", path=file) from error
    return FolderLock(connection)
