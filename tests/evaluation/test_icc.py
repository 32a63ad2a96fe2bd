from __future__ import annotations

import math
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vastus.errors import SettingsError
from vastus.evaluation.icc import IccForm, MissingCells, complete_ratings, icc, icc_2_1, icc_3_1

# Shrout & Fleiss 1979 (doi 10.1037/0033-2909.86.2.420), Table 2: six targets rated by four judges.
SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]])
# Their Table 4, and psych::ICC(lmer = FALSE) of R, written down so that the check runs without R.
PUBLISHED = {
    IccForm.ONE_WAY_SINGLE: (0.17, (0.165742, -0.132932, 0.722560)),
    IccForm.TWO_WAY_RANDOM_SINGLE: (0.29, (0.289764, 0.0187865, 0.761084)),
    IccForm.TWO_WAY_MIXED_SINGLE: (0.71, (0.714841, 0.3424648, 0.945858)),
    IccForm.ONE_WAY_MEAN: (0.44, (0.442797, -0.884442, 0.912415)),
    IccForm.TWO_WAY_RANDOM_MEAN: (0.62, (0.620051, 0.071137, 0.927232)),
    IccForm.TWO_WAY_MIXED_MEAN: (0.91, (0.909316, 0.675675, 0.985892)),
}


@pytest.mark.parametrize("form", IccForm)
def test_all_six_forms_of_shrout_and_fleiss_as_published(form):
    published, with_limits = PUBLISHED[form]
    found = icc(SHROUT_FLEISS, form)
    assert found.value == pytest.approx(published, abs=0.005)
    assert (found.value, found.low, found.high) == pytest.approx(with_limits, abs=1e-6)


@pytest.mark.parametrize(("readers", "seed"), [(2, 0), (3, 1), (5, 2), (9, 3)])
def test_all_six_forms_as_pingouin_has_them_for_any_number_of_readers(readers, seed):
    pingouin = pytest.importorskip("pingouin")
    import pandas as pd

    rng = np.random.default_rng(seed)
    ratings = rng.normal(0, 2, (9, 1)) + rng.normal(0, 1, (1, readers)) + rng.normal(0, 0.7, (9, readers))
    long = pd.DataFrame(
        [(t, r, ratings[t, r]) for t in range(9) for r in range(readers)], columns=["target", "rater", "rating"]
    )
    table = pingouin.intraclass_corr(long, targets="target", raters="rater", ratings="rating")
    limits = table.filter(like="CI95").iloc[:, 0]
    for row, form in enumerate(IccForm):
        found = icc(ratings, form)
        assert found.value == pytest.approx(table["ICC"].iloc[row], abs=1e-9)
        # Its limits are rounded to two digits.
        assert (found.low, found.high) == pytest.approx(tuple(limits.iloc[row]), abs=0.0051)


def test_the_mean_of_more_readers_is_more_reliable_by_spearman_and_brown():
    single, mean = icc(SHROUT_FLEISS, IccForm.ONE_WAY_SINGLE).value, icc(SHROUT_FLEISS, IccForm.ONE_WAY_MEAN).value
    assert mean == pytest.approx(4 * single / (1 + 3 * single))


def test_a_missing_measurement_is_refused_by_name_or_its_case_left_out():
    ratings = SHROUT_FLEISS.astype(float)
    ratings[1, 2] = ratings[4, 0] = np.nan
    cases, readers = [f"case{n}" for n in range(6)], ["anna", "bert", "cleo", "dora"]
    with pytest.raises(SettingsError, match=r"2 measurements are missing: case1 by cleo, case4 by anna"):
        complete_ratings(ratings, cases, readers)
    with pytest.raises(SettingsError, match="finite"):
        icc(ratings, IccForm.ONE_WAY_SINGLE)
    kept = complete_ratings(ratings, cases, readers, MissingCells.LISTWISE)
    assert kept.left_out == ("case1", "case4")
    whole = icc(SHROUT_FLEISS[[0, 2, 3, 5]], IccForm.TWO_WAY_RANDOM_SINGLE)
    assert icc(kept.table, IccForm.TWO_WAY_RANDOM_SINGLE) == whole
    with pytest.raises(SettingsError, match="infinite"):
        complete_ratings(np.full((6, 4), np.inf), cases, readers)
    with pytest.raises(SettingsError, match="do not fit"):
        complete_ratings(ratings, cases[:5], readers)


def test_readers_who_only_differ_from_each_other_have_no_reliable_mean():
    # Every case has the same mean: the single ICC is at its lowest, -1/(k - 1), and the one of the mean has no value.
    ratings = np.array([[1.0, 3.0], [3.0, 1.0], [2.0, 2.0]])
    assert icc(ratings, IccForm.ONE_WAY_SINGLE).value == pytest.approx(-1.0)
    assert math.isnan(icc(ratings, IccForm.ONE_WAY_MEAN).value)


