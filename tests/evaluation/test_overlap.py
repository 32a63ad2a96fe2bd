from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vastus.errors import GeometryError
from vastus.evaluation.overlap import OverlapCounts, count_overlap, label_overlap
from vastus.evaluation.scan import joint_histogram, paired_maps


def test_two_cubes_that_share_half_have_closed_answers():
    prediction, reference = np.zeros((8, 8, 8), bool), np.zeros((8, 8, 8), bool)
    prediction[0:4, :4, :4] = True
    reference[2:6, :4, :4] = True
    counts = count_overlap(prediction, reference)
    assert counts == OverlapCounts(32, 32, 32)
    assert counts.dice == 0.5
    assert counts.jaccard == pytest.approx(1 / 3)
    assert (counts.sensitivity, counts.precision) == (0.5, 0.5)
    assert counts.ravd_signed_percent == 0.0


def test_dice_is_the_standard_one_and_not_the_papers_misprint():
    # The misprint 2TP / (2TP + 2FP + FN) would give 0.4.
    assert OverlapCounts(both=1, only_prediction=1, only_reference=1).dice == 0.5


def test_ravd_keeps_its_sign_and_its_size_apart():
    counts = OverlapCounts(both=60, only_prediction=0, only_reference=40)
    assert counts.ravd_signed_percent == -40.0
    assert counts.ravd_absolute_percent == 40.0
    assert (counts.sensitivity, counts.precision) == (0.6, 1.0)


def test_ratios_without_denominator_are_nan_and_not_zero_or_infinite():
    nothing = OverlapCounts(0, 0, 0)
    assert all(math.isnan(v) for v in (nothing.dice, nothing.jaccard, nothing.sensitivity, nothing.precision))
    assert math.isnan(OverlapCounts(0, 5, 0).ravd_signed_percent)
    assert OverlapCounts(0, 0, 5).ravd_signed_percent == -100.0


def test_shapes_that_differ_are_refused():
    with pytest.raises(GeometryError):
        count_overlap(np.ones((2, 2, 2)), np.ones((2, 2, 3)))


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_counts_of_the_histogram_are_those_of_the_masks(seed):
    rng = np.random.default_rng(seed)
    prediction, reference = rng.integers(0, 4, (2, 5, 4, 3)).astype(np.uint8)
    histogram = joint_histogram(paired_maps(np.asfortranarray(prediction), reference, (1, 1, 1)))
    assert histogram.sum() == 60
    for value in (1, 2, 3):
        assert label_overlap(histogram, value) == count_overlap(prediction == value, reference == value)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_dice_and_jaccard_are_bound_to_each_other(both, only_prediction, only_reference):
    counts = OverlapCounts(both, only_prediction, only_reference)
    if counts.prediction + counts.reference:
        assert counts.jaccard == pytest.approx(counts.dice / (2 - counts.dice))
        swapped = OverlapCounts(both, only_reference, only_prediction)
        assert swapped.dice == counts.dice
        assert 0 <= counts.dice <= 1


def test_the_joint_histogram_counts_each_voxel_wherever_the_map_begins_in_memory():
    rng = np.random.default_rng(0)
    pair = []
    for start in (0, 3):  # as of a file whose header has an odd length
        flat = np.zeros(start + 5 * 6 * 7, np.uint8)[start:]
        flat[:] = np.repeat(rng.integers(0, 4, 30) * rng.integers(0, 2, 30), 7)
        flat[-1] = 2
        pair.append(flat.reshape(5, 6, 7))
    expected = np.zeros((256, 256), np.int64)
    np.add.at(expected, (pair[0], pair[1]), 1)
    assert np.array_equal(joint_histogram(paired_maps(*pair, (1, 1, 1))), expected)
    few = [np.full((1, 1, 3), value, np.uint8) for value in (1, 2)]
    assert joint_histogram(paired_maps(*few, (1, 1, 1)))[1, 2] == 3
