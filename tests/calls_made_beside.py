"""Calls for a second process, which must be able to load them."""

import os
import sys
import time
from pathlib import Path

from vastus.io.atomic import atomic_path


def write_id(path: Path) -> None:
    path.write_text(str(os.getpid()))


def write_loaded(path: Path, name: str) -> None:
    path.write_text(str(name in sys.modules))


def write_ids(folder: Path, name: str, seconds: float) -> None:
    """Note the process and its parent, after a while."""
    time.sleep(seconds)
    (folder / name).write_text(f"{os.getpid()} {os.getppid()}")


def fail_elsewhere(path: Path, here: int) -> None:
    """Fail in any other process."""
    if os.getpid() != here:
        raise ZeroDivisionError
    path.write_text(str(here))


def wait_elsewhere(path: Path, here: int) -> None:
    """Take very long in any other process."""
    if os.getpid() != here:
        time.sleep(60)
    path.write_text(str(here))


def write_for_long(path: Path, begun: Path) -> None:
    """Begin to write a file, say so, and never end."""
    with atomic_path(path) as temporary:
        temporary.write_text("half of it")
        begun.touch()
        time.sleep(60)
