"""Which structures a warning speaks of, so that the page can lead to them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BUILT_IN, SIDES, StructureTable

_MOST: Final = 6
"""Buttons behind one warning."""


@dataclass(frozen=True, slots=True)
class Place:
    """A label value that is in the pictures, and what it is called there."""

    value: int
    name: str


def name_of(value: int, table: StructureTable = BUILT_IN) -> str:
    """Name a label value as warnings do: ``Gracilis, right``; without a side where none is known."""
    label = table.by_value[value]
    return f"{label.structure.english}, {label.side.value}" if label.side in SIDES else label.structure.english


def places_of(warning: str, counts: NDArray[np.int64], table: StructureTable = BUILT_IN) -> tuple[Place, ...]:
    """Find the structures that a warning names with their side, in its order.

    Args:
        warning: as the reader sees it; it writes ``Gracilis, right``.
        counts: (slices, 256), voxels of each label value; what has none can't be shown.
        table: of the structures.
    """
    present = counts.sum(axis=0) > 0
    found: dict[int, int] = {}
    for structure in table.rows:
        for side in SIDES:
            at = re.search(rf"\b{re.escape(structure.english)}, {side.value}\b", warning, re.IGNORECASE)
            value = structure.label_value(side)
            if at is not None and present[value]:
                found[value] = at.start()
    return tuple(Place(value, name_of(value, table)) for value in sorted(found, key=lambda v: found[v])[:_MOST])
