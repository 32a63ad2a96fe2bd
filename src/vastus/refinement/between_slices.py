"""Fill between corrected slices: shapes are interpolated by their signed distances.

Raya and Udupa 1990 (shape-based interpolation), with each structure first moved along the line between its two centres,
so that a muscle that runs obliquely between slices far apart stays whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vastus.errors import SettingsError
from vastus.refinement.boxes import box_of

Labels = NDArray[np.uint8]
_FAR_MM = 1e4


def fill_between(
    labels: Labels,
    slices: Sequence[int],
    axis: int,
    spacing_mm: tuple[float, float, float],
    values: Iterable[int] | None = None,
) -> Labels:
    """Replace what lies between corrected slices.

    Args:
        labels: uint8, three axes.
        slices: at least two indices of corrected slices; each two neighbours among them are filled between.
        axis: which axis the slices are counted along.
        spacing_mm: of the three axes.
        values: structures to interpolate; what else lies between stays where it is. None: all, background too.

    Returns:
        A new label map; the corrected slices themselves and all outside them are unchanged.

    Raises:
        SettingsError: fewer than two slices, or one outside the map.
    """
    order = sorted(set(slices))
    if len(order) < 2 or order[0] < 0 or order[-1] >= labels.shape[axis]:
        raise SettingsError("Two or more corrected slices inside the label map are needed.")
    result = labels.copy()
    along = np.moveaxis(result, axis, 0)
    in_plane_mm = tuple(s for a, s in enumerate(spacing_mm) if a != axis)
    chosen_values = None if values is None else frozenset(values)
    for a, b in pairwise(order):
        if b - a > 1:
            _fill(along[a : b + 1], chosen_values, (in_plane_mm[0], in_plane_mm[1]))
    return result


def _fill(slab: Labels, chosen_values: frozenset[int] | None, spacing_mm: tuple[float, float]) -> None:
    """Fill a slab in place; its first and last slice are the corrected ones."""
    window = _window(slab)
    if window is None:
        return
    inner = slab[window]
    ends = inner[0], inner[-1]
    occurring = [int(v) for v in np.unique(np.stack(ends)) if v and (chosen_values is None or int(v) in chosen_values)]
    shapes = [_Shape(ends[0] == value, ends[1] == value, spacing_mm) for value in occurring]
    mine = [np.isin(end, occurring) for end in ends]
    nothing = _Shape(~mine[0], ~mine[1], spacing_mm, moves=False)
    n = len(inner) - 1
    for step in range(1, n):
        share = step / n
        old = inner[step]
        free = np.isin(old, list(chosen_values | {0})) if chosen_values is not None else np.ones(old.shape, bool)
        new = np.where(free, 0, old).astype(np.uint8)
        if shapes:
            depth = np.stack([shape.at(share) for shape in shapes])
            best = depth.argmax(axis=0)
            # Between two neighbours that moved apart neither reaches, nor does the background: the nearer one has it.
            won = free & ((depth.max(axis=0) > 0) | (nothing.at(share) < 0))
            new[won] = np.array(occurring, np.uint8)[best[won]]
        inner[step] = new


def _window(slab: Labels) -> tuple[slice, slice, slice] | None:
    box = box_of(slab > 0, (0, 2, 2))
    return None if box is None else (slice(None), box[1], box[2])


class _Shape:
    """One structure in two slices, ready to be asked for any place between them."""

    def __init__(
        self, first: NDArray[np.bool_], last: NDArray[np.bool_], spacing_mm: tuple[float, float], *, moves: bool = True
    ) -> None:
        self._depth = [signed_distance(mask, spacing_mm) for mask in (first, last)]
        # A structure that ends between the slices shrinks to nothing half way.
        for one, other in ((0, 1), (1, 0)):
            if not (first, last)[one].any():
                self._depth[one] = self._depth[other] - 2 * max(0.0, float(self._depth[other].max()))
        both = moves and first.any() and last.any()
        self._path = _centre(last) - _centre(first) if both else np.zeros(2)

    def at(self, share: float) -> NDArray[np.float64]:
        """Signed distance in mm (inside positive) at a share 0..1 of the way."""
        first, last = (self._moved(depth, move) for depth, move in zip(self._depth, (share, share - 1.0), strict=True))
        return np.asarray((1.0 - share) * first + share * last)

    def _moved(self, depth: NDArray[np.float64], share: float) -> NDArray[np.float64]:
        from scipy.ndimage import shift

        if not self._path.any():
            return depth
        return np.asarray(shift(depth, share * self._path, order=1, mode="nearest"))


def signed_distance(mask: NDArray[np.bool_], spacing_mm: tuple[float, ...]) -> NDArray[np.float64]:
    """Distance in mm to the boundary (half way between voxel centres), positive inside; any number of axes."""
    from scipy.ndimage import distance_transform_edt

    half = min(spacing_mm) / 2
    inside = distance_transform_edt(mask, sampling=spacing_mm) if not mask.all() else np.full(mask.shape, _FAR_MM)
    outside = distance_transform_edt(~mask, sampling=spacing_mm) if mask.any() else np.full(mask.shape, _FAR_MM)
    return np.asarray(np.where(mask, inside - half, half - outside))


def _centre(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.argwhere(mask).mean(axis=0)
