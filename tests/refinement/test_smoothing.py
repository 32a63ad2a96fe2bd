import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vastus.errors import SettingsError
from vastus.refinement.between_slices import signed_distance
from vastus.refinement.smoothing import SmoothingBand, smooth_structure

MM = (1.0, 1.0, 1.5)


def rough_ball() -> tuple[np.ndarray, np.ndarray]:
    x, y, z = np.indices((40, 40, 30))
    radius = np.sqrt((x - 20) ** 2 + (y - 20) ** 2 + (1.5 * (z - 15)) ** 2)
    ragged = radius + np.random.default_rng(0).normal(0, 1.2, radius.shape)
    labels = np.where(ragged < 11, 101, np.where(x > 19, 102, 0)).astype(np.uint8)
    return labels, radius < 11


def test_a_ragged_ball_comes_closer_to_the_ball_and_keeps_its_volume() -> None:
    labels, ball = rough_ball()
    smooth = smooth_structure(labels, 101, MM) == 101
    assert (smooth != ball).sum() < 0.35 * ((labels == 101) != ball).sum()
    assert smooth.sum() == (labels == 101).sum()


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), width=st.floats(1.0, 4.0))
def test_nothing_changes_outside_the_band(seed: int, width: float) -> None:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.repeat(rng.integers(0, 4, (6, 6, 10)), 4, 0), 4, 1).astype(np.uint8)
    smooth = smooth_structure(labels, 2, MM, SmoothingBand(width, 1.5))
    far = np.abs(signed_distance(labels == 2, MM)) > width
    assert np.array_equal(smooth[far], labels[far])


def test_what_is_left_goes_to_the_neighbour_on_that_side() -> None:
    labels, _ = rough_ball()
    smooth = smooth_structure(labels, 101, MM)
    lost = (labels == 101) & (smooth != 101)
    x = np.indices(labels.shape)[0]
    assert (smooth[lost & (x > 23)] == 102).all()
    assert (smooth[lost & (x < 16)] == 0).all()


def test_an_absent_structure_changes_nothing_and_a_flat_band_is_refused() -> None:
    labels, _ = rough_ball()
    assert np.array_equal(smooth_structure(labels, 77, MM), labels)
    with pytest.raises(SettingsError):
        SmoothingBand(0.0)
