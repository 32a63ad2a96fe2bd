"""The distances between two surfaces, and what is told of them. Light: the loops that find them are in ``surface``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vastus.errors import SettingsError

DEFAULT_TOLERANCE_MM = 2.0

Distances = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class SurfaceDistances:
    """Distances of every border voxel to the nearest one of the other surface.

    Attributes:
        from_prediction_mm, from_reference_mm: float64, shape (N,) and (M,), no particular order.
    """

    from_prediction_mm: Distances
    from_reference_mm: Distances

    @property
    def assd_mm(self) -> float:
        """Average symmetric surface distance: all distances of both surfaces, one mean."""
        total = self.from_prediction_mm.sum() + self.from_reference_mm.sum()
        return float(total / (len(self.from_prediction_mm) + len(self.from_reference_mm)))

    @property
    def hausdorff_mm(self) -> float:
        """Largest distance from either surface to the other."""
        return float(max(self.from_prediction_mm.max(), self.from_reference_mm.max()))

    @property
    def hd95_mm(self) -> float:
        """The larger of the two directed 95th percentiles."""
        return float(max(np.percentile(self.from_prediction_mm, 95), np.percentile(self.from_reference_mm, 95)))

    def surface_dice(self, tolerance_mm: float = DEFAULT_TOLERANCE_MM) -> float:
        """Compute the share of the border voxels of both surfaces within the tolerance of the other.

        Raises:
            SettingsError: the tolerance is negative or not finite.
        """
        if not (np.isfinite(tolerance_mm) and tolerance_mm >= 0):
            raise SettingsError(f"The tolerance must be a length in mm, got {tolerance_mm}.")
        # A distance that equals the tolerance counts as within, whatever the last bit of its square root says.
        limit = tolerance_mm + 1e-9
        both = (self.from_prediction_mm, self.from_reference_mm)
        return float(sum(int((d <= limit).sum()) for d in both) / sum(len(d) for d in both))
