"""The figures of an evaluation, drawn by a second process while this one makes the tables. Light: loads nothing yet."""

from __future__ import annotations

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
    from vastus.evaluation.figure_data import figure_data
    from vastus.evaluation.figures import figure_tasks, write_figure
    from vastus.io.atomic import ensure_folder

    into = ensure_folder(folder / FIGURES_FOLDER)
    for task in figure_tasks(figure_data(scores, table), table):
        beside.call(write_figure, task, into)
