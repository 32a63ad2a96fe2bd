"""Scores of many cases -> means, and agreement of volumes, by structure, group and as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np

from vastus.anatomy import BUILT_IN, Side, StructureTable
from vastus.evaluation import metrics as m
from vastus.evaluation.agreement import (
    BlandAltman,
    Estimate,
    bland_altman,
    koo_li_band,
    lin_ccc,
    pearson,
)
from vastus.evaluation.icc import icc_2_1, icc_3_1
from vastus.evaluation.policy import Presence
from vastus.io.tables import SIDE, STRUCTURE, SUBJECT

if TYPE_CHECKING:
    import pandas as pd

LEVEL, NAME, METRIC, OVER, FIRST, SECOND = "level", "name", "metric", "over", "first", "second"
REFERENCE_NAME = "reference"
BOTH_SIDES = "both"


class SummaryLevel(Enum):
    """What a row of a summary is about."""

    STRUCTURE = "structure"
    GROUP = "group"
    WHOLE = "whole"


class Over(Enum):
    """Over what mean and SD are taken; what lies below is averaged first."""

    CASES = "cases"
    CLASSES = "classes"


@dataclass(frozen=True, slots=True)
class Slice:
    """Some rows of a table of scores: structures, and one side or both."""

    level: SummaryLevel
    name: str
    keys: tuple[str, ...]
    side: str = BOTH_SIDES

    def of(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of the table that belong to this slice."""
        belongs = table[STRUCTURE].isin(self.keys)
        if self.side != BOTH_SIDES:
            belongs &= table[SIDE] == self.side
        return table[belongs]


def slices(scores: pd.DataFrame, table: StructureTable = BUILT_IN) -> Iterator[Slice]:
    """List every slice of a table of scores: structures by side and together, groups, muscles, bones, foreground."""
    sides = [side.value for side in Side if (scores[SIDE] == side.value).any()]
    for structure in table.rows:
        if len(sides) > 1:
            for side in sides:
                yield Slice(SummaryLevel.STRUCTURE, structure.key, (structure.key,), side)
        yield Slice(SummaryLevel.STRUCTURE, structure.key, (structure.key,))
    for group in table.groups:
        yield Slice(SummaryLevel.GROUP, group.value, tuple(s.key for s in table.structures_of(group)))
    for name, members in (("muscles", table.muscles), ("bones", table.bones), ("foreground", table.rows)):
        yield Slice(SummaryLevel.WHOLE, name, tuple(s.key for s in members))


