"""Values that no CT has: padding outside the field of view that no header declares, and overflow."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vastus.errors import UnsupportedScanError

AIR_HU: Final = -1024
LOWEST_HU: Final = -1500
"""Below air comes only noise, a few hundred HU deep."""
HIGHEST_HU: Final = 30_000
"""Metal ends at about 31,000 HU, where extended scales do; a border of such values is padding."""
LARGEST_METAL_HU: Final = 32_767
_WRAPPED_HU: Final = -15_000
_NOISE_HU: Final = 150.0
_MOST_NOISE: Final = 0.1
_REMEDY: Final = "Export the CT again with its own rescale values, and with its padding declared or as air (-1024 HU)."


def without_padding(array: NDArray[Any], slice_axis: int, path: Path) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Read undeclared padding as air.

    Padding is what has one value throughout a slice and reaches the border of the image, whatever that value: -2000,
    -3024, -32768, or 32768 and 65535 where signed values were called unsigned. Very dark voxels of any value that reach
    the border are air too. Saturated metal inside the body stays.

    Args:
        array: HU without NaN, any axis order.
        slice_axis: the axis along which slices follow each other.
        path: for messages.

    Returns:
        The same array where nothing was to be done, else a copy; and warnings with the values found.

    Raises:
        UnsupportedScanError: such values inside the body, or of many kinds at the border; says which lies where.
    """
    low, high = float(array.min()), float(array.max())
    if low >= LOWEST_HU and high < HIGHEST_HU:
        return array, ()
    warnings: list[str] = []
    padding = np.zeros(array.shape, bool)
    for mask, too_low in ((array < LOWEST_HU, True), (array >= HIGHEST_HU, False)):
        if not mask.any():
            continue
        simple = _one_value_a_slice(array, mask, slice_axis) and _at_sides(mask, slice_axis, ends_too=False).any()
        outside = mask if simple else _reaching(mask, slice_axis, ends_too=too_low)
        if not too_low and not _one_value_a_slice(array, outside, slice_axis):
            # Values of many kinds: not padding. Whatever is more than metal is refused below.
            outside = np.zeros_like(mask)
        if too_low and not simple:
            _refuse_air_too_low(array, mask, path)
        _refuse_inside(array, mask & ~outside, path, too_low=too_low)
        if outside.any():
            padding |= outside
            values = (float(array[outside].min()), float(array[outside].max()))
            shown = f"{values[0]:g}" if values[0] == values[1] else f"{values[0]:g} to {values[1]:g}"
            count = int(outside.sum())
            warnings.append(f"{count} voxels of {shown} HU at the border of the image were read as air ({AIR_HU}).")
    if not padding.any():
        return array, ()
    return np.where(padding, array.dtype.type(AIR_HU) if array.dtype.kind != "u" else AIR_HU, array), tuple(warnings)


def _one_value_a_slice(array: NDArray[Any], mask: NDArray[np.bool_], axis: int) -> bool:
    for plane, chosen in zip(np.moveaxis(array, axis, 0), np.moveaxis(mask, axis, 0), strict=True):
        values = plane[chosen]
        if values.size and values.min() != values.max():
            return False
    return True


def _at_sides(mask: NDArray[np.bool_], axis: int, *, ends_too: bool) -> NDArray[np.bool_]:
    """Find the voxels of the mask on the outer faces: around each slice and, if asked, in the first and last slice."""
    faces = np.zeros_like(mask)
    for other in range(3):
        if other != axis or ends_too:
            for end in (0, -1):
                where: list[Any] = [slice(None)] * 3
                where[other] = end
                faces[tuple(where)] = True
    result: NDArray[np.bool_] = faces & mask
    return result


def _reaching(mask: NDArray[np.bool_], axis: int, *, ends_too: bool) -> NDArray[np.bool_]:
    """Find connected parts of the mask that reach the border. Metal cut by the end of the scan is no padding."""
    import cc3d

    parts = cc3d.connected_components(mask.astype(np.uint8), connectivity=26)
    touching = np.unique(parts[_at_sides(mask, axis, ends_too=ends_too)])
    reached = np.zeros(int(parts.max()) + 1, bool)
    reached[touching] = True
    reached[0] = False
    result: NDArray[np.bool_] = reached[parts]
    return result


def _refuse_air_too_low(array: NDArray[Any], dark: NDArray[np.bool_], path: Path) -> None:
    """Refuse air with its noise far below -1000: the rescale intercept was applied twice, or the slope is too large."""
    values = array[dark]
    most_common = float(np.median(values))
    noise = np.count_nonzero((values != most_common) & (np.abs(values - most_common) < _NOISE_HU))
    if noise > _MOST_NOISE * array.size:
        raise UnsupportedScanError(
            f"The values are not Hounsfield units: {noise / array.size:.0%} lie around {most_common:g}, as air with its"
            " noise does, so that the rescale intercept was applied twice or the slope is not the one of these values.",
            path=path,
            remedy=_REMEDY,
        )


def _refuse_inside(array: NDArray[Any], inside: NDArray[np.bool_], path: Path, *, too_low: bool) -> None:
    """Refuse values that no CT has; streaks beside metal (some thousand HU below air) and saturated metal stay."""
    wrong = inside & (array < _WRAPPED_HU if too_low else array > LARGEST_METAL_HU)
    if not wrong.any():
        return
    place = tuple(int(n) for n in np.argwhere(wrong)[0])
    values = array[wrong]
    raise UnsupportedScanError(
        f"The values are not Hounsfield units: {int(wrong.sum())} voxels lie between {float(values.min()):g} and"
        f" {float(values.max()):g}, e.g. {float(array[place]):g} at voxel {place}, as when signed values are called"
        " unsigned or overflow.",
        path=path,
        remedy=_REMEDY,
    )
