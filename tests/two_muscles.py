"""A CT of two blocks of muscle in fat, in LPS order: enough to draw outlines in."""

from __future__ import annotations

from typing import Final

import numpy as np

from vastus.volume import Volume

LPS: Final = np.array([[-1.0, 0, 0, 60], [0, -1.0, 0, 50], [0, 0, 3.0, 0], [0, 0, 0, 1]])


def two_muscles(seed: int) -> Volume:
    """(60, 50, 5) voxels in HU, with noise."""
    hu = np.full((60, 50, 5), -1000, np.int16)
    hu[3:57, 3:47] = -100
    hu[10:27, 10:35] = 55
    hu[30:50, 10:35] = 48
    return Volume((hu + np.random.default_rng(seed).normal(0, 8, hu.shape)).astype(np.int16), LPS)
