"""Which structures a project draws: one table for all its labels, as long as it lives."""

from __future__ import annotations

from pathlib import Path

from vastus.anatomy import BUILT_IN, StructureTable
from vastus.errors import SettingsError, VastusError
from vastus.inference.bundle import load_bundle
from vastus.io.own_structures import extends
from vastus.io.structure_tables import read_structure_table, write_structure_table
from vastus.io.tables import STRUCTURE_TABLE_FILE


def choose_structures(state: Path, *, given: Path | None, weights: Path | None, has_labels: bool) -> StructureTable:
    """Find the table of a project, and keep it for the next start.

    A table file that is given counts first, then what the project had, then the table of the weights.

    Args:
        state: folder in which the project keeps its table.
        given: a table file, or none.
        weights: bundle to begin with, or none.
        has_labels: whether the project has labels already. Then structures may only come at the end of the table:
            others would change what the stored label values mean.

    Raises:
        MissingInputError, SettingsError: the table file is missing or wrong, or has other structures than the labels.
    """
    path = state / STRUCTURE_TABLE_FILE
    kept = read_structure_table(path) if path.is_file() else None
    if given is not None:
        wanted = read_structure_table(given)
    elif kept is not None:
        return kept
    else:
        wanted = table_of_weights(weights)
    before = kept or BUILT_IN
    if has_labels and not extends(wanted, before):
        raise SettingsError(
            f"This folder has labels already, of other structures ({', '.join(s.key for s in before.rows[:4])} ...).",
            path=given or weights,
            remedy="Give a folder of its own to each table of structures. New structures may be added at its end.",
        )
    if not wanted.is_built_in or kept is not None:
        write_structure_table(wanted, path)
    return wanted


def table_of_weights(weights: Path | None) -> StructureTable:
    """Find the table of weights; the built-in one where they can't be used, which the list of models will say."""
    try:
        return BUILT_IN if weights is None else load_bundle(weights).info.table
    except VastusError:
        return BUILT_IN
