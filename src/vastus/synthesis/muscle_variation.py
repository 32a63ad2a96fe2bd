"""How single muscles differ between people: where a belly begins and ends, where it lies, how flat it is.

Size, pose and smooth waves move neighbours together; here a muscle moves against its neighbours. On real CT the bellies
of rectus femoris and semitendinosus were seen to reach further down than in either person of the atlas.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vastus.anatomy import BY_ID, BY_KEY, SIDES, STRUCTURES, THIGH_GROUPS, Group, Side
from vastus.synthesis.atlas import MARGIN_MM, Part
from vastus.synthesis.kernels import VOXEL_MM

_CUT = frozenset(("iliopsoas", "psoas", "iliacus"))
"""They end where the definition cuts them, not where a belly does, and must meet each other there."""
_TO_SURFACE_MM = (round(MARGIN_MM / VOXEL_MM) - 0.5) * VOXEL_MM
"""From the middle of a block's outermost voxels to the nearest surface inside."""
_SHORTEST = 0.6
"""A belly keeps this share of its length, whatever was drawn."""
_OWN_SIDE = 0.4
"""Spread between the two sides of one person, as a share of that between people."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Standard deviations: of the upper and lower end and of the place (mm), and of the log of flatness.

    ``lower_mean_mm`` is where the lower end lies on the average, against that of the atlas.
    """

    upper_mm: float
    lower_mm: float
    aside_mm: float
    flatness: float
    lower_mean_mm: float = 0.0


_SPREAD_OF_THIGH = Spread(8.0, 17.0, 2.0, 0.07)
_SPREAD_OF_HIP = Spread(5.0, 5.0, 1.5, 0.05)
_TENSOR = Spread(6.0, 16.0, 2.0, 0.07)
# In both people the belly ends at 35% of the way from knee to hip. On real CT it is often still there at levels where
# their vastus medialis has its greatest width; how much further down is guessed.
_RECTUS = Spread(8.0, 22.0, 2.0, 0.07, lower_mean_mm=-15.0)
_MOST = 2.2
"""Nothing strays further than so many standard deviations."""


@dataclass(frozen=True, slots=True)
class Belly:
    """By how much one muscle differs from the person's own, in mm of the person.

    Attributes:
        upper_mm, lower_mm: how much higher its upper and its lower end lie.
        aside_mm: how far it lies along +x and +y.
        flatness: factor on its extent along x; that along y is divided by it.
    """

    upper_mm: float = 0.0
    lower_mm: float = 0.0
    aside_mm: tuple[float, float] = (0.0, 0.0)
    flatness: float = 1.0


def spread_of(key: str) -> Spread | None:
    """How much a muscle varies; ``None`` for what must stay where it is."""
    group = BY_KEY[key].group
    if key in _CUT or group not in (*THIGH_GROUPS, Group.GLUTEAL):
        return None
    single = {"tensor_fasciae_latae": _TENSOR, "rectus_femoris": _RECTUS}
    if key in single:
        return single[key]
    return _SPREAD_OF_THIGH if group in THIGH_GROUPS else _SPREAD_OF_HIP


def sample_bellies(rng: np.random.Generator, share: float) -> dict[tuple[str, Side], Belly]:
    """Draw every muscle, the two sides of a person alike.

    Args:
        rng: source of chance.
        share: 0..1 of the full spread.
    """
    drawn = {}
    for structure in STRUCTURES:
        spread = spread_of(structure.key)
        if spread is None:
            continue
        common = rng.normal(0, 1, 5)
        for side in SIDES:
            z = np.clip((common + _OWN_SIDE * rng.normal(0, 1, 5)) / np.hypot(1, _OWN_SIDE), -_MOST, _MOST) * share
            # Towards the middle is the same direction of the body on both sides.
            outwards = 1.0 if side is Side.RIGHT else -1.0
            drawn[structure.key, side] = Belly(
                float(z[0] * spread.upper_mm),
                float(z[1] * spread.lower_mm + share * spread.lower_mean_mm),
                (float(outwards * z[2] * spread.aside_mm), float(z[3] * spread.aside_mm)),
                float(np.exp(z[4] * spread.flatness)),
            )
    return drawn


def nearer(bellies: dict[tuple[str, Side], Belly], share: float) -> dict[tuple[str, Side], Belly]:
    """The same differences, but only a share (0..1) of each."""
    return {
        key: Belly(
            share * b.upper_mm, share * b.lower_mm, (share * b.aside_mm[0], share * b.aside_mm[1]), b.flatness**share
        )
        for key, b in bellies.items()
    }


def with_belly(part: Part, belly: Belly) -> Part:
    """The part with its ends, place and flatness changed: the same distances on other voxels.

    Distances are not computed anew: lengthened by a tenth, a belly's ends are a tenth blunter than they should be.
    """
    count = np.array(part.distance.shape) - 1
    voxel = np.array(part.voxel_mm)
    low, high = part.origin_mm, part.origin_mm + voxel * count
    bottom, top = low[2] + _TO_SURFACE_MM, high[2] - _TO_SURFACE_MM
    new_length = max((top - bottom) + belly.upper_mm - belly.lower_mm, _SHORTEST * (top - bottom))
    # Where both ends would come too near each other, the upper one yields.
    factor = np.array([belly.flatness, 1.0 / belly.flatness, new_length / (top - bottom)])
    middle = (low + high) / 2
    origin = middle + (low - middle) * factor
    origin[:2] += belly.aside_mm
    origin[2] = bottom + belly.lower_mm - _TO_SURFACE_MM * factor[2]
    x, y, z = (float(v) for v in voxel * factor)
    return replace(part, origin_mm=origin, voxel_mm=(x, y, z))


def with_bellies(parts: tuple[Part, ...], bellies: dict[tuple[str, Side], Belly]) -> tuple[Part, ...]:
    """Change every part that has a belly; sides are those of the atlas person."""
    changed = []
    for part in parts:
        key = BY_ID[part.tissue].key if part.tissue in BY_ID else ""
        belly = None if part.procedural else bellies.get((key, part.side))
        changed.append(part if belly is None else with_belly(part, belly))
    return tuple(changed)
