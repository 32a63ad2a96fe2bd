from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from vastus.anatomy import STRUCTURES
from vastus.evaluation import metrics as m
from vastus.evaluation.comparison import compare_models, holm, paired_test
from vastus.evaluation.icc import icc_2_1
from vastus.evaluation.summary import agreement_of, summarise


def _scores(models=("a",), cases=4, seed=0):
    """A table of scores with plain numbers: Dice of case c, structure s is 0.5 + c / 10 + s / 1000."""
    rng = np.random.default_rng(seed)
    rows = []
    for c in range(cases):
        for number, model in enumerate(models):
            for s in STRUCTURES:
                for side in ("right", "left"):
                    row = dict.fromkeys(m.METRIC_COLUMNS, 0.5 + c / 10 + s.class_id / 1000 - number / 100)
                    reference = 1000.0 * (s.class_id + c)
                    row |= {
                        "subject": f"case{c}",
                        "model": model,
                        "structure": s.key,
                        "group": s.group.value,
                        "side": side,
                        "presence": "both",
                        m.VOLUME_REFERENCE_MM3: reference,
                        m.VOLUME_PREDICTION_MM3: reference * (1.1 + number / 10) + rng.normal(0, 5),
                    }
                    rows.append(row)
    return pd.DataFrame(rows)


def _one(table, **wanted):
    for column, value in wanted.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_means_and_sd_over_cases_and_over_classes():
    summary = summarise(_scores())
    over_cases = _one(summary, name="foreground", metric="dice", over="cases")
    assert over_cases["mean"] == pytest.approx(0.65 + 15 / 1000)
    assert over_cases["sd"] == pytest.approx(np.std([0, 0.1, 0.2, 0.3], ddof=1))
    assert (over_cases["n"], over_cases["scores"]) == (4, 4 * 58)
    over_classes = _one(summary, name="foreground", metric="dice", over="classes")
    assert over_classes["mean"] == pytest.approx(over_cases["mean"])
    assert over_classes["sd"] == pytest.approx(np.std(np.arange(1, len(STRUCTURES) + 1) / 1000, ddof=1))
    assert over_classes["n"] == len(STRUCTURES)
    muscles = _one(summary, name="muscles", metric="dice", over="classes")
    assert muscles["mean"] == pytest.approx(0.65 + 14 / 1000)
    assert _one(summary, name="posterior", metric="dice", over="cases")["scores"] == 4 * 6
    assert _one(summary, name="femur", side="left", metric="dice", over="cases")["mean"] == pytest.approx(0.65 + 0.028)


def test_empty_masks_are_counted_and_never_dropped_silently():
    scores = _scores()
    gone = (scores["structure"] == "psoas") & (scores["subject"] == "case1") & (scores["side"] == "left")
    scores.loc[gone, "presence"] = "invented"
    scores.loc[gone, "ravd_signed_percent"] = np.nan
    summary = summarise(scores)
    row = _one(summary, name="psoas", side="both", metric="ravd_signed_percent", over="cases")
    assert (row["invented"], row["no_value"], row["scores"], row["n"]) == (1, 1, 7, 4)
    whole = _one(summary, name="foreground", metric="ravd_signed_percent", over="cases")
    assert (whole["invented"], whole["missed"], whole["absent"]) == (1, 0, 0)


def test_agreement_sums_sides_and_structures_within_a_case():
    scores = _scores()
    table = agreement_of(scores)
    row = _one(table, name="femur", side="both", first="a")
    chosen = scores[scores["structure"] == "femur"].groupby("subject")
    volumes = np.stack([chosen[m.VOLUME_PREDICTION_MM3].sum(), chosen[m.VOLUME_REFERENCE_MM3].sum()], axis=1)
    assert row["icc_2_1"] == pytest.approx(icc_2_1(volumes).value)
    assert row["bias_mm3"] == pytest.approx((volumes[:, 0] - volumes[:, 1]).mean())
    assert row["n"] == 4
    assert _one(table, name="foreground")["bias_mm3"] == pytest.approx(0.1 * 2000 * (29 * 15 + 29 * 1.5), rel=0.01)


def test_two_readers_are_compared_with_each_other_too():
    table = agreement_of(_scores(models=("a", "b")))
    pairs = set(zip(table["first"], table["second"], strict=True))
    assert pairs == {("a", "reference"), ("b", "reference"), ("a", "b")}
    between = _one(table, first="a", second="b", name="gluteus_maximus", side="both")
    assert between["bias_mm3"] < 0


def test_cases_without_the_structure_are_counted_apart():
    scores = _scores()
    gone = (scores["structure"] == "psoas") & (scores["subject"] == "case1")
    scores.loc[gone, [m.VOLUME_PREDICTION_MM3, m.VOLUME_REFERENCE_MM3]] = 0.0
    row = _one(agreement_of(scores), name="psoas", side="both")
    assert (row["n"], row["absent"]) == (3, 1)


def test_wilcoxon_of_all_better_pairs_is_the_smallest_exact_p():
    first = np.array([0.5, 0.61, 0.73, 0.84, 0.95, 0.99])
    test = paired_test(first, first - np.array([0.01, 0.02, 0.03, 0.04, 0.05, 0.06]))
    assert test.p_value == pytest.approx(2 / 2**6)
    assert test.rank_biserial == 1.0
    assert test.median_difference == pytest.approx(0.035)


def test_no_difference_and_no_pairs_are_no_errors():
    same = paired_test(np.ones(5), np.ones(5))
    assert (same.p_value, same.ties, same.rank_biserial) == (1.0, 5, 0.0)
    nothing = paired_test(np.array([np.nan]), np.array([1.0]))
    assert nothing.pairs == 0
    assert np.isnan(nothing.p_value)


def test_holm_by_hand():
    # Sorted 0.01, 0.03, 0.04: times 3, 2, 1, never falling.
    np.testing.assert_allclose(holm(np.array([0.04, np.nan, 0.01, 0.03])), [0.06, np.nan, 0.03, 0.06])


def test_comparison_tests_each_case_once_and_corrects_over_structures():
    table = compare_models(_scores(models=("a", "b"), cases=6))
    row = _one(table, name="femur", metric="dice")
    assert row["pairs"] == 6
    assert row["median_difference"] == pytest.approx(0.01)
    assert row["p_holm"] == pytest.approx(min(1.0, 29 * row["p_value"]))
    assert _one(table, name="foreground", metric="dice")["p_holm"] == pytest.approx(3 * row["p_value"])
    assert compare_models(_scores()).empty


@pytest.mark.parametrize("cases", [3, 7, 12, 13, 30])
@pytest.mark.parametrize("tied", [False, True])
def test_wilcoxon_as_scipy_has_it(cases, tied):
    from scipy.stats import PermutationMethod, wilcoxon

    difference = np.random.default_rng(cases).normal(0.3, 1.0, cases)
    method = "auto"
    if tied:
        difference[1] = -difference[0]
        method = PermutationMethod() if cases <= 7 else "asymptotic"
    expected = wilcoxon(difference, method=method).pvalue
    within = 0.02 if tied and cases == 12 else 1e-12
    assert paired_test(difference, np.zeros(cases)).p_value == pytest.approx(expected, abs=within)
