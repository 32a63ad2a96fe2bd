"""Small islands: connected parts of a structure that are too small to belong to it.

One pass of connected components over the whole label map finds the parts of all structures at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vastus.inference import kernels

KEEP_SHARE: Final = 0.05
"""A part smaller than this share of its structure's largest part on the same side is an island."""

KEEP_MM3: Final = 100.0
"""A part smaller than this is an island next to any larger part."""


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """Connected parts (26 neighbours, same value) of a label map.

    Attributes:
        index: integer, shape of the map: number of the part of each voxel, 0 for the background.
        value: shape (n + 1,): label value of each part; 0 for entry 0.
        size: shape (n + 1,): voxels of each part; 0 for entry 0.
    """

    index: NDArray[np.uint32]
    value: NDArray[np.uint8]
    size: NDArray[np.int64]


def find_parts(labels: NDArray[np.uint8]) -> Parts:
    """Find the connected parts of every value of a label map."""
    import cc3d

    # cc3d wants one memory order; the maps here have x fastest.
    ours = np.asfortranarray(labels)
    index, count = cc3d.connected_components(ours, connectivity=26, return_N=True)
    numbers: NDArray[np.uint32] = index.astype(np.uint32, copy=False)
    value, size = kernels.count_parts(numbers.ravel(order="K"), ours.ravel(order="K"), count + 1)
    return Parts(numbers, value, size)


def islands(parts: Parts, voxel_mm3: float, known: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """Tell which parts are islands, shape (n + 1,); the largest part of a value never is.

    Args:
        parts: of label values with sides.
        voxel_mm3: volume of a voxel.
        known: parts that do not belong to their structure anyway: other parts aren't measured by their size.
    """
    size = parts.size if known is None else np.where(known, 0, parts.size)
    largest = np.zeros(256, np.int64)
    np.maximum.at(largest, parts.value, size)
    limit = np.maximum(KEEP_SHARE * largest, np.minimum(KEEP_MM3 / voxel_mm3, largest))
    too_small: NDArray[np.bool_] = size < limit[parts.value]
    too_small[0] = False
    return too_small


def dissolve(
    labels: NDArray[np.uint8], parts: Parts, gone: NDArray[np.bool_], *, into_own: bool = True
) -> NDArray[np.uint8]:
    """Give parts the label that surrounds most of each (background included).

    Args:
        labels: uint8, class ids or label values.
        parts: of these labels, or of some of them.
        gone: shape (n + 1,), which parts.
        into_own: whether a part may keep its own label where this surrounds it.

    Returns:
        A new map, x fastest in memory.
    """
    cleaned = np.asfortranarray(labels).copy(order="F")
    if gone.any():
        rank = np.cumsum(gone).astype(np.int64) * gone
        around = kernels.neighbours_of(parts.index, cleaned, rank, int(gone.sum()) + 1)
        if not into_own:
            around[rank[gone], parts.value[gone]] = 0
        replacement = np.arange(256, dtype=np.uint8)[around.argmax(axis=1)]
        kernels.replace(parts.index, cleaned, rank, replacement)
    return cleaned
