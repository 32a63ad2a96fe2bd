"""Numbers of one structure or of several together: volume, HU, tissue by HU, all from a HU histogram."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import Side, Structure
from vastus.morphometry.settings import HuRange, MeasureSettings
from vastus.morphometry.voxels import HU_FIRST, LabelTally


@dataclass(frozen=True, slots=True)
class HuStatistics:
    """HU inside a structure.

    Attributes:
        mean_hu, sd_hu: of all voxels (SD of the voxels, n - 1; None for a single voxel).
        percentiles_hu: (percent, HU) as asked for, interpolated linearly between voxels.
        lean_mm3, low_attenuation_mm3, fat_mm3: volume in the HU range of that name.
        fat_fraction: fat / (fat + lean); None when there is neither.
    """

    mean_hu: float
    sd_hu: float | None
    percentiles_hu: tuple[tuple[float, float], ...]
    lean_mm3: float
    low_attenuation_mm3: float
    fat_mm3: float
    fat_fraction: float | None


@dataclass(frozen=True, slots=True)
class StructureExtent:
    """Along the axis of the femur of the same side.

    Attributes:
        length_mm: from the lowest to the highest voxel.
        max_area_mm2: largest cross-section.
        max_area_position_mm: where, from the lower end of the femur.
        max_area_percent: where, in percent of the femur; None when the scan cuts the femur.
    """

    length_mm: float
    max_area_mm2: float
    max_area_position_mm: float
    max_area_percent: float | None


@dataclass(frozen=True, slots=True)
class StructureMeasures:
    """One structure on one side. An absent one has ``volume_mm3`` None, never 0.

    ``fragment``: too small to be the structure, and not cut by the edge of the scan. ``hu`` is None without a CT,
    ``extent`` without a femur on that side.
    """

    structure: Structure
    side: Side
    volume_mm3: float | None
    truncated: bool
    hu: HuStatistics | None = None
    extent: StructureExtent | None = None
    fragment: bool = False

    @property
    def is_whole(self) -> bool:
        """There, not cut by the edge of the scan, and no fragment."""
        return self.volume_mm3 is not None and not self.truncated and not self.fragment


def hu_statistics(
    tally: LabelTally, rows: list[int], voxel_mm3: float, settings: MeasureSettings
) -> HuStatistics | None:
    """Compute HU statistics of one or several rows of a tally together; None if no voxel has a HU.

    Args:
        tally: counts of a label map with its scan.
        rows: rows of the tally.
        voxel_mm3: volume of a voxel.
        settings: the HU ranges of lean muscle, low attenuation and fat.

    Returns:
        Statistics in HU, and volumes in mm3 of the HU ranges.
    """
    n = int(tally.hu_voxels[rows].sum())
    if n == 0:
        return None
    total, squares = float(tally.hu_sum[rows].sum()), float(tally.hu_square_sum[rows].sum())
    mean = total / n
    variance = max(squares - n * mean * mean, 0.0) / (n - 1) if n > 1 else None
    histogram = tally.histogram[rows].sum(axis=0)
    lean, low, fat = (
        voxel_mm3 * _count(histogram, r) for r in (settings.lean_hu, settings.low_attenuation_hu, settings.fat_hu)
    )
    return HuStatistics(
        mean_hu=mean,
        sd_hu=None if variance is None else float(np.sqrt(variance)),
        percentiles_hu=tuple((p, percentile_hu(histogram, p)) for p in settings.percentiles),
        lean_mm3=lean,
        low_attenuation_mm3=low,
        fat_mm3=fat,
        fat_fraction=fat / (fat + lean) if fat + lean > 0 else None,
    )


def _count(histogram: NDArray[np.int64], hu_range: HuRange) -> float:
    """Count the voxels whose HU, as a whole number, lies in a range, ends included."""
    low, high = (int(np.clip(hu - HU_FIRST, 0, len(histogram))) for hu in (np.ceil(hu_range[0]), np.floor(hu_range[1])))
    return float(histogram[low : high + 1].sum())


def percentile_hu(histogram: NDArray[np.int64], percent: float) -> float:
    """Compute a percentile from a histogram of whole HU, as ``numpy.percentile`` does (linear)."""
    cumulated = np.cumsum(histogram)
    rank = percent / 100 * (int(cumulated[-1]) - 1)
    below = int(np.floor(rank))
    low, high = np.searchsorted(cumulated, [below, min(below + 1, int(cumulated[-1]) - 1)], side="right")
    return float(low + (rank - below) * (high - low) + HU_FIRST)
