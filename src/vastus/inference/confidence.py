"""How sure the network is of its labels: the mean probability of the label given, over a structure's voxels.

It costs one pass over the network's grid (some hundredths of a second). It is a reason to look at a scan, not a
measure of quality: a network can be sure and wrong, and a small or thin structure is mostly boundary, where no network
is sure. Compare a structure with the same structure in other scans, not with other structures.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BUILT_IN, Side, StructureTable
from vastus.inference import kernels
from vastus.inference.stitch import STEPS_PER_LOGIT, ScoreMap


@dataclass(frozen=True, slots=True)
class Confidence:
    """Mean probability of the label given, 0..1.

    Attributes:
        scan: over all labelled voxels; None when there is none.
        labels: label value -> over the voxels of that structure and side; absent ones are not in it.
        table: of the structures.
    """

    scan: float | None
    labels: Mapping[int, float]
    table: StructureTable = BUILT_IN

    def of(self, key: str, side: Side) -> float | None:
        """Return the confidence of one structure on one side; None if it is absent."""
        return self.labels.get(self.table.by_key[key].label_value(side))

    def limited_to(self, values: Collection[int]) -> Confidence:
        """Return the confidence of some label values only, such as those that are left on the grid of the scan."""
        return replace(self, labels={value: share for value, share in self.labels.items() if value in values})

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"scan": 0.93, "structures": {"gracilis": {"right": 0.91, ...}, ...}}`` for JSON, four decimals."""
        structures: dict[str, dict[str, float]] = {}
        for value in sorted(self.labels):
            label = self.table.by_value[value]
            structures.setdefault(label.structure.key, {})[label.side.value] = round(self.labels[value], 4)
        return {"scan": None if self.scan is None else round(self.scan, 4), "structures": structures}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], table: StructureTable = BUILT_IN) -> Confidence:
        """Read the result of ``to_dict``."""
        structures = values["structures"].items()
        labels = {
            table.by_key[key].label_value(Side(side)): share
            for key, sides in structures
            for side, share in sides.items()
        }
        return cls(values["scan"], labels, table)


def find_confidence(
    labels: NDArray[np.uint8], channel_of: NDArray[np.int64], scores: ScoreMap, table: StructureTable = BUILT_IN
) -> Confidence:
    """Compute the confidence of a label map on the grid of the network.

    A voxel's probability is the softmax over the classes kept for it (the four best); of a label that is none of these
    (an island that was given its surroundings' label) it is 0.

    Args:
        labels: uint8, shape (X, Y, Z): cleaned label values.
        channel_of: shape (256,): output channel of each label value.
        scores: on the same grid (it may be larger at the far ends).
        table: of the structures.
    """
    x, y, z = labels.shape
    odds = np.exp((np.arange(256) - 255.0) / STEPS_PER_LOGIT)
    odds[0] = 0.0  # the floor: that far behind or farther
    kept, behind = (np.ascontiguousarray(a[:x, :y, :z].transpose(2, 1, 0, 3)) for a in (scores.kept, scores.scores))
    sums, counts = kernels.sum_probabilities(
        np.asfortranarray(labels).transpose(2, 1, 0), channel_of, kept, behind, odds
    )
    total = int(counts.sum())
    present = np.flatnonzero(counts)
    means = {int(value): float(sums[value] / counts[value]) for value in present}
    return Confidence(float(sums.sum() / total) if total else None, means, table)
