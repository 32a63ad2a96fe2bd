"""Voxel sizes that no CT of a person has: most often a unit that was taken for another one."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from vastus.errors import GeometryError
from vastus.volume import Volume

SMALLEST_MM: Final = 0.1
LARGEST_MM: Final = 25.0
LONGEST_MM: Final = 2600.0
WIDEST_MM: Final = 1400.0
"""Of the two larger extents, the smaller: bores are 900 mm wide, and a grid may be grown."""
NARROWEST_MM: Final = 80.0
NARROW_VOXELS: Final = 100
"""An image this fine that is narrower than a thigh is one of an animal, or in another unit."""


def refuse_impossible_sizes(volume: Volume, path: Path) -> None:
    """Refuse a grid on which no CT of a person's hips or thighs can lie.

    Raises:
        GeometryError: says the sizes and the unit that may have been meant.
    """
    spacing = volume.spacing_mm
    extents = [n * s for n, s in zip(volume.shape, spacing, strict=True)]
    shown = " x ".join(f"{s:.4g}" for s in spacing)
    whole = " x ".join(f"{e:.4g}" for e in extents)
    problem = ""
    if min(spacing) < SMALLEST_MM:
        problem = f"Voxels of {shown} mm are finer than any CT of a person; perhaps their unit is the metre or cm"
    elif max(spacing) > LARGEST_MM:
        problem = f"Voxels of {shown} mm are coarser than any CT of a person; perhaps their unit is the micrometre"
    elif max(extents) > LONGEST_MM or sorted(extents)[1] > WIDEST_MM:
        problem = f"The image is {whole} mm large, more than any person; perhaps its sizes are ten times too large"
    elif sorted(volume.shape)[1] >= NARROW_VOXELS and sorted(extents)[2] < NARROWEST_MM:
        problem = f"The image is {whole} mm large, less than a thigh is thick; perhaps its unit is the centimetre"
    if problem:
        raise GeometryError(
            f"{problem}.", path=path, remedy="Export it again with its sizes in mm, or correct the header."
        )
