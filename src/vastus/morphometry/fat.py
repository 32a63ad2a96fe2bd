"""Intermuscular and subcutaneous fat of the thigh.

On a coarse grid (about 2 x 2 x 4 mm), slice by slice and for each leg:

1. muscles and bones of the leg together, closed with a disk (``fascia_closing_mm``), holes filled: the space inside
   the fascia. A closing follows the hollows of the outline that a convex hull would cut across;
2. the body (``preprocessing.body_mask``) outside that, in the part of the body that holds the leg; where the thighs
   touch, each place goes to the leg whose fascia is nearer: the space under the skin.

Then on the full grid: voxels in the HU range of fat that belong to no muscle or bone, between the two ends of the
thigh, are intermuscular inside the fascia and subcutaneous outside. The skin itself is not in the HU range of fat.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import LARGEST_CLASS_ID, Side
from vastus.blocks import in_blocks
from vastus.morphometry import kernels
from vastus.morphometry.field_of_view import FieldOfView
from vastus.morphometry.landmarks import ISCHIAL_TUBEROSITY, LESSER_TROCHANTER, Leg
from vastus.morphometry.settings import MeasureSettings
from vastus.morphometry.voxels import AxisMap, Profiles, profile_fat
from vastus.preprocessing import PreprocessingSettings, body_mask, fill_holes, in_slices
from vastus.volume import Volume

_COARSE_MM = (2.0, 2.0, 4.0)
_SKIN_MARGIN_MM = 4.0
SUBCUTANEOUS, INTERMUSCULAR = 1, 2
"""Zone numbers, and rows of ``ThighFat.profiles``."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class ThighFat:
    """Fat of one thigh.

    Attributes:
        side: the patient's.
        from_mm, to_mm: ends of the thigh on the femur's axis, as far as the scan shows it.
        complete: both ends are in the scan.
        cut: subcutaneous, intermuscular: whether the sides of the scan cut the space.
        profiles: fat voxels along the axis, rows ``SUBCUTANEOUS`` and ``INTERMUSCULAR``.
    """

    side: Side
    from_mm: float
    to_mm: float
    complete: bool
    cut: tuple[bool, bool]
    profiles: Profiles


