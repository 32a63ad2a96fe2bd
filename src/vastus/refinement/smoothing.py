"""Smooth the boundary of one structure, and nothing further away from it than a band."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vastus.errors import SettingsError
from vastus.refinement.between_slices import signed_distance
from vastus.refinement.boxes import box_of, nearest_other, voxels

Labels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class SmoothingBand:
    """How far the boundary may move to either side, and how strongly it is smoothed (SD of a Gaussian)."""

    width_mm: float = 3.0
    sigma_mm: float = 2.0

    def __post_init__(self) -> None:
        """Refuse a band without width."""
        if not (self.width_mm > 0 and self.sigma_mm > 0):
            raise SettingsError("Width and strength of the smoothing must be positive.")


def smooth_structure(
    labels: Labels, value: int, spacing_mm: tuple[float, float, float], band: SmoothingBand = SmoothingBand()
) -> Labels:
    """Smooth one structure inside the band; its volume stays.

    Neighbours give way where it grows. Where it recedes the nearest neighbour, or the background, comes after.

    Args:
        labels: uint8.
        value: of the structure; nothing happens if it is not there.
        spacing_mm: of the axes.
        band: see there.

    Returns:
        A new label map, equal to the old one outside the band.
    """
    from scipy.ndimage import gaussian_filter

    result = labels.copy()
    box = box_of(labels == value, voxels(band.width_mm + 3 * band.sigma_mm, spacing_mm))
    if box is None:
        return result
    inner = result[box]
    old = inner == value
    near = np.abs(signed_distance(old, spacing_mm)) <= band.width_mm
    soft = gaussian_filter(old.astype(np.float32), [band.sigma_mm / s for s in spacing_mm], mode="nearest")
    new = old.copy()
    # A Gaussian alone would shrink what is round: as many voxels of the band stay inside as there were.
    count = int((old & near).sum())
    candidates = np.flatnonzero(near)
    strongest = np.argsort(-soft.ravel()[candidates], kind="stable")[:count]
    new[near] = False
    new.ravel()[candidates[strongest]] = True
    lost = old & ~new
    if lost.any() and not (old | new).all():
        around = nearest_other(inner, old | new, spacing_mm)
        filler = np.zeros(inner.shape, np.uint8)
        filler[old | new] = around
        inner[lost] = filler[lost]
    inner[new] = value
    return result
