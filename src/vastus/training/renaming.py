"""Outlines of one round of pseudo-labels, names of another.

A network that learnt to tell some structures apart may draw their borders worse than its forerunner did. Then the
forerunner says where they are and the newer network which is which.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BACKGROUND_ID
from vastus.training.losses import IGNORE

RIM_MM = 8.0
"""Where the newer network left out a rim, its nearest structure is taken, up to this distance."""


def renamed(
    outlines: NDArray[np.uint8], names: NDArray[np.uint8], among: Collection[int], spacing_mm: tuple[float, ...]
) -> NDArray[np.uint8]:
    """Class ids where both rounds can be right, ``IGNORE`` elsewhere.

    Within the outlines of ``among``, the names are the newer ones, also in a rim that the newer round calls background.
    Other structures are kept where the newer round says the same or background, background where it says no structure.

    Args:
        outlines: the earlier round, class ids or ``IGNORE``.
        names: the newer round, of the same shape.
        among: class ids whose outlines are kept as one.
        spacing_mm: of the voxels.
    """
    from scipy.ndimage import distance_transform_edt

    result = np.full(outlines.shape, IGNORE, np.uint8)
    inside, named = np.isin(outlines, tuple(among)), np.isin(names, tuple(among))
    result[inside & named] = names[inside & named]
    if named.any():
        distance, nearest = distance_transform_edt(~named, sampling=spacing_mm, return_indices=True)
        rim = inside & (names == BACKGROUND_ID) & (distance <= RIM_MM)
        result[rim] = names[tuple(axis[rim] for axis in nearest)]
    same = ~inside & ((names == outlines) | (names == BACKGROUND_ID))
    result[same] = outlines[same]
    unsure = (outlines == BACKGROUND_ID) & (names == IGNORE)
    result[unsure] = BACKGROUND_ID
    return result
