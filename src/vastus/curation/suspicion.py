"""A suspicion: something about one structure of one scan that does not fit, before it is shown to anyone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class FindingKind(Enum):
    """What is wrong, by the way it was noticed."""

    SIDES = "left and right swapped"
    SWAPPED = "labelled as another structure"
    ISLAND = "island"
    MISSING_SLICES = "missing slices"
    SLICE_JUMP = "jump between slices"
    MISSING = "missing structure"
    BOUNDARY = "boundary off the model's"
    EDGE = "boundary off the image's edges"
    VOLUME = "unusual volume"
    ASYMMETRY = "unlike its other side"
    POSITION = "unusual place"
    NEIGHBOURS = "unusual neighbours"


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What a detector says.

    Attributes:
        case: name of the scan.
        value: label value; 0: the scan as a whole.
        kind: see there.
        score: 1 is the limit of the detector; higher is more suspicious.
        detail: in words, with numbers.
        slices: axial slices (RAS, from the feet) that it is about, if it is about some.
        other: a second label value that it concerns: what the structure seems to be, where that is known.
    """

    case: str
    value: int
    kind: FindingKind
    score: float
    detail: str
    slices: tuple[int, ...] = ()
    other: int | None = None
