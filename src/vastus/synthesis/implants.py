"""Metal in the hip: screws, nails and prostheses as procedural parts, drawn in the person's frame."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import Side
from vastus.synthesis.atlas import Atlas, Part, part_from_mask
from vastus.synthesis.kernels import VOXEL_MM
from vastus.synthesis.tissues import Tissue


class Implant(Enum):
    """What a surgeon may have left."""

    NONE = "none"
    SCREWS = "screws"
    NAIL = "nail"
    HALF_PROSTHESIS = "half_prosthesis"
    TOTAL_PROSTHESIS = "total_prosthesis"


Rod = tuple[NDArray[np.float64], NDArray[np.float64], float]


def implant_parts(implant: Implant, atlas: Atlas, side: Side) -> Iterator[Part]:
    """Parts of one implant on one side of the person (millimetre sizes of common products, rounded)."""
    head, shaft, out, up = axis_of_neck(atlas, side)
    neck = (head - shaft) / np.linalg.norm(head - shaft)
    rods: list[Rod] = []
    if implant is Implant.SCREWS:
        spread = np.cross(neck, [0.0, 1.0, 0.0])
        rods = [
            (shaft + out * 6 + d * spread + e * np.array([0, 1.0, 0]), head + d * spread + neck * 8, 3.5)
            for d, e in ((-7.0, 0.0), (6.0, 5.0), (6.0, -5.0))
        ]
    elif implant is Implant.NAIL:
        rods = [(shaft + up * 45, shaft - up * 150, 5.5), (shaft - up * 8 + out * 8, head + neck * 10, 5.2)]
    elif implant in (Implant.HALF_PROSTHESIS, Implant.TOTAL_PROSTHESIS):
        rods = [(shaft + up * 15, shaft - up * 95, 6.5), (shaft + up * 12, head, 7.0)]
    mask, origin = _draw(rods, head, implant)
    yield part_from_mask("implant", int(Tissue.METAL), side, mask, origin, procedural=True)
    if implant is Implant.TOTAL_PROSTHESIS:
        points = _grid(origin, mask.shape)
        distance = np.linalg.norm(points - head, axis=-1)
        cup = (distance > 23.0) & (distance < 27.5) & ((points - head) @ neck > 4.0)
        yield part_from_mask("cup", int(Tissue.METAL), side, cup, origin, procedural=True)


def axis_of_neck(atlas: Atlas, side: Side) -> tuple[NDArray[np.float64], ...]:
    """Centre of the femoral head, of the shaft at the lesser trochanter (mm); directions outwards and up the shaft."""
    head = np.array(atlas.landmarks.head_mm[side])
    knee = np.array(atlas.landmarks.knee_mm[side])
    out = np.array([1.0 if side is Side.RIGHT else -1.0, 0.0, 0.0])
    up = (head - knee) / np.linalg.norm(head - knee)
    return head, head + out * 44.0 - up * 55.0, out, up


def _grid(origin: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    return np.moveaxis(np.indices(shape), 0, -1) * VOXEL_MM + origin


def _draw(
    rods: list[Rod], head: NDArray[np.float64], implant: Implant
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    ends = np.array([p for a, b, _ in rods for p in (a, b)] + [head])
    origin = np.floor((ends.min(axis=0) - 32.0) / VOXEL_MM) * VOXEL_MM
    shape = tuple(int(n) for n in np.ceil((ends.max(axis=0) + 32.0 - origin) / VOXEL_MM))
    points = _grid(origin, shape)
    mask = np.zeros(shape, bool)
    for start, stop, radius in rods:
        axis = stop - start
        share = np.clip(((points - start) @ axis) / (axis @ axis), 0, 1)
        mask |= np.linalg.norm(points - start - share[..., None] * axis, axis=-1) < radius
    if implant in (Implant.HALF_PROSTHESIS, Implant.TOTAL_PROSTHESIS):
        radius = 23.5 if implant is Implant.HALF_PROSTHESIS else 17.0
        mask |= np.linalg.norm(points - head, axis=-1) < radius
    return mask, origin
