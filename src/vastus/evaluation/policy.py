"""What an empty mask means: decided once, counted always, never infinite."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum


class Presence(Enum):
    """Which of the two masks of a structure hold voxels."""

    BOTH = "both"
    MISSED = "missed"
    """In the reference, not in the prediction."""
    INVENTED = "invented"
    """In the prediction, not in the reference."""
    ABSENT = "absent"
    """In neither."""


class EmptyPolicy(Enum):
    """How missed, invented and absent structures enter a table. Their numbers are stated in every case.

    RAVD of a missed structure is -100% under each policy (it is defined); of an invented one it has no value under
    any (division by zero).
    """

    PENALISE = "penalise"
    """Missed or invented: overlap 0, distances the diagonal of the scan. Absent: no value. The default: a structure
    that was not found must not improve a mean."""
    CREDIT_ABSENT = "credit-absent"
    """As ``PENALISE``, but a structure absent from both counts as perfect: overlap 1, distances 0, RAVD 0."""
    EXCLUDE = "exclude"
    """No value for missed, invented and absent, as MONAI and nnU-Net do. Means look better than the results are."""


@dataclass(frozen=True, slots=True)
class EmptyScores:
    """What a table holds where a surface or a ratio does not exist; ``nan`` is an empty cell."""

    overlap: float
    distance_mm: float
    ravd_percent: float


def presence_of(prediction_voxels: int, reference_voxels: int) -> Presence:
    """Tell which of the masks hold voxels."""
    if prediction_voxels:
        return Presence.BOTH if reference_voxels else Presence.INVENTED
    return Presence.MISSED if reference_voxels else Presence.ABSENT


def empty_scores(policy: EmptyPolicy, presence: Presence, diagonal_mm: float) -> EmptyScores:
    """Return the scores of a structure with at least one empty mask.

    Args:
        policy: see there.
        presence: not ``BOTH``.
        diagonal_mm: of the scan: the bound of every distance in it.
    """
    if presence is Presence.ABSENT:
        credited = policy is EmptyPolicy.CREDIT_ABSENT
        return EmptyScores(1.0, 0.0, 0.0) if credited else EmptyScores(math.nan, math.nan, math.nan)
    ravd_percent = -100.0 if presence is Presence.MISSED else math.nan
    if policy is EmptyPolicy.EXCLUDE:
        return EmptyScores(math.nan, math.nan, ravd_percent)
    return EmptyScores(0.0, diagonal_mm, ravd_percent)
