"""Outlines of real people: how far the skin lies from the middle, by direction and height, relative to its mean.

The table beside this file holds the mean of eight men who lay on their backs, and the main ways in which they differ
(``tools/fit_skin_shapes.py`` made it from the body masks of Pelvic-Reference-Data, see NOTICE). A body keeps its own
size at every height, its muscles and its folds: its skin is only moved along the ray from the middle.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from vastus.synthesis.anchors import Anchors
from vastus.synthesis.deformation import NodeMap
from vastus.synthesis.kernels import NODE_MM

ANGLES: Final = 48
"""Directions, from the front over the patient's right."""
LEVELS_MM: Final = tuple(range(-20, 201, 20))
"""Heights above the lowest point of the ischium, in a body whose leg has 420 mm."""
_FULL_FROM_MM: Final = 20.0
"""From the first level to this one, the shape comes in."""
GENITALS_BELOW_MM: Final = 80
_GENITALS_DEG: Final = 40.0
"""Up to this height, and so far to either side of the front, the men's outlines were cut off before the fit."""
_MOST_SD: Final = 1.6
_LEAST_FAT_MM: Final = 3.0
_FAT_RANGE: Final = (0.4, 2.2)
"""The fat in one direction stays within so many times that of the body, but for ``_MORE_MM``."""
_MORE_MM: Final = 15.0
_RAY_STEP_MM, _RAY_MM = 2.0, 330.0

Distances = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class SkinShape:
    """Distance of the skin from the middle over its mean, by level and angle (levels, angles)."""

    ratio: NDArray[np.float64]

    def of_woman(self) -> SkinShape:
        """The same without what a mixture of men brings back in front of the groins."""
        rows = [
            without_genitals(row) if level < GENITALS_BELOW_MM else row
            for level, row in zip(LEVELS_MM, self.ratio, strict=True)
        ]
        return SkinShape(np.array(rows))


@cache
def _table() -> NDArray[np.float64]:
    """Mean and modes (1 + modes, levels, angles); a mode is scaled to one standard deviation."""
    text = files("vastus.synthesis").joinpath("skin_shapes.csv").read_text(encoding="utf-8")
    rows = np.array([[int(cell) for cell in row] for row in csv.reader(text.splitlines())], np.float64)
    return rows.reshape(-1, len(LEVELS_MM), ANGLES) / 1000.0


def sample_shape(rng: np.random.Generator) -> SkinShape:
    """Draw an outline: the mean and a random share of every mode, up to 1.6 SD."""
    mean, *modes = _table()
    shares = np.clip(rng.normal(0, 1, len(modes)), -_MOST_SD, _MOST_SD)
    return SkinShape(mean + np.tensordot(shares, np.array(modes), 1))


def without_genitals(ratio: NDArray[np.float64]) -> NDArray[np.float64]:
    """Nothing in front of the chord between two places beside the middle of the front."""
    count = round(_GENITALS_DEG / 360 * ANGLES)
    place = np.arange(-count, count + 1)
    angle = 2 * np.pi * place / ANGLES
    ends = ratio[[-count, count]]
    points = ends * np.sin([-angle[-1], angle[-1]]), ends * np.cos([-angle[-1], angle[-1]])
    slope = (points[1][1] - points[1][0]) / (points[0][1] - points[0][0])
    chord = (points[1][0] - slope * points[0][0]) / (np.cos(angle) - slope * np.sin(angle))
    result = ratio.copy()
    result[place] = np.minimum(ratio[place], chord * 1.03)
    return result


def reshaped(outline: Distances, deep: Distances, node_map: NodeMap, anchors: Anchors, shape: SkinShape) -> Distances:
    """Give a body's skin the shape of real people from the seat upwards; no muscle comes near it.

    Args:
        outline: signed distance to the skin on the nodes, mm.
        deep: likewise to the envelope of the muscles.
        node_map: whose nodes these are.
        anchors: of the body.
        shape: what the skin is to look like.
    """
    z = node_map.origin_mm[2] + NODE_MM * np.arange(outline.shape[2])
    height = (z - anchors.ischium_z_mm) / anchors.unit
    result = outline.copy()
    for k in np.flatnonzero(height > LEVELS_MM[0]):
        weight = float(np.clip((height[k] - LEVELS_MM[0]) / (_FULL_FROM_MM - LEVELS_MM[0]), 0, 1))
        inside = outline[..., k] < 0
        if not inside.any():
            continue
        centre = _middle(inside)
        own, muscle = (_radii(f[..., k], centre) for f in (outline, deep))
        muscle = np.minimum(muscle, own)
        wanted = own.mean() * _at_level(shape, float(height[k]))
        fat = own - muscle
        low = muscle + np.maximum(_FAT_RANGE[0] * fat, np.minimum(fat, _LEAST_FAT_MM))
        wanted = np.clip(wanted, low, muscle + _FAT_RANGE[1] * fat + _MORE_MM)
        factor = _evened(1 + weight * (own / wanted - 1))
        moved = _drawn_along_rays(outline[..., k], centre, factor)
        result[..., k] = np.minimum(moved, np.maximum(deep[..., k] - _LEAST_FAT_MM, outline[..., k]))
    return result


def _middle(inside: NDArray[np.bool_]) -> tuple[float, float]:
    """Middle of the box around a slice, in nodes."""
    i, j = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    return float(i[0] + i[-1]) / 2, float(j[0] + j[-1]) / 2


def _directions() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    angle = 2 * np.pi * np.arange(ANGLES) / ANGLES
    return np.sin(angle), np.cos(angle)


def _radii(field: Distances, centre: tuple[float, float]) -> NDArray[np.float64]:
    """Distance from the middle to the outermost place inside, in mm, by angle."""
    right, front = _directions()
    away = np.arange(0, _RAY_MM, _RAY_STEP_MM)
    at = [c + np.outer(d, away) / NODE_MM for c, d in zip(centre, (right, front), strict=True)]
    values = map_coordinates(field, at, order=1, mode="nearest")
    last = away.size - 1 - np.argmax((values < 0)[:, ::-1], axis=1)
    return np.asarray(np.where((values < 0).any(axis=1), away[last], 0.0) + _RAY_STEP_MM / 2)


def _at_level(shape: SkinShape, height_mm: float) -> NDArray[np.float64]:
    step = LEVELS_MM[1] - LEVELS_MM[0]
    at = float(np.clip((height_mm - LEVELS_MM[0]) / step, 0, len(LEVELS_MM) - 1))
    low = min(int(at), len(LEVELS_MM) - 2)
    return shape.ratio[low] * (1 - at + low) + shape.ratio[low + 1] * (at - low)


def _evened(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smoothed around the body, lest the skin has corners."""
    return (np.roll(values, 1) + 2 * values + np.roll(values, -1)) / 4


def _drawn_along_rays(field: Distances, centre: tuple[float, float], factor: NDArray[np.float64]) -> Distances:
    """The slice drawn in or out from the middle: at every place, the value at ``factor`` times its distance."""
    i, j = np.meshgrid(*(np.arange(n) - c for n, c in zip(field.shape, centre, strict=True)), indexing="ij")
    turn = np.arctan2(i, j) % (2 * np.pi) * ANGLES / (2 * np.pi)
    first = turn.astype(int) % ANGLES
    share = turn - np.floor(turn)
    scale = factor[first] * (1 - share) + factor[(first + 1) % ANGLES] * share
    at = [centre[0] + i * scale, centre[1] + j * scale]
    return np.asarray(map_coordinates(field, at, order=1, mode="nearest") / scale, np.float32)
