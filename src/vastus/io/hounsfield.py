"""Is this a CT in Hounsfield units? Voxels checked, and brought to int16 where that loses nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vastus.errors import UnsupportedScanError
from vastus.io.padding import AIR_HU, without_padding
from vastus.io.slice_levels import odd_slices
from vastus.volume import Volume, axis_order

MIN_VOXELS_PER_AXIS = 3
"""Fewer slices than this are not a volume: neither their distance nor its evenness can be checked."""
_SAMPLES = 2_000_000
_CLIPPED_SHARE = 0.02
_CLIPPED_ABOVE_HU = -850.0
"""Air lies below."""
_LEAST_SPAN_HU = 250.0
"""Even a CT cut off at a window for muscles has more."""
_DARK_HU = -300.0
_LEAST_DARK = 0.05
_AIR_HU = (-1150.0, -800.0)
"""Where the median of what is darker than any tissue lies, clothes and the table included: -1024 to -968 in real CT."""
_BRIGHT_HU = 700.0
_MOST_BRIGHT = 0.4
_REMEDY = "Export the CT again in Hounsfield units (rescale slope and intercept applied)."


def as_hounsfield(
    volume: Volume, path: Path, slice_names: Sequence[str] | None = None
) -> tuple[Volume, tuple[str, ...]]:
    """Check a CT and store it compactly.

    NaN that reaches the border of the image is padding (left by registration or defacing) and becomes air with a
    warning; NaN enclosed by numbers, and any infinity, is refused. Values that no CT has are padding where they reach
    the border (``vastus.io.padding``). Each slice is looked at by itself, too.

    Args:
        volume: the values as the file gives them.
        path: for messages.
        slice_names: files of the slices, where these follow each other along the third axis; None: the axis nearest
            to the body's is taken for that of the slices.

    Returns:
        The volume as int16 when all values are whole and fit, else float32; and warnings.

    Raises:
        UnsupportedScanError: fewer than 3 voxels along an axis, NaN or infinity inside, or values that are not HU, in
            the whole or in some slices.
    """
    if min(volume.shape) < MIN_VOXELS_PER_AXIS:
        raise UnsupportedScanError(
            f"The image has {volume.shape} voxels; a volume needs at least {MIN_VOXELS_PER_AXIS} along each axis.",
            path=path,
            remedy="Give the whole series, not a single slice.",
        )
    array, warnings = _without_nan(volume.array, path)
    slice_axis = 2 if slice_names is not None else axis_order(volume.affine).source[2]
    array, padded = without_padding(array, slice_axis, path)
    compact = _compact(array)
    odd = odd_slices(compact, slice_axis)
    if odd is not None:
        slice_warning = odd.told(compact.shape[slice_axis], slice_names or ())
        raise UnsupportedScanError(f"{slice_warning}.", path=path, remedy=_REMEDY)
    warnings += padded
    low, high = float(compact.min()), float(compact.max())
    problem = _wrong_range(low, high) or _wrong_histogram(compact)
    if problem:
        raise UnsupportedScanError(f"The values are not Hounsfield units: {problem}.", path=path, remedy=_REMEDY)
    return volume.with_array(compact), warnings + _clipped(compact, low)


def _without_nan(array: NDArray[Any], path: Path) -> tuple[NDArray[Any], tuple[str, ...]]:
    # A sum is finite only if all its terms are: one pass without a mask for the common, clean scan.
    if array.dtype.kind != "f" or np.isfinite(array.sum(dtype=np.float64)):
        return array, ()
    missing = np.isnan(array)
    if np.isinf(array).any():
        raise UnsupportedScanError("The image holds infinite values.", path=path, remedy=_REMEDY)
    count = int(missing.sum())
    if count == array.size or _enclosed(missing):
        raise UnsupportedScanError(
            f"The image holds {count} NaN voxels, not only as padding at its border.",
            path=path,
            remedy="Export or resample the CT again without gaps.",
        )
    filled = np.where(missing, array.dtype.type(AIR_HU), array)
    return filled, (f"{count} NaN voxels at the border of the image were read as air.",)


def _enclosed(mask: NDArray[np.bool_]) -> bool:
    """Tell whether some connected part of the mask does not touch the border of the array."""
    import cc3d

    parts, count = cc3d.connected_components(mask.astype(np.uint8), connectivity=26, return_N=True)
    faces = [parts[0], parts[-1], parts[:, 0], parts[:, -1], parts[:, :, 0], parts[:, :, -1]]
    touching = set[int]().union(*(np.unique(face).tolist() for face in faces)) - {0}
    return len(touching) < count


def _compact(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype in (np.int16, np.int8, np.uint8):
        return array.astype(np.int16, copy=False)
    limits = np.iinfo(np.int16)
    if limits.min <= array.min() and array.max() <= limits.max:
        whole = array.astype(np.int16)
        if array.dtype.kind in "iu" or np.array_equal(whole, array):
            return whole
    return array.astype(np.float32, copy=False)


def _clipped(array: NDArray[Any], end: float) -> tuple[str, ...]:
    """Warn if HU were cut off at a window, as viewers do on export: air lies around every body.

    Args:
        array: HU.
        end: the lowest value in it.
    """
    if end <= _CLIPPED_ABOVE_HU:
        return ()
    share = float(np.count_nonzero(array == end)) / array.size
    if share <= _CLIPPED_SHARE:
        return ()
    return (
        f"{share:.0%} of the voxels are {end:g} HU and none lies below: the values seem to be cut off at a window, so"
        " that densities and fat may be wrong. Export the CT with all its values.",
    )


def _wrong_range(low: float, high: float) -> str:
    """Say why the range can't be HU: every body holds fat, so some values must lie below 0."""
    if low == high:
        return f"every voxel is {low:g}"
    if high - low <= _LEAST_SPAN_HU:
        return f"they span only {low:g} to {high:g}, as after normalising or with another slope"
    if low >= 0:
        if high <= 255:
            return f"they run from {low:g} to {high:g}, as 8-bit grey values do, with no fat or air below 0"
        return (
            f"they run from {low:g} to {high:g} with no fat or air below 0, as in an MR, or as in a CT without its"
            " rescale intercept (most often -1024)"
        )
    return ""


