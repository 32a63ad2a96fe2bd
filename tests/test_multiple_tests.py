import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vastus.multiple_tests import benjamini_hochberg, holm

P_VALUES = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30)


def test_by_hand() -> None:
    p = np.array([0.01, np.nan, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(holm(p), [0.03, np.nan, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(benjamini_hochberg(p), [0.02, np.nan, 0.04, 0.04, 0.02])


@given(P_VALUES)
def test_as_statsmodels_has_it(values: list[float]) -> None:
    from statsmodels.stats.multitest import multipletests

    p = np.array(values)
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1], atol=1e-12)
    np.testing.assert_allclose(benjamini_hochberg(p), multipletests(p, method="fdr_bh")[1], atol=1e-12)


def test_nothing_to_correct() -> None:
    assert np.isnan(holm(np.array([np.nan]))).all()
    assert np.isnan(benjamini_hochberg(np.array([np.nan]))).all()
    assert holm(np.array([])).shape == (0,)
    assert holm(np.array([[0.5, 0.2]])) == pytest.approx(np.array([[0.5, 0.4]]))
