import numpy as np
import pandas as pd
import pytest
from scipy import stats

from vastus.cohort.table_one import compare_two, is_normal, table_one


def row(table, stratum, variable):
    return table[(table["stratum"] == stratum) & (table["variable"] == variable)].iloc[0]


def test_welch_by_hand(results):
    table, people = results.table_one, results.dataset.people
    women = people[people["sex"] == "F"]
    a, b = (women.loc[women["sarcopenia"] == v, "smi_kg_m2"].to_numpy() for v in (0, 1))
    found = row(table, "Women", "smi_kg_m2")
    assert found["test"] == "Welch t"
    va, vb = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    t = (a.mean() - b.mean()) / np.sqrt(va + vb)
    df = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    assert found["p"] == pytest.approx(2 * stats.t.sf(abs(t), df), rel=1e-9)
    assert found["without"] == f"{a.mean():.2f} ± {a.std(ddof=1):.2f}"
    assert (found["n_without"], found["n_with"]) == (23, 20)


def test_skewed_values_get_median_and_u_test():
    rng = np.random.default_rng(0)
    values = np.exp(rng.normal(0, 1.5, 60))
    people = pd.DataFrame(
        index=range(60),
        columns=[
            "age_years",
            "height_cm",
            "weight_kg",
            "bmi_kg_m2",
            "smi_kg_m2",
            "gait_m_s",
            "chair_stand_s",
            "sppb",
            "tug_s",
            "calf_cm",
            "fracture_type",
            "fracture_side",
        ],
        dtype=float,
    )
    people["grip_kg"], people["sex"] = values, "F"
    people["sarcopenia"] = [0.0, 1.0] * 30
    found = row(table_one(people), "Women", "grip_kg")
    expected = stats.mannwhitneyu(values[::2], values[1::2], alternative="two-sided").pvalue
    assert found["test"] == "Mann-Whitney U"
    assert found["p"] == pytest.approx(expected)
    assert found["without"].startswith(f"{np.median(values[::2]):.2f} [")


def test_counts_by_hand(results):
    table, people = results.table_one, results.dataset.people
    counts = pd.crosstab(people["sex"], people["sarcopenia"]).to_numpy()
    assert counts.tolist() == [[23, 20], [5, 21]]
    total = counts.sum()
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / total
    chi2 = ((counts - expected) ** 2 / expected).sum()
    found = row(table, "All", "sex")
    assert found["test"] == "chi-squared"
    assert found["p"] == pytest.approx(stats.chi2.sf(chi2, 1))
    assert row(table, "Men", "fracture_type")["test"] == "Fisher exact"


def test_fisher_by_hand(results):
    people = results.dataset.people
    men = people[people["sex"] == "M"]
    counts = pd.crosstab(men["fracture_type"], men["sarcopenia"]).to_numpy()
    n, first, column = counts.sum(), counts[0].sum(), counts[:, 0].sum()
    law = stats.hypergeom(n, first, column)
    support = np.arange(max(0, first + column - n), min(first, column) + 1)
    p = law.pmf(support)[law.pmf(support) <= law.pmf(counts[0, 0]) * (1 + 1e-9)].sum()
    assert row(results.table_one, "Men", "fracture_type")["p"] == pytest.approx(p)


def test_too_few_is_no_test():
    assert compare_two(np.array([1.0]), np.array([1.0, 2.0]))[0] == "too few"
    assert not is_normal(np.array([2.0, 2.0, 2.0]))