def _r(script):
    if shutil.which("Rscript") is None:
        pytest.skip("R is not installed")
    done = subprocess.run(["Rscript", "-e", script], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"R package missing: {done.stderr[-200:]}")
    return np.array([float(word) for word in done.stdout.split()])


def _r_matrix(ratings):
    return f"matrix(c({','.join(repr(float(v)) for v in ratings.ravel())}), nrow={len(ratings)}, byrow=TRUE)"


def test_icc_as_r_psych_computes_it():
    ratings = np.random.default_rng(3).normal(0, 2, (12, 1)) + np.random.default_rng(4).normal(0.5, 1, (12, 2))
    expected = _r(
        f"suppressMessages(library(psych)); t <- ICC({_r_matrix(ratings)}, lmer=FALSE)$results;"
        "cat(format(c(t$ICC[2:3], t$`lower bound`[2:3], t$`upper bound`[2:3]), digits=15))"
    )
    two, three = icc_2_1(ratings), icc_3_1(ratings)
    found = [two.value, three.value, two.low, three.low, two.high, three.high]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_icc_as_r_irr_computes_it():
    ratings = SHROUT_FLEISS.astype(float)
    expected = _r(
        f"library(irr); a <- icc({_r_matrix(ratings)}, model='twoway', type='agreement', unit='single');"
        f"c <- icc({_r_matrix(ratings)}, model='twoway', type='consistency', unit='single');"
        "cat(format(c(a$value, a$lbound, a$ubound, c$value, c$lbound, c$ubound), digits=15))"
    )
    two, three = icc_2_1(ratings), icc_3_1(ratings)
    np.testing.assert_allclose([two.value, two.low, two.high, three.value, three.low, three.high], expected, atol=1e-6)


def test_bias_of_a_rater_lowers_agreement_and_not_consistency():
    truth = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    ratings = np.stack([truth, truth + 1.0], axis=1)
    assert icc_3_1(ratings).value == pytest.approx(1.0)
    # MSR = 5, MSC = 2.5, MSE = 0: 5 / (5 + 2 x 2.5 / 5).
    assert icc_2_1(ratings).value == pytest.approx(5 / 6)


def test_perfect_and_undefined_agreement():
    same = np.tile(np.arange(4.0)[:, None], (1, 2))
    assert icc_2_1(same).value == icc_2_1(same).low == icc_3_1(same).high == 1.0
    for nothing in (np.ones((5, 2)), np.ones((1, 2)), np.empty((0, 2))):
        assert math.isnan(icc_2_1(nothing).value)
        assert math.isnan(icc_3_1(nothing).value)
    with pytest.raises(SettingsError):
        icc_2_1(np.array([[1.0, np.nan], [2.0, 3.0]]))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 50), st.floats(-100, 100))
def test_icc_does_not_depend_on_unit_origin_or_order(seed, scale, shift):
    rng = np.random.default_rng(seed)
    ratings = rng.normal(0, 2, (7, 1)) + rng.normal(0, 1, (7, 2))
    for form in IccForm:
        before, after = icc(ratings, form), icc(scale * ratings[::-1, ::-1] + shift, form)
        assert after.value == pytest.approx(before.value, abs=1e-8)
        assert after.low == pytest.approx(before.low, rel=1e-7, abs=1e-7, nan_ok=True)
        assert after.high == pytest.approx(before.high, rel=1e-7, abs=1e-7)
        assert before.value <= before.high
        if math.isnan(before.low):
            assert form is IccForm.TWO_WAY_RANDOM_MEAN and icc_2_1(ratings).low <= -1
        else:
            assert before.low <= before.value


def test_the_mean_of_readers_has_no_lower_limit_beyond_the_pole_of_its_formula():
    # Two readers: Spearman and Brown's 2r / (1 + r) turns to plus infinity below r = -1, which is no lower limit.
    rng = np.random.default_rng(1052)
    ratings = rng.normal(0, 2, (7, 1)) + rng.normal(0, 1, (7, 2))
    assert icc_2_1(ratings).low < -1
    found = icc(ratings, IccForm.TWO_WAY_RANDOM_MEAN)
    assert math.isnan(found.low) and found.value < 0 < found.high < 1


def test_targets_that_do_not_differ_leave_the_icc_undefined() -> None:
    # A structure of one size in every case, missed in every case.
    ratings = np.array([[0.0, 500.0], [0.0, 500.0], [0.0, 500.0]])
    assert np.isnan(icc_2_1(ratings).value)
    assert np.isnan(icc_3_1(ratings).value)
