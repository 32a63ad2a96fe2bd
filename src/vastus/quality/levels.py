"""At which level of the body a slice lies, told from what else it holds."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import CLASS_COUNT, STRUCTURES
from vastus.inference.evidence import Count, Evidence

Table = NDArray[np.float64]

LEVELS_MM: Final = np.arange(100.0, 620.0, 20.0)
"""Lower ends of the steps of ``Population.presence``."""
LEAST_SIDE_MM2: Final = 3000.0
NEARLY_EVERYBODY: Final = 0.8
"""Share of bodies that have a structure at a level, from which on it should be there."""
HEIGHT_MM: Final = np.array([np.nan if s.height_mm is None else s.height_mm for s in STRUCTURES])
"""Usual height of each structure over the knee; NaN where it is seen at many."""
_N: Final = len(STRUCTURES)
_KNOWN: Final = np.isfinite(HEIGHT_MM)


def levels(evidence: Evidence, side: int) -> Table:
    """Tell the level of each slice by all structures of a side but one, (29, slices), mm; NaN where nothing tells.

    Args:
        evidence: of a segmentation.
        side: 0 right, 1 left.
    """
    amount = np.sqrt(evidence.counts[side * _N : side * _N + _N, :, Count.VOXELS])
    usual = np.where(_KNOWN, HEIGHT_MM, 0.0)[:, None]
    told = amount * _KNOWN[:, None]
    total, moment = told.sum(axis=0) - told, (told * usual).sum(axis=0) - told * usual
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 1e-6, moment / total, np.nan)


def steps_of(level: Table) -> NDArray[np.int64]:
    """Find the step of ``LEVELS_MM`` that each level lies in; -1 where there is none."""
    step = np.floor((np.nan_to_num(level, nan=-1e9) - LEVELS_MM[0]) / (LEVELS_MM[1] - LEVELS_MM[0])).astype(np.int64)
    return np.where((step >= 0) & (step < len(LEVELS_MM)), step, -1)


def count_presence(evidence: Evidence) -> tuple[Table, Table]:
    """Count slices at each level, and those that hold the structure; shape (30, steps), for ``Population.presence``."""
    pixel = evidence.spacing_mm[0] * evidence.spacing_mm[1]
    total, held = np.zeros((2, CLASS_COUNT, len(LEVELS_MM)))
    for side in (0, 1):
        area = evidence.counts[side * _N : side * _N + _N, :, Count.VOXELS] * pixel
        step = np.where(area.sum(axis=0) >= LEAST_SIDE_MM2, steps_of(levels(evidence, side)), -1)
        for n in range(_N):
            known = step[n] >= 0
            np.add.at(total[n + 1], step[n][known], 1.0)
            np.add.at(held[n + 1], step[n][known], area[n][known] > 0)
    return total, held
