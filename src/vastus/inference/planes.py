"""Labels changed slice by slice on the scan's own grid: each slice is cropped to what is labelled in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vastus.blocks import in_blocks

Change = Callable[[NDArray[np.uint8], NDArray[np.float32]], None]
"""Changes the labels of one slice in place, given its HU; rows run along Y, columns along X."""


def change_planes(labels: NDArray[np.uint8], hu: NDArray[Any], margin: tuple[int, int], change: Change) -> None:
    """Call ``change`` for each slice that holds labels, in several threads.

    Args:
        labels: label values, (X, Y, Z), RAS, of any order in memory; changed in place.
        hu: the scan on the same grid.
        margin: voxels along Y and X around what is labelled that ``change`` looks at, too.
        change: see ``Change``.
    """

    def work(start: int, stop: int) -> None:
        for k in range(start, stop):
            plane = labels[:, :, k].T  # in most files x is the fastest axis
            place = _labelled(plane, margin)
            if place is None:
                continue
            values = np.ascontiguousarray(plane[place])
            change(values, np.ascontiguousarray(hu[:, :, k].T[place], np.float32))
            plane[place] = values

    in_blocks(labels.shape[2], work)


def _labelled(plane: NDArray[np.uint8], margin: tuple[int, int]) -> tuple[slice, slice] | None:
    """Find the part of a slice that holds labels, and a margin; None where it holds none."""
    rows = np.flatnonzero(plane.any(axis=1))
    if not len(rows):
        return None
    columns = np.flatnonzero(plane[rows[0] : rows[-1] + 1].any(axis=0))
    down, across = margin
    return (
        slice(max(0, int(rows[0]) - down), int(rows[-1]) + 1 + down),
        slice(max(0, int(columns[0]) - across), int(columns[-1]) + 1 + across),
    )
