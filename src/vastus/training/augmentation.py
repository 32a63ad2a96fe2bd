"""Variation of labelled scans: how a window is cut, turned and scaled, and how its grey values change.

No change can swap sides unnoticed: the only mirror is left-right, and the classes of a network do not name a side (both
sides of a structure share a class), so that a mirrored window is as true as the original. Front-back and head-foot are
never mirrored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_TURN_DEGREES = 10.0
_SCALE = 0.12
_MIRROR = 0.5
_SOME = 0.25
_CROPPED = 0.4
# Left-right, front-back, head-foot: how often an edge cuts a cropped window, and the least share that stays.
_EDGES = ((0.5, 0.4), (0.3, 0.4), (0.7, 0.3))


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """Where a window lies: voxel of the scan = ``matrix @ (voxel of the window) + offset``."""

    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Frame:
    """A window's size in voxels, its voxel size, and that of the scan it is cut from (mm)."""

    window: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    scan_spacing_mm: tuple[float, float, float]


def plain_cut(centre: NDArray[np.float64], frame: Frame) -> Cut:
    """Place a window around a voxel of the scan, neither turned nor scaled; on whole voxels where both grids agree."""
    matrix = np.diag(np.array(frame.spacing_mm) / np.array(frame.scan_spacing_mm))
    offset = centre - matrix @ ((np.array(frame.window) - 1) / 2)
    return Cut(matrix, np.round(offset) if frame.spacing_mm == frame.scan_spacing_mm else offset)


def varied_cut(centre: NDArray[np.float64], frame: Frame, rng: np.random.Generator) -> Cut:
    """Place a window around a voxel: turned a little about every axis, scaled a little, mirrored half the time."""
    angles = np.radians(rng.normal(0.0, _TURN_DEGREES / 2, 3))
    zoom = math.exp(rng.normal(0.0, _SCALE / 2))
    mirror = np.diag([-1.0 if rng.random() < _MIRROR else 1.0, 1.0, 1.0])
    to_scan = np.diag(1.0 / np.array(frame.scan_spacing_mm))
    matrix = to_scan @ _rotation(angles) @ mirror @ np.diag(frame.spacing_mm) * zoom
    return Cut(matrix, centre - matrix @ ((np.array(frame.window) - 1) / 2))


def take(array: NDArray[np.generic], cut: Cut, window: tuple[int, int, int], *, order: int, outside: float):  # type: ignore[no-untyped-def]
    """The window of an array (order 0: nearest, 1: linear); ``outside`` where it leaves the scan."""
    from scipy.ndimage import affine_transform

    corners = np.array(np.meshgrid(*[(0, n - 1) for n in window], indexing="ij")).reshape(3, -1)
    reached = cut.matrix @ corners + cut.offset[:, None]
    low = np.maximum(np.floor(reached.min(axis=1)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(reached.max(axis=1)).astype(int) + 2, array.shape)
    if (high <= low).any():
        return np.full(window, outside, dtype=array.dtype)
    # Only the part in reach is read from disk.
    part = np.asarray(array[low[0] : high[0], low[1] : high[1], low[2] : high[2]])
    working = part.astype(np.float32) if order else part
    return affine_transform(
        working,
        cut.matrix,
        offset=cut.offset - low,
        output_shape=window,
        order=order,
        mode="constant",
        cval=outside,
        prefilter=False,
    )


def cut_field(window: tuple[int, int, int], rng: np.random.Generator) -> NDArray[np.bool_]:
    """What a smaller scan would still show of a window: all of it, or a part that edges of the scan cut off.

    Scans of one leg, of few slices, or with a field of view through the thigh are common, and cohorts with labels
    seldom hold them.
    """
    field = np.ones(window, dtype=bool)
    if rng.random() >= _CROPPED:
        return field
    for axis, (chance, least) in enumerate(_EDGES):
        if rng.random() < chance:
            size = window[axis]
            keep = max(1, int(size * rng.uniform(least, 0.95)))
            first = int(rng.integers(max(0, size // 2 - keep), min(size // 2, size - keep) + 1))
            along = np.arange(size)
            inside = (along >= first) & (along < first + keep)
            field &= inside.reshape([-1 if a == axis else 1 for a in range(3)])
    return field


def vary_intensity(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Gamma, brightness, contrast, blur, coarse slices and noise, each now and then.

    Args:
        image: 0..1.
        rng: source of chance.

    Returns:
        0..1, same shape.
    """
    from scipy.ndimage import gaussian_filter

    varied = image
    if rng.random() < _SOME:
        varied = np.power(varied, np.float32(math.exp(rng.normal(0.0, 0.2))))
    if rng.random() < _SOME:
        varied = (varied - np.float32(0.5)) * np.float32(rng.uniform(0.85, 1.15)) + np.float32(0.5)
    if rng.random() < _SOME:
        varied = varied + np.float32(rng.normal(0.0, 0.03))
    if rng.random() < _SOME:
        varied = gaussian_filter(varied, rng.uniform(0.3, 1.0))
    if rng.random() < _SOME:
        step = int(rng.integers(2, 4))
        slices = np.minimum(np.arange(varied.shape[2]) // step * step + step // 2, varied.shape[2] - 1)
        varied = varied[:, :, slices]
    if rng.random() < 2 * _SOME:
        varied = varied + rng.normal(0.0, rng.uniform(0.01, 0.06), varied.shape).astype(np.float32)
    return np.clip(varied, 0.0, 1.0).astype(np.float32, copy=False)


def _rotation(angles_rad: NDArray[np.float64]) -> NDArray[np.float64]:
    result = np.eye(3)
    for axis, angle in enumerate(angles_rad):
        i, j = (a for a in range(3) if a != axis)
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = math.cos(angle)
        turn[i, j], turn[j, i] = -math.sin(angle), math.sin(angle)
        result = result @ turn
    return result
