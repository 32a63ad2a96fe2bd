"""Where the parts of a label map lie, slice by slice, and which way the patient's right is, told from the muscles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BUILT_IN, Depth, Lie, StructureTable
from vastus.inference import kernels
from vastus.inference.islands import Parts
from vastus.volume import Affine

NO_CLASS: Final = -1
"""Stands for a structure that a table lacks: no part is of this class."""


@dataclass(frozen=True, slots=True)
class Signposts:
    """Class ids of what tells directions: the two bones, and muscles whose place in the leg is known."""

    femur: int
    hip: int
    medial: tuple[int, ...]
    lateral: tuple[int, ...]
    front: tuple[int, ...]
    back: tuple[int, ...]

    @classmethod
    def of(cls, table: StructureTable) -> Signposts:
        """Find them in a table; those of its structures that are built-in ones count."""
        rows = table.rows
        femur, hip = (table.by_key[key].class_id if key in table.by_key else NO_CLASS for key in ("femur", "hip_bone"))
        return cls(
            femur,
            hip,
            tuple(s.class_id for s in rows if s.lie is Lie.MEDIAL),
            tuple(s.class_id for s in rows if s.lie is Lie.LATERAL),
            tuple(s.class_id for s in rows if s.depth is Depth.FRONT),
            tuple(s.class_id for s in rows if s.depth is Depth.BACK),
        )


BUILT_IN_SIGNPOSTS: Final = Signposts.of(BUILT_IN)

_LEAST_OFFSET_MM = 8.0  # two muscle groups closer than this do not show a direction
_LEAST_CHIRALITY = 0.35  # sine of the angle between "medial" and "front"; 1 in a textbook leg
_REVERSED = -0.2  # cosine between the muscles' front and the header's: below, one of the two is wrong


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """Parts followed through the slices.

    Attributes:
        part: shape (S,): number of each followed part in ``Parts``.
        class_id: shape (S,).
        count: shape (S, Z): voxels in each slice.
        centre_mm: shape (S, Z, 3): world position of the part's centre in each slice; NaN where it has no voxel.
        ends_mm: shape (S, Z, 2): how far the part reaches to the left and right of its centre along the grid's first
            axis (negative, positive); NaN where it has no voxel.
    """

    part: NDArray[np.int64]
    class_id: NDArray[np.int64]
    count: NDArray[np.int64]
    centre_mm: NDArray[np.float64]
    ends_mm: NDArray[np.float64]

    def of(self, class_ids: tuple[int, ...] | int) -> NDArray[np.int64]:
        """Return the rows of the parts of some classes."""
        return np.flatnonzero(np.isin(self.class_id, class_ids))

    def size(self) -> NDArray[np.int64]:
        """Return the number of voxels of each part."""
        return self.count.sum(axis=1)

    def width_mm(self, row: int) -> float:
        """Return the largest width of a part in any slice."""
        return float(np.nanmax(self.ends_mm[row, :, 1] - self.ends_mm[row, :, 0]))

    def joined(self, rows: NDArray[np.int64] | list[int]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Compute count (Z,) and centre (Z, 3) of several parts together; NaN in slices that hold none of them."""
        count = self.count[rows].sum(axis=0)
        total = np.nansum(self.count[rows][..., None] * self.centre_mm[rows], axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return count, np.where(count[:, None] > 0, total / count[:, None], np.nan)


def follow(parts: Parts, affine: Affine, least_mm3: float) -> Tracks:
    """Follow every part of at least ``least_mm3`` through the slices (last axis) of a map of class ids.

    Args:
        parts: connected parts of a map of class ids.
        affine: of the grid of the map, (4, 4) in mm.
        least_mm3: volume of the smallest part to follow.

    Returns:
        Voxels, centres and ends of each followed part in every slice.
    """
    voxel_mm3 = abs(float(np.linalg.det(affine[:3, :3])))
    chosen = np.flatnonzero(parts.size * voxel_mm3 >= least_mm3)
    chosen = chosen[chosen > 0]
    row = np.full(len(parts.size), -1, np.int64)
    row[chosen] = np.arange(len(chosen))
    sums = kernels.sums(parts.index, row, len(chosen))
    count = sums[..., 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        i, j = sums[..., 1] / count, sums[..., 2] / count
    k = np.broadcast_to(np.arange(sums.shape[1], dtype=np.float64), i.shape)
    centre = np.stack([i, j, k], axis=-1) @ affine[:3, :3].T + affine[:3, 3]
    step = float(np.linalg.norm(affine[:3, 0]))
    ends = np.stack([sums[..., 3] - i - 0.5, sums[..., 4] - i + 0.5], axis=-1) * step
    return Tracks(chosen, parts.value[chosen].astype(np.int64), count.astype(np.int64), centre, ends)


@dataclass(frozen=True, slots=True, eq=False)
class RightHand:
    """The patient's right as a horizontal unit vector (3,), and a warning if header and muscles disagree."""

    direction: NDArray[np.float64]
    warning: str | None = None


def right_hand(tracks: Tracks, posts: Signposts = BUILT_IN_SIGNPOSTS) -> RightHand:
    """Find the direction of the patient's right: front x up, with the front from the muscles if they show it.

    So a patient who lies rolled over is right too. If the muscles' front opposes the header's, the header counts.
    """
    header = np.array([1.0, 0.0, 0.0])
    front = _offset(tracks, posts.front, posts.back)
    if front is None:
        return RightHand(header)
    front = front / np.linalg.norm(front)
    if front[1] < _REVERSED:
        return RightHand(
            header,
            "Front and back look reversed: the muscles lie the other way round than the file's orientation says. "
            "Left and right follow the file.",
        )
    return RightHand(np.array([front[1], -front[0], 0.0]))


def medial_direction(tracks: Tracks, right: RightHand, posts: Signposts = BUILT_IN_SIGNPOSTS) -> float | None:
    """Find the medial direction: +1 to the patient's right (left leg), -1 to the left (right leg), None if unknown.

    Told from where the hip bone lies beside the femur in the same slices; where that doesn't show, medial muscles
    beside lateral ones, which disease may hide.
    """
    for inner, outer in (((posts.hip,), (posts.femur,)), (posts.medial, posts.lateral)):
        medial = _offset(tracks, inner, outer)
        if medial is not None:
            cosine = float(medial @ right.direction / np.linalg.norm(medial))
            if abs(cosine) >= _LEAST_CHIRALITY:
                return float(np.sign(cosine))
    return None


def _offset(tracks: Tracks, there: tuple[int, ...], here: tuple[int, ...]) -> NDArray[np.float64] | None:
    """Compute the horizontal vector between two muscle groups, averaged over the slices that hold both."""
    count_a, centre_a = tracks.joined(tracks.of(there))
    count_b, centre_b = tracks.joined(tracks.of(here))
    weight = np.minimum(count_a, count_b).astype(np.float64)
    both = weight > 0
    if not both.any():
        return None
    vector = np.average((centre_a - centre_b)[both], axis=0, weights=weight[both])
    vector[2] = 0.0
    return vector if np.linalg.norm(vector) >= _LEAST_OFFSET_MM else None
