"""Soft tissue laid over a body that is already there: it takes fat, air or the cavity, never a structure with a label.

One exception: the line of a fracture takes femur, and is labelled as femur.

Shapes lie in the frame of the new body. So they need no part of their own in the atlas, and differ from body to body.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vastus.synthesis.growth import NO_PART, Grid
from vastus.synthesis.shapes import Shape
from vastus.synthesis.tissues import FEMUR, Tissue

_UNIT_MM = 0.125
_NO_PARTS = (Tissue.AIR, Tissue.FAT, Tissue.SKIN)
"""What belongs to no part."""


@dataclass(frozen=True, slots=True, eq=False)
class Overlay:
    """One shape of soft tissue.

    Attributes:
        name: decides its grey value (``soft_tissues.LOOKS``).
        tissue: a ``Tissue`` without a class.
        shape: in the frame of the body.
        takes: tissues it may replace (a fracture: class ids).
    """

    name: str
    tissue: Tissue
    shape: Shape
    takes: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse to take what carries a class."""
        unlabelled = all(isinstance(t, Tissue) for t in self.takes)
        keeps_label = self.tissue is Tissue.FRACTURE and self.takes == (FEMUR,)
        assert unlabelled or keeps_label, "an overlay takes no structure"


def lay_over(
    part: NDArray[np.uint8],
    depth: NDArray[np.int8],
    tissue: NDArray[np.uint8],
    grid: Grid,
    overlays: Sequence[Overlay],
    first_number: int,
) -> None:
    """Draw overlays into a body on a grid, in place; an earlier one is not covered by a later one.

    Args:
        part, depth, tissue: the body, as in ``subject.TissueMap``.
        grid: where.
        overlays: shapes, in the frame of the grid.
        first_number: part number of the first overlay.
    """
    origin, spacing = grid.origin_mm, np.array(grid.spacing_mm)
    for number, overlay in enumerate(overlays, start=first_number):
        low, high = overlay.shape.box_mm()
        first = np.clip(np.floor((low - origin) / spacing).astype(int), 0, grid.shape)
        last = np.clip(np.ceil((high - origin) / spacing).astype(int) + 1, 0, grid.shape)
        if (first >= last).any():
            continue
        window = tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
        x, y, z = (
            (origin[a] + spacing[a] * np.arange(first[a], last[a]))
            .astype(np.float32)
            .reshape([-1 if n == a else 1 for n in range(3)])
            for a in range(3)
        )
        distance = overlay.shape.distance_mm(x, y, z)
        here = tissue[window]
        chosen = np.isin(here, overlay.takes) & (distance < 0)
        here[chosen] = overlay.tissue
        part[window][chosen] = NO_PART if overlay.tissue in _NO_PARTS else number
        depth[window][chosen] = np.clip(np.rint(distance[chosen] / _UNIT_MM), -127, -1).astype(np.int8)
