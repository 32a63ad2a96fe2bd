from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vastus.evaluation.nearest import nearest_mm

spacings = st.tuples(*[st.sampled_from([0.5, 0.800000011920929, 1.0, 3.0])] * 3)


def by_definition(voxels, others, spacing_mm):
    """The distances of every pair, added up along the axes in order."""
    squares = np.zeros((len(voxels), len(others)))
    for axis, step in enumerate(spacing_mm):
        squares += (voxels[:, axis, None] * step - others[None, :, axis] * step) ** 2
    return np.sqrt(squares.min(axis=1))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), spacings, st.integers(1, 60), st.integers(2, 90))
def test_the_distance_is_that_of_the_nearest_to_the_last_bit(seed, spacing_mm, count, edge):
    random = np.random.default_rng(seed)
    voxels, others = (random.integers(0, edge, (n, 3)) for n in (40, count))
    assert np.array_equal(nearest_mm(voxels, others, spacing_mm), by_definition(voxels, others, spacing_mm))


@pytest.mark.parametrize("shift", [(0, 0, 200), (-150, 3, 0), (90, -90, 90)])
def test_surfaces_far_apart_are_found(shift):
    random = np.random.default_rng(1)
    flat = np.argwhere(random.random((30, 30)) < 0.5)
    voxels = np.column_stack([flat, np.full(len(flat), 200)])
    others = voxels[::-1] + np.array(shift)
    found = nearest_mm(voxels, others, (1.0, 0.8, 2.5))
    assert np.array_equal(found, by_definition(voxels, others, (1.0, 0.8, 2.5)))


def test_what_lies_in_the_same_place_has_no_distance():
    voxels = np.array([[3, 4, 5], [70, 0, 2]])
    assert nearest_mm(voxels, voxels[::-1].copy(), (1.0, 1.0, 1.0)).tolist() == [0.0, 0.0]
