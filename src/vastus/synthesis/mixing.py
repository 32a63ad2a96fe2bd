"""A person mixed from several: every point of one person, moved by shares of the ways to some others.

``between`` knows one way between two people. Here are several people, and each muscle has shares of its own: it may
have a little more of one person than its neighbours have. Shares may lie a little outside of 0 to 1. Then the person
has more of a difference than anybody whom it was made from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from vastus.anatomy import SIDES
from vastus.errors import GeometryError, SettingsError
from vastus.synthesis.atlas import Atlas, Landmarks, Part
from vastus.synthesis.between import bent_onto, cut_anew, solve
from vastus.synthesis.bundles import lines_of
from vastus.synthesis.correspondence import STEP_MM, CommonFrame, Correspondence, Nodes, smallest_stretch
from vastus.synthesis.deformation import person_origin
from vastus.synthesis.kernels import VOXEL_MM
from vastus.synthesis.procedural import add_procedural
from vastus.synthesis.tissues import MUSCLE_IDS

BEYOND: Final = 1.2
"""The shares lie so much further from their mean than those of a person within the others."""
_MUSCLE_SD: Final = 0.2
"""Guessed: by how much the shares of one muscle differ from those of the person."""
_LEAST, _MOST = -0.25, 1.25
_BLUR_NODES: Final = 2.0
"""Over which width (12 mm) the shares of one muscle pass into those of the next."""
_LEAST_WEIGHT: Final = 0.1
"""Where there is less muscle around, its own shares are lost."""
_PAD_MM: Final = 40.0
_LEAST_STRETCH: Final = 0.1
_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class Mix:
    """How much of each other person there is.

    Attributes:
        shares: one for each other person; what is missing to 1 is the first person's.
        of_muscle: what is added to the shares for single muscles, by class id.
    """

    shares: tuple[float, ...]
    of_muscle: Mapping[int, tuple[float, ...]]


def sample_mix(rng: np.random.Generator, others: int) -> Mix:
    """Draw the shares of some other people, for the person and for each muscle (both sides alike).

    Raises:
        SettingsError: there is nobody to mix with.
    """
    if others < 1:
        raise SettingsError("A mixed person needs at least two people.")
    all_of_it = rng.dirichlet(np.ones(others + 1))
    beyond = 1 / (others + 1) + BEYOND * (all_of_it - 1 / (others + 1))
    own = {key: tuple(float(v) for v in rng.normal(0, _MUSCLE_SD, others)) for key in sorted(MUSCLE_IDS)}
    return Mix(tuple(float(v) for v in beyond[1:]), own)


def mixed_person(first: Atlas, others: Sequence[Correspondence], mix: Mix) -> Atlas:
    """Move a person's structures by shares of the ways to some others. About a minute of one core.

    Where the ways of two muscles would cross, the differences of single muscles are made smaller until nothing folds.

    Args:
        first: whose structures they are.
        others: maps of the other people: ``find_correspondence(other, first)``, in this order.
        mix: how much of each of them.

    Raises:
        SettingsError: there is not one share for each other person.
        GeometryError: the mixture folds even if all muscles have the same shares.
    """
    if len(others) != len(mix.shares):
        raise SettingsError(f"{len(mix.shares)} shares for {len(others)} other people.")
    origin = person_origin(first)
    low, shape = _nodes(first, origin)
    ways = [_way(match, low, shape) for match in others]
    frame = CommonFrame(origin, 1.0)
    for attempt in range(_TRIES):
        smaller = 1 - attempt / (_TRIES - 1)
        shares = _share_fields(first, mix, smaller, (low, shape), origin)
        moved = sum(share[..., None] * way for share, way in zip(shares, ways, strict=True))
        forward = Correspondence(frame, frame, np.asarray(moved, np.float32), low, (0.0, 0.0))
        if smallest_stretch(forward.shift_mm) > _LEAST_STRETCH:
            return _built(first, forward, _backward(forward))
    raise GeometryError("The mixed person folds.", remedy="The people must be of the same kind; draw another seed.")


def _nodes(person: Atlas, origin: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[int, int, int]]:
    """First node and number of nodes around a person, in the frame with that origin."""
    measured = [part for part in person.parts if not part.procedural]
    ends = [end for part in measured for end in (part.origin_mm, [line[-1] for line in lines_of(part)])]
    corners = np.array(ends) - origin
    low = np.floor((corners.min(axis=0) - _PAD_MM) / STEP_MM) * STEP_MM
    n_x, n_y, n_z = (int(n) for n in np.ceil((corners.max(axis=0) + _PAD_MM - low) / STEP_MM) + 1)
    return low, (n_x, n_y, n_z)


def _points(low: NDArray[np.float64], shape: tuple[int, int, int]) -> Nodes:
    axes = [low[axis] + STEP_MM * np.arange(shape[axis]) for axis in range(3)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).astype(np.float32).reshape(-1, 3)


def _way(match: Correspondence, low: NDArray[np.float64], shape: tuple[int, int, int]) -> Nodes:
    """From each node of the first person to the same point of the other, at the first person's size."""
    scale = np.float32(match.b.scale)
    return np.asarray((match.shift_at(_points(low, shape) * scale) / scale).reshape(*shape, 3), np.float32)


