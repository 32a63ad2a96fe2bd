"""Writing that never leaves half a file: to a temporary name in the same folder, then renamed."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from vastus.errors import OutputError

_WAITS_S: Final = (0.05, 0.15, 0.3, 0.5)
_cleanups: dict[object, Callable[[], None]] = {}


@contextmanager
def cleaned_up(cleanup: Callable[[], None]) -> Iterator[None]:
    """Call ``cleanup`` at the end whatever happens, and also from ``clean_up_all`` if the process is stopped before."""
    key = object()
    _cleanups[key] = cleanup
    try:
        yield
    finally:
        cleanup()
        _cleanups.pop(key, None)


def clean_up_all() -> None:
    """Remove everything unfinished, innermost first: for a process that is about to end at once.

    Threads may still be writing; what they put into a folder while it is removed is taken by the next turn.
    """
    for _ in range(3):
        for cleanup in reversed(tuple(_cleanups.values())):
            with suppress(OSError):
                cleanup()


def ensure_folder(folder: Path) -> Path:
    """Make a folder with its parents; refuse by name when it can't be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = tempfile.NamedTemporaryFile(dir=folder, prefix=".vastus-")  # noqa: SIM115
        probe.close()
    except OSError as error:
        raise OutputError(
            f"The output folder can't be written to ({error.strerror}).",
            path=folder,
            remedy="Choose another with -o, or free its rights or space.",
        ) from error
    return folder


def ensure_private_folder(folder: Path) -> bool:
    """Make a folder for patients' data that nobody but its owner can enter.

    Returns:
        Whether it was there already and others can read it. It is left as it is: it may be meant so.

    Raises:
        OutputError: it can't be written to.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            return False
    except OSError as error:
        raise OutputError(
            f"The folder can't be made ({error.strerror}).", path=folder, remedy="Free its rights or space."
        ) from error
    ensure_folder(folder)
    return os.name == "posix" and bool(folder.stat().st_mode & 0o077)


def hidden_path(folder: Path, suffix: str = "") -> Path:
    """Return a path in a folder that does not exist: pass it to ``cleaned_up`` before anything is made there."""
    return folder / f".vastus-{secrets.token_hex(8)}{suffix}"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path with the same suffixes; on success rename it to ``path``, on any failure remove it."""
    temporary = hidden_path(path.parent, "".join(path.suffixes[-2:]))
    with cleaned_up(lambda: _remove_if_there(temporary)):
        try:
            temporary.touch(mode=0o600, exist_ok=False)
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            _patiently(lambda: temporary.replace(path))
        except OSError as error:
            raise _refusal(error, path) from error


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Give a temporary folder beside ``folder``; on success it takes that name (which must not exist or be empty)."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = hidden_path(folder.parent)
    with cleaned_up(lambda: shutil.rmtree(temporary, ignore_errors=True)):
        try:
            temporary.mkdir(mode=0o700)
            yield temporary
            temporary.chmod(0o777 & ~_umask())
            if sys.platform == "win32":  # there a folder does not take the place of an empty one
                with suppress(OSError):
                    folder.rmdir()
            _patiently(lambda: temporary.replace(folder))
        except OSError as error:
            raise _refusal(error, folder, "folder") from error


def put_in_place(source: Path, target: Path) -> None:
    """Give a finished file its name; an older one of that name goes.

    Raises:
        OutputError: it can't be done; on Windows also because a program has the older one open.
    """
    try:
        _patiently(lambda: source.replace(target))
    except OSError as error:
        raise _refusal(error, target) from error


def remove_old(path: Path) -> None:
    """Remove a file of an earlier run, if there is one.

    Raises:
        OutputError: as ``put_in_place``.
    """
    try:
        _patiently(lambda: path.unlink(missing_ok=True))
    except OSError as error:
        raise _refusal(error, path) from error


def _patiently(act: Callable[[], object]) -> None:
    """On Windows, try for a second: virus scanners and indexers hold new files open for a moment."""
    for wait_s in _WAITS_S if sys.platform == "win32" else ():
        try:
            act()
            return
        except PermissionError:
            time.sleep(wait_s)
    act()


def _refusal(error: OSError, path: Path, what: str = "file") -> OutputError:
    open_elsewhere = sys.platform == "win32" and isinstance(error, PermissionError)
    remedy = "Close it in other programs (a spreadsheet, a viewer), and try again." if open_elsewhere else None
    return OutputError(f"The {what} can't be written ({error.strerror}).", path=path, remedy=remedy)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def _remove_if_there(file: Path) -> None:
    """Remove a file; one that never came to be, or can't be reached, must not hide the error that is on its way."""
    with suppress(OSError):
        file.unlink()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
