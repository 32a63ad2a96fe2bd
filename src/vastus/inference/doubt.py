"""Where the network is in two minds: a map of doubtful borders, for the eye.

Every border has a thin line of doubt, since a voxel there holds two structures. What matters is a band: the probability
of the best class is averaged over 6 mm in the slice, and what is left of doubt after that is a border that may lie
elsewhere.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from vastus.inference.stitch import STEPS_PER_LOGIT, ScoreMap
from vastus.volume import Affine, Volume

DOUBTFUL: Final = 0.7
GUESSED: Final = 0.55
"""Mean probability of the best class: below the one a border is doubtful (level 1), below the other guessed (2)."""
AVERAGED: Final = 3
"""Voxels of the network's grid along both axes of the slice."""


def doubt_map(scores: ScoreMap, shape: tuple[int, int, int], affine: Affine) -> Volume:
    """Find doubtful borders on the network's grid: 0 sure, 1 doubtful, 2 guessed; uint8.

    Args:
        scores: what the network said; it may be larger than the grid at the far ends.
        shape: of the grid.
        affine: of the grid.
    """
    from scipy import ndimage

    x, y, z = shape
    behind = scores.scores[:x, :y, :z]
    unsure = np.zeros(shape, np.float32, order="F")
    # Inside a structure and in air the second class is far behind: only the rest is worth arithmetic.
    rest = behind[..., 1] > _NEAR
    unsure[rest] = _unsure(behind[rest])
    mean = ndimage.uniform_filter(unsure, (AVERAGED, AVERAGED, 1))
    return Volume((mean > 1.0 - DOUBTFUL).astype(np.uint8) + (mean > 1.0 - GUESSED), affine)


_NEAR: Final = 255 - round(6 * STEPS_PER_LOGIT)
"""Six logits: a probability of a quarter of a percent."""


def _unsure(behind: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Compute one less the probability of the best class, shape (N,), from kept scores of shape (N, KEPT)."""
    odds = np.exp((np.arange(256) - 255.0) / STEPS_PER_LOGIT).astype(np.float32)
    odds[0] = 0.0  # the floor: that far behind or farther
    total = odds[behind].sum(axis=1)
    share: NDArray[np.float32] = 1.0 - 1.0 / total
    return share
