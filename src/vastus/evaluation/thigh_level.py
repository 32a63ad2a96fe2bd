"""Where along the thigh a drawn slice lies, told from the structures that are drawn in it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Final


class ThighLevel(Enum):
    """Where along the thigh a slice lies, by the structures drawn in it, from the feet upwards."""

    DISTAL = "distal"
    MIDDLE = "middle"
    PROXIMAL = "proximal"
    HIP = "hip"


_MARKS: Final = (
    (ThighLevel.HIP, ("gluteus_medius", "gluteus_minimus", "piriformis", "iliacus", "psoas", "multifidus")),
    (
        ThighLevel.PROXIMAL,
        (
            "gluteus_maximus",
            "pectineus",
            "adductor_brevis",
            "quadratus_femoris",
            "obturator_externus",
            "obturator_internus",
            "iliopsoas",
            "tensor_fasciae_latae",
            "hip_bone",
        ),
    ),
    (ThighLevel.MIDDLE, ("adductor_longus",)),
)


def levels_of(structures: Iterable[Iterable[str]]) -> tuple[ThighLevel, ...]:
    """Levels of the slices of one scan, given the structures in each, from the feet upwards.

    The highest mark among the structures counts (``_MARKS``), and no slice lies lower than one below it.
    """
    order = tuple(ThighLevel)
    highest, found = 0, []
    for keys in structures:
        own = set(keys)
        level = next((level for level, marks in _MARKS if own & set(marks)), ThighLevel.DISTAL)
        highest = max(highest, order.index(level))
        found.append(order[highest])
    return tuple(found)