def summarise(scores: pd.DataFrame, table: StructureTable = BUILT_IN) -> pd.DataFrame:
    """Compute mean, SD (n - 1) and median of every metric and slice, with the numbers of values and of empty masks.

    Args:
        scores: columns of ``table.SCORE_COLUMNS`` and ``subject`` and ``model``.
        table: of the structures.

    Returns:
        Tidy: one row a model, slice, metric and ``over``. ``n`` is the number of cases or classes averaged, ``scores``
        the number of scores behind them, ``no_value`` the number of empty cells left out, and ``missed``, ``invented``,
        ``absent`` count the empty masks.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for model, of_model in scores.groupby(m.MODEL, sort=False):
        for part in slices(of_model, table):
            chosen = part.of(of_model)
            if len(chosen):
                rows.extend(_summary_rows(str(model), part, chosen))
    return pd.DataFrame(rows)


def _summary_rows(model: str, part: Slice, chosen: pd.DataFrame) -> Iterator[dict[str, Any]]:
    counts = {p.value: int((chosen[m.PRESENCE] == p.value).sum()) for p in Presence if p is not Presence.BOTH}
    head = {m.MODEL: model, LEVEL: part.level.value, NAME: part.name, SIDE: part.side}
    over_columns = {Over.CASES: SUBJECT, Over.CLASSES: STRUCTURE}
    for over, column in over_columns.items():
        if over is Over.CLASSES and part.level is SummaryLevel.STRUCTURE:
            continue
        averaged = chosen.groupby(column, sort=False)[list(m.METRIC_COLUMNS)].mean()
        for metric in m.METRIC_COLUMNS:
            values = averaged[metric].dropna()
            missing = int(chosen[metric].isna().sum())
            yield (
                head
                | {
                    METRIC: metric,
                    OVER: over.value,
                    "mean": values.mean(),
                    "sd": values.std(ddof=1),
                    "median": values.median(),
                    "n": len(values),
                    "scores": len(chosen) - missing,
                    "no_value": missing,
                }
                | counts
            )


def agreement_of(scores: pd.DataFrame, table: StructureTable = BUILT_IN) -> pd.DataFrame:
    """Compute the agreement of volumes over cases, of every model with the reference and of the models together.

    Volumes of a slice are summed within a case (both sides; all structures of a group). A missed or invented structure
    enters with 0 mm3; a case in which both volumes are 0 is left out and counted in ``absent``.

    Returns:
        Tidy: one row a pair and slice: n, Pearson r, ICC(2,1), ICC(3,1), Lin's CCC with 95% limits, Koo & Li bands,
        Bland-Altman bias (first - second) and limits in mm3.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    models = [str(name) for name in scores[m.MODEL].unique()]
    for part in slices(scores, table):
        chosen = part.of(scores)
        if not len(chosen):
            continue
        series = case_volumes(chosen, models)
        pairs = [(name, REFERENCE_NAME) for name in models]
        pairs += [(a, b) for i, a in enumerate(models) for b in models[i + 1 :]]
        for first, second in pairs:
            head = {FIRST: first, SECOND: second, LEVEL: part.level.value, NAME: part.name, SIDE: part.side}
            rows.append(head | _agreement_cells(series[first], series[second]))
    return pd.DataFrame(rows)


def case_volumes(chosen: pd.DataFrame, models: list[str]) -> dict[str, pd.Series]:
    """Sum the volume in mm3 of some rows of a table of scores: each case, by every model and by the reference."""
    series = {name: _summed(chosen[chosen[m.MODEL] == name], m.VOLUME_PREDICTION_MM3) for name in models}
    return series | {REFERENCE_NAME: _summed(chosen[chosen[m.MODEL] == models[0]], m.VOLUME_REFERENCE_MM3)}


def _summed(chosen: pd.DataFrame, column: str) -> pd.Series:
    return chosen.groupby(SUBJECT, sort=True)[column].sum()


def _agreement_cells(first: pd.Series, second: pd.Series) -> dict[str, Any]:
    both = np.stack([first.to_numpy(float), second.reindex(first.index).to_numpy(float)], axis=1)
    present = (both > 0).any(axis=1)
    x, y = both[present].T
    icc2, icc3 = icc_2_1(both[present]), icc_3_1(both[present])
    cells: dict[str, Any] = {"n": int(present.sum()), "absent": int((~present).sum())}
    cells |= _estimate_cells("pearson_r", pearson(x, y))
    cells |= _estimate_cells("icc_2_1", icc2)
    cells |= {"icc_2_1_band": koo_li_band(icc2.value).value}
    cells |= {"icc_2_1_low_band": koo_li_band(icc2.low).value, "icc_2_1_high_band": koo_li_band(icc2.high).value}
    cells |= _estimate_cells("icc_3_1", icc3)
    cells |= {"icc_3_1_band": koo_li_band(icc3.value).value}
    cells |= _estimate_cells("lin_ccc", lin_ccc(x, y))
    return cells | _bland_altman_cells(bland_altman(x, y))


def _estimate_cells(name: str, estimate: Estimate) -> dict[str, float]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _bland_altman_cells(result: BlandAltman) -> dict[str, float]:
    cells = _estimate_cells("bias_mm3", result.bias) | {"difference_sd_mm3": result.sd}
    cells |= _estimate_cells("lower_limit_mm3", result.lower_limit)
    return cells | _estimate_cells("upper_limit_mm3", result.upper_limit)
