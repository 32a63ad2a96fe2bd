"""The figures of a cohort, drawn by a second process while this one goes on computing.

A figure is drawn as soon as its data are known. Where there is only one processor, or where the second process fails,
the figures are drawn here, and whatever is wrong is told from here.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from vastus.cohort.figures import FigureTask, save_figure
from vastus.io.atomic import ensure_folder
from vastus.processors import usable_processors


class FigureFolder:
    """A folder that is filled with figures.

    Args:
        folder: made when the first figure comes.
        beside: draw in a second process.
    """

    def __init__(self, folder: Path, *, beside: bool) -> None:
        self._folder = folder
        self._tasks: list[FigureTask] = []
        # What is sent waits until the process has loaded its libraries: this one must not wait for that.
        self._sender = ThreadPoolExecutor(1)
        self._sent: list[Future[None]] = []
        self._process = _start(folder) if beside else None

    def add(self, task: FigureTask) -> None:
        """Draw a figure, now or soon."""
        if not self._tasks:
            ensure_folder(self._folder)
        self._tasks.append(task)
        if self._process is not None:
            self._sent.append(self._sender.submit(self._send, task))

    def svg_texts(self) -> dict[str, str]:
        """Wait for all figures.

        Returns:
            Name -> text of the SVG file.

        Raises:
            OutputError: a file can't be written.
        """
        if not self._is_drawn_beside():
            for task in self._tasks:
                _draw(task, self._folder)
        return {task.name: (self._folder / f"{task.stem}.svg").read_text(encoding="utf-8") for task in self._tasks}

    def close(self) -> None:
        """End the second process, whatever it does."""
        self._sender.shutdown(wait=False, cancel_futures=True)
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdin is not None:
                with contextlib.suppress(OSError):
                    self._process.stdin.close()

    def _send(self, task: FigureTask) -> None:
        assert self._process is not None and self._process.stdin is not None
        pickle.dump(task, self._process.stdin)
        self._process.stdin.flush()

    def _is_drawn_beside(self) -> bool:
        if self._process is None or self._process.stdin is None:
            return False
        try:
            for sent in self._sent:
                sent.result()
            self._process.stdin.close()
        except OSError:  # it ended before it had read everything
            return False
        return self._process.wait() == 0


@contextmanager
def open_figure_folder(folder: Path) -> Iterator[FigureFolder]:
    """Begin to draw figures into a folder; a second process does it where there is a processor for it.

    Args:
        folder: of the figures.
    """
    figures = FigureFolder(folder, beside=usable_processors() > 1)
    try:
        yield figures
    finally:
        figures.close()


def _start(folder: Path) -> subprocess.Popen[bytes] | None:
    silent = subprocess.DEVNULL
    # -P: modules that lie in the folder where somebody works are none of ours.
    command = [sys.executable, "-P", "-m", __name__, str(folder)]
    environment = os.environ | {"MPLBACKEND": "agg"}
    try:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=silent, stderr=silent, env=environment)
    except OSError:  # no memory for it, or no right to start programs
        return None


def _draw(task: FigureTask, folder: Path) -> None:
    save_figure(task.draw(*task.data), folder / task.stem)


def main() -> None:
    """Draw what comes through the standard input, from the process that started this one, until it ends."""
    import matplotlib.pyplot
    import pandas  # noqa: F401  # both while the first data are computed

    del matplotlib
    while True:
        try:
            task = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        _draw(task, Path(sys.argv[1]))


if __name__ == "__main__":
    main()
