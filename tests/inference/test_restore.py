from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vastus.inference.restore import restore
from vastus.inference.stitch import KEPT, ScoreMap, uniform_score_map
from vastus.resampling import resample_box

CHANNEL = np.zeros(256, np.int64)
CHANNEL[[1, 101, 201]] = 1
CHANNEL[[2, 102, 202]] = 2


def _restored(labels: np.ndarray, scores: ScoreMap, shape: tuple[int, int, int]) -> np.ndarray:
    target = np.zeros(shape, np.uint8, order="F")
    restore(labels, CHANNEL, scores, target)
    return target


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_on_the_same_grid_nothing_changes(seed: int) -> None:
    labels = np.random.default_rng(seed).choice(np.array([0, 101, 202], np.uint8), (5, 6, 4))
    scores = uniform_score_map(CHANNEL[labels])
    np.testing.assert_array_equal(_restored(labels, scores, labels.shape), labels)


def test_a_ball_comes_back_rounder_than_by_nearest_neighbour() -> None:
    coarse, fine = (20, 20, 10), (80, 80, 80)
    truth = _ball(fine)
    distance = _distance(coarse)
    score = np.clip(255 - np.abs(distance) * 60, 0, 255).astype(np.uint8)
    channels = (distance > 0).astype(np.uint8)
    kept = np.zeros((*coarse, KEPT), np.uint8)
    kept[..., 0], kept[..., 1] = channels, 1 - channels
    scores = np.zeros_like(kept)
    scores[..., 0], scores[..., 1] = 255, score
    smooth = _restored(channels * np.uint8(101), ScoreMap(channels, kept, scores), fine) > 0
    nearest = channels.repeat(4, 0).repeat(4, 1).repeat(8, 2) > 0
    assert _dice(smooth, truth) > 0.985
    assert _dice(nearest, truth) < 0.97


def _distance(shape: tuple[int, int, int]) -> np.ndarray:
    axes = [(np.arange(n) + 0.5) / n - 0.5 for n in shape]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return (0.35 - np.sqrt(x**2 + y**2 + z**2)) * 20


def _ball(shape: tuple[int, int, int]) -> np.ndarray:
    return _distance(shape) > 0


def _dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_two_classes_are_interpolated_linearly() -> None:
    rng = np.random.default_rng(3)
    one = rng.integers(0, 256, (6, 5, 4)).astype(np.uint8)
    channels = (one > 127).astype(np.uint8)
    best = np.full_like(one, 255)
    kept = np.stack([channels, 1 - channels, channels * 0 + 7, channels * 0 + 8], -1)
    rest = np.stack([best, one // 2, best * 0, best * 0], -1)
    found = _restored(channels * np.uint8(101), ScoreMap(channels, kept, rest), (13, 17, 9))
    for_one = np.where(channels == 1, 255, one // 2)
    for_zero = np.where(channels == 0, 255, one // 2)
    margin = resample_box(for_one.astype(np.float32), (13, 17, 9), antialias=False) - resample_box(
        for_zero.astype(np.float32), (13, 17, 9), antialias=False
    )
    clear = np.abs(margin) > 0.1
    np.testing.assert_array_equal((found > 0)[clear], (margin > 0)[clear])


def test_the_other_side_of_a_structure_is_a_rival_not_support() -> None:
    labels = np.array([[[101]], [[201]]], np.uint8)
    found = _restored(labels, uniform_score_map(CHANNEL[labels]), (8, 1, 1))
    np.testing.assert_array_equal(found[:, 0, 0], [101] * 4 + [201] * 4)


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("flips", list(product([False, True], repeat=3)))
def test_the_memory_layout_of_the_target_does_not_matter(order: tuple[int, ...], flips: tuple[bool, ...]) -> None:
    rng = np.random.default_rng(1)
    labels = rng.choice(np.array([0, 101, 202], np.uint8), (5, 4, 6))
    scores = uniform_score_map(CHANNEL[labels])
    shape = (11, 9, 13)
    expected = _restored(labels, scores, shape)
    stored = np.zeros([shape[a] for a in order], np.uint8)
    view = stored.transpose(np.argsort(order))[tuple(slice(None, None, -1) if f else slice(None) for f in flips)]
    restore(labels, CHANNEL, scores, view)
    assert (view != expected).mean() < 0.002  # only exact ties may differ in the last bit


def test_a_removed_island_does_not_come_back() -> None:
    channels = np.zeros((9, 9, 9), np.uint8)
    channels[:3] = 1
    channels[6, 4, 4] = 1  # what the network said; the label there was cleaned to background
    labels = np.where(channels == 1, 101, 0).astype(np.uint8)
    labels[6, 4, 4] = 0
    found = _restored(labels, uniform_score_map(channels), (27, 27, 27))
    assert not found[10:].any() and (found[:8] == 101).all()
