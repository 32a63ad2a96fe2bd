"""What age and a fracture leave: calcium in the walls of arteries, oedema, a haematoma, the line of the fracture.

Nothing here is measured; frequencies and sizes are guessed. It takes fat or vessel only, never a structure. Only the
line lies in a structure, and is labelled as the femur that it crosses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from vastus.synthesis.anchors import Anchors, moved_point
from vastus.synthesis.atlas import Part
from vastus.synthesis.clinical import Person
from vastus.synthesis.deformation import NodeMap
from vastus.synthesis.overlay import Overlay
from vastus.synthesis.shapes import Ball, Crack, Point, Together, Tube
from vastus.synthesis.tissues import FEMUR, Tissue

_STEP_MM = 45.0
_PIECES = 8
_NONE_BEFORE, _ALL_FROM = 50.0, 85.0
"""Age at which the first have calcium in their arteries, and at which nearly all have."""
_OEDEMA, _HAEMATOMA = 0.7, 0.4
_LINE, _OF_NECK = 0.6, 0.5
"""How often the line of the fracture is seen, and how often it crosses the neck (else the trochanters)."""
_NECK_SHARES, _TROCHANTER_SHARES = (0.30, 0.44), (0.52, 0.80)
"""Where the line crosses the way from the middle of the head to the shaft at the lesser trochanter."""
_NECK_REACH_MM, _TROCHANTER_REACH_MM = 28.0, 48.0


def calcium(parts: Sequence[Part], node_map: NodeMap, person: Person, rng: np.random.Generator) -> Iterator[Overlay]:
    """Pieces of calcium in the wall of the arteries; the older, the more often.

    Args:
        parts: of the person of the atlas.
        node_map: where their points lie in the new body.
        person: whose age counts.
        rng: decides.
    """
    chance = float(np.clip((person.age_years - _NONE_BEFORE) / (_ALL_FROM - _NONE_BEFORE), 0.0, 0.9))
    if rng.random() >= chance:
        return
    for part in parts:
        if part.tissue != Tissue.VESSEL or part.name != "artery":
            continue
        path = np.array([moved_point(node_map, p) for p in _middle_line(part)])
        for _ in range(int(rng.integers(1, _PIECES + 1))):
            start = int(rng.integers(len(path) - 1))
            low, high = np.sort(rng.uniform(0, 1, 2))
            angle, away = rng.uniform(0, 2 * np.pi), rng.uniform(1.5, 3.5)
            wall = away * np.array([np.cos(angle), np.sin(angle), 0.0])
            ends = [path[start] + share * (path[start + 1] - path[start]) + wall for share in (low, high)]
            thick = float(rng.uniform(1.0, 2.6))
            piece = Tube((_point(ends[0]), _point(ends[1])), (thick, thick * float(rng.uniform(0.5, 1.0))))
            yield Overlay("calcium", Tissue.CALCIUM, piece, (Tissue.VESSEL,))


def after_fracture(anchors: Anchors, outwards: float, head_mm: Point, rng: np.random.Generator) -> Iterator[Overlay]:
    """Oedema in the fat beside the hip, and blood between the muscles.

    Args:
        anchors: of the body.
        outwards: 1 where the injured side has the larger x, else -1.
        head_mm: centre of the injured femoral head.
        rng: decides.
    """
    u, (x, y, z) = anchors.unit, head_mm
    if rng.random() < _HAEMATOMA:
        at: Point = (
            x + outwards * u * float(rng.uniform(35, 75)),
            y + u * float(rng.uniform(-45, 35)),
            z - u * float(rng.uniform(20, 110)),
        )
        yield Overlay("haematoma", Tissue.SOFT, _cloud(at, u * float(rng.uniform(15, 38)), rng), (Tissue.FAT,))
    if rng.random() < _OEDEMA:
        at = (x + outwards * 80 * u, y - u * float(rng.uniform(-10, 40)), z - u * float(rng.uniform(0, 90)))
        yield Overlay("oedema", Tissue.SOFT, _cloud(at, u * float(rng.uniform(30, 65)), rng), (Tissue.FAT,))


def fracture_line(head_mm: Point, shaft_mm: Point, unit: float, rng: np.random.Generator) -> Iterator[Overlay]:
    """A line through neck or trochanters, across the axis of the neck, jagged; bone on either side stays in place.

    Args:
        head_mm: centre of the injured femoral head.
        shaft_mm: centre of the shaft at the lesser trochanter.
        unit: size of the body.
        rng: decides.
    """
    if rng.random() >= _LINE:
        return
    of_neck = rng.random() < _OF_NECK
    share = float(rng.uniform(*(_NECK_SHARES if of_neck else _TROCHANTER_SHARES)))
    head, way = np.array(head_mm), np.array(shaft_mm) - np.array(head_mm)
    normal = way / np.linalg.norm(way) + rng.normal(0, 0.18, 3)
    normal /= np.linalg.norm(normal)
    waves = []
    for length_mm, amplitude in ((32.0, 2.2), (13.0, 1.0)):
        along = np.cross(normal, rng.normal(0, 1, 3))
        along /= np.linalg.norm(along) * length_mm * unit
        waves.append((unit * amplitude * float(rng.uniform(0.3, 1.0)), _point(along), float(rng.uniform(0, 2 * np.pi))))
    reach = unit * (_NECK_REACH_MM if of_neck else _TROCHANTER_REACH_MM)
    half = float(rng.uniform(0.7, 2.2))
    crack = Crack(_point(head + share * way), _point(normal), half, reach, tuple(waves))
    yield Overlay("fracture", Tissue.FRACTURE, crack, (FEMUR,))


def _cloud(at: Point, size_mm: float, rng: np.random.Generator) -> Together:
    """Several balls around a place, longer along the body, without a sharp form."""
    balls = []
    for _ in range(7):
        x, y, z = np.array(at) + size_mm * rng.normal(0, [0.4, 0.5, 0.8])
        radius = size_mm * float(rng.uniform(0.3, 0.6))
        balls.append(Ball((float(x), float(y), float(z)), (0.7 * radius, radius, 1.5 * radius)))
    return Together(tuple(balls), 5.0)


def _middle_line(part: Part) -> NDArray[np.float64]:
    """Points along the middle of a part, from low to high, in mm of the person."""
    inside = part.distance < 0
    levels = np.flatnonzero(inside.any(axis=(0, 1)))
    count = max(2, round((levels[-1] - levels[0]) * part.voxel_mm[2] / _STEP_MM) + 1)
    found = []
    for share in np.linspace(0, 1, count):
        level = levels[round(share * (len(levels) - 1))]
        i, j = np.argwhere(inside[:, :, level]).mean(axis=0)
        found.append(part.origin_mm + np.array(part.voxel_mm) * [i, j, level])
    return np.array(found)


def _point(values: NDArray[np.float64]) -> Point:
    return float(values[0]), float(values[1]), float(values[2])
