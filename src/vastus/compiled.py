"""Where compiled loops are kept. Light: imported with the package, before numba is.

numba keeps them beside the source files, or in the user's cache folder. Where neither can be written to (a system-wide
installation used by an account without a home, a read-only container) it refuses to import a module with such loops.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

VARIABLE: Final = "NUMBA_CACHE_DIR"


def cache_folder(package: Path, environment: Mapping[str, str]) -> Path | None:
    """A private folder for compiled loops in the system's folder for temporary files, if numba would find no other.

    Args:
        package: folder of the package.
        environment: of the process.

    Returns:
        None where numba's own choice works, or the one that the user has made.
    """
    if os.name != "posix" or keeps_compiled_loops(package, environment):
        return None
    folder = Path(tempfile.gettempdir()) / f"vastus-compiled-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    # What lies in it is run: it must be ours, and nobody else's to write to.
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    return folder if ours else Path(tempfile.mkdtemp(prefix="vastus-compiled-"))


def keeps_compiled_loops(package: Path, environment: Mapping[str, str]) -> bool:
    """Say whether numba finds a place to keep compiled loops in: the named one, beside the package, or the user's.

    Args:
        package: folder of the package.
        environment: of the process.
    """
    if VARIABLE in environment:
        return _writable(Path(environment[VARIABLE]))
    return _writable(package / "__pycache__") or _writable(_users_cache(environment))


def _users_cache(environment: Mapping[str, str]) -> Path:
    """The user's folder for what can be made again."""
    if os.name == "nt":
        return Path(environment.get("LOCALAPPDATA") or Path(environment.get("USERPROFILE") or "~").expanduser())
    return Path(environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME") or "~").expanduser() / ".cache")


def _writable(folder: Path) -> bool:
    """Whether files could be made in a folder, which need not exist yet."""
    for place in (folder, *folder.parents):
        if _visible(place):
            return os.access(place, os.W_OK | os.X_OK)
    return False


def _visible(place: Path) -> bool:
    """Whether something is there; what lies in a folder that is closed to us does not count."""
    try:
        return place.exists()
    except PermissionError:
        return False


def settle_cache_folder() -> None:
    """Tell numba, which reads its environment when it is imported."""
    folder = cache_folder(Path(__file__).parent, os.environ)
    if folder is not None:
        os.environ[VARIABLE] = str(folder)
