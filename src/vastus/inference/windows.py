"""Where the sliding windows lie: on the body, not on air.

Windows are planned in layers along the body axis (z). Inside a layer they cover what body there is between the layer's
two ends, so that two thighs lying apart get a column of windows each and a pelvis gets a full row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vastus.preprocessing import Preprocessed, PreprocessingSettings, normalise_hu

Shape = tuple[int, int, int]
Mask = NDArray[np.bool_]

LEAN_HU: Final = -50.0
"""Denser than this is not fat."""

LEAN_MARGIN_MM: Final = 15.0
_LEAN_GRID_MM: Final = 4.0


@dataclass(frozen=True, slots=True)
class Layer:
    """Windows that start at the same height: ``z`` and their (x, y) starts, in voxels."""

    z: int
    starts: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """All windows of a scan, in the order in which they run: layers from low to high z."""

    window: Shape
    layers: tuple[Layer, ...]

    def __len__(self) -> int:
        """Number of windows."""
        return sum(len(layer.starts) for layer in self.layers)


def plan_of(seen: Preprocessed, settings: PreprocessingSettings, overlap: float) -> WindowPlan:
    """Plan the windows of a scan: over what is denser than fat, and what lies near it in the body.

    Args:
        seen: the scan on the network grid.
        settings: those that it was preprocessed with.
        overlap: see ``plan_windows``.
    """
    window = settings.window_size
    lean = seen.image > normalise_hu(np.array([LEAN_HU]), settings)
    region = lean_region(lean, seen.body, settings.spacing_mm)
    return plan_windows(pad_to_window(region, window), window, overlap)


def plan_windows(body: NDArray[np.bool_], window: Shape, overlap: float) -> WindowPlan:
    """Cover every body voxel with windows.

    Args:
        body: shape (X, Y, Z), at least as large as the window along every axis.
        window: voxels of one window.
        overlap: share by which neighbouring windows overlap at least, 0..1; they are spread evenly.

    Returns:
        The plan; layers without body are left out.
    """
    layers = []
    for z in cover(_any(body, (0, 1)), window[2], overlap):
        slab = _any(body[:, :, z : z + window[2]], (2,))
        rows = [
            (x, y)
            for y in cover(_any(slab, (0,)), window[1], overlap)
            for x in cover(_any(slab[:, y : y + window[1]], (1,)), window[0], overlap)
        ]
        columns = [
            (x, y)
            for x in cover(_any(slab, (1,)), window[0], overlap)
            for y in cover(_any(slab[x : x + window[0]], (0,)), window[1], overlap)
        ]
        layers.append(Layer(z, tuple(rows if len(rows) <= len(columns) else columns)))
    return WindowPlan(window, tuple(layers))


def _any(mask: NDArray[np.bool_], axes: tuple[int, ...]) -> NDArray[np.bool_]:
    return np.asarray(mask.any(axis=axes))


def cover(occupied: NDArray[np.bool_], window: int, overlap: float) -> tuple[int, ...]:
    """Choose the fewest windows along one axis that cover every occupied place.

    Runs of occupied places are joined across a gap unless keeping them apart needs fewer windows. A run that fits into
    one window is centred in it; in a longer one the windows are spread evenly, overlapping by at least ``overlap``.

    Args:
        occupied: shape (n,), n >= window.
        window: length of a window.
        overlap: 0..1.

    Returns:
        Starts, rising, each in 0..n - window; empty if nothing is occupied.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[0], occupied.astype(np.int8), [0]])))
    runs = [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
    # best[i]: (windows, joined runs) that cover the first i runs.
    best: list[tuple[int, tuple[tuple[int, int], ...]]] = [(0, ())]
    for last in range(len(runs)):
        options = []
        for first in range(last + 1):
            joined = (runs[first][0], runs[last][1])
            count, before = best[first]
            options.append((count + _count(joined[1] - joined[0], window, overlap), (*before, joined)))
        best.append(min(options, key=lambda option: (option[0], len(option[1]))))
    starts: set[int] = set()
    for a, b in best[-1][1]:
        starts.update(_spread(a, b, window, overlap, len(occupied)))
    return tuple(sorted(starts))


def _count(length: int, window: int, overlap: float) -> int:
    step = max(1, math.floor(window * (1.0 - overlap)))
    return 1 if length <= window else 1 + math.ceil((length - window) / step)


def _spread(a: int, b: int, window: int, overlap: float, n: int) -> list[int]:
    count = _count(b - a, window, overlap)
    if count == 1:
        return [min(max(0, (a + b - window) // 2), n - window)]
    return [int(s) for s in np.round(np.linspace(a, b - window, count))]


def importance(window: Shape, sigma_scale: float = 0.125) -> tuple[NDArray[np.float32], ...]:
    """Compute the Gaussian weight of the voxels of a window, one factor for each axis, as in MONAI and nnU-Net.

    Args:
        window: voxels of one window.
        sigma_scale: SD as a share of the window's length.

    Returns:
        Three float32 vectors; the weight of a voxel is their product. Never zero, so that a voxel that only the rim of
        a window covers still counts.
    """
    factors = []
    for n in window:
        distance = (np.arange(n) - (n - 1) / 2.0) / (sigma_scale * n)
        factors.append(np.maximum(np.exp(-0.5 * distance**2), 1e-3).astype(np.float32))
    return tuple(factors)


def lean_region(lean: NDArray[np.bool_], body: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> Mask:
    """Find where muscle or bone can be: lean tissue thicker than skin, with ``LEAN_MARGIN_MM`` around, in the body.

    Windows need not cover the fat under the skin. The margin is there for muscles that are themselves mostly fat.

    Args:
        lean: shape (X, Y, Z): voxels denser than fat.
        body: same shape.
        spacing_mm: of the grid.

    Returns:
        A mask of the same shape; all of ``body`` if nothing lean is found.
    """
    from scipy import ndimage

    # About 4 mm is fine enough, and makes skin one or two voxels thick: a cross of three removes it.
    steps = tuple(max(1, round(_LEAN_GRID_MM / s)) for s in spacing_mm)
    coarse = lean[:: steps[0], :: steps[1], :: steps[2]]
    thick = ndimage.binary_opening(coarse, ndimage.generate_binary_structure(2, 1)[:, :, None])
    if not thick.any():
        return body
    reach = [2 * math.ceil(LEAN_MARGIN_MM / (s * n)) + 1 for s, n in zip(spacing_mm, steps, strict=True)]
    wide = ndimage.maximum_filter(thick, reach)
    at = [np.arange(n) // step for n, step in zip(lean.shape, steps, strict=True)]
    return np.asarray(wide[np.ix_(*at)] & body)


def pad_to_window(array: NDArray[Any], window: Shape) -> NDArray[Any]:
    """Append zeros (air) to axes shorter than the window; the first voxels stay the first."""
    missing = [max(0, w - n) for n, w in zip(array.shape, window, strict=True)]
    return np.pad(array, [(0, m) for m in missing]) if any(missing) else array
