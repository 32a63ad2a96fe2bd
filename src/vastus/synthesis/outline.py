"""The skin of a body: the envelope of its muscles and some fat, flat behind, closed between the buttocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import SIDES
from vastus.synthesis.anchors import Anchors
from vastus.synthesis.atlas import Atlas, Field
from vastus.synthesis.deformation import NodeMap, person_origin, smoothstep
from vastus.synthesis.growth import Grid
from vastus.synthesis.kernels import NODE_MM
from vastus.synthesis.volume_kernels import trilinear

SKIN_MM = 1.8
_SKIN_SMOOTHING_MM = 14.0
_LEAST_PRESSED_MM = 4.0
"""So much fat stays between muscle and skin where a body lies on its table."""
_NARROW_MM = 26.0
"""Thighs further apart than this don't touch below the ischia."""

Distances = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Lying:
    """How a body lies.

    Attributes:
        pressed: 0..1, how far the fat behind is pressed towards the muscles; 0 leaves it round.
        closed_below_mm: how far below the ischia the thighs still touch.
    """

    pressed: float
    closed_below_mm: float


def sample_lying(fat_mm: float, rng: np.random.Generator) -> Lying:
    """Draw how a body lies; the thicker the fat, the further down the thighs touch."""
    pressed = float(rng.uniform(0.35, 0.85)) if rng.random() < 0.85 else 0.0
    return Lying(pressed, float(np.clip(rng.normal(12 + fat_mm, 20), 0, 90)))


def outline_mm(
    atlas: Atlas, node_map: NodeMap, fat_mm: float, skin_share: float, rng: np.random.Generator
) -> tuple[Distances, Distances]:
    """Signed distance to the skin of the new body as if it floated, and to the envelope of its muscles, on the nodes.

    Args:
        atlas, node_map: the person, and how it is deformed.
        fat_mm: mean thickness of the subcutaneous fat.
        skin_share: 0..1, how much of the outline follows the person's skin.
        rng: decides how the thickness varies.
    """
    from scipy.ndimage import gaussian_filter, gaussian_filter1d

    source = node_map.source_mm
    skin = _sample_field(atlas.skin, source) * node_map.stretch
    deep = _sample_field(atlas.deep, source) * node_map.stretch
    origin = person_origin(atlas)
    z = source[..., 2] - origin[2]
    head = float(np.mean([atlas.landmarks.head_mm[s][2] for s in SIDES])) - origin[2]
    back = source[..., 1] < origin[1] - 20
    level = np.interp(z, [-200, -30, 40, head * 0.6, head, head + 150], [0.35, 0.45, 0.6, 0.85, 1.25, 1.25])
    seat = np.where(back, np.interp(z, [head - 120, head - 20, head + 80, head + 160], [1.0, 1.5, 1.35, 0.8]), 1.0)
    ripple = gaussian_filter(rng.standard_normal(z.shape, dtype=np.float32), 45 / NODE_MM, mode="wrap")
    ripple = np.exp(0.2 * ripple / max(float(ripple.std()), 1e-6))
    fat = np.maximum(fat_mm * level * seat * ripple, SKIN_MM)
    offset = deep - fat
    share = skin_share * np.clip((z - 20) / 60, 0, 1)
    outline = np.where(deep < 0, np.minimum(deep, offset), share * skin + (1 - share) * offset)
    # The atlas' envelope has steps from slice to slice, at the groin above all; skin has none.
    outline = gaussian_filter1d(outline, _SKIN_SMOOTHING_MM / NODE_MM, axis=2, mode="nearest")
    outline = np.where(deep < 0, np.minimum(deep, outline), outline)
    gap = node_map.gap_mm
    return np.asarray(outline + gap, np.float32), np.asarray(deep + gap, np.float32)


def laid_down(outline: Distances, deep: Distances, node_map: NodeMap, anchors: Anchors, lying: Lying) -> Distances:
    """The outline of a body on a table: flat behind, and closed between the buttocks down to where the thighs part."""
    return _closed(_pressed(outline, deep, node_map, anchors, lying.pressed), node_map, anchors, lying.closed_below_mm)


