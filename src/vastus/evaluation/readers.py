"""Agreement of any number of readers on volumes over cases: the six intraclass correlations, by structure and group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vastus.anatomy import BUILT_IN, StructureTable
from vastus.evaluation import metrics as m
from vastus.evaluation.agreement import koo_li_band
from vastus.evaluation.icc import IccForm, complete_ratings, icc
from vastus.evaluation.slices import case_volumes, filled_slices
from vastus.evaluation.summary import LEVEL, NAME, REFERENCE_NAME
from vastus.io.tables import SIDE

if TYPE_CHECKING:
    import pandas as pd

READERS, READER_COUNT, CASES, ABSENT = "readers", "reader_count", "n", "absent"
BETWEEN = "; "


def column_of(form: IccForm) -> str:
    """Return the column of a form: ``icc_2_k`` for ICC(2,k)."""
    return form.value.lower().replace("(", "_").replace(",", "_").removesuffix(")")


def readers_of(scores: pd.DataFrame, table: StructureTable = BUILT_IN) -> pd.DataFrame:
    """Compute the agreement of all readers at once, without the reference and with it as one more reader.

    Volumes of a slice are summed within a case. A structure that a reader did not draw enters with 0 mm3; a case in
    which no reader has it is left out and counted in ``absent``.

    Args:
        scores: columns of ``table.SCORE_COLUMNS`` and ``subject`` and ``model``.

    Returns:
        Tidy: one row a set of readers and slice: their names and number, n cases, the six forms with 95% limits and the
        bands of Koo & Li.
    """
    import pandas as pd

    models = [str(name) for name in scores[m.MODEL].unique()]
    sets = [models] if len(models) > 1 else []
    sets.append([*models, REFERENCE_NAME])
    rows: list[dict[str, Any]] = []
    filled = list(filled_slices(scores, table))
    volumes = case_volumes(scores, [rows for _, rows in filled], models)
    every = np.concatenate([volumes.of_models, volumes.of_reference[None]])
    columns = {name: number for number, name in enumerate([*models, REFERENCE_NAME])}
    for number, (part, _) in enumerate(filled):
        known = ~np.isnan(every[:, number]).all(axis=0)
        cases = [case for case, is_known in zip(volumes.cases, known, strict=True) if is_known]
        for names in sets:
            of_names = every[[columns[name] for name in names], number][:, known].T
            ratings = complete_ratings(of_names, cases, names).table
            present = (ratings > 0).any(axis=1)
            head = {READERS: BETWEEN.join(names), READER_COUNT: len(names)}
            head |= {LEVEL: part.level.value, NAME: part.name, SIDE: part.side}
            rows.append(head | {CASES: int(present.sum()), ABSENT: int((~present).sum())} | _cells(ratings[present]))
    return pd.DataFrame(rows)


def _cells(ratings: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for form in IccForm:
        found, column = icc(ratings, form), column_of(form)
        cells |= {column: found.value, f"{column}_low": found.low, f"{column}_high": found.high}
        cells[f"{column}_band"] = koo_li_band(found.value).value
    return cells
