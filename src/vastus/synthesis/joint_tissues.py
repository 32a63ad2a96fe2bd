"""Soft tissue that follows the bones: joint capsule of the hip, tendons, sciatic nerve, inguinal ligament, tract.

All of it fills only what would be fat: muscles keep their places and volumes. Thicknesses are textbook values,
spread at random. On real CT a network took the capsule for gluteus minimus and the obturators.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import SIDES, Side
from vastus.synthesis.atlas import UNIT_MM, Atlas, Part, quantise
from vastus.synthesis.shapes import Point, Shape, Tube
from vastus.synthesis.tissues import Tissue

_BLOCK_MM = 3.0
_USUAL_LEG_MM = 420.0


def joint_tissues(atlas: Atlas, rng: np.random.Generator) -> tuple[Part, ...]:
    """Parts in the frame of the person, both sides alike in thickness.

    Args:
        atlas: the person.
        rng: decides thicknesses.
    """
    unit = atlas.landmarks.leg_mm / _USUAL_LEG_MM
    thick = {
        "capsule": float(rng.uniform(3, 9)) * unit,
        "tendons": float(rng.uniform(1.5, 5)) * unit,
        "tract": float(rng.uniform(1.0, 3.5)) * unit,
        "nerve": float(rng.uniform(3.5, 6.5)) * unit,
        "ligament": float(rng.uniform(1.5, 4)) * unit,
        "hamstrings": float(rng.uniform(5, 10)) * unit,
    }
    return tuple(part for side in SIDES for part in _of_side(atlas, side, unit, thick))


def _of_side(atlas: Atlas, side: Side, unit: float, thick: dict[str, float]) -> Iterator[Part]:
    parts = {p.name: p for p in atlas.parts if p.side is side and not p.procedural}
    outwards = 1.0 if side is Side.RIGHT else -1.0
    head = np.array(atlas.landmarks.head_mm[side])
    if "femur" in parts:
        yield _around_hip(parts["femur"], side, head, unit, thick)
    if "vastus_lateralis" in parts:
        yield _tract(parts["vastus_lateralis"], side, outwards, thick["tract"])
    hip_bone = parts.get("hip_bone")
    if hip_bone is None:
        return
    bone = hip_bone.origin_mm + 3 * np.array(hip_bone.voxel_mm) * np.argwhere(hip_bone.distance[::3, ::3, ::3] < 0)
    ischium = bone[bone[:, 2] <= np.quantile(bone[:, 2], 0.06)].mean(axis=0)
    for name in ("biceps_femoris", "semimembranosus"):
        if name in parts:
            tendon = Tube(
                (_top_of(parts[name]), _point(ischium + np.array([0, -4, 6]) * unit)), (4 * unit, thick["hamstrings"])
            )
            yield _part("hamstring_tendon", side, tendon)
    front = bone[bone[:, 1] >= np.quantile(bone[:, 1], 0.97)]
    upper = bone[bone[:, 2] > head[2] + 25 * unit]
    if len(upper):
        spine = upper[upper[:, 1].argmax()]
        inner = bone[np.abs(bone[:, 0] - atlas.landmarks.midline_x_mm).argmin()]
        tubercle = [inner[0] + outwards * 22 * unit, front[:, 1].mean(), min(front[:, 2].min() + 8 * unit, head[2])]
        middle = (spine + tubercle) / 2 + np.array([0, 6, -6]) * unit
        ligament = Tube((_point(spine), _point(middle), _point(np.array(tubercle))), (thick["ligament"],) * 3)
        yield _part("ligament", side, ligament)
    knee = np.array(atlas.landmarks.knee_mm[side])
    leg = head - knee
    path = (
        head + np.array([-outwards * 22, -52, 12]) * unit,
        ischium + np.array([outwards * 24, -2, 18]) * unit,
        knee + 0.74 * leg + np.array([outwards * 22, -34, 0]) * unit,
        knee + 0.5 * leg + np.array([outwards * 8, -30, 0]) * unit,
        knee + 0.15 * leg + np.array([0, -34, 0]) * unit,
    )
    nerve = Tube(tuple(_point(p) for p in path), (*(thick["nerve"],) * 4, 0.7 * thick["nerve"]), (1.0, 0.7))
    yield _part("nerve", side, nerve)


def _around_hip(femur: Part, side: Side, head: NDArray[np.float64], unit: float, thick: dict[str, float]) -> Part:
    """A shell around the upper femur: thick around head and neck, thin where tendons end at the trochanters."""
    top = round((head[2] - femur.origin_mm[2] - 62 * unit) / femur.voxel_mm[2])
    first = min(max(top, 0), femur.distance.shape[2] - 2)
    block = femur.distance[:, :, first:].astype(np.float32) * np.float32(UNIT_MM)
    origin = femur.origin_mm + np.array([0, 0, femur.voxel_mm[2] * first])
    x, y, z = _lines(origin, femur.voxel_mm, block.shape)
    away = np.sqrt((x - head[0]) ** 2 + (y - head[1]) ** 2 + (z - head[2]) ** 2)
    near = np.clip((56 * unit - away) / (16 * unit), 0, 1)
    wanted = thick["tendons"] + (thick["capsule"] - thick["tendons"]) * near
    low = head[2] - 52 * unit - z
    return Part(
        "capsule", int(Tissue.SOFT), side, quantise(np.maximum(block - wanted, low)), origin, True, femur.voxel_mm
    )


def _tract(vastus: Part, side: Side, outwards: float, thick_mm: float) -> Part:
    """A sheet on the outer side of vastus lateralis."""
    distance = vastus.distance.astype(np.float32) * np.float32(UNIT_MM)
    inside = vastus.distance < 0
    x, y, _ = _lines(vastus.origin_mm, vastus.voxel_mm, distance.shape)
    count = np.maximum(inside.sum(axis=(0, 1)), 1)
    middle_x, middle_y = ((inside * line).sum(axis=(0, 1)) / count for line in (x, y))
    away = (x - middle_x) * outwards
    # A quarter of the circle, looking outwards and a little back.
    behind = np.abs(y - middle_y + 6.0) - away
    sheet = np.abs(distance - 1.0 - thick_mm / 2) - thick_mm / 2
    sheet = np.where(inside.any(axis=(0, 1)), np.maximum(sheet, behind), 20.0)
    return Part(
        "tract", int(Tissue.SOFT), side, quantise(sheet.astype(np.float32)), vastus.origin_mm, True, vastus.voxel_mm
    )


def _top_of(part: Part) -> Point:
    """Middle of the highest slice but one of a part."""
    levels = np.flatnonzero((part.distance < 0).any(axis=(0, 1)))
    level = levels[max(len(levels) - 3, 0)]
    i, j = np.argwhere(part.distance[:, :, level] < 0).mean(axis=0)
    return _point(part.origin_mm + np.array(part.voxel_mm) * [i, j, level])


def _point(values: NDArray[np.float64]) -> Point:
    return float(values[0]), float(values[1]), float(values[2])


def _lines(
    origin: NDArray[np.float64], voxel: tuple[float, float, float], shape: tuple[int, ...]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    x, y, z = ((origin[a] + voxel[a] * np.arange(shape[a])).astype(np.float32) for a in range(3))
    return x[:, None, None], y[None, :, None], z[None, None, :]


def _part(name: str, side: Side, shape: Shape) -> Part:
    low, high = shape.box_mm()
    origin = low - 2 * _BLOCK_MM
    size = tuple(int(n) for n in np.ceil((high + 2 * _BLOCK_MM - origin) / _BLOCK_MM))
    voxel = (_BLOCK_MM,) * 3
    distance = shape.distance_mm(*_lines(origin, voxel, size))
    return Part(name, int(Tissue.SOFT), side, quantise(distance), origin, procedural=True, voxel_mm=voxel)
