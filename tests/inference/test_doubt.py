"""Where borders are doubtful."""

from __future__ import annotations

import numpy as np

from vastus.inference.doubt import doubt_map
from vastus.inference.stitch import KEPT, STEPS_PER_LOGIT, ScoreMap, uniform_score_map


def scores(behind: np.ndarray) -> ScoreMap:
    """Two classes everywhere, the second so many logits behind the first."""
    shape = behind.shape[::-1]
    kept, score = np.zeros((*shape, KEPT), np.uint8), np.zeros((*shape, KEPT), np.uint8)
    kept[..., 0], kept[..., 1] = 1, 2
    score[..., 0] = 255
    score[..., 1] = np.clip(255 - behind.transpose(2, 1, 0) * STEPS_PER_LOGIT, 0, 254).astype(np.uint8)
    return ScoreMap(kept[..., 0].transpose(2, 1, 0), *(a.transpose(2, 1, 0, 3) for a in (kept, score)))


def test_doubt_has_two_levels_by_the_probability_of_the_best_class():
    behind = np.full((12, 12, 4), 10.0)
    behind[:, :, 1], behind[:, :, 2], behind[:, :, 3] = 1.2, 0.5, 0.0  # 0.77, 0.62, 0.50
    found = doubt_map(scores(behind), (12, 12, 4), np.eye(4))
    assert [np.unique(found.array[:, :, k]).tolist() for k in range(4)] == [[0], [0], [1], [2]]
    assert found.array.dtype == np.uint8


def test_a_line_of_doubt_between_two_sure_structures_is_no_doubtful_border():
    behind = np.full((12, 12, 1), 10.0)
    behind[6] = 0.3
    assert not doubt_map(scores(behind), (12, 12, 1), np.eye(4)).array.any()
    behind[5:8] = 0.3
    assert doubt_map(scores(behind), (12, 12, 1), np.eye(4)).array[6, 1:11].all()


def test_what_is_sure_is_silent_and_a_larger_map_is_cut():
    labels = np.zeros((9, 9, 3), np.uint8)
    labels[3:6] = 4
    found = doubt_map(uniform_score_map(labels), (7, 8, 2), np.eye(4))
    assert found.shape == (7, 8, 2) and not found.array.any()
