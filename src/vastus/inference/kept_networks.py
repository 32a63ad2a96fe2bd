"""Networks kept on disk as OpenVINO made them ready: the next start need not make them ready again.

What lies there is run, so that only a folder that is ours, and that nobody else can write to, is read or written. A
file is named after everything that shapes it (weights, precision, threads, processor, versions, our own code), and
begins with the SHA-256 of the rest.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from vastus.errors import OutputError
from vastus.io.atomic import atomic_path

VARIABLE: Final = "VASTUS_CACHE_DIR"
"""Names another folder; empty: nothing is kept."""
MOST_KEPT: Final = 6
"""Files of 8 to 25 MB; the ones that were used longest ago go first."""
_DIGEST_BYTES: Final = 32
_SUFFIX: Final = ".network"


def network_folder(environment: Mapping[str, str]) -> Path | None:
    """Return the folder in which networks are kept; made if needed.

    Args:
        environment: of the process.

    Returns:
        None where the user wants none, or no folder can be had that is ours alone.
    """
    if VARIABLE in environment:
        folder = Path(environment[VARIABLE]) if environment[VARIABLE] else None
    elif environment.get("XDG_CACHE_HOME") or environment.get("HOME"):
        folder = Path(environment.get("XDG_CACHE_HOME") or Path(environment["HOME"]) / ".cache") / "vastus"
    else:
        folder = None
    if folder is None or os.name != "posix":
        return None
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022
    return folder if ours else None


def read_network(folder: Path, name: str) -> bytes | None:
    """Read a kept network; None where there is none, or where it is damaged."""
    path = folder / f"{name}{_SUFFIX}"
    try:
        with path.open("rb") as file:
            digest, data = file.read(_DIGEST_BYTES), file.read()
        path.touch()  # used now
    except OSError:
        return None
    return data if hashlib.sha256(data).digest() == digest else None


def keep_network(folder: Path, name: str, data: bytes) -> None:
    """Keep a network; a disk that is full is no reason to fail."""
    with suppress(OutputError, OSError):
        with atomic_path(folder / f"{name}{_SUFFIX}") as temporary:
            temporary.write_bytes(hashlib.sha256(data).digest() + data)
        kept = sorted(folder.glob(f"*{_SUFFIX}"), key=lambda path: path.stat().st_mtime)
        for path in kept[:-MOST_KEPT]:
            path.unlink(missing_ok=True)


def name_of(*facts: object) -> str:
    """Name a network after what shapes it."""
    return hashlib.sha256("\n".join(map(str, facts)).encode()).hexdigest()[:32]
