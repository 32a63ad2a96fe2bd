import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vastus.errors import GeometryError, SettingsError
from vastus.refinement.grow_from_seeds import BACKGROUND_SEED, SeedGrower

MM = (1.0, 1.0, 1.0)
Labels = NDArray[np.uint8]


def quarters(n: int, noise_hu: float = 8.0) -> tuple[NDArray[np.int16], Labels]:
    """Four bars of different HU side by side."""
    x, y, _ = np.indices((n, n, n))
    truth = (1 + x // (n // 2) + 2 * (y // (n // 2))).astype(np.uint8)
    noise = np.random.default_rng(1).normal(0, noise_hu, truth.shape)
    return (40.0 * truth + noise).astype(np.int16), truth


def dots(truth: Labels, count: int = 12, seed: int = 0) -> Labels:
    rng = np.random.default_rng(seed)
    seeds = np.zeros_like(truth)
    for value in np.unique(truth):
        places = np.argwhere(truth == value)
        seeds[tuple(places[rng.choice(len(places), count, replace=False)].T)] = value
    return seeds


def test_noisy_bars_are_told_apart() -> None:
    hu, truth = quarters(32)
    grown = SeedGrower(hu, MM).grow(dots(truth))
    assert (grown == truth).mean() > 0.98


def test_flat_region_is_split_half_way_between_two_strokes() -> None:
    hu = np.zeros((21, 5, 5), np.int16)
    seeds = np.zeros(hu.shape, np.uint8)
    seeds[0], seeds[20] = 7, 9
    grown = SeedGrower(hu, MM).grow(seeds)
    assert (grown[:10] == 7).all() and (grown[11:] == 9).all()


def test_a_path_does_not_cross_an_edge_that_it_can_go_round() -> None:
    hu = np.zeros((9, 9, 3), np.int16)
    hu[4, :8] = 300  # a wall with a gap at the end
    seeds = np.zeros(hu.shape, np.uint8)
    seeds[0, 0, 1], seeds[4, 0, 1] = 1, 2
    grown = SeedGrower(hu, MM).grow(seeds)
    assert grown[8, 0, 1] == 1
    assert (grown[4, :7, 1] == 2).all()


def test_background_strokes_become_zero_and_nothing_grows_outside_the_margin() -> None:
    hu = np.zeros((60, 6, 6), np.int16)
    seeds = np.zeros(hu.shape, np.uint8)
    seeds[2, 3, 3], seeds[10, 3, 3] = 5, BACKGROUND_SEED
    grown = SeedGrower(hu, MM, margin_mm=4.0).grow(seeds)
    seeds[10, 3, 3] = 6
    assert (SeedGrower(hu, MM, margin_mm=4.0).grow(seeds)[15:] == 0).all()
    assert set(np.unique(grown)) == {0, 5}
    assert not grown[7:].any()
    assert grown[:6].all()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_any_order_of_strokes_and_erasures_costs_the_same_as_a_fresh_start(seed: int) -> None:
    rng = np.random.default_rng(seed)
    hu = rng.integers(-50, 120, (9, 8, 7)).astype(np.int16)
    kept = SeedGrower(hu, MM)
    seeds = np.zeros(hu.shape, np.uint8)
    seeds[0, 0, 0], seeds[8, 7, 6] = 1, 2  # keeps the region the whole array
    for _ in range(5):
        at = tuple(int(rng.integers(0, n)) for n in hu.shape)
        seeds[at] = rng.choice([0, 1, 2, 3, BACKGROUND_SEED])
        seeds[0, 0, 0], seeds[8, 7, 6] = 1, 2
        kept.grow(seeds)
    fresh = SeedGrower(hu, MM)
    fresh.grow(seeds)
    # Values may differ where two strokes are equally near; how near never does.
    assert kept._forest is not None and fresh._forest is not None
    assert np.array_equal(kept._forest._state[0], fresh._forest._state[0])


def test_an_erased_stroke_gives_back_what_grew_from_it() -> None:
    hu, truth = quarters(24)
    grower = SeedGrower(hu, MM)
    before = grower.grow(dots(truth))
    stroke = dots(truth)
    stroke[6, 6, 4:20] = 9
    assert (grower.grow(stroke) == 9).sum() > 100
    assert np.array_equal(grower.grow(dots(truth)), before)


def test_a_stroke_outside_the_region_widens_it() -> None:
    hu = np.zeros((60, 6, 6), np.int16)
    grower = SeedGrower(hu, MM, margin_mm=3.0)
    seeds = np.zeros(hu.shape, np.uint8)
    seeds[5, 3, 3], seeds[8, 3, 3] = 1, 2
    grower.grow(seeds)
    seeds[50, 3, 3] = 3
    assert grower.grow(seeds)[52, 3, 3] == 3


def test_spacing_counts() -> None:
    hu = np.zeros((9, 9, 9), np.int16)
    seeds = np.zeros(hu.shape, np.uint8)
    seeds[0, 4, 4], seeds[4, 4, 0] = 1, 2
    # In voxels (4, 4, 4) is equally far from both; the third axis is three times as long.
    assert SeedGrower(hu, (1.0, 1.0, 3.0)).grow(seeds)[4, 4, 4] == 1
    assert SeedGrower(hu, (3.0, 1.0, 1.0)).grow(seeds)[4, 4, 4] == 2


def test_what_can_not_grow_is_refused() -> None:
    hu = np.zeros((5, 5, 5), np.int16)
    one = np.zeros(hu.shape, np.uint8)
    with pytest.raises(SettingsError):
        SeedGrower(hu, MM).grow(one)
    one[2, 2, 2] = 4
    with pytest.raises(SettingsError):
        SeedGrower(hu, MM).grow(one)
    with pytest.raises(GeometryError):
        SeedGrower(hu, MM).grow(one[:4])


@pytest.mark.slow
def test_a_changed_stroke_on_a_200_cube_answers_soon() -> None:
    hu, truth = quarters(200)
    seeds = dots(truth, 40)
    seeds[0, 0, 0], seeds[-1, -1, -1] = 1, 4
    grower = SeedGrower(hu, MM)
    grower.grow(seeds)
    more = seeds.copy()
    more[40:60, 40, 100] = 3
    seconds = []
    for strokes in (more, seeds, more):
        start = time.perf_counter()
        grower.grow(strokes)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 5.0  # a quiet machine needs less than one


@pytest.mark.slow
def test_agrees_with_itk_growcut() -> None:
    itk = pytest.importorskip("itk")
    if not hasattr(itk, "FastGrowCut"):
        pytest.skip("itk-growcut is not installed")
    hu, truth = quarters(32)
    seeds = dots(truth)
    peer = itk.FastGrowCut.New(itk.image_from_array(hu), SeedImage=itk.image_from_array(seeds))
    peer.Update()
    theirs = itk.array_from_image(peer.GetOutput())
    assert (SeedGrower(hu, MM).grow(seeds) == truth).mean() >= (theirs == truth).mean() - 0.002