@dataclass(frozen=True, slots=True, eq=False)
class _Grid:
    """A coarse grid over some slices: which voxels it takes, and which coarse voxel holds each voxel."""

    steps: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    index: tuple[NDArray[np.int64], ...]

    def sample(self, array: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(array[tuple(slice(s // 2, None, s) for s in self.steps[: array.ndim])])


def measure_thigh_fat(
    ct: Volume, labels: Volume, legs: tuple[Leg, ...], view: FieldOfView, settings: MeasureSettings
) -> tuple[ThighFat, ...]:
    """Measure the fat of each thigh whose femur is known.

    Args:
        ct, labels: upright (RAS), same grid.
        legs: from ``find_leg``.
        view: field of view of the scan.
        settings: ends of the thigh, closing radius, HU of fat.
    """
    ends = [_thigh_ends(leg, settings) for leg in legs]
    heights = [_slices(labels, leg, low, high) for leg, (low, high, _) in zip(legs, ends, strict=True) if high > low]
    if not heights:
        return ()
    first, last = min(h[0] for h in heights), max(h[1] for h in heights)
    affine = labels.affine.copy()
    affine[:3, 3] = (labels.affine @ np.array([0, 0, first, 1.0]))[:3]
    hu, values = ct.array[:, :, first : last + 1], labels.array[:, :, first : last + 1]
    grid = _coarse_grid(values.shape, ct.spacing_mm)
    zones = _zones(Volume(hu, affine), grid.sample(values), legs, grid, settings)
    result = []
    for leg, (low, high, complete), zone in zip(legs, ends, zones, strict=True):
        if high <= low:
            continue
        line = leg.axis_map(affine)
        profiles = profile_fat((values, hu), settings.fat_hu, (zone, grid.index), line, (low, high))
        cut = _cut(zone, hu, view, grid, (line, low, high))
        result.append(ThighFat(leg.side, low, high, complete, cut, profiles))
    return tuple(result)


def _cut(
    zone: NDArray[np.uint8], hu: NDArray[Any], view: FieldOfView, grid: _Grid, part: tuple[AxisMap, float, float]
) -> tuple[bool, bool]:
    """Tell whether the sides of the scan cut the subcutaneous and the intermuscular zone, in a part of the axis.

    The zones reach a little into the air: only solid voxels at the edge mean that the body goes on beyond it.
    """
    line, low, high = part
    at_edge = np.nonzero(grid.sample(view.edge))
    i, j = (n[:, None] * step + step // 2 for n, step in zip(at_edge, grid.steps[:2], strict=True))
    k = (np.arange(zone.shape[2]) * grid.steps[2] + grid.steps[2] // 2)[None, :]
    x, y, z = line.step_mm
    position = line.offset_mm + i * x + j * y + k * z
    counts = (position >= low) & (position <= high) & (hu[i, j, k] > PreprocessingSettings().body_threshold_hu)
    found = zone[at_edge][counts]
    return bool((found == SUBCUTANEOUS).any()), bool((found == INTERMUSCULAR).any())


def _thigh_ends(leg: Leg, settings: MeasureSettings) -> tuple[float, float, bool]:
    """Find the ends of the thigh on the axis, and whether both are known and in the scan."""
    top = leg.level(ISCHIAL_TUBEROSITY) or leg.level(LESSER_TROCHANTER)
    whole = leg.length_mm is not None
    low = settings.thigh_bottom_percent / 100 * leg.visible_mm if whole else 0.0
    high = leg.visible_mm if top is None else min(top.position_mm, leg.visible_mm)
    return low, high, whole and leg.level(ISCHIAL_TUBEROSITY) is not None


def _slices(labels: Volume, leg: Leg, low: float, high: float) -> tuple[int, int]:
    """Find the first and last slice that a leg of 140 mm radius can reach between two positions on the axis."""
    z = leg.origin_mm[2] + np.array([low, high]) * leg.direction[2]
    margin = 140.0 * float(np.sin(np.radians(leg.tilt_degrees))) + _COARSE_MM[2]
    # Upright scans have the slice axis nearest to z; for oblique ones the margin above is generous enough.
    at = (np.array([z.min() - margin, z.max() + margin]) - labels.affine[2, 3]) / labels.affine[2, 2]
    last = labels.shape[2] - 1
    return int(np.clip(np.floor(at[0]), 0, last)), int(np.clip(np.ceil(at[1]), 0, last))


def _coarse_grid(shape: tuple[int, ...], spacing_mm: tuple[float, float, float]) -> _Grid:
    steps = tuple(max(1, round(c / s)) for c, s in zip(_COARSE_MM, spacing_mm, strict=True))
    index = []
    for n, step in zip(shape, steps, strict=True):
        size = len(range(step // 2, n, step))
        index.append(np.minimum(np.arange(n) // step, size - 1))
    spacing = tuple(step * s for step, s in zip(steps, spacing_mm, strict=True))
    return _Grid((steps[0], steps[1], steps[2]), (spacing[0], spacing[1], spacing[2]), tuple(index))


def _zones(
    ct: Volume, values: NDArray[np.uint8], legs: tuple[Leg, ...], grid: _Grid, settings: MeasureSettings
) -> list[NDArray[np.uint8]]:
    """Compute the zone numbers of each leg on the coarse grid."""
    body = _on_grid(body_mask(ct, PreprocessingSettings())[0], values.shape)
    pixel = (grid.spacing_mm[0], grid.spacing_mm[1])
    reach = [int(np.ceil(_SKIN_MARGIN_MM / p)) for p in pixel]
    box = tuple(
        _span(body.any(axis=(1 - axis, 2)) | values.any(axis=(1 - axis, 2)), margin)
        for axis, margin in enumerate(reach)
    )
    sides = tuple(leg.side for leg in legs)
    zones = [np.zeros(values.shape, np.uint8, order="F") for _ in legs]

    def work(first: int, last: int) -> None:
        here = (*box, slice(first, last))
        found = _zones_of_slices(body[here], values[here], sides, (pixel, settings.fascia_closing_mm))
        for zone, part in zip(zones, found, strict=True):
            zone[here] = part

    in_blocks(values.shape[2], work)  # every slice stands for itself
    return zones


def _span(occupied: Mask | np.bool_, margin: int) -> slice:
    where = np.flatnonzero(occupied)
    return slice(max(0, where[0] - margin), where[-1] + 1 + margin) if len(where) else slice(0, 1)


def _zones_of_slices(
    body: Mask, values: NDArray[np.uint8], sides: tuple[Side, ...], scale: tuple[tuple[float, float], float]
) -> list[NDArray[np.uint8]]:
    from scipy import ndimage

    pixel, radius_mm = scale
    fascias = [_fascia(values, side, pixel, radius_mm) for side in sides]
    # A margin, so that the body's rough outline does not cost fat under the skin.
    parts, count = ndimage.label(pixels_within_mm(body, pixel, _SKIN_MARGIN_MM), structure=in_slices())
    distances = [_squared_distance(fascia, pixel) for fascia in fascias] if len(fascias) > 1 else []
    result = []
    for number, closed in enumerate(fascias):
        fascia = closed
        touched = np.zeros(count + 1, dtype=bool)
        touched[parts[closed]] = True
        touched[0] = False
        under_skin = touched[parts] & ~closed
        for other in range(len(fascias)):
            if other != number:
                under_skin &= ~fascias[other] & (distances[number] <= distances[other])
                # Where both closings overlap, only the labels themselves decide.
                fascia = fascia & (~fascias[other] | _of_side(values, sides[number]))
        zone = under_skin.astype(np.uint8) * np.uint8(SUBCUTANEOUS)
        zone[fascia] = INTERMUSCULAR
        result.append(zone)
    return result


def _of_side(values: NDArray[np.uint8], side: Side) -> Mask:
    """Find where a label of one side lies."""
    return (values > side.offset) & (values <= side.offset + LARGEST_CLASS_ID)


def _fascia(values: NDArray[np.uint8], side: Side, pixel_mm: tuple[float, float], radius_mm: float) -> Mask:
    """Close the labels of one side in every slice and fill the holes."""
    tissue = _of_side(values, side)
    closed = np.zeros_like(tissue)
    if not tissue.any():
        return closed
    where = (_span(tissue.any(axis=(1, 2)), 0), _span(tissue.any(axis=(0, 2)), 0))
    margin = [int(np.ceil(radius_mm / p)) + 2 for p in pixel_mm]
    block = np.pad(tissue[where], [(margin[0], margin[0]), (margin[1], margin[1]), (0, 0)])
    grown = pixels_within_mm(block, pixel_mm, radius_mm)
    # Distances run between pixel centres: the closing must keep all labels.
    shrunk = ~pixels_within_mm(~grown, pixel_mm, radius_mm) | block
    closed[where] = fill_holes(shrunk)[margin[0] : -margin[0], margin[1] : -margin[1]]
    return closed


def _on_grid(mask: Mask, shape: tuple[int, ...]) -> Mask:
    """Bring a mask of the same box to another grid, by the nearest voxel."""
    for axis, n in enumerate(shape):  # one axis after the other takes a fifth of the time of all at once
        m = mask.shape[axis]
        mask = mask.take(np.minimum(((np.arange(n) + 0.5) * m / n).astype(int), m - 1), axis)
    return mask


def pixels_within_mm(mask: Mask, pixel_mm: tuple[float, float], radius_mm: float) -> Mask:
    """Find the pixels no farther than a radius from a True pixel of their slice (last axis): growth by a disk.

    The same as ``squared_distance_mm2(...) <= radius_mm**2``, in a fraction of the time.
    """
    slices = np.ascontiguousarray(np.moveaxis(mask, 2, 0))
    reach = _half_widths(pixel_mm, radius_mm, slices.shape[1:])
    return np.moveaxis(kernels.grow(slices.view(np.uint8), reach).view(np.bool_), 0, 2)


def _half_widths(pixel_mm: tuple[float, float], radius_mm: float, shape: tuple[int, ...]) -> NDArray[np.uint16]:
    """Compute how many pixels a disk reaches along the second axis, for each distance along the first."""
    first = np.arange(min(shape[0], int(radius_mm / pixel_mm[0]) + 2))
    second = np.arange(min(shape[1], int(radius_mm / pixel_mm[1]) + 2))
    # Rounded as squared distances are, so that both ways agree on the rim of the disk.
    squared = (pixel_mm[0] ** 2 * first * first)[:, None] + (second * second * pixel_mm[1] ** 2)[None, :]
    inside = squared.astype(np.float32) <= np.float32(radius_mm**2)
    return (inside[inside[:, 0]].sum(axis=1) - 1).astype(np.uint16)


def squared_distance_mm2(mask: Mask, pixel_mm: tuple[float, float]) -> NDArray[np.float32]:
    """Compute the squared distance to the nearest True pixel of the slice (last axis), in mm2; inf without one.

    Exact Euclidean distance transform by the lower envelope of parabolas (Felzenszwalb and Huttenlocher 2012).
    """
    found = in_blocks(mask.shape[2], lambda a, b: _squared_distance(mask[:, :, a:b], pixel_mm))
    return np.concatenate(found, axis=2)


def _squared_distance(mask: Mask, pixel_mm: tuple[float, float]) -> NDArray[np.float32]:
    slices = np.ascontiguousarray(np.moveaxis(mask, 2, 0))
    distance = kernels.squared_distance(slices, float(pixel_mm[0]) ** 2, float(pixel_mm[1]) ** 2)
    return np.moveaxis(distance, 0, 2)
