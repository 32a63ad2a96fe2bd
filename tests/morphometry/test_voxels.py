from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vastus.errors import LabelError
from vastus.morphometry.structures import percentile_hu
from vastus.morphometry.voxels import AxisMap, _spans, profile_labels, row_of_value, tally_labels

RNG = np.random.default_rng(3)
LABELS = RNG.choice(np.array([0, 0, 101, 102, 215, 29], np.uint8), size=(7, 8, 9))
CT = RNG.integers(-1500, 3500, size=LABELS.shape).astype(np.int16)


@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_counts_agree_with_numpy_in_every_memory_order(axes: tuple[int, ...]) -> None:
    for flips in product((1, -1), repeat=3):
        window = tuple(slice(None, None, f) for f in flips)
        labels, ct = LABELS.transpose(axes)[window], CT.transpose(axes)[window]
        tally = tally_labels(labels, ct)
        for value in (101, 102, 215, 29):
            row, where = row_of_value()[value], labels == value
            inside = ct[where].astype(np.float64)
            assert tally.voxels[row] == where.sum()
            assert tally.hu_sum[row] == pytest.approx(inside.sum())
            assert tally.hu_square_sum[row] == pytest.approx((inside**2).sum())
            assert list(tally.first[row]) == [i.min() for i in np.nonzero(where)]
            assert list(tally.last[row]) == [i.max() for i in np.nonzero(where)]
            clipped = np.clip(inside, -1024, 3071).astype(int) + 1024
            assert (tally.histogram[row] == np.bincount(clipped, minlength=4096)).all()
        assert tally.voxels.sum() == (labels > 0).sum()


def test_memory_orders_of_ct_and_labels_may_differ() -> None:
    expected = tally_labels(LABELS, CT)
    found = tally_labels(np.asfortranarray(LABELS), CT[::-1].copy()[::-1])
    assert (found.histogram == expected.histogram).all()


def test_float_hu_are_rounded_and_nan_is_no_hu() -> None:
    labels = np.full((1, 1, 4), 101, np.uint8)
    ct = np.array([[[49.6, 49.4, -30.4, np.nan]]], np.float64)
    tally = tally_labels(labels, ct)
    row = row_of_value()[101]
    assert (tally.voxels[row], tally.hu_voxels[row]) == (4, 3)
    assert list(np.flatnonzero(tally.histogram[row]) - 1024) == [-30, 49, 50]


def test_unknown_values_are_refused() -> None:
    labels = np.zeros((2, 2, 2), np.uint8)
    labels[0, 0, 0] = 77
    with pytest.raises(LabelError, match="77"):
        tally_labels(labels, None)


@given(
    values=arrays(np.int64, st.integers(1, 40), elements=st.integers(-1024, 3071)),
    percent=st.floats(0, 100, allow_nan=False),
)
@settings(max_examples=100, deadline=None)
def test_percentiles_are_numpys(values: np.ndarray, percent: float) -> None:
    histogram = np.bincount(values + 1024, minlength=4096)
    assert percentile_hu(histogram, percent) == pytest.approx(np.percentile(values, percent), abs=1e-6)


@pytest.mark.parametrize("step", [(0.0, 0.0, 2.5), (0.3, -0.4, 1.9), (1.0, 0.0, -0.2)])
def test_profiles_keep_every_voxel_and_its_place(step: tuple[float, float, float]) -> None:
    line = AxisMap(-12.3, np.array(step))
    lines = np.full(256, -1, np.int8)
    lines[[101, 102]] = 0
    (profile,) = profile_labels(LABELS, (line,), lines)
    centres = profile.start_mm + (np.arange(profile.voxels.shape[1]) + 0.5) * profile.bin_mm
    for value in (101, 102):
        row = row_of_value()[value]
        along = -12.3 + np.argwhere(value == LABELS) @ np.array(step)
        assert profile.voxels[row].sum() == pytest.approx(len(along))
        assert (profile.voxels[row] @ centres) / len(along) == pytest.approx(along.mean(), abs=0.5)
        half = max(abs(s) for s in step) / 2
        assert profile.lowest_mm[row] == pytest.approx(along.min() - half)
        assert profile.highest_mm[row] == pytest.approx(along.max() + half)
    assert profile.voxels[row_of_value()[215]].sum() == 0


def test_slices_thicker_than_a_bin_leave_no_gaps() -> None:
    labels = np.full((4, 4, 20), 128, np.uint8)
    lines = np.full(256, -1, np.int8)
    lines[128] = 0
    (profile,) = profile_labels(labels, (AxisMap(0.0, np.array([0.0, 0.0, 3.7])),), lines)
    inner = profile.voxels[row_of_value()[128]][10:60]
    assert inner == pytest.approx(np.full(50, 16 / 3.7))


@pytest.mark.parametrize("falling", [False, True])
def test_spans_hold_every_voxel_of_a_zone_and_no_row_without_one(falling: bool) -> None:
    rng = np.random.default_rng(3)
    zones = (rng.random((6, 5, 9)) < 0.15).astype(np.uint8)
    zones[0, 0] = 0
    index = np.minimum(np.arange(29) // 3, 8)
    if falling:
        index = index[::-1]
    spans = _spans(zones, index)
    for a, b in np.ndindex(zones.shape[:2]):
        held = np.flatnonzero(zones[a, b, index])
        expected = (held[0], held[-1] + 1) if len(held) else (0, 0)
        assert tuple(spans[a, b]) == expected
