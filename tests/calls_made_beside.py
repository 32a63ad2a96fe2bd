"""Calls for a second process, which must be able to load them."""

import os
import sys
from pathlib import Path


def write_id(path: Path) -> None:
    path.write_text(str(os.getpid()))


def write_loaded(path: Path, name: str) -> None:
    path.write_text(str(name in sys.modules))
