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
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vastus.anatomy import BY_KEY, SIDES, Side
from vastus.errors import SettingsError
from vastus.synthesis.atlas import UNIT_MM, Atlas, Landmarks, Part, part_from_mask
from vastus.synthesis.between import Bent, bent_onto, cut_anew, grid_around
from vastus.synthesis.bundles import lines_of, resampled
from vastus.synthesis.components import in_one_piece
from vastus.synthesis.correspondence import Correspondence, Group, match_partly
from vastus.synthesis.deformation import smoothstep
from vastus.synthesis.drawn import Drawn, DrawnName, Mask, find_landmarks
from vastus.synthesis.growth import Grid
from vastus.synthesis.kernels import VOXEL_MM
from vastus.synthesis.procedural import GRID_MM, add_procedural
from vastus.synthesis.straightening import straightening
from vastus.synthesis.tissues import Tissue, is_muscle

_PASSAGE_MM = 36.0
"""Over this height at the ends of the drawing, what is drawn passes into what is bent."""
_ONE_SIDE: Final = 0.9
"""A piece that lies so much on one side belongs to that side as a whole."""
_LEAST_VOXELS: Final = 60
_FAR_MM: Final = np.float32(127 * UNIT_MM)
_THINNER_MM: Final = 240.0
_MOST_MORE_FAT_MM, _BLUR_MM = 30.0, 9.0
"""From the lower end of a drawn outline down, over this way, the difference to the whole person's fat is lost; how much
of it counts, and how it is smoothed."""
_SKIN_OVER_MM: Final = 4.0
"""Without an outline, the skin lies at least so far outside of what is drawn."""

_Value = TypeVar("_Value", np.uint8, np.bool_)

UNCLASSED: Final[dict[str, tuple[Group, int]]] = {
    "sacrum": (("sacrum",), Tissue.OTHER_BONE),
    "coccyx": (("coccyx",), Tissue.OTHER_BONE),
    "patella": (("patella",), Tissue.OTHER_BONE),
    "tibia": (("tibia",), Tissue.OTHER_BONE),
    "fibula": (("fibula",), Tissue.OTHER_BONE),
    "spine": (("vertebrae",), Tissue.OTHER_BONE),
    "vertebrae": (("vertebrae",), Tissue.OTHER_BONE),
    "erector spinae": (("erector", "multifidus"), Tissue.OTHER_MUSCLE),
    "autochthon": (("erector", "multifidus"), Tissue.OTHER_MUSCLE),
    "quadratus lumborum": (("quadratus_lumborum",), Tissue.OTHER_MUSCLE),
    "latissimus dorsi": (("latissimus_dorsi",), Tissue.OTHER_MUSCLE),
}
"""What has no class, but a place in a body, by the plain name that a label map may use. The muscles behind the spine
are often drawn as one, multifidus included."""
_TISSUES: Final = {part: int(tissue) for parts, tissue in UNCLASSED.values() for part in parts if part not in BY_KEY}


@dataclass(frozen=True, slots=True, eq=False)
class Grafted:
    """A person made from what is drawn.

    Attributes:
        atlas: in a frame with the origin on the midline, at the height of the knees as they were drawn.
        whole: who completed it.
        match: from the whole person to what is drawn.
    """

    atlas: Atlas
    whole: Atlas
    match: Correspondence


def grafted_person(drawn: Drawn, whole: Sequence[Atlas]) -> Grafted:
    """Complete what is drawn with the one of some people who fits best. About two minutes of one core for each of them.

    Args:
        drawn: a label map with both hips (``drawn_person``).
        whole: people of whom everything is known.

    Raises:
        SettingsError: there is nobody to complete it with.
        MissingInputError, GeometryError: as ``find_landmarks`` and ``match_partly``.
    """
    if not whole:
        raise SettingsError("A label map needs a whole person who completes it.")
    matches = [(*_matched(drawn, person), person) for person in whole]
    match, marks, person = min(matches, key=lambda found: found[0].miss_mm[1])
    return Grafted(_grafted(_shifted(drawn, match), marks, person, match), person, match)


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
    graft = _Graft(drawn, drawn.seen_mm, bent, whole.landmarks.midline_x_mm)
    parts = graft.onto(parts, first)
    outline = graft.skin(*skin, marks)
    how = straightening(marks, whole.landmarks)
    if how is not None:
        parts, marks = [how.part(part) for part in parts], how.landmarks
        outline = how.mask(*outline, GRID_MM)
    parts = list(cut_anew(parts, marks))
    skin_mask = np.repeat(np.repeat(np.repeat(outline[0], 2, 0), 2, 1), 2, 2)
    outline = skin_mask, outline[1] - (GRID_MM - VOXEL_MM) / 2
    # Modelled once to divide and to continue what is drawn of it, and once more around that.
    modelled = add_procedural(whole.person, parts, marks, *outline)
    trunk = [names for names in groups if names not in first]
    values = [name.value for names in trunk for name in names]
    drawn = replace(drawn, labels=np.where(np.isin(drawn.labels, values), drawn.labels, 0))
    added = replace(graft, drawn=drawn).onto([p for p in modelled.parts if p.procedural], trunk)
    touched = {part for names in trunk for part in _keys(names)}
    parts += [replace(part, procedural=False) for part in added if part.name in touched]
    return add_procedural(whole.person, parts, marks, *outline)


