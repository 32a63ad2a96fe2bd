"""The slices of a table of scores, and sums and means of all of them at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BUILT_IN, Side, StructureTable
from vastus.evaluation import metrics as m
from vastus.io.tables import BONES, BOTH_SIDES, FOREGROUND, MUSCLES, SIDE, STRUCTURE, SUBJECT

if TYPE_CHECKING:
    import pandas as pd

Rows = NDArray[np.intp]
Cells = NDArray[np.float64]


class SummaryLevel(Enum):
    """What a row of a summary is about."""

    STRUCTURE = "structure"
    GROUP = "group"
    WHOLE = "whole"


@dataclass(frozen=True, slots=True)
class Slice:
    """Some rows of a table of scores: structures, and one side or both."""

    level: SummaryLevel
    name: str
    keys: tuple[str, ...]
    side: str = BOTH_SIDES


def slices(scores: pd.DataFrame, table: StructureTable = BUILT_IN) -> Iterator[Slice]:
    """List every slice of a table of scores: structures by side and together, groups, muscles, bones, foreground."""
    told = set(scores[SIDE].unique())
    sides = [side.value for side in Side if side.value in told]
    for structure in table.rows:
        if len(sides) > 1:
            for side in sides:
                yield Slice(SummaryLevel.STRUCTURE, structure.key, (structure.key,), side)
        yield Slice(SummaryLevel.STRUCTURE, structure.key, (structure.key,))
    for group in table.groups:
        yield Slice(SummaryLevel.GROUP, group.value, tuple(s.key for s in table.structures_of(group)))
    for name, members in ((MUSCLES, table.muscles), (BONES, table.bones), (FOREGROUND, table.rows)):
        yield Slice(SummaryLevel.WHOLE, name, tuple(s.key for s in members))


def filled_slices(scores: pd.DataFrame, table: StructureTable = BUILT_IN) -> Iterator[tuple[Slice, Rows]]:
    """List the slices that have rows, with the positions of their rows in the table."""
    structures = scores[STRUCTURE].to_numpy()
    of_structure = {key: structures == key for key in dict.fromkeys(structures)}
    of_side = {side.value: scores[SIDE].to_numpy() == side.value for side in Side}
    nothing = np.zeros(len(scores), np.bool_)
    for part in slices(scores, table):
        belongs = nothing.copy()
        for key in part.keys:
            belongs |= of_structure.get(key, nothing)
        if part.side != BOTH_SIDES:
            belongs &= of_side[part.side]
        rows = np.flatnonzero(belongs)
        if len(rows):
            yield part, rows


def grouped_means(scores: pd.DataFrame, parts: Sequence[Rows], column: str) -> list[Cells]:
    """Average every metric within each value of a column, for each slice.

    One grouping of all slices: pandas needs a millisecond for each. The last bit may differ from that of a slice alone.

    Args:
        scores: table of scores.
        parts: positions of the rows of each slice.
        column: within whose values is averaged.

    Returns:
        For each slice shape (values in the order they come, metrics).
    """
    every = np.concatenate(parts) if parts else np.empty(0, np.intp)
    number = np.repeat(np.arange(len(parts)), [len(rows) for rows in parts])
    chosen: Any = scores[list(m.METRIC_COLUMNS)].iloc[every]
    means = chosen.groupby([number, scores[column].to_numpy()[every]], sort=False).mean()
    owner = means.index.get_level_values(0).to_numpy()
    return np.split(means.to_numpy(float), np.searchsorted(owner, np.arange(1, len(parts)))) if parts else []


@dataclass(frozen=True, slots=True, eq=False)
class CaseVolumes:
    """Volumes of the slices by case, by every model and by the reference.

    Attributes:
        cases: names, sorted.
        of_models: (models, slices, cases), in mm3; NaN where the slice has no row of the case.
        of_reference: (slices, cases), likewise, from the rows of the first model.
    """

    cases: tuple[str, ...]
    of_models: Cells
    of_reference: Cells


def case_volumes(scores: pd.DataFrame, parts: Sequence[Rows], models: Sequence[str]) -> CaseVolumes:
    """Sum the volumes of every slice within each case.

    Args:
        scores: table of scores.
        parts: positions of the rows of each slice.
        models: names, in the order of the result.
    """
    import pandas as pd

    case_of, cases = pd.factorize(scores[SUBJECT], sort=True)
    model_of = pd.Categorical(scores[m.MODEL], categories=list(models)).codes
    every = np.concatenate(parts) if parts else np.empty(0, np.intp)
    number = np.repeat(np.arange(len(parts)), [len(rows) for rows in parts])
    groups = [model_of[every], number, case_of[every]]
    volumes = np.full((2, len(models), len(parts), len(cases)), np.nan)
    for side, column in enumerate((m.VOLUME_PREDICTION_MM3, m.VOLUME_REFERENCE_MM3)):
        chosen: Any = scores[column].iloc[every]
        summed = chosen.groupby(groups, sort=True).sum()  # without sorting, pandas adds up less exactly
        places = tuple(summed.index.get_level_values(level).to_numpy() for level in range(3))
        volumes[side][places] = summed.to_numpy(float)
    return CaseVolumes(tuple(map(str, cases)), volumes[0], volumes[1, 0])
