"""Counting only the voxels that can change gives what counting all gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vastus.synthesis.atlas import UNIT_MM
from vastus.synthesis.growth import CANDIDATES, NO_PART, Rank, _VolumeCounter
from vastus.synthesis.kernels import soft_volumes

PARTS = 6
VOXELS = 4000
WIDTH = 3.2  # steps


def _voxels(rng):
    """Candidates as ``nearest_parts`` leaves them: fixed parts alone, else different parts and then ``NO_PART``."""
    parts = np.full((VOXELS, CANDIDATES), NO_PART, np.uint8)
    distances = np.full((VOXELS, CANDIDATES), 127, np.int8)
    for v in range(VOXELS):
        count = rng.integers(1, CANDIDATES + 1)
        parts[v, :count] = rng.permutation(PARTS)[:count]
        distances[v, :count] = rng.integers(-120, 121, count)
        fixed = np.flatnonzero(parts[v, :count] == 0)
        if len(fixed):
            parts[v] = [0] + [NO_PART] * (CANDIDATES - 1)
    return parts, distances


@pytest.fixture(scope="module")
def voxels():
    return _voxels(np.random.default_rng(1))


RANKS = np.full(256, Rank.LAST, np.uint8)
RANKS[:PARTS] = [Rank.FIXED, Rank.MOVABLE, Rank.MOVABLE, Rank.MOVABLE, Rank.MOVABLE, Rank.LAST]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.001, 4.0), min_size=2, max_size=8), st.integers(0, 10**6))
def test_volumes_are_those_of_all_voxels_whatever_the_steps(voxels, steps_mm, seed):
    rng = np.random.default_rng(seed)
    counter = _VolumeCounter(voxels, RANKS, WIDTH)
    offset_mm = rng.uniform(-4, 4, PARTS)
    for step in steps_mm:
        volume, growth = counter.count(offset_mm)
        expected = soft_volumes(*voxels, RANKS, (offset_mm / UNIT_MM).astype(np.float32), WIDTH, PARTS)
        np.testing.assert_allclose(volume, expected[0], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(growth, expected[1], rtol=1e-9, atol=1e-9)
        offset_mm = offset_mm + rng.uniform(-step, step, PARTS)


def test_small_steps_are_counted_on_few_voxels(voxels):
    counter = _VolumeCounter(voxels, RANKS, WIDTH)
    offset_mm = np.zeros(PARTS)
    for _ in range(3):
        counter.count(offset_mm)
        offset_mm = offset_mm + 0.01
    assert 0 < len(counter._near[0]) < VOXELS / 4
    counter.count(offset_mm + 5.0)  # far out of what was looked at
    assert len(counter._near[0]) > VOXELS / 4
