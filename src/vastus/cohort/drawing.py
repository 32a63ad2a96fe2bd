"""The figures of a cohort, drawn by a second process while this one goes on computing.

A figure is drawn as soon as its data are known. Light: loads nothing yet.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vastus.io.atomic import ensure_folder
from vastus.second_process import SecondProcess

if TYPE_CHECKING:
    from vastus.cohort.figures import FigureTask

LIBRARIES = (
    "pandas",
    "vastus.cohort.figures",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
    "matplotlib.backends.backend_pdf",
    "fontTools.subset",
    "isal.isal_zlib",
)
"""What the second process loads while the first data are computed."""


class FigureFolder:
    """A folder that is filled with figures.

    Args:
        folder: made when the first figure comes.
        beside: draws them.
    """

    def __init__(self, folder: Path, beside: SecondProcess) -> None:
        self._folder, self._beside = folder, beside
        self._tasks: list[FigureTask] = []

    def add(self, task: FigureTask) -> None:
        """Draw a figure, now or soon."""
        if not self._tasks:
            ensure_folder(self._folder)
        self._tasks.append(task)
        self._beside.call(draw, task, self._folder)

    def svg_texts(self) -> dict[str, str]:
        """Wait for all figures.

        Returns:
            Name -> text of the SVG file.

        Raises:
            OutputError: a file can't be written.
        """
        self._beside.finish()
        return {task.name: (self._folder / f"{task.stem}.svg").read_text(encoding="utf-8") for task in self._tasks}


def draw(task: FigureTask, folder: Path) -> None:
    """Draw a figure and save it in a folder."""
    from vastus.cohort.figures import save_figure

    save_figure(task.draw(*task.data), folder / task.stem)
