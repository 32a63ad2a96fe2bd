"""Fix one muscle only: one structure gets a new mask, the others keep what is theirs."""

from __future__ import annotations

from collections.abc import Set

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BACKGROUND_ID
from vastus.errors import GeometryError
from vastus.refinement.boxes import box_of, nearest_other, voxels

Labels = NDArray[np.uint8]
_AROUND_MM = 30.0


def replace_structure(
    labels: Labels,
    mask: NDArray[np.bool_],
    value: int,
    spacing_mm: tuple[float, float, float],
    give_way: Set[int] = frozenset(),
) -> Labels:
    """Put a new mask in the place of one structure.

    Args:
        labels: uint8.
        mask: where the structure shall be; same shape.
        value: of the structure.
        spacing_mm: of the axes.
        give_way: structures whose voxels the mask may take; of all others the mask takes none.

    Returns:
        A new label map. Voxels that the structure leaves go to the nearest neighbour: another structure or the
        background.

    Raises:
        GeometryError: mask and labels differ in shape.
    """
    if mask.shape != labels.shape:
        raise GeometryError(f"A mask of shape {mask.shape} does not fit the label map {labels.shape}.")
    result = labels.copy()
    box = box_of(mask | (labels == value), voxels(_AROUND_MM, spacing_mm))
    if box is None:
        return result
    inner = result[box]
    old = inner == value
    free = old | np.isin(inner, [BACKGROUND_ID, *give_way])
    new = mask[box] & free
    left = old & ~new
    if left.any():
        hole = old | new
        filler = np.zeros(inner.shape, np.uint8)
        if not hole.all():
            filler[hole] = nearest_other(inner, hole, spacing_mm)
        inner[left] = filler[left]
    inner[new] = value
    return result