@dataclass(frozen=True, slots=True, eq=False)
class _Region:
    """Where some names are, alone or as one.

    Attributes:
        names: that share parts.
        grid: voxels of ``VOXEL_MM`` around all of them.
        inside: which voxels belong to one of them.
        value: what is drawn, also of other names.
        members: their parts of the whole person, bent, with the distances on the grid in mm.
    """

    names: tuple[DrawnName, ...]
    grid: Grid
    inside: Mask
    value: NDArray[np.uint8]
    members: list[tuple[Part, NDArray[np.float32]]]


def _divided(region: _Region, right: Mask) -> Iterator[Part]:
    """Every voxel to the nearest structure of those that it may be, on its side."""
    wanted = [(key, side) for key in _keys(region.names) for side in _sides_of(key, region.members)]
    nearest = np.full(region.grid.shape, np.inf, np.float32)
    owner = np.full(region.grid.shape, 255, np.uint8)
    for number, (key, side) in enumerate(wanted):
        found = [distance for part, distance in region.members if part.name == key and part.side is side]
        # One that the whole person lacks takes what nobody else may have.
        distance = found[0] if found else np.full(region.grid.shape, 2 * _FAR_MM)
        others = [name.value for name in region.names if key not in name.parts]
        may = ~np.isin(region.value, others)
        if side is not Side.UNKNOWN:
            may &= right if side is Side.RIGHT else ~right
        closer = region.inside & may & (distance < nearest)
        nearest[closer] = distance[closer]
        owner[closer] = number
    for number, (key, side) in enumerate(wanted):
        mask = owner == number
        tissue = _tissue(key, region.members)
        if is_muscle(tissue) and side is not Side.UNKNOWN:
            # At the end of the drawing, what goes on may lie beside what is drawn.
            mask = in_one_piece(mask)
        if mask.sum() >= _LEAST_VOXELS:
            yield part_from_mask(key, tissue, side, mask, region.grid.origin_mm, procedural=False)


def _sides_of(key: str, members: list[tuple[Part, NDArray[np.float32]]]) -> tuple[Side, ...]:
    known = {part.side for part, _ in members if part.name == key}
    return tuple(sorted(known, key=lambda side: side.value)) if known else SIDES


def _tissue(key: str, members: list[tuple[Part, NDArray[np.float32]]]) -> int:
    if key in BY_KEY:
        return BY_KEY[key].class_id
    return next((part.tissue for part, _ in members if part.name == key), _TISSUES.get(key, int(Tissue.OTHER_MUSCLE)))


