"""Do the words of a header fit what the scan shows? The side of a single leg, and what lies on the table.

Voxels are placed by the directions of the axes alone. A scan that was mirrored on its way keeps the words of its
header, so that a right leg with ``Laterality R`` looks like a left one. Of two legs nothing shows a mirror: muscles and
bones of both sides are alike, and the organs that are not lie above the hips.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from vastus.anatomy import SIDES, Side
from vastus.inference.body_lie import COARSE_MM, table_side
from vastus.inference.remarks import Remark
from vastus.io.scan_types import LyingOn, ToldLie
from vastus.label_arrays import on_side
from vastus.volume import Volume

ONE_SIDED: Final = 0.95
"""Share of the labels: a scan of one leg has so many of them on one side."""
LEAST_MM3: Final = 100_000.0
CUT_SHARE: Final = 0.2
"""Of an edge of the image that is solid: the image cuts the body there, and a flat cut is no table."""
SOLID_HU: Final = -500

_OPPOSITE: Final = {
    LyingOn.BACK: LyingOn.FRONT,
    LyingOn.FRONT: LyingOn.BACK,
    LyingOn.RIGHT: LyingOn.LEFT,
    LyingOn.LEFT: LyingOn.RIGHT,
}
_DIRECTION: Final = {
    LyingOn.BACK: "behind the body",
    LyingOn.FRONT: "in front of the body",
    LyingOn.RIGHT: "on the body's right",
    LyingOn.LEFT: "on the body's left",
}
SIDE: Final = (
    "The header says that this is the {told} side ({named}); the bones and muscles of the only leg lie like those of"
    " the {found} one. The scan was mirrored, or the header is wrong. Find out which (on the scanner's own images)"
    " before you use a number with its side."
)
TABLE: Final = (
    "The header says that the patient lies on the {told} ({named}); the table is seen {where}, by the directions of the"
    " axes. The patient lay otherwise, or the scan was turned or mirrored; left and right may be swapped. Look at the"
    " page, and at the scanner's own images, before you use a number with its side."
)


def said_of_header(told: ToldLie, labels: Volume, ct: Volume) -> tuple[Remark, ...]:
    """Warn where the words of the header contradict what is seen.

    Args:
        told: by the header.
        labels: label values, in RAS order.
        ct: HU on the same grid.
    """
    if told.on is None and told.side is None:
        return ()
    steps = [max(1, round(COARSE_MM / s)) for s in labels.spacing_mm]
    view = tuple(slice(None, None, n) for n in steps)
    spacing = np.array(labels.spacing_mm) * steps
    found = only_side(np.asarray(labels.array[view]), float(np.prod(spacing)))
    remarks = []
    if told.side is not None and found is not None and found is not told.side:
        remarks.append(Remark(SIDE.format(told=told.side.value, named=told.side_named, found=found.value)))
    if told.on is not None:
        hu = np.asarray(ct.array[view])
        seen = table_seen(hu, spacing)
        if seen is not None and seen is not told.on:
            remarks.append(Remark(TABLE.format(told=told.on.value, named=told.on_named, where=_DIRECTION[seen])))
    return tuple(remarks)


def only_side(values: np.ndarray, voxel_mm3: float) -> Side | None:
    """Give the side that nearly all labels are on; None where there are two, or few labels."""
    volumes = [float(on_side(values, side).sum()) * voxel_mm3 for side in SIDES]
    if sum(volumes) < LEAST_MM3 or max(volumes) < ONE_SIDED * sum(volumes):
        return None
    return SIDES[int(np.argmax(volumes))]


def table_seen(hu: np.ndarray, spacing: np.ndarray) -> LyingOn | None:
    """Tell on which side of the body a table is seen; None where none is, or more than one could be it."""
    ahead = table_side(hu, spacing)
    across = table_side(hu.swapaxes(0, 1), spacing[[1, 0, 2]])
    seen = [
        on
        for on, holds, edge in (
            (LyingOn.BACK, ahead < 0, hu[:, 0]),
            (LyingOn.FRONT, ahead > 0, hu[:, -1]),
            (LyingOn.LEFT, across < 0, hu[0]),
            (LyingOn.RIGHT, across > 0, hu[-1]),
        )
        if holds and float((edge > SOLID_HU).mean()) < CUT_SHARE
    ]
    return seen[0] if len(seen) == 1 else None
