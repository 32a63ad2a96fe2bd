"""Run an installed ``vastus`` in the background. Nothing of 3D Slicer is imported here, so that it can be tested alone.

Written for Python 3.9, which 3D Slicer 5.0 to 5.6 bring.
"""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

SEGMENTS_FILE = "labels.seg.nrrd"
"""What ``vastus segment -f seg.nrrd`` calls its result for 3D Slicer."""
CANCELLED = "Cancelled."
_OF_SLICER = (
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONNOUSERSITE",
    "PYTHONSTARTUP",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "DYLD_FALLBACK_LIBRARY_PATH",
    "QT_PLUGIN_PATH",
    "SSL_CERT_FILE",
)
"""Variables by which 3D Slicer finds its own Python and libraries; another Python would load the wrong ones."""
_ENDING_S = 10.0
_KEPT_LINES = 200


class CanNotRun(Exception):
    """The program can't be started, or failed; the message says what to do."""


def find_program(saved: str = "") -> str:
    """Give the path of ``vastus``: the one that was chosen before, else the one in the search path, else nothing."""
    if saved and Path(saved).is_file():
        return saved
    return shutil.which("vastus") or ""


def plain_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Give the environment without what belongs to 3D Slicer's own Python, and with UTF-8 for what is printed."""
    kept = {name: value for name, value in environment.items() if name not in _OF_SLICER}
    return {**kept, "PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "1"}


def command_of(program: str, scan: Path, output: Path, threads: int = 0, weights: str = "") -> list[str]:
    """Make the command line.

    Args:
        program: path of ``vastus``.
        scan: the exported volume.
        output: folder of the results.
        threads: 0 lets the program choose.
        weights: folder of a bundle or name of one; empty: the usual ones.

    Raises:
        CanNotRun: no program was chosen, or it is not there.
    """
    if not program:
        raise CanNotRun("Choose where vastus is. Install it with: pip install vastus")
    if not Path(program).is_file():
        raise CanNotRun(f"There is no program {program}.")
    command = [program, "segment", str(scan), "-o", str(output), "-f", "seg.nrrd"]
    if threads > 0:
        command += ["--threads", str(threads)]
    if weights:
        command += ["--weights", weights]
    return command


class Run:
    """One run of the program; asked again and again by a timer, it never makes the window wait."""

    def __init__(self, command: list[str], environment: Mapping[str, str]) -> None:
        """Start the program.

        Raises:
            CanNotRun: the system can't start it.
        """
        self.lines: list[str] = []
        self._new: queue.Queue[str] = queue.Queue()
        self._cancelled = False
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                text=True,
                encoding="utf-8",
                errors="replace",
                **_without_window(),
            )
        except OSError as error:
            raise CanNotRun(f"{command[0]} can't be started ({error.strerror}).") from error
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    def new_lines(self) -> list[str]:
        """Give what was printed since the last call."""
        found = []
        while True:
            try:
                found.append(self._new.get_nowait())
            except queue.Empty:
                break
        self.lines = (self.lines + found)[-_KEPT_LINES:]
        return found

    def ended(self) -> bool:
        """Say whether the program is over and all that it printed was read."""
        return self._process.poll() is not None and not self._reader.is_alive()

    def cancel(self) -> None:
        """End the program; it removes what it has not finished."""
        self._cancelled = True
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_ENDING_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def result(self, output: Path) -> Path:
        """Give the segmentation of a run that has ended.

        Args:
            output: as in its command.

        Raises:
            CanNotRun: it was cancelled or failed; with the program's own words.
        """
        self.new_lines()
        if self._cancelled:
            raise CanNotRun(CANCELLED)
        code = self._process.returncode
        if code != 0:
            raise CanNotRun(explanation(code, self.lines))
        path = output / SEGMENTS_FILE
        if not path.is_file():
            raise CanNotRun(f"vastus wrote no {SEGMENTS_FILE}. It may be too old: pip install --upgrade vastus")
        return path

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                if line.strip():
                    self._new.put(line.rstrip())


def explanation(code: int | None, lines: list[str]) -> str:
    """Give the program's last word on why it failed."""
    said = [line for line in lines if line.startswith("vastus: ") or "Error" in line]
    return (said or lines or [f"vastus ended without a word (exit code {code})."])[-1]


def _without_window() -> dict[str, Any]:
    """On Windows, a program of the console would open a black window."""
    if sys.platform == "win32":
        return {"creationflags": getattr(subprocess, "CREATE_NO_WINDOW", 0x08000000)}
    return {}


def current_environment() -> dict[str, str]:
    """Give this process' environment, where 3D Slicer does not say which one it was started with."""
    return dict(os.environ)
