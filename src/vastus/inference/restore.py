"""Back to the original grid: smooth boundaries without ever holding class scores at full resolution.

Each voxel of the original grid lies between eight voxels of the network grid. Where these eight agree (most of the
scan) it gets their label. Elsewhere the scores of the labels found among the eight are interpolated trilinearly and
the highest wins.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vastus.blocks import in_blocks
from vastus.inference import kernels
from vastus.inference.stitch import ScoreMap


def restore(
    labels: NDArray[np.uint8], channel_of: NDArray[np.int64], scores: ScoreMap, target: NDArray[np.uint8]
) -> None:
    """Fill ``target`` with labels interpolated from the network grid; both cover the same box.

    Args:
        labels: uint8, shape (X, Y, Z): cleaned label values on the network grid.
        channel_of: shape (256,): output channel of each label value.
        scores: the scores on the same grid (it may be larger at the far ends: padding is ignored).
        target: uint8, shape (I, J, K), any memory layout; written in place.
    """
    # As in resampling: bring the target to (slow, middle, fast) in C order; a reversed axis becomes a reversed table.
    reversed_axes = tuple(axis for axis in range(3) if target.strides[axis] < 0)
    straight = np.flip(target, reversed_axes) if reversed_axes else target
    order = tuple(int(a) for a in np.argsort([-s for s in straight.strides], kind="stable"))
    tables: list[Any] = []
    for axis in order:
        lower, fraction = _neighbours(labels.shape[axis], target.shape[axis])
        tables += [lower[::-1].copy(), fraction[::-1].copy()] if axis in reversed_axes else [lower, fraction]
    x, y, z = labels.shape
    starts = kernels.run_starts(tables[0])
    arguments = (
        straight.transpose(order),
        np.ascontiguousarray(labels.transpose(order)),
        channel_of,
        _lined_up(scores.kept[:x, :y, :z], order),
        _lined_up(scores.scores[:x, :y, :z], order),
        starts,
        *tables,
    )
    kernel: Any = kernels.restore
    in_blocks(len(starts) - 1, lambda a, b: kernel(*arguments, (a, b)))


def _lined_up(array: NDArray[np.uint8], order: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(array.transpose((*order, 3)))


def _neighbours(n_net: int, n_out: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Compute the lower neighbour on the network grid and the share of the upper one, for each voxel of an axis."""
    centre = np.clip((np.arange(n_out) + 0.5) * (n_net / n_out) - 0.5, 0.0, n_net - 1.0)
    lower = np.minimum(np.floor(centre).astype(np.int64), max(0, n_net - 2))
    return lower, (centre - lower).astype(np.float32)