def _pressed(outline: Distances, deep: Distances, node_map: NodeMap, anchors: Anchors, pressed: float) -> Distances:
    """Cut off what lies behind a plane, with rounded edges; the plane lies between skin and muscle."""
    if not pressed:
        return outline
    y, z = (node_map.origin_mm[a] + NODE_MM * np.arange(outline.shape[a]) for a in (1, 2))
    seat = (z > anchors.ischium_z_mm - 30) & (z < anchors.tail_mm[1] + 60)
    skin_y, muscle_y = (y[np.flatnonzero((f[:, :, seat] < 0).any(axis=(0, 2)))[0]] for f in (outline, deep))
    table = skin_y + pressed * (muscle_y - skin_y)
    behind = (table - y).astype(np.float32)[None, :, None]
    round_mm = 14.0
    # A smooth maximum: the solid in common, with rounded edges.
    both = np.maximum(round_mm - np.abs(outline - behind), 0.0)
    cut = np.maximum(outline, behind) + both * both / (4 * round_mm)
    return np.asarray(np.minimum(cut, np.maximum(deep - _LEAST_PRESSED_MM, outline)), np.float32)


def _closed(outline: Distances, node_map: NodeMap, anchors: Anchors, below_mm: float) -> Distances:
    """Fill rows between the two sides of the seat with fat: there the skins touch, and nothing but a line is seen."""
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    reach_mm = 60.0 * anchors.unit
    x, z = (node_map.origin_mm[a] + NODE_MM * np.arange(outline.shape[a]) for a in (0, 2))
    first, last = np.searchsorted(x, [-reach_mm, reach_mm])
    bottom = anchors.ischium_z_mm - below_mm * anchors.unit
    k0, k1 = np.searchsorted(z, [bottom - 3 * NODE_MM, anchors.tail_mm[1] + 70 * anchors.unit])
    if k1 - k0 < 4 or last - first < 4:
        return outline
    part = outline[first:last, :, k0:k1]
    inside = part < 0
    middle = int(np.searchsorted(x[first:last], 0.0))
    both = inside[:middle].any(axis=0) & inside[middle:].any(axis=0)
    both &= z[None, k0:k1] >= bottom
    # In front of the symphysis, and below it, the groins part.
    y = node_map.origin_mm[1] + NODE_MM * np.arange(outline.shape[1])
    low, _ = anchors.symphysis_z_mm
    both &= (y[:, None] < anchors.symphysis_front_mm + 6) | (z[None, k0:k1] > low + 10)
    between = _between(inside, middle)
    gap_mm = NODE_MM * (between & ~inside).sum(axis=0)
    both &= (gap_mm < _NARROW_MM * anchors.unit) | (z[None, k0:k1] > anchors.ischium_z_mm)
    filled = inside | (between & both[None])
    if not (filled & ~inside).any():
        return outline
    signed = distance_transform_edt(~filled) - distance_transform_edt(filled)
    signed = gaussian_filter((signed + np.where(filled, 0.5, -0.5)).astype(np.float32), 0.8) * np.float32(NODE_MM)
    # Only near what was filled: elsewhere the outline is exact.
    near = gaussian_filter((filled & ~inside).astype(np.float32), 1.5)
    weight = smoothstep(np.asarray(near / 0.12, np.float32))
    result = outline.copy()
    result[first:last, :, k0:k1] = np.minimum(part, weight * signed + (1 - weight) * part)
    return result


def _between(inside: NDArray[np.bool_], middle: int) -> NDArray[np.bool_]:
    """Places of each row between the innermost body on the left and on the right."""
    left = np.logical_or.accumulate(inside[:middle], axis=0)
    right = np.logical_or.accumulate(inside[middle:][::-1], axis=0)[::-1]
    return np.concatenate([left, right], axis=0)


def _sample_field(field: Field, points: NDArray[np.float32]) -> Distances:
    """Distance field at points; beside the field the way to it is added, above and below it goes on unchanged."""
    from scipy.ndimage import map_coordinates

    at = (points - field.origin_mm.astype(np.float32)) / np.float32(field.voxel_mm)
    inside = map_coordinates(field.values, np.moveaxis(at, -1, 0), order=1, mode="nearest", output=np.float32)
    last = np.array(field.values.shape[:2], np.float32) - 1
    beside = at[..., :2] - np.clip(at[..., :2], 0, last)
    return np.asarray(inside + np.float32(field.voxel_mm) * np.linalg.norm(beside, axis=-1), np.float32)


def sample_nodes(values: Distances, node_origin_mm: NDArray[np.float64], grid: Grid) -> Distances:
    """Trilinear values of a node field on a grid."""
    tables = []
    for axis in range(3):
        at = (
            grid.origin_mm[axis] + grid.spacing_mm[axis] * np.arange(grid.shape[axis]) - node_origin_mm[axis]
        ) / NODE_MM
        first = np.clip(at.astype(np.int64), 0, values.shape[axis] - 2)
        tables.append((first, (at - first).astype(np.float32)))
    (i, a), (j, b), (k, c) = tables
    return trilinear(values, i, a, j, b, k, c)
