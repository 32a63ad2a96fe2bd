import numpy as np
import pytest
from scipy import optimize, stats

from vastus.cohort.prediction import area_under_curve, logistic


def made(seed=0, n=120, effect=1.0):
    rng = np.random.default_rng(seed)
    x, age = rng.normal(50, 8, n), rng.normal(75, 8, n)
    status = (rng.random(n) < 1 / (1 + np.exp(effect * (x - 50) / 8))).astype(float)
    return x, status, age


def test_odds_ratio_by_maximum_likelihood():
    x, status, age = made()
    z = (x - x.mean()) / x.std(ddof=1)

    def loss(b):
        eta = b[0] + b[1] * z
        return np.logaddexp(0, eta).sum() - (status * eta).sum()

    best = optimize.minimize(loss, [0, 0], method="BFGS", options={"gtol": 1e-8})
    p = 1 / (1 + np.exp(-(best.x[0] + best.x[1] * z)))
    design = np.column_stack([np.ones_like(z), z])
    error = np.sqrt(np.linalg.inv(design.T @ (design * (p * (1 - p))[:, None]))[1, 1])
    found = logistic(x, status, age)
    assert found["odds_ratio"] == pytest.approx(np.exp(best.x[1]), rel=1e-4)
    assert found["or_low"] == pytest.approx(np.exp(best.x[1] - 1.959964 * error), rel=1e-3)
    assert found["p_logistic"] == pytest.approx(2 * stats.norm.sf(abs(best.x[1] / error)), rel=1e-2)
    assert found["note"] == ""


def test_separation_is_said_and_has_no_number():
    x = np.arange(20.0)
    status = (x < 8).astype(float)
    found = logistic(x, status, np.linspace(60, 90, 20))
    assert np.isnan(found["odds_ratio"])
    assert "separates" in found["note"]


def test_auc_by_counting_pairs():
    x, status, _ = made(n=60)
    without, with_ = x[status == 0], x[status == 1]
    pairs = (without[:, None] > with_[None, :]).mean() + 0.5 * (without[:, None] == with_[None, :]).mean()
    found = area_under_curve(x, status, seed=0)
    assert found["auc"] == pytest.approx(pairs)
    assert found["auc_low"] < pairs < found["auc_high"]
    # Hanley & McNeil's standard error is an independent yardstick for the width.
    n0, n1, a = len(without), len(with_), pairs
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    error = np.sqrt((a * (1 - a) + (n1 - 1) * (q1 - a * a) + (n0 - 1) * (q2 - a * a)) / (n0 * n1))
    assert found["auc_high"] - found["auc_low"] == pytest.approx(2 * 1.96 * error, rel=0.25)


def test_same_seed_same_interval():
    x, status, _ = made(n=40)
    assert area_under_curve(x, status, 3) == area_under_curve(x, status, 3)


def test_best_predictors_and_their_curves(results):
    table = results.prediction.table
    men = table[table["stratum"] == "Men"]
    correlations = results.status_correlations
    own = correlations[(correlations["stratum"] == "Men") & (correlations["kind"] == "muscle")]
    best = own.loc[own["r"].abs().sort_values(ascending=False).index[:3], "feature"]
    assert list(men["feature"][:3]) == list(best)
    assert men["feature"].iloc[3].startswith("group:")
    for curve, auc in zip(results.prediction.curves, table["auc"], strict=True):
        assert curve.auc == pytest.approx(auc)
        assert np.trapezoid(curve.true_positive_rate, curve.false_positive_rate) == pytest.approx(auc)
    assert (men["auc"] > 0.9).all()