def _share_fields(
    person: Atlas,
    mix: Mix,
    smaller: float,
    nodes: tuple[NDArray[np.float64], tuple[int, int, int]],
    origin: NDArray[np.float64],
) -> list[Nodes]:
    """(X, Y, Z) for each other person: its share at every node."""
    low, shape = nodes
    fields = [np.zeros(shape, np.float32) for _ in mix.shares]
    muscle = np.zeros(shape, np.float32)
    for part in person.parts:
        added = mix.of_muscle.get(part.tissue)
        if part.procedural or added is None:
            continue
        place, inside = _inside(part, low + origin, shape)
        muscle[place][inside] = 1
        for field, value in zip(fields, added, strict=True):
            field[place][inside] = value
    # Only muscles count, so that a slim one between layers of fat has its shares, too.
    weight = np.maximum(gaussian_filter(muscle, _BLUR_NODES), _LEAST_WEIGHT)
    return [
        np.clip(share + smaller * gaussian_filter(field, _BLUR_NODES) / weight, _LEAST, _MOST).astype(np.float32)
        for share, field in zip(mix.shares, fields, strict=True)
    ]


def _inside(
    part: Part, low_mm: NDArray[np.float64], shape: tuple[int, int, int]
) -> tuple[tuple[slice, ...], NDArray[np.bool_]]:
    """Which nodes lie in a part, and where they are."""
    place, index = [], []
    for axis, line in enumerate(lines_of(part)):
        first = max(int(np.ceil((line[0] - low_mm[axis]) / STEP_MM)), 0)
        last = min(int((line[-1] - low_mm[axis]) / STEP_MM), shape[axis] - 1)
        place.append(slice(first, last + 1))
        at = (low_mm[axis] + STEP_MM * np.arange(first, last + 1) - line[0]) / part.voxel_mm[axis]
        index.append(np.clip(np.round(at).astype(int), 0, len(line) - 1))
    return tuple(place), part.distance[np.ix_(*index)] < 0


def _backward(forward: Correspondence) -> Correspondence:
    """The map from the new person back to the first one."""
    shape = forward.shift_mm.shape[:3]
    points = _points(forward.origin_mm, (shape[0], shape[1], shape[2]))
    source = solve(points, forward, 1.0)
    still = CommonFrame(np.zeros(3), 1.0)
    return replace(forward, b=still, shift_mm=(source - points).reshape(*shape, 3))


def _built(first: Atlas, forward: Correspondence, backward: Correspondence) -> Atlas:
    parts, skin, _ = bent_onto(first, backward)
    marks = _landmarks(first, parts, forward)
    return add_procedural(first.person, list(cut_anew(parts, marks)), marks, *skin)


def _landmarks(first: Atlas, parts: Sequence[Part], forward: Correspondence) -> Landmarks:
    def moved(point: tuple[float, float, float]) -> tuple[float, float, float]:
        own = forward.a.from_person(np.array([point])).astype(np.float32)
        x, y, z = (float(v) for v in (own + forward.shift_at(own))[0])
        return x, y, z

    marks = first.landmarks
    head, knee = ({side: moved(m[side]) for side in SIDES} for m in (marks.head_mm, marks.knee_mm))
    crest = marks.crest_z_mm - _top_of_hip_bones(first.parts) + _top_of_hip_bones(parts)
    return Landmarks(head, knee, crest, float(np.mean([h[0] for h in head.values()])))


def _top_of_hip_bones(parts: Sequence[Part]) -> float:
    bones = [part for part in parts if part.name == "hip_bone"]
    tops = [p.origin_mm[2] + VOXEL_MM * np.flatnonzero((p.distance < 0).any(axis=(0, 1)))[-1] for p in bones]
    return float(np.mean(tops))
