import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from vastus.cohort.association import adjust, correlate, partial, power_note


def one(table, stratum, feature):
    return table[(table["stratum"] == stratum) & (table["feature"] == feature)].iloc[0]


def men(results, feature="obturator_externus"):
    people = results.dataset.people
    mask = (people["sex"] == "M").to_numpy()
    return results.dataset.index_cm3_m2.loc[mask, feature].to_numpy(), people.loc[mask]


def test_point_biserial_by_its_own_formula(results):
    x, people = men(results)
    status = people["sarcopenia"].to_numpy()
    found = one(results.status_correlations, "Men", "obturator_externus")
    n1, n0, n = (status == 1).sum(), (status == 0).sum(), len(x)
    r = (x[status == 1].mean() - x[status == 0].mean()) / x.std() * np.sqrt(n1 * n0 / n**2)
    assert found["r"] == pytest.approx(r, rel=1e-10)
    t = r * np.sqrt((n - 2) / (1 - r**2))
    assert found["p"] == pytest.approx(2 * stats.t.sf(abs(t), n - 2), rel=1e-8)
    z = np.arctanh(r) + np.array([-1, 1]) * stats.norm.ppf(0.975) / np.sqrt(n - 3)
    assert (found["ci_low"], found["ci_high"]) == (pytest.approx(np.tanh(z[0])), pytest.approx(np.tanh(z[1])))
    assert (found["n_with"], found["n_without"]) == (21, 5)


def test_partial_correlation_by_residuals(results):
    x, people = men(results)
    status, age = people["sarcopenia"].to_numpy(), people["age_years"].to_numpy()
    design = np.column_stack([np.ones_like(age), age])
    a, b = (v - design @ np.linalg.lstsq(design, v, rcond=None)[0] for v in (x, status))
    r = np.corrcoef(a, b)[0, 1]
    n = len(x)
    found = one(results.status_correlations, "Men", "obturator_externus")
    assert found["r_age"] == pytest.approx(r, rel=1e-9)
    p = 2 * stats.t.sf(abs(r) * np.sqrt((n - 3) / (1 - r**2)), n - 3)
    assert found["p_age"] == pytest.approx(p, rel=1e-6)


def test_corrections_by_hand(results):
    table = results.status_correlations
    own = table[(table["stratum"] == "Women") & (table["kind"] == "muscle") & table["p"].notna()].sort_values("p")
    p, m = own["p"].to_numpy(), len(own)
    holm = np.minimum(1, np.maximum.accumulate(p * (m - np.arange(m))))
    fdr = np.minimum(1, np.minimum.accumulate((p * m / np.arange(1, m + 1))[::-1])[::-1])
    np.testing.assert_allclose(own["p_holm"], holm)
    np.testing.assert_allclose(own["p_fdr"], fdr)


def test_missing_p_take_no_part_in_the_correction():
    table = adjust(pd.DataFrame({"g": 1, "p": [0.01, np.nan, 0.04]}), ["g"])
    assert table["p_holm"].tolist()[0] == pytest.approx(0.02)
    assert np.isnan(table["p_holm"][1])


def test_measures_by_hand(results):
    x, people = men(results, "vastus_lateralis")
    table = results.continuous_correlations
    found = one(table[table["outcome"] == "grip_kg"], "Men", "vastus_lateralis")
    assert found["r"] == pytest.approx(np.corrcoef(x, people["grip_kg"])[0, 1])
    ranks = [stats.rankdata(v) for v in (x, people["grip_kg"])]
    assert found["rho"] == pytest.approx(np.corrcoef(*ranks)[0, 1])


def test_planted_effect_is_found(results):
    table = results.status_correlations
    muscles = table[(table["kind"] == "muscle") & table["r"].notna()]
    man, woman = (muscles[muscles["stratum"] == s] for s in ("Men", "Women"))
    assert (man["r"] < -0.5).all()
    assert (man["p_holm"] < 0.05).all()
    assert not (woman["p_holm"] < 0.05).any()
    groups = table[(table["kind"] == "group") & table["r"].notna()].set_index(["stratum", "feature"])["r"]
    for name in ("anterior", "medial", "posterior", "gluteal"):
        assert -0.9 < groups["Men", f"group:{name}"] < -0.6
        assert abs(groups["Women", f"group:{name}"]) < 0.35