def _wrong_histogram(array: NDArray[Any]) -> str:
    """Say why the histogram can't be HU: fat is about -100 HU, muscle 0 to 80, and almost only bone is above 300."""
    step = max(1, round((array.size / _SAMPLES) ** (1 / 3)))
    sample = array[::step, ::step, ::step].copy(order="K")  # looked at five times
    soft = float(np.mean((sample > -200) & (sample < 200)))
    fat = float(np.mean((sample > -200) & (sample < -20)))
    shifted = float(np.mean((sample > 800) & (sample < 1300)))
    if shifted > 0.05 and fat < 0.01:
        return f"{shifted:.0%} lie between 800 and 1300, as soft tissue does in a CT without its rescale intercept"
    if soft < 0.001:
        return "hardly any lie between -200 and 200, where fat and muscle belong"
    bright = float(np.mean(sample > _BRIGHT_HU))
    if bright > _MOST_BRIGHT:
        return f"{bright:.0%} lie above {_BRIGHT_HU:g}, where only bone belongs, as with black and white exchanged"
    return _wrong_air(sample)


def _wrong_air(sample: NDArray[Any]) -> str:
    """Say why what is darker than tissue is no air: then the rescale slope or intercept is another one.

    Where most of it has one value it was cut off there, or is padding: that tells nothing of the scale.
    """
    dark = sample[sample < _DARK_HU]
    if dark.size < _LEAST_DARK * sample.size or np.count_nonzero(dark == dark.min()) > dark.size / 2:
        return ""
    air = float(np.median(dark))
    if _AIR_HU[0] < air < _AIR_HU[1]:
        return ""
    return f"air lies at {air:.0f}, not at -1000, so that the rescale slope or intercept is not the one of these values"
