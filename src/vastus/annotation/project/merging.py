"""Saving when somebody else saved meanwhile: both changes are kept where they do not touch the same voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """Labels that hold both changes, and the voxels that both changed, each to something else.

    Attributes:
        labels: uint8 (I, J, K); where both changed it, what ``mine`` holds.
        both: bool (I, J, K).
    """

    labels: Labels
    both: NDArray[np.bool_]

    @property
    def clashes(self) -> int:
        """How many voxels both changed."""
        return int(np.count_nonzero(self.both))


def merge_labels(parent: Labels, theirs: Labels, mine: Labels) -> Merged:
    """Merge two label maps that were made from one parent, voxel by voxel; all (I, J, K) of one shape."""
    my_change = mine != parent
    both = my_change & (theirs != parent) & (mine != theirs)
    return Merged(np.where(my_change, mine, theirs).astype(np.uint8), both)


def centre_of(both: NDArray[np.bool_]) -> tuple[int, int, int]:
    """A voxel that both changed, in the slice (last axis) that holds most of them: where to look first."""
    worst = int(both.sum(axis=(0, 1)).argmax())
    places = np.argwhere(both[:, :, worst])
    nearest = places[np.linalg.norm(places - places.mean(axis=0), axis=1).argmin()]
    return int(nearest[0]), int(nearest[1]), worst