def test_null_cohort_keeps_the_nominal_rate(results):
    """Shuffled status: 5 % of p below 0.05, and Holm's family-wise error not above 5 %."""
    rng = np.random.default_rng(1)
    people = results.dataset.people
    women = (people["sex"] == "F").to_numpy()
    volumes = results.dataset.index_cm3_m2.loc[women].dropna(axis=1)
    muscles = volumes[[c for c in volumes if ":" not in c]].to_numpy()[:, ::3]
    status = people.loc[women, "sarcopenia"].to_numpy()
    runs, p = 250, []
    for _ in range(runs):
        shuffled = rng.permutation(status)
        p.append([correlate(x, shuffled)["p"] for x in muscles.T])
    p = np.array(p)
    # p values of one run are correlated (muscles of one person), so the bound is that of single muscles.
    assert np.mean(p < 0.05) == pytest.approx(0.05, abs=3.3 * np.sqrt(0.05 * 0.95 / runs))
    long = pd.DataFrame({"run": np.repeat(np.arange(runs), p.shape[1]), "p": p.ravel()})
    any_holm = adjust(long, ["run"]).groupby("run")["p_holm"].min() < 0.05
    assert any_holm.mean() < 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(5, 40), st.floats(0.1, 1000))
def test_r_does_not_depend_on_the_unit(seed, n, factor):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, n))
    a, b = correlate(x, y), correlate(factor * x + 3, -y)
    assert a["r"] == pytest.approx(-b["r"], abs=1e-9)
    assert a["p"] == pytest.approx(b["p"], rel=1e-6)
    assert a["ci_low"] <= a["r"] <= a["ci_high"]


def test_undefined_is_empty_not_zero():
    nothing = correlate(np.ones(10), np.arange(10.0))
    assert all(np.isnan(v) for v in nothing.values())
    assert np.isnan(partial(np.arange(10.0), np.arange(10.0) ** 2, np.full(10, 70.0))["r_age"])
    assert np.isnan(correlate(np.arange(3.0), np.arange(3.0))["r"])


def test_cut_off_muscles_have_no_r(results):
    assert np.isnan(one(results.status_correlations, "Men", "psoas")["r"])


def test_power_note_by_simulation():
    """The stated difference is found in about 80 % of simulated studies."""
    note = power_note(5, 21)
    assert "tiny" in note
    d = float(note.split("a difference of ")[1].split(" SD")[0])
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, (4000, 5)), rng.normal(d, 1, (4000, 21))
    assert np.mean(stats.ttest_ind(a, b, axis=1).pvalue < 0.05) == pytest.approx(0.8, abs=0.03)
    assert "tiny" not in power_note(30, 40)
    assert "no correlation" in power_note(0, 12)


@pytest.mark.skipif(shutil.which("Rscript") is None, reason="R is not installed")
def test_against_r(results, tmp_path):
    x, people = men(results)
    pd.DataFrame({"x": x, "s": people["sarcopenia"].to_numpy()}).to_csv(tmp_path / "d.csv", index=False)
    code = (
        f"d <- read.csv('{tmp_path / 'd.csv'}'); t <- cor.test(d$x, d$s);"
        "cat(sprintf('%.12g %.12g %.12g %.12g', t$estimate, t$conf.int[1], t$conf.int[2], t$p.value))"
    )
    out = subprocess.run(["Rscript", "-e", code], capture_output=True, text=True, check=True).stdout
    found = one(results.status_correlations, "Men", "obturator_externus")
    expected = [float(v) for v in out.split()]
    assert list(found[["r", "ci_low", "ci_high", "p"]]) == pytest.approx(expected, rel=1e-6)
