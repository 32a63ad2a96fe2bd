"""What a voxel of a synthetic body is made of: the 29 structures, and the tissues that carry no class."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from vastus.anatomy import CLASS_COUNT


class Tissue(IntEnum):
    """Tissue ids beyond the class ids 1..29, which keep their meaning; 0 is air."""

    AIR = 0
    FAT = 30
    SKIN = 31
    OTHER_MUSCLE = 32
    OTHER_BONE = 33
    VESSEL = 34
    BOWEL = 35
    GAS = 36
    FLUID = 37
    ORGAN = 38
    TENDON = 39
    CALF_MUSCLE = 40
    METAL = 41
    TABLE = 42
    CLOTH = 43


TISSUE_COUNT = max(Tissue) + 1

CLASS_OF_TISSUE = np.array([t if t < CLASS_COUNT else 0 for t in range(TISSUE_COUNT)], dtype=np.uint8)
"""Class id of every tissue id: a look-up table."""
