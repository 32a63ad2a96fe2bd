from __future__ import annotations

import numpy as np
import pytest

from vastus.inference.stitch import KEPT, STEPS_PER_LOGIT, ScoreMap, Scores, Stitcher
from vastus.inference.windows import Layer, WindowPlan, importance, plan_windows

SHAPE, WINDOW, CHANNELS = (20, 14, 31), (8, 7, 6), 6


def _logits(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3, (*SHAPE, CHANNELS)).astype(np.float32)


def _run(logits: np.ndarray, plan: WindowPlan, *, half: bool = False) -> ScoreMap:
    stitcher = Stitcher(SHAPE, CHANNELS, plan)
    for layer in plan.layers:
        stitcher.finish_below(layer.z)
        for x, y in layer.starts:
            scores: Scores = np.ascontiguousarray(logits[x : x + 8, y : y + 7, layer.z : layer.z + 6])
            if half:
                scores = (scores.view(np.uint32) >> 16).astype(np.uint16)
            stitcher.add(scores, x, y, layer.z)
    return stitcher.result()


def test_where_all_windows_agree_the_result_is_what_they_say() -> None:
    logits = _logits()
    found = _run(logits, plan_windows(np.ones(SHAPE, bool), WINDOW, 0.4))
    np.testing.assert_array_equal(found.channels, logits.argmax(-1))
    order = np.argsort(-logits, axis=-1)[..., :KEPT]
    np.testing.assert_array_equal(found.kept, order)
    behind = logits.max(-1, keepdims=True) - np.take_along_axis(logits, order, -1)
    expected = 255 - np.minimum(behind * STEPS_PER_LOGIT, 255)
    assert np.abs(found.scores - expected).max() <= 0.51


def test_bfloat16_is_read_as_what_it_is() -> None:
    logits = _logits().view(np.uint32) & 0xFFFF0000
    exact = logits.view(np.float32)
    plan = plan_windows(np.ones(SHAPE, bool), WINDOW, 0.4)
    full, half = _run(exact, plan), _run(exact, plan, half=True)
    np.testing.assert_array_equal(full.kept, half.kept)
    np.testing.assert_array_equal(full.scores, half.scores)


def test_overlapping_windows_are_weighted_by_the_gaussian() -> None:
    shape, window = (8, 7, 9), (8, 7, 6)
    plan = WindowPlan(window, (Layer(0, ((0, 0),)), Layer(3, ((0, 0),))))
    stitcher = Stitcher(shape, 2, plan)
    first, second = np.zeros((*window, 2), np.float32), np.zeros((*window, 2), np.float32)
    first[..., 1], second[..., 0] = 1.0, 1.0
    stitcher.add(first, 0, 0, 0)
    stitcher.finish_below(3)
    stitcher.add(second, 0, 0, 3)
    channels = stitcher.result().channels
    # In the shared planes 3..5 the first window's weights fall and the second's rise.
    fz = importance(window)[2]
    expected = [1, 1, 1, *[int(fz[k] > fz[k - 3]) for k in (3, 4, 5)], 0, 0, 0]
    np.testing.assert_array_equal(channels[4, 3], expected)
    assert channels[0, 0, 3] == channels[4, 3, 3]


def test_where_no_window_came_it_is_background_for_sure() -> None:
    body = np.zeros(SHAPE, bool)
    body[:6, :5, 10:14] = True
    logits = np.zeros((*SHAPE, CHANNELS), np.float32)
    logits[..., 3] = 5.0
    found = _run(logits, plan_windows(body, WINDOW, 0.25))
    assert (found.channels[body] == 3).all()
    assert (found.channels[10:] == 0).all() and (found.scores[10:, :, :, 0] == 255).all()


def test_memory_does_not_grow_with_the_number_of_classes_times_height() -> None:
    plan = plan_windows(np.ones((8, 7, 600), bool), WINDOW, 0.25)
    stitcher = Stitcher((8, 7, 600), 30, plan)
    held = sum(a.nbytes for a in vars(stitcher).values() if isinstance(a, np.ndarray))
    assert held == pytest.approx(8 * 7 * (6 * 31 * 4 + 600 * 2 * KEPT))
