"""Compile the loops while Vastus is installed: called by the build (``hatch_build.py``).

It needs numba and NumPy alone: rooms are not loaded, only their ``kernels``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from vastus.loops_ahead import FOLDER, KINDS, PACKAGE, file_name, folder_name, processor_level

_START: Final = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from vastus.compile_ahead import work; work(sys.argv[1:])"
)
"""Runs this module from a folder of sources. ``PYTHONPATH`` would not do: pip takes out of it what an environment holds
as an editable installation."""
_MOST_PROCESSES: Final = 4
_KEPT_SECONDS: Final = 30 * 86400
"""Other environments may use the same sources: their loops are not taken away at once."""


def compile_ahead(holder: Path = PACKAGE / FOLDER) -> Path:
    """Compile all loops for the types of ``loop_kinds.json``; nothing is done where they lie there already.

    Args:
        holder: gets the folder; what lies there for longer than a month and is another's is taken away.

    Returns:
        The folder.

    Raises:
        subprocess.CalledProcessError: a loop could not be compiled. No folder is left then.
    """
    done = holder / folder_name()
    if not done.is_dir():
        holder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="making-", dir=holder) as name:
            made = Path(name) / done.name
            made.mkdir()
            _run_workers(made)
            _open_as(PACKAGE, made)
            try:
                made.rename(done)
            except OSError:
                if not done.is_dir():  # another build was not quicker: something is wrong
                    raise
    for other in holder.iterdir():
        if other != done and time.time() - other.stat().st_mtime > _KEPT_SECONDS:
            shutil.rmtree(other, ignore_errors=True)
    return done


def _open_as(model: Path, folder: Path) -> None:
    """Let the same people read a folder and its files as another folder, whatever the builder keeps private."""
    readers = model.stat().st_mode & 0o444
    folder.chmod(folder.stat().st_mode | readers | readers >> 2)
    for file in folder.iterdir():
        file.chmod(file.stat().st_mode | readers)


def _run_workers(made: Path) -> None:
    count = max(1, min(_MOST_PROCESSES, os.cpu_count() or 1))
    # What the builder has set for numba would be in the code of everybody.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    environment |= {"NUMBA_CPU_NAME": processor_level(), "NUMBA_CPU_FEATURES": ""}
    command = [sys.executable, "-c", _START, str(PACKAGE.parent), str(made), str(count)]
    workers = [
        subprocess.Popen([*command, str(n)], env=environment, cwd=made, stderr=subprocess.PIPE, text=True)
        for n in range(count)
    ]
    said = [worker.communicate()[1] for worker in workers]
    for worker, errors in zip(workers, said, strict=True):
        if worker.returncode:
            raise subprocess.CalledProcessError(worker.returncode, command, stderr=errors)


def _compile_share(made: Path, count: int, mine: int) -> None:
    """Compile each ``count``-th loop, the first being number ``mine``."""
    from numba.core.sigutils import normalize_signature

    loops = [
        (getattr(_load_alone(module), name), kinds)
        for module, of_module in json.loads(KINDS.read_text(encoding="utf-8")).items()
        for name, kinds in of_module.items()
    ]
    for loop, _ in loops:  # all of them: one that another calls is compiled with it
        loop._cache = _Writer(made, loop.py_func)
    for loop, kinds in loops[mine::count]:
        for kind in kinds:
            types, _ = normalize_signature(f"({kind},)")
            loop.compile(types)


def _load_alone(module: str) -> ModuleType:
    """Import a module without its room, which would load libraries that a build does not have."""
    room = module.rpartition(".")[0]
    if room not in sys.modules:
        stand_in = ModuleType(room)
        stand_in.__path__ = [str(PACKAGE.joinpath(*room.split(".")[1:]))]
        sys.modules[room] = stand_in
    return import_module(module)


class _Writer:
    """Stands where numba keeps a loop: loads nothing, and writes what is compiled to the folder."""

    def __init__(self, made: Path, loop: Any) -> None:
        from numba.core.caching import CompileResultCacheImpl

        self._made, self._loop, self._form = made, loop, CompileResultCacheImpl(loop)

    def load_overload(self, _signature: Any, target_context: Any) -> None:
        """Let numba make itself ready for compiling."""
        target_context.refresh()

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Write a loop as numba itself would; one that numba can't keep stops the build."""
        if not self._form.check_cachable(compiled):
            raise ValueError(f"{self._loop.__module__}.{self._loop.__qualname__} can't be kept")
        from numba.core.serialize import dumps

        written = self._made / f"{os.getpid()}"
        written.write_bytes(dumps(self._form.reduce(compiled)))
        written.replace(self._made / file_name(self._loop, signature))


def work(arguments: list[str]) -> None:
    """Compile a share of the loops: what a worker process does.

    Args:
        arguments: folder, number of workers, and the number of this one.
    """
    folder, count, mine = arguments
    _compile_share(Path(folder), int(count), int(mine))
