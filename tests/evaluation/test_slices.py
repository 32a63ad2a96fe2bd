"""Sums and means of all slices at once against pandas, slice by slice."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from vastus.anatomy import STRUCTURES
from vastus.evaluation import metrics as m
from vastus.evaluation.slices import case_volumes, filled_slices, grouped_means
from vastus.evaluation.summary import summarise
from vastus.io.tables import BOTH_SIDES

MODELS = ("b", "a")


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    """Two models, nine cases out of order, empty cells, and rows that are missing."""
    rng = np.random.default_rng(3)
    heads = [
        (f"case{case}", model, s.key, s.group.value, side)
        for case in rng.permutation(9)
        for model in MODELS
        for s in STRUCTURES
        for side in ("right", "left")
    ]
    table = pd.DataFrame(heads, columns=["subject", "model", "structure", "group", "side"])
    for metric in m.METRIC_COLUMNS:
        table[metric] = np.where(rng.random(len(table)) < 0.1, np.nan, rng.random(len(table)))
    table["presence"] = rng.choice(["both", "missed", "invented", "absent"], len(table))
    for column in (m.VOLUME_PREDICTION_MM3, m.VOLUME_REFERENCE_MM3):
        table[column] = rng.random(len(table)) * 1e5
    return table.drop(index=rng.choice(len(table), len(table) // 5, replace=False)).reset_index(drop=True)


def _rows(scores: pd.DataFrame, part) -> pd.DataFrame:
    belongs = scores["structure"].isin(part.keys)
    return scores[belongs & (scores["side"] == part.side)] if part.side != BOTH_SIDES else scores[belongs]


def test_every_slice_has_its_rows(scores):
    filled = list(filled_slices(scores))
    assert len(filled) == len(STRUCTURES) * 3 + 6 + 3
    for part, rows in filled:
        pd.testing.assert_frame_equal(scores.iloc[rows], _rows(scores, part))


def test_a_slice_without_rows_is_left_out(scores):
    without = scores[scores["structure"] != "femur"]
    assert "femur" not in {part.name for part, _ in filled_slices(without)}


@pytest.mark.parametrize("column", ["subject", "structure"])
def test_means_within_groups_are_those_of_each_slice_alone(scores, column):
    filled = list(filled_slices(scores))
    found = grouped_means(scores, [rows for _, rows in filled], column)
    for (part, _), means in zip(filled, found, strict=True):
        alone = _rows(scores, part).groupby(column, sort=False)[list(m.METRIC_COLUMNS)].mean()
        # pandas adds up without a fixed order where it does not sort: the last bit may differ.
        np.testing.assert_allclose(means, alone.to_numpy(), rtol=1e-15)


def test_volumes_within_cases_are_those_of_each_slice_alone(scores):
    filled = list(filled_slices(scores))
    volumes = case_volumes(scores, [rows for _, rows in filled], MODELS)
    for number, (part, _) in enumerate(filled):
        chosen = _rows(scores, part)
        for place, model in enumerate(MODELS):
            of_model = chosen[chosen["model"] == model].groupby("subject", sort=True)
            alone = of_model[m.VOLUME_PREDICTION_MM3].sum().reindex(volumes.cases)
            np.testing.assert_array_equal(volumes.of_models[place, number], alone.to_numpy())
            if place == 0:
                reference = of_model[m.VOLUME_REFERENCE_MM3].sum().reindex(volumes.cases)
                np.testing.assert_array_equal(volumes.of_reference[number], reference.to_numpy())


def test_means_deviations_and_medians_are_those_of_pandas(scores):
    of_model = scores[scores["model"] == "a"]
    summary = summarise(of_model)
    for part, _ in filled_slices(of_model):
        means = _rows(of_model, part).groupby("subject", sort=False)[list(m.METRIC_COLUMNS)].mean()
        rows = summary[(summary["name"] == part.name) & (summary["side"] == part.side) & (summary["over"] == "cases")]
        for metric, row in rows.set_index("metric").iterrows():
            values = means[metric].dropna()
            expected = (values.mean(), values.std(ddof=1), values.median(), len(values))
            assert (row["mean"], row["sd"], row["median"], row["n"]) == pytest.approx(expected, rel=1e-14, nan_ok=True)
