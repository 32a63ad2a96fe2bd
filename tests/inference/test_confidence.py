from __future__ import annotations

import json
import math

import numpy as np
import pytest

from vastus.anatomy import Side
from vastus.inference.confidence import find_confidence
from vastus.inference.stitch import KEPT, STEPS_PER_LOGIT, ScoreMap, uniform_score_map

CHANNEL = np.zeros(256, np.int64)
CHANNEL[[1, 101, 201]] = 1
CHANNEL[[28, 128, 228]] = 2


def _scores(kept: list[list[int]], logits_behind: list[list[float]]) -> ScoreMap:
    """A row of voxels along x."""
    n = len(kept)
    best, scores = np.zeros((n, 1, 1, KEPT), np.uint8), np.zeros((n, 1, 1, KEPT), np.uint8)
    best[:, 0, 0, : len(kept[0])] = kept
    scores[:, 0, 0, : len(kept[0])] = 255 - STEPS_PER_LOGIT * np.array(logits_behind)
    return ScoreMap(best[..., 0], best, scores)


def test_it_is_the_mean_probability_of_the_label_given() -> None:
    labels = np.array([101, 101, 228, 0], np.uint8).reshape(4, 1, 1)
    scores = _scores([[1, 0, 2], [1, 2, 0], [2, 1, 0], [0, 1, 2]], [[0, 2, 3], [0, 0, 9], [0, 1, 1], [0, 0, 0]])
    found = find_confidence(labels, CHANNEL, scores)
    first = 1 / (1 + math.exp(-2) + math.exp(-3))
    second = 1 / (2 + math.exp(-9))
    third = 1 / (1 + 2 * math.exp(-1))
    assert found.labels == pytest.approx({101: (first + second) / 2, 228: third})
    assert found.scan == pytest.approx((first + second + third) / 3)
    assert found.of("femur", Side.LEFT) == pytest.approx(third)
    assert found.of("femur", Side.RIGHT) is None
    assert json.loads(json.dumps(found.to_dict()))["structures"]["femur"] == {"left": round(third, 4)}


def test_a_label_the_network_did_not_think_of_counts_nothing() -> None:
    labels = np.array([101, 101], np.uint8).reshape(2, 1, 1)
    found = find_confidence(labels, CHANNEL, _scores([[2, 0], [1, 0]], [[0, 1], [0, 15.9375]]))
    assert found.scan == pytest.approx(0.5, abs=1e-6)


def test_certainty_is_one_and_nothing_is_none() -> None:
    labels = np.full((3, 2, 2), 101, np.uint8)
    assert find_confidence(labels, CHANNEL, uniform_score_map(CHANNEL[labels])).scan == 1.0
    empty = find_confidence(np.zeros_like(labels), CHANNEL, uniform_score_map(CHANNEL[labels]))
    assert empty.scan is None and not empty.labels


def test_padding_beyond_the_labels_is_ignored() -> None:
    padded = np.zeros((5, 4, 6), np.uint8)
    padded[:3, :2, :2] = 1
    found = find_confidence(np.full((3, 2, 2), 201, np.uint8), CHANNEL, uniform_score_map(padded))
    assert found.labels == {201: 1.0}
