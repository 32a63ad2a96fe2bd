"""Structures that should be in the scan and were not found.

Each slice says at which level of the body it lies, by what else it holds. Where at that level nearly everybody has a
structure, where its usual place lies within the image, and where there is body at that place, it should be found. If
it is not, or is a sliver, over some centimetres, it was missed; or the person lacks it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BY_ID, CLASS_COUNT, SIDES, STRUCTURES, Side, Structure
from vastus.inference.evidence import IMAGE_EDGE, Count, Evidence
from vastus.quality.features import USUAL, Population
from vastus.quality.levels import HEIGHT_MM, LEAST_SIDE_MM2, NEARLY_EVERYBODY, levels, steps_of
from vastus.volume import Volume, to_ras

Table = NDArray[np.float64]

LEAST_MM: Final = 40.0
"""A stretch as long as this without the structure is told."""
SLIVER: Final = 0.1
"""Of the usual area at that level: less is as good as nothing."""
MISSED_SHARE: Final = 0.75
"""Of the slices that should hold it, so many must lack it: an end that comes early is no miss."""
LEAST_CUT_MM: Final = 15.0
"""Of labels along the edge of the image."""
BODY_HU: Final = -300.0
PATCH_MM: Final = 6.0
_N: Final = len(STRUCTURES)


@dataclass(frozen=True, slots=True)
class Missing:
    """A structure that was missed.

    Attributes:
        structure, side: which.
        absent_mm: length over which it should be found and is not.
        found_mm3: what is labelled all the same, anywhere.
    """

    structure: Structure
    side: Side
    absent_mm: float
    found_mm3: float

    @property
    def text(self) -> str:
        """A sentence for the user."""
        found = f"only {self.found_mm3 / 1000:.1f} mL was found" if self.found_mm3 else "it was not found"
        return (
            f"{self.structure.english}, {self.side.value}: {found}, though it should lie in the scan over about"
            f" {self.absent_mm:.0f} mm more, by the bones and muscles around. It was missed, or the person lacks it:"
            " do not take its volume for small. Look at the page there."
        )


def find_missing(evidence: Evidence | None, ct: Volume, population: Population) -> tuple[Missing, ...]:
    """Find what was missed on either side; nothing where sides are not known.

    Args:
        evidence: of a segmentation; None: of structures that no population is known of.
        ct: the scan in HU, any orientation.
        population: what is usual. A structure that was added to the anatomy after it was fitted is passed over.
    """
    if evidence is None:
        return ()
    upright = to_ras(ct)
    found = []
    for number, side in enumerate(SIDES):
        seen = _Side.of(evidence, number)
        for class_id in range(1, min(CLASS_COUNT, len(population.presence))):
            one = _missing(evidence, upright, population, (seen, class_id))
            if one is not None:
                absent_mm, found_mm3 = one
                found.append(Missing(BY_ID[class_id], side, absent_mm, found_mm3))
    return tuple(found)


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """What all structures of a side share.

    Attributes:
        is_left: which.
        area: shape (29, slices), mm2.
        whole: shape (slices,): of all of them.
        level: shape (29, slices): told by all but the structure itself.
        whole_leg: bool, shape (slices,): enough is labelled, and the image does not cut the leg.
        centre: two of shape (slices,): middle of the labels, in voxels.
    """

    is_left: bool
    area: Table
    whole: Table
    level: Table
    whole_leg: NDArray[np.bool_]
    centre: tuple[Table, Table]

    @classmethod
    def of(cls, evidence: Evidence, side: int) -> _Side:
        """Look at one side: 0 right, 1 left."""
        rows = slice(side * _N, side * _N + _N)
        counts = evidence.counts[rows]
        dx, dy, _ = evidence.spacing_mm
        area = counts[:, :, Count.VOXELS] * dx * dy
        whole = area.sum(axis=0)
        # Where the image cuts the leg, what lies beyond is not missed, and the middle of what is seen is no middle.
        cut = evidence.contacts[rows][:, :, IMAGE_EDGE].sum(axis=0) * dx >= LEAST_CUT_MM
        with np.errstate(invalid="ignore", divide="ignore"):
            x, y = (counts[:, :, c].sum(axis=0) / counts[:, :, Count.VOXELS].sum(axis=0) for c in (Count.X, Count.Y))
        return cls(side == 1, area, whole, levels(evidence, side), (whole >= LEAST_SIDE_MM2) & ~cut, (x, y))


def _missing(
    evidence: Evidence, ct: Volume, population: Population, which: tuple[_Side, int]
) -> tuple[float, float] | None:
    side, class_id = which
    dx, dy, dz = evidence.spacing_mm
    whole, level = side.whole, side.level[class_id - 1]
    step = steps_of(level)
    due = side.whole_leg & (step >= 0)
    due &= np.where(step >= 0, population.presence[class_id][step], 0.0) >= NEARLY_EVERYBODY
    if due.sum() * dz < LEAST_MM:
        return None
    usual = {name: _curve(population, class_id, name, level) for name in ("share_of_side", "right_mm", "front_mm")}
    own = side.area[class_id - 1]
    with np.errstate(invalid="ignore", over="ignore"):
        sliver = SLIVER * np.exp(usual["share_of_side"]) * whole
    lacking = due & (own <= np.nan_to_num(sliver))
    if lacking.sum() * dz < LEAST_MM:
        return None
    scale = np.sqrt(whole)
    x = side.centre[0] * dx + usual["right_mm"] * scale * (-1.0 if side.is_left else 1.0)
    y = side.centre[1] * dy + usual["front_mm"] * scale
    seen = _in_body(evidence, ct, (x / dx, y / dy), due)
    lacking &= seen
    if lacking.sum() * dz < LEAST_MM or lacking.sum() < MISSED_SHARE * seen.sum():
        return None
    return float(lacking.sum() * dz), float(own.sum() * dz)


def _curve(population: Population, class_id: int, name: str, level: Table) -> Table:
    """Compute what is usual at each level; NaN where it is not known."""
    a, b, c, _ = population.curve[class_id, USUAL.index(name)]
    usual = HEIGHT_MM[class_id - 1]
    t = (level - (usual if np.isfinite(usual) else 250.0)) / 100.0
    value: Table = a + b * t + c * t * t
    return value


def _in_body(evidence: Evidence, ct: Volume, place: tuple[Table, Table], asked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell whether a place (i, j) in each slice asked for, of the network's grid, lies in the image and in the body."""
    i, j = place
    to_ct = np.linalg.inv(ct.affine) @ evidence.affine
    places = np.stack([i, j, np.arange(len(i), dtype=float), np.ones(len(i))])
    at = (to_ct @ np.nan_to_num(places, nan=-1e6))[:3]
    reach = np.maximum(1, np.round(PATCH_MM / np.array(ct.spacing_mm))).astype(int)
    out = np.zeros(len(i), np.bool_)
    for k in np.flatnonzero(asked):
        x, y, z = (int(v) for v in np.round(at[:, k]))
        low, high = (x - reach[0], y - reach[1]), (x + reach[0], y + reach[1])
        if min(low) < 0 or high[0] >= ct.shape[0] or high[1] >= ct.shape[1] or not 0 <= z < ct.shape[2]:
            continue
        patch: NDArray[Any] = ct.array[low[0] : high[0] + 1, low[1] : high[1] + 1, z]
        # The median of an odd number of voxels; counting is much quicker than sorting.
        out[k] = 2 * np.count_nonzero(patch > BODY_HU) > patch.size
    return out