@dataclass(frozen=True, slots=True, eq=False)
class _Graft:
    """What is drawn and over which heights, the map that says which side a point is on, and the midline there."""

    drawn: Drawn
    seen_mm: tuple[float, float]
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
        bent = [_on(part, lines) for part in members]
        known = self._known(lines[2], beyond=bool(members))
        there = np.full(grid.shape, _FAR_MM) if own is None else _on(own, lines)
        whole = known * there + (1 - known) * np.minimum.reduce(bent) if members else there
        inside = (whole < 0) & (known > 0) if not members else whole < 0
        region = _Region(names, grid, inside, placed_value(self.drawn, grid), list(zip(members, bent, strict=True)))
        yield from _divided(region, self._right(region))

    def _known(self, z_mm: NDArray[np.float64], *, beyond: bool) -> NDArray[np.float32]:
        """How much what is drawn counts at each height, (Z,)."""
        low, high = self.seen_mm
        if not beyond:
            return ((z_mm >= low) & (z_mm <= high)).astype(np.float32)
        way = np.minimum(z_mm - low, high - z_mm) / _PASSAGE_MM
        return smoothstep(way.astype(np.float32))

    def _right(self, region: _Region) -> Mask:
        """Which voxels are on the right side: by the values, else by the midline of the whole person."""
        right: Mask = self.bent.sources(region.grid)[0] > self.midline_x_mm
        pieces, count = ndimage.label(region.inside)
        if count:
            number = np.arange(1, count + 1)
            share = ndimage.mean(right, pieces, number)
            right |= np.isin(pieces, number[share > _ONE_SIDE])
            right &= ~np.isin(pieces, number[share < 1 - _ONE_SIDE])
        for name in region.names:
            if name.side is not Side.UNKNOWN:
                right[region.value == name.value] = name.side is Side.RIGHT
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
        return part_from_mask(part.name, part.tissue, part.side, left, part.origin_mm, procedural=part.procedural)

    def skin(self, mask: Mask, origin_mm: NDArray[np.float64], marks: Landmarks) -> tuple[Mask, NDArray[np.float64]]:
        """The bent outline with the drawn one in its place, voxels of ``GRID_MM``; at least around what is drawn."""
        coarse = mask[::2, ::2, ::2]
        first = origin_mm + (GRID_MM - VOXEL_MM) / 2
        lines = [first[a] + GRID_MM * np.arange(coarse.shape[a]) for a in range(3)]
        labels = ndimage.distance_transform_edt(~(_nearest(self.drawn.labels, self.drawn.origin_mm, lines) > 0))
        around = labels * GRID_MM < _SKIN_OVER_MM
        if self.drawn.skin is None:
            return coarse | around, first
        known = self._known(lines[2], beyond=True)
        outline = _signed(_nearest(self.drawn.skin, self.drawn.origin_mm, lines))
        bent = self._fatter(_signed(coarse), outline, lines[2], marks)
        return (known * outline + (1 - known) * bent < 0) | (around & (known > 0)), first

    def _fatter(
        self, bent: NDArray[np.float32], outline: NDArray[np.float32], z_mm: NDArray[np.float64], marks: Landmarks
    ) -> NDArray[np.float32]:
        """The bent outline, beyond the ends of the drawn one so far outside as that is there.

        Downwards the difference follows the thighs and is lost on the way to the knee. Above, the last outline goes on.
        """
        known = np.flatnonzero(self._known(z_mm, beyond=True) > 0.9)
        result = bent.copy()
        if not len(known):
            return result
        first, last = int(known[0]), int(known[-1])
        more = outline[..., first] - bent[..., first]
        more = ndimage.gaussian_filter(np.clip(more, -_MOST_MORE_FAT_MM, _MOST_MORE_FAT_MM), _BLUR_MM / GRID_MM)
        thighs = [np.array(marks.knee_mm[side]) - np.array(marks.head_mm[side]) for side in SIDES]
        forward = float(np.mean([thigh[1] / thigh[2] for thigh in thighs]))
        for k in range(first):
            way = float(z_mm[first] - z_mm[k])
            share = smoothstep(np.array([1 - way / _THINNER_MM], np.float32))[0]
            if share:
                moved = ndimage.shift(more, (0, -forward * way / GRID_MM), order=1, mode="nearest")
                result[..., k] += share * moved
        result[:, :, last + 1 :] = outline[:, :, last : last + 1]
        return result


def _on(part: Part, lines: list[NDArray[np.float64]]) -> NDArray[np.float32]:
    """Distance to a part on other lines, mm."""
    return resampled(part.distance.astype(np.float32) * np.float32(UNIT_MM), lines_of(part), lines)


def placed_value(drawn: Drawn, grid: Grid) -> NDArray[np.uint8]:
    """The labels on a grid of voxels of the same size; 0 beside them."""
    lines = [grid.origin_mm[a] + grid.spacing_mm[a] * np.arange(grid.shape[a]) for a in range(3)]
    return _nearest(drawn.labels, drawn.origin_mm, lines)


def _nearest(
    values: NDArray[_Value], origin_mm: NDArray[np.float64], lines: list[NDArray[np.float64]]
) -> NDArray[_Value]:
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
