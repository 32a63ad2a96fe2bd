"""Scores -> what the figures of an evaluation show. Plain arrays: the process that draws them need not load pandas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BUILT_IN, StructureTable
from vastus.evaluation import metrics as m
from vastus.evaluation.metrics import Metric
from vastus.io.tables import STRUCTURE, SUBJECT

if TYPE_CHECKING:
    import pandas as pd

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


def figure_data(scores: pd.DataFrame, table: StructureTable = BUILT_IN) -> tuple[ModelFigures, ...]:
    """Gather what the figures show, model by model, in the order given.

    Args:
        scores: one row a case, model, structure and side.
        table: of the structures.
    """
    of_models: Any = scores.groupby(m.MODEL, sort=False)
    return tuple(
        ModelFigures(str(name), {metric.column: _scores_of(rows, metric) for metric in BOXED}, _volumes_of(rows, table))
        for name, rows in of_models
    )


def _scores_of(rows: Any, metric: Metric) -> dict[str, Values]:
    structures, values = rows[STRUCTURE].to_numpy(), rows[metric.column].to_numpy(float)
    filled = ~np.isnan(values)
    return {str(key): values[filled & (structures == key)] for key in dict.fromkeys(structures)}


def _volumes_of(rows: Any, table: StructureTable) -> CaseVolumes:
    # All structures in one grouping: pandas needs a millisecond for each.
    summed = rows.groupby([STRUCTURE, SUBJECT], sort=True)[_VOLUMES].sum()
    structures, volumes = summed.index.get_level_values(0).to_numpy(), summed.to_numpy(float) / _MM3_PER_CM3
    found: CaseVolumes = {}
    for structure in table.rows:
        both = volumes[structures == structure.key]
        both = both[(both > 0).any(axis=1)]
        if len(both):
            found[structure.key] = both[:, 0], both[:, 1]
    return found
