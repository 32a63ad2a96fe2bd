"""Counting only the voxels that can change gives what counting all gives; volumes are reached between neighbours."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vastus.synthesis.atlas import UNIT_MM
from vastus.synthesis.growth import CANDIDATES, NO_PART, Offsets, Packed, Rank, _VolumeCounter, fit_offsets
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


def _layers(thin_mm: float, thick_mm: float) -> tuple[tuple[np.ndarray, np.ndarray], Packed]:
    """A thin muscle on a bone, a thick one on the thin one, and fat outside: layers along x, voxels of 1 mm."""
    x = np.arange(80) + 0.5
    bone, between, outer = 10.0, 10.0 + thin_mm, 10.0 + thin_mm + thick_mm
    of_thin = np.maximum(bone - x, x - between)
    of_thick = np.maximum(between - x, x - outer)
    steps = np.clip(np.rint(np.array([of_thin, of_thick]) / UNIT_MM), -127, 126)
    order = np.argsort(steps, axis=0)
    parts = np.full((80, CANDIDATES), NO_PART, np.uint8)
    distances = np.full((80, CANDIDATES), 127, np.int8)
    parts[:, :2], distances[:, :2] = (order + 1).T, np.take_along_axis(steps, order, 0).T
    parts[x < bone] = [0] + [NO_PART] * (CANDIDATES - 1)
    shape = (80, 12, 12, CANDIDATES)
    whole = tuple(np.ascontiguousarray(np.broadcast_to(a[:, None, None], shape)) for a in (parts, distances))
    ranks = np.array([Rank.FIXED, Rank.MOVABLE, Rank.MOVABLE], np.uint8)
    none = np.zeros(0)
    return (whole[0], whole[1]), Packed(none, none, none, none, none, ranks, np.array([64, 1, 2], np.uint8))


def test_a_thin_muscle_reaches_its_volume_below_a_thick_one_that_grows_too():
    candidates, packed = _layers(6.0, 20.0)
    start = Offsets(np.zeros(3, np.float32), np.zeros(3, np.float32), np.zeros(3, np.float32))
    wanted = np.array([np.nan, 10.0, 26.0]) * 144
    fit = fit_offsets(candidates, packed, start, wanted, (1.0, 1.0, 1.0))
    assert np.abs(fit.miss).max() < 0.01
    assert fit.volume_mm3[1:] == pytest.approx(wanted[1:], rel=0.01)
    # The border lies where the difference of the offsets puts it: by itself, the thin one has no more than 14 mm.
    assert fit.offsets.middle_mm[1] - fit.offsets.middle_mm[2] == pytest.approx(8.0, abs=2.0)
    assert fit.offsets.middle_mm[1] > 14
