"""Calls for a second process, which must be able to load them."""

import os
import sys
import time
from pathlib import Path


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
