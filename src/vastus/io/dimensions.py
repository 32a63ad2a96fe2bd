"""A scan has three dimensions: further ones of length one are dropped, others are refused."""

from __future__ import annotations

from pathlib import Path

from vastus.errors import UnsupportedScanError


def three_dimensions(shape: tuple[int, ...], path: Path) -> tuple[int, int, int]:
    """Return the three dimensions of an image.

    Args:
        shape: number of voxels along each axis, as the file says.
        path: of the file, for the refusal.

    Raises:
        UnsupportedScanError: there are fewer or more.
    """
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        raise UnsupportedScanError(
            f"The image has {len(shape)} dimensions {shape}; one three-dimensional CT is needed.",
            path=path,
            remedy="Give one volume, not a time series or a slice.",
        )
    return shape[0], shape[1], shape[2]
