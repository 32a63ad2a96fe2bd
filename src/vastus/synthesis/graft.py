"""A label map as a body: what is drawn in a person, grafted onto a whole person who is bent to fit.

A label map shows a part of the body, and not all of that part. The rest comes from a person of whom everything is
known: every structure of that person is bent until it lies on what is drawn (``correspondence``), and goes on smoothly
beyond. Where something is drawn, it counts. Near the ends of the drawing it passes into the bent structure. What was
drawn as one (the three adductors) is divided where the borders of the bent structures lie; what was not drawn
(quadratus femoris, gemelli) is the bent structure, as far as nothing drawn lies there.

The labels of a body made from this person are right in every voxel, also at borders that nobody drew: the image is
painted from the labels. Only the anatomy of such a border is that of the other person.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vastus.anatomy import BY_KEY, SIDES, Side
from vastus.errors import SettingsError
from vastus.synthesis.atlas import UNIT_MM, Atlas, Landmarks, Part, part_from_mask
from vastus.synthesis.between import Bent, bent_onto, cut_anew, grid_around
from vastus.synthesis.bundles import lines_of, resampled
from vastus.synthesis.correspondence import Correspondence, Group, match_partly
from vastus.synthesis.deformation import smoothstep
from vastus.synthesis.drawn import Drawn, DrawnName, Mask, find_landmarks
from vastus.synthesis.growth import Grid
from vastus.synthesis.kernels import VOXEL_MM
from vastus.synthesis.procedural import GRID_MM, add_procedural
from vastus.synthesis.tissues import Tissue

_PASSAGE_MM = 36.0
"""Over this height at the ends of the drawing, what is drawn passes into what is bent."""
_ONE_SIDE: Final = 0.9
"""A piece that lies so much on one side belongs to that side as a whole."""
_LEAST_VOXELS: Final = 60
_SKIN_OVER_MM: Final = 4.0
"""Without an outline, the skin lies at least so far outside of what is drawn."""

UNCLASSED: Final[dict[str, tuple[Group, int]]] = {
    "sacrum": (("sacrum",), Tissue.OTHER_BONE),
    "coccyx": (("coccyx",), Tissue.OTHER_BONE),
    "patella": (("patella",), Tissue.OTHER_BONE),
    "tibia": (("tibia",), Tissue.OTHER_BONE),
    "fibula": (("fibula",), Tissue.OTHER_BONE),
    "spine": (("vertebrae",), Tissue.OTHER_BONE),
    "vertebrae": (("vertebrae",), Tissue.OTHER_BONE),
    "erector spinae": (("erector", "multifidus"), Tissue.OTHER_MUSCLE),
    "quadratus lumborum": (("quadratus_lumborum",), Tissue.OTHER_MUSCLE),
    "latissimus dorsi": (("latissimus_dorsi",), Tissue.OTHER_MUSCLE),
}
"""What has no class, but a place in a body, by the plain name that a label map may use. The muscles behind the spine
are often drawn as one, multifidus included."""
_TISSUES: Final = {part: int(tissue) for parts, tissue in UNCLASSED.values() for part in parts if part not in BY_KEY}


def grafted_person(drawn: Drawn, whole: Sequence[Atlas]) -> tuple[Atlas, Correspondence]:
    """Complete what is drawn with the one of some people who fits best. Four minutes of one core for each of them.

    Args:
        drawn: a label map with both hips (``drawn_person``).
        whole: people of whom everything is known.

    Returns:
        The person, in a frame with the origin on the midline at knee height, and the map from the whole person.

    Raises:
        SettingsError: there is nobody to complete it with.
        MissingInputError, GeometryError: as ``find_landmarks`` and ``match_partly``.
    """
    if not whole:
        raise SettingsError("A label map needs a whole person who completes it.")
    matches = [(_matched(drawn, person), person) for person in whole]
    (match, marks), person = min(matches, key=lambda found: found[0][0].miss_mm[1])
    return _grafted(_shifted(drawn, match), marks, person, match), match


def _shifted(drawn: Drawn, match: Correspondence) -> Drawn:
    """The same, in the frame of the new person."""
    return replace(drawn, origin_mm=drawn.origin_mm - match.b.origin_mm)


@dataclass(frozen=True, slots=True, eq=False)
class _Sketch:
    """A person of whom only what is drawn is known."""

    parts: tuple[Part, ...]
    landmarks: Landmarks


def _matched(drawn: Drawn, whole: Atlas) -> tuple[Correspondence, Landmarks]:
    marks = find_landmarks(drawn, whole)
    measured = {part.name for part in whole.parts if not part.procedural}
    parts, theirs, ours = [], [], []
    for number, names in enumerate(drawn.groups()):
        keys = _keys(names)
        part = drawn.part_of(names, f"group{number}")
        if part is not None and set(keys) & measured:
            parts.append(part)
            theirs.append(keys)
            ours.append((part.name,))
    match = match_partly(whole, _Sketch(tuple(parts), marks), (theirs, ours), drawn.seen_mm)
    return match, _moved_marks(marks, match)


def _keys(names: Sequence[DrawnName]) -> Group:
    return tuple(sorted({part for name in names for part in name.parts}))


def _moved_marks(marks: Landmarks, match: Correspondence) -> Landmarks:
    def moved(point: tuple[float, float, float]) -> tuple[float, float, float]:
        x, y, z = (float(v) for v in match.b.from_person(np.array(point)))
        return x, y, z

    x, _, z = moved((marks.midline_x_mm, 0.0, marks.crest_z_mm))
    heads, knees = ({side: moved(p) for side, p in m.items()} for m in (marks.head_mm, marks.knee_mm))
    return Landmarks(heads, knees, z, x)


def _grafted(drawn: Drawn, marks: Landmarks, whole: Atlas, match: Correspondence) -> Atlas:
    parts, skin, bent = bent_onto(whole, match)
    measured = {part.name for part in parts}
    groups = drawn.groups()
    first = [names for names in groups if set(_keys(names)) & measured]
    graft = _Graft(drawn, bent, whole.landmarks.midline_x_mm)
    parts = list(cut_anew(graft.onto(parts, first), marks))
    outline = graft.skin(*skin)
    # Modelled once to divide and to continue what is drawn of it, and once more around that.
    modelled = add_procedural(whole.person, parts, marks, *outline)
    drawn_too = [names for names in groups if names not in first]
    added = graft.onto([p for p in modelled.parts if p.procedural], drawn_too)
    touched = {part for names in drawn_too for part in _keys(names)}
    parts += [replace(part, procedural=False) for part in added if part.name in touched]
    return add_procedural(whole.person, parts, marks, *outline)


@dataclass(frozen=True, slots=True, eq=False)
class _Graft:
    """What is drawn, the map that says which side a point is on, and the midline of the person it leads to."""

    drawn: Drawn
    bent: Bent
    midline_x_mm: float

    def onto(self, parts: Sequence[Part], groups: Sequence[tuple[DrawnName, ...]]) -> list[Part]:
        """The parts with what is drawn in their place; other parts give way to it."""
        touched = {key for names in groups for key in _keys(names)}
        made = [part for names in groups for part in self._group(parts, names)]
        rest = [self._without_drawn(part) for part in parts if part.name not in touched]
        return made + [part for part in rest if part is not None]

    def _group(self, parts: Sequence[Part], names: tuple[DrawnName, ...]) -> Iterator[Part]:
        keys = _keys(names)
        members = [part for part in parts if part.name in keys]
        own = self.drawn.part_of(names, "drawn")
        blocks = [*members, own] if own is not None else members
        if not blocks:
            return
        ends = [end for block in blocks for end in (block.origin_mm, [line[-1] for line in lines_of(block)])]
        grid = grid_around(np.array(ends), 0.0)
        lines = [grid.origin_mm[a] + VOXEL_MM * np.arange(grid.shape[a]) for a in range(3)]
        bent = np.stack([_on(part, lines) for part in members]) if members else None
        known = self._known(lines[2], beyond=bool(members))
        there = np.full(grid.shape, np.float32(127 * UNIT_MM)) if own is None else _on(own, lines)
        whole = there if bent is None else known * there + (1 - known) * bent.min(axis=0)
        inside = whole < 0
        value = placed_value(self.drawn, grid)
        side = self._sides(inside, value, names, grid)
        yield from self._divided(inside, side, value, names, members, bent, grid)

    def _divided(
        self,
        inside: Mask,
        right: Mask | None,
        value: NDArray[np.uint8],
        names: tuple[DrawnName, ...],
        members: list[Part],
        bent: NDArray[np.float32] | None,
        grid: Grid,
    ) -> Iterator[Part]:
        """Every voxel to the nearest structure of those that it may be, on its side."""
        wanted = [(key, side) for key in _keys(names) for side in self._sides_of(key, members)]
        nearest = np.full(grid.shape, np.inf, np.float32)
        owner = np.full(grid.shape, 255, np.uint8)
        for number, (key, side) in enumerate(wanted):
            found = [n for n, part in enumerate(members) if part.name == key and part.side is side]
            # One that the whole person lacks takes what nobody else may have.
            distance = bent[found[0]] if bent is not None and found else np.full(grid.shape, 900.0, np.float32)
            may = np.isin(value, [0, *(name.value for name in names if key in name.parts)])
            if right is not None and side is not Side.UNKNOWN:
                may &= right if side is Side.RIGHT else ~right
            closer = inside & may & (distance < nearest)
            nearest[closer] = distance[closer]
            owner[closer] = number
        for number, (key, side) in enumerate(wanted):
            mask = owner == number
            if mask.sum() >= _LEAST_VOXELS:
                tissue = BY_KEY[key].class_id if key in BY_KEY else _tissue(key, members)
                yield part_from_mask(key, tissue, side, mask, grid.origin_mm, procedural=False)

    def _sides_of(self, key: str, members: list[Part]) -> tuple[Side, ...]:
        known = {part.side for part in members if part.name == key}
        return tuple(sorted(known, key=lambda side: side.value)) if known else SIDES

    def _known(self, z_mm: NDArray[np.float64], *, beyond: bool) -> NDArray[np.float32]:
        """How much what is drawn counts at each height, (Z,)."""
        low, high = self.drawn.seen_mm
        if not beyond:
            return ((z_mm >= low) & (z_mm <= high)).astype(np.float32)
        way = np.minimum(z_mm - low, high - z_mm) / _PASSAGE_MM
        return smoothstep(way.astype(np.float32))

    def _sides(
        self, inside: Mask, value: NDArray[np.uint8], names: tuple[DrawnName, ...], grid: Grid
    ) -> Mask:
        """Which voxels are on the right side: by the values, else by the midline of the whole person."""
        right: Mask = self.bent.sources(grid)[0] > self.midline_x_mm
        pieces, count = ndimage.label(inside)
        if count:
            number = np.arange(1, count + 1)
            share = ndimage.mean(right, pieces, number)
            right = np.where(np.isin(pieces, number[share > _ONE_SIDE]), True, right)
            right = np.where(np.isin(pieces, number[share < 1 - _ONE_SIDE]), False, right)
        for name in names:
            if name.side is not Side.UNKNOWN:
                right[value == name.value] = name.side is Side.RIGHT
        return right

    def _without_drawn(self, part: Part) -> Part | None:
        """A part without the voxels in which something else is drawn."""
        grid = Grid(part.origin_mm, (VOXEL_MM,) * 3, part.distance.shape)
        taken = placed_value(self.drawn, grid) > 0
        inside = part.distance < 0
        if not (inside & taken).any():
            return part
        left = inside & ~taken
        if left.sum() < _LEAST_VOXELS:
            return None
        return part_from_mask(
            part.name, part.tissue, part.side, left, part.origin_mm, procedural=part.procedural
        )

    def skin(self, mask: Mask, origin_mm: NDArray[np.float64]) -> tuple[Mask, NDArray[np.float64]]:
        """The bent outline with the drawn one in its place; at least around what is drawn."""
        coarse = mask[::2, ::2, ::2]
        first = origin_mm + (GRID_MM - VOXEL_MM) / 2
        grid = Grid(first, (GRID_MM,) * 3, coarse.shape)
        lines = [first[a] + GRID_MM * np.arange(coarse.shape[a]) for a in range(3)]
        labels = ndimage.distance_transform_edt(~(_nearest(self.drawn.labels, self.drawn.origin_mm, lines) > 0))
        around = labels * GRID_MM < _SKIN_OVER_MM
        if self.drawn.skin is None:
            result = coarse | around
        else:
            outline = _nearest(self.drawn.skin, self.drawn.origin_mm, lines)
            known = self._known(lines[2], beyond=True)
            result = known * _signed(outline) + (1 - known) * _signed(coarse) < 0
            result |= around & (known > 0)
        fine = np.repeat(np.repeat(np.repeat(result, 2, 0), 2, 1), 2, 2)
        return fine, grid.origin_mm - (GRID_MM - VOXEL_MM) / 2


def _tissue(key: str, members: list[Part]) -> int:
    return next((part.tissue for part in members if part.name == key), _TISSUES.get(key, int(Tissue.OTHER_MUSCLE)))


def _on(part: Part, lines: list[NDArray[np.float64]]) -> NDArray[np.float32]:
    """Distance to a part on other lines, mm."""
    return resampled(part.distance.astype(np.float32) * np.float32(UNIT_MM), lines_of(part), lines)


def placed_value(drawn: Drawn, grid: Grid) -> NDArray[np.uint8]:
    """The labels on a grid of voxels of the same size; 0 beside them."""
    lines = [grid.origin_mm[a] + grid.spacing_mm[a] * np.arange(grid.shape[a]) for a in range(3)]
    return _nearest(drawn.labels, drawn.origin_mm, lines)


def _nearest(values: NDArray[np.uint8] | Mask, origin_mm: NDArray[np.float64], lines: list[NDArray[np.float64]]):
    """Values of the nearest voxels, 0 outside."""
    result = np.zeros([len(line) for line in lines], values.dtype)
    index = [np.round((line - origin) / VOXEL_MM).astype(int) for line, origin in zip(lines, origin_mm, strict=True)]
    valid = [(i >= 0) & (i < n) for i, n in zip(index, values.shape, strict=True)]
    result[np.ix_(*valid)] = values[np.ix_(*[i[v] for i, v in zip(index, valid, strict=True)])]
    return result


def _signed(mask: Mask) -> NDArray[np.float32]:
    """Signed distance within each slice, mm."""
    planes = [
        ndimage.distance_transform_edt(~mask[..., k]) - ndimage.distance_transform_edt(mask[..., k])
        for k in range(mask.shape[2])
    ]
    return np.asarray(np.clip(np.stack(planes, axis=2) * GRID_MM, -40, 40), np.float32)
