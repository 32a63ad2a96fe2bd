"""The figures of an evaluation, drawn by a second process while this one makes the tables. Light: loads nothing yet."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from vastus.second_process import SecondProcess

if TYPE_CHECKING:
    from vastus.anatomy import StructureTable
    from vastus.evaluation.table import ScoreRow

FIGURES_FOLDER = "figures"
LIBRARIES = (
    "isal.isal_zlib",
    "vastus.evaluation.figures",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
)
"""What the second process loads while this one loads its own libraries and scores: no pandas, which drawing spares."""


def draw_into(folder: Path, scores: list[ScoreRow], table: StructureTable, beside: SecondProcess) -> None:
    """Let the figures of an evaluation be drawn into its folder (made if needed), each by a call of its own.

    Args:
        folder: of the evaluation.
        scores: one row a case, model, structure and side.
        table: of the structures.
        beside: draws them.

    Raises:
        OutputError: the folder can't be written to.
    """
    for call in _calls(folder, scores, table):
        beside.call(call)


def draw_here(folder: Path, scores: list[ScoreRow], table: StructureTable) -> list[Path]:
    """Draw the figures of an evaluation into its folder in this process; return the files.

    Args:
        folder: of the evaluation.
        scores: one row a case, model, structure and side.
        table: of the structures.

    Raises:
        OutputError: the folder can't be written to.
    """
    return [path for call in _calls(folder, scores, table) for path in call()]


def _calls(folder: Path, scores: list[ScoreRow], table: StructureTable) -> list[Callable[[], list[Path]]]:
    """One call a figure, which writes it and returns its files."""
    from vastus.evaluation.figure_data import figure_data
    from vastus.evaluation.figures import figure_tasks, write_figure
    from vastus.io.atomic import ensure_folder

    into = ensure_folder(folder / FIGURES_FOLDER)
    return [partial(write_figure, task, into) for task in figure_tasks(figure_data(scores, table), table)]
