"""The metrics of a table, each once: column, title, unit, which way is better."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Better(Enum):
    """Which way a metric improves. ``NEAR_ZERO``: signed errors."""

    HIGHER = "higher"
    LOWER = "lower"
    NEAR_ZERO = "near zero"


@dataclass(frozen=True, slots=True)
class Metric:
    """One column of scores."""

    column: str
    title: str
    better: Better
    digits: int


DICE: Final = Metric("dice", "Dice", Better.HIGHER, 3)
JACCARD: Final = Metric("jaccard", "Jaccard", Better.HIGHER, 3)
SENSITIVITY: Final = Metric("sensitivity", "Sensitivity", Better.HIGHER, 3)
PRECISION: Final = Metric("precision", "Precision", Better.HIGHER, 3)
ASSD: Final = Metric("assd_mm", "ASSD (mm)", Better.LOWER, 2)
HAUSDORFF: Final = Metric("hausdorff_mm", "Hausdorff (mm)", Better.LOWER, 2)
HD95: Final = Metric("hd95_mm", "HD95 (mm)", Better.LOWER, 2)
SURFACE_DICE: Final = Metric("surface_dice", "Surface Dice", Better.HIGHER, 3)
RAVD_SIGNED: Final = Metric("ravd_signed_percent", "RAVD signed (%)", Better.NEAR_ZERO, 2)
RAVD_ABSOLUTE: Final = Metric("ravd_absolute_percent", "RAVD absolute (%)", Better.LOWER, 2)

METRICS: Final = (
    DICE,
    JACCARD,
    SENSITIVITY,
    PRECISION,
    ASSD,
    HAUSDORFF,
    HD95,
    SURFACE_DICE,
    RAVD_SIGNED,
    RAVD_ABSOLUTE,
)
OVERLAPS: Final = (DICE, JACCARD, SENSITIVITY, PRECISION, SURFACE_DICE)
DISTANCES: Final = (ASSD, HAUSDORFF, HD95)
METRIC_COLUMNS: Final = tuple(m.column for m in METRICS)

MODEL: Final = "model"
PRESENCE: Final = "presence"
VOLUME_PREDICTION_MM3: Final = "volume_prediction_mm3"
VOLUME_REFERENCE_MM3: Final = "volume_reference_mm3"
