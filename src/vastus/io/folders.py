"""Walk through folders, links to folders included, without going in circles and without losing what can't be opened."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from vastus.errors import UnreadableScanError


def walk_folders(
    root: Path, skip: Path | None = None, locked: list[Path] | None = None
) -> Iterator[tuple[Path, list[str]]]:
    """Yield every folder once, sorted by name, with the names of its files.

    Links to folders are followed, unless they lead to a folder that was walked already, or to one that the root itself
    lies in. Hidden folders are passed over. Links that lead nowhere are among the files.

    Args:
        root: where to start.
        skip: a folder that is not entered.
        locked: gets the folders that there is no right to read; None: they are refused.

    Yields:
        A folder (below ``root``, as it is named there) and its files.

    Raises:
        UnreadableScanError: a folder that there is no right to read, without ``locked``.
    """
    seen = {_identity(parent) for parent in root.resolve().parents}
    waiting = [root]
    while waiting:
        here = waiting.pop()
        identity = _identity(here)
        if identity in seen:
            continue
        seen.add(identity)
        try:
            folders, files = _entries(here)
        except UnreadableScanError:
            if locked is None:
                raise
            locked.append(here)
            continue
        yield here, files
        below = [here / name for name in folders if not name.startswith(".")]
        waiting += [folder for folder in reversed(below) if folder != skip]


def refuse_pipe(path: Path) -> None:
    """Refuse what is neither a file nor a folder: readers look at a file's start, then go back to it.

    Raises:
        UnreadableScanError: a named pipe, a device or a socket.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return  # whoever opens it says why it can't be
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise UnreadableScanError(
            "This is a pipe or a device, not a file: it can be read only once, from start to end.",
            path=path,
            remedy="Write the scan to a file first, and give that file.",
        )


def is_there(path: Path) -> bool:
    """Tell whether a file or folder exists. A name that no system takes (too long, with a NUL) does not."""
    try:
        path.stat()
    except (OSError, ValueError):
        return False
    return True


def is_file(path: Path) -> bool:
    """Tell whether a path is a file, with the same rule for names as ``is_there``."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether it is a folder; as ``is_there``."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def _identity(folder: Path) -> tuple[int, int] | Path:
    found = folder.stat()
    return (found.st_dev, found.st_ino) if found.st_ino else folder.resolve()


def _entries(folder: Path) -> tuple[list[str], list[str]]:
    folders: list[str] = []
    files: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                (folders if entry.is_dir() else files).append(entry.name)
    except OSError as error:
        raise UnreadableScanError(
            f"A folder can't be read ({error.strerror}); slices in it would be lost.", path=folder
        ) from error
    return sorted(folders), sorted(files)
