"""Scores -> what the figures of an evaluation show. Plain arrays: the process that draws them need not load pandas."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BUILT_IN, StructureTable
from vastus.evaluation import metrics as m
from vastus.evaluation.metrics import Metric
from vastus.io.tables import STRUCTURE, SUBJECT

if TYPE_CHECKING:
    from vastus.evaluation.table import ScoreRow

Values = NDArray[np.float64]
CaseVolumes = dict[str, tuple[Values, Values]]

BOXED = (m.DICE, m.ASSD, m.HD95)
"""Metrics with a box plot."""

_MM3_PER_CM3 = 1000.0
_VOLUMES = [m.VOLUME_PREDICTION_MM3, m.VOLUME_REFERENCE_MM3]
_NOTHING = np.empty(0)


@dataclass(frozen=True, slots=True, eq=False)
class ModelFigures:
    """What the figures show of a model or reader.

    Attributes:
        name: of the model.
        scores: by column of the metric, then by structure: all sides and cases, without empty cells.
        volumes: by structure: predicted and reference volume in cm3 of the cases that hold it, sides summed.
    """

    name: str
    scores: Mapping[str, Mapping[str, Values]]
    volumes: CaseVolumes

    def of(self, metric: Metric, structure: str) -> Values:
        """Return the scores of a structure; none where it was not scored."""
        return self.scores[metric.column].get(structure, _NOTHING)


def figure_data(scores: Iterable[ScoreRow], table: StructureTable = BUILT_IN) -> tuple[ModelFigures, ...]:
    """Gather what the figures show, model by model, in the order given.

    Args:
        scores: one row a case, model, structure and side.
        table: of the structures.
    """
    of_models: dict[str, list[ScoreRow]] = {}
    for row in scores:
        of_models.setdefault(str(row[m.MODEL]), []).append(row)
    return tuple(
        ModelFigures(name, {metric.column: _scores_of(rows, metric) for metric in BOXED}, _volumes_of(rows, table))
        for name, rows in of_models.items()
    )


def _scores_of(rows: list[ScoreRow], metric: Metric) -> dict[str, Values]:
    found: dict[str, list[float]] = {}
    for row in rows:
        values = found.setdefault(row[STRUCTURE], [])
        if not math.isnan(row[metric.column]):
            values.append(row[metric.column])
    return {key: np.array(values, np.float64) for key, values in found.items()}


def _volumes_of(rows: list[ScoreRow], table: StructureTable) -> CaseVolumes:
    of_structures: dict[str, dict[str, list[ScoreRow]]] = {}
    for row in rows:
        of_structures.setdefault(row[STRUCTURE], {}).setdefault(row[SUBJECT], []).append(row)
    found: CaseVolumes = {}
    for structure in table.rows:
        cases = sorted(of_structures.get(structure.key, {}).items())
        of_cases = [[math.fsum(row[column] for row in of_case) for column in _VOLUMES] for _, of_case in cases]
        both = np.array(of_cases, np.float64).reshape(-1, 2) / _MM3_PER_CM3
        both = both[(both > 0).any(axis=1)]
        if len(both):
            found[structure.key] = both[:, 0], both[:, 1]
    return found
