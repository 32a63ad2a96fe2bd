"""Left and right by geometry.

The bones tell the two sides apart: femora and hip bones are grouped into legs, between two legs runs a mid-surface
(one line a slice, smooth along the body, so that it may be oblique), and every other part lies on one side of it. A
part that really crosses is cut along the surface. With a single leg in the scan its side is told from where its medial
muscles lie; where even that does not show, the side stays unknown and a warning says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BUILT_IN, Side, StructureTable
from vastus.inference import kernels
from vastus.inference.islands import Parts, find_parts
from vastus.inference.landmarks import RightHand, Signposts, Tracks, follow, medial_direction, right_hand
from vastus.volume import Affine

LEAST_PART_MM3: Final = 1000.0  # smaller parts do not help to find the sides
LEAST_BONE_MM3: Final = 3000.0  # smaller bone parts do not stand for a leg
LEGS_APART_MM: Final = 70.0  # femoral shafts are further apart than this; pieces of one femur are not
HIP_TO_FEMUR_MM: Final = 105.0  # a hip bone's centre is nearer to its own femur than this, level by level
HIP_BESIDE_FEMUR_MM: Final = 60.0  # nearer to a femur than this comes only the hip bone of its own side
PELVIS_WIDE_MM: Final = 190.0  # one bone part wider than this is both hip bones, joined in front
SMOOTHING_MM: Final = 25.0  # SD of the smoothing of the mid-surface along the body
CROSSING_SHARE: Final = 0.25  # less than this beyond the surface,
CROSSING_MM: Final = 20.0  # and not deeper than this: the part is taken as a whole
MIDLINE_WIDE_MM: Final = {"multifidus": 50.0, "rectus_abdominis": 90.0}
"""Muscles that lie against their fellow; one part wider than this is both of them."""
MIDLINE_NEAR_MM: Final = 60.0  # so far from the surface they may lie: the bones it comes from are a hand away
MIDLINE_APART_MM: Final = 10.0  # two parts that are further apart than this are one of each side
MIDLINE_OFF_MM: Final = 5.0  # the surface is not known better than this


@dataclass(frozen=True, slots=True)
class SideRules:
    """By which structures of a table sides are told.

    Attributes:
        posts: the bones, and the muscles that show directions.
        midline_wide_mm: class id -> width, as in ``MIDLINE_WIDE_MM``.
        single: class ids of what has no side; it keeps its id and helps to find no side.
    """

    posts: Signposts
    midline_wide_mm: tuple[tuple[int, float], ...]
    single: tuple[int, ...] = ()


def side_rules(table: StructureTable) -> SideRules:
    """Find by what sides are told in a table; without bones, by pairs of like structures."""
    wide = ((table.by_key[key].class_id, mm) for key, mm in MIDLINE_WIDE_MM.items() if key in table.by_key)
    return SideRules(Signposts.of(table), tuple(wide), tuple(s.class_id for s in table.rows if not s.paired))


BUILT_IN_RULES: Final = side_rules(BUILT_IN)


@dataclass(frozen=True, slots=True, eq=False)
class SidedLabels:
    """Label values with sides (uint8, x fastest in memory), and what the user should know about it."""

    labels: NDArray[np.uint8]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class MidSurface:
    """For each slice a line: ``point_mm`` (Z, 3) on it and ``right`` (Z, 3), the unit vector to the patient's right."""

    point_mm: NDArray[np.float64]
    right: NDArray[np.float64]


def tell_sides(classes: NDArray[np.uint8], affine: Affine, rules: SideRules = BUILT_IN_RULES) -> SidedLabels:
    """Turn class ids on a RAS-ordered grid (oblique or not) into label values with sides."""
    if not rules.single:
        return _tell_sides(classes, affine, rules)
    # What lies in the midline takes no part, and comes back with its own id.
    single = np.isin(classes, rules.single)
    found = _tell_sides(np.where(single, np.uint8(0), classes), affine, rules)
    found.labels[single] = classes[single]
    return found


def _tell_sides(classes: NDArray[np.uint8], affine: Affine, rules: SideRules) -> SidedLabels:
    parts = find_parts(classes)
    tracks = follow(parts, affine, LEAST_PART_MM3)
    right = right_hand(tracks, rules.posts)
    warnings = [right.warning] if right.warning else []
    if not len(tracks.part):
        if parts.size.any():
            warnings.append(_NO_SIDE)
        return SidedLabels(np.asfortranarray(classes), tuple(warnings))
    found = find_bones(tracks, affine, right, rules.posts)
    if found is not None:
        pairs, joined = at_the_midline(tracks, found.surface, right, rules)
        fixed = _signs(parts, tracks, found.rows | pairs)
        moved_mm = np.zeros(len(parts.size))
        moved_mm[tracks.part[list(joined)]] = list(joined.values())
        fixed[tracks.part[list(joined)]] = _CUT
        return SidedLabels(_assign(parts, found.surface, affine, fixed, moved_mm=moved_mm), tuple(warnings))
    medial = medial_direction(tracks, right, rules.posts)
    if medial is None:
        return SidedLabels(np.asfortranarray(classes), (*warnings, _NO_SIDE))
    side = Side.LEFT if medial > 0 else Side.RIGHT
    warnings.append(f"Only one leg was found; from the lie of its bones and muscles it is the {side.value} one.")
    own = {row: -int(medial) for row in _own_rows(tracks, rules.posts)}
    # Hip bones joined in front reach beyond the middle.
    rim = [row for row in own if tracks.class_id[row] != rules.posts.hip or not _is_joined(tracks, row, rules.posts)]
    surface = _surface_beside(tracks, rim or list(own), medial, right)
    return SidedLabels(_assign(parts, surface, affine, _signs(parts, tracks, own), whole=True), tuple(warnings))


_CUT: Final = 2  # instead of a side: cut this part
_NO_SIDE = "Left and right can't be told apart in this scan: the labels carry no side."


@dataclass(frozen=True, slots=True, eq=False)
class TwoSides:
    """Two sides found: the surface between them, and tracks known to be on the right (+1) or left (-1)."""

    surface: MidSurface
    rows: dict[int, int]


def find_bones(
    tracks: Tracks, affine: Affine, right: RightHand, posts: Signposts = BUILT_IN_RULES.posts
) -> TwoSides | None:
    """Find the two sides by the femora, else by the hip bones, else by pairs of like muscles. None: only one side.

    Args:
        tracks: followed parts of the label map.
        affine: of its grid, (4, 4) in mm.
        right: direction of the patient's right.
        posts: which classes are the bones.

    Returns:
        The two groups of bones, or None if the scan shows one side only.
    """
    voxel_mm3 = abs(float(np.linalg.det(affine[:3, :3])))
    big = tracks.size() * voxel_mm3 >= LEAST_BONE_MM3
    femora = [int(r) for r in tracks.of(posts.femur) if big[r]]
    hips = [int(r) for r in tracks.of(posts.hip) if big[r]]
    wide = [h for h in hips if tracks.width_mm(h) > PELVIS_WIDE_MM]
    single = [h for h in hips if h not in wide]
    legs = _group(tracks, femora, LEGS_APART_MM)
    if len(legs) == 1:
        far = [h for h in single if _distance(tracks, legs[0], [h]) > HIP_TO_FEMUR_MM]
        # Both hip bones, joined in front, in a scan of one leg: their middle is not the middle of the body.
        if any(_reaches(tracks, h, legs[0]) for h in far):
            return None
        legs = [legs[0] + [h for h in single if h not in far], far] if far else legs
    if len(legs) < 2 and not wide and not femora:
        legs = _group(tracks, single, LEGS_APART_MM)
    if len(legs) >= 2:
        two = sorted(legs, key=lambda leg: -int(tracks.size()[leg].sum()))[:2]
        return _two_sides(tracks, _order(tracks, two[0], two[1], right), affine, right)
    if wide:
        _, centre = tracks.joined(wide)
        return TwoSides(_smooth(centre, np.broadcast_to(right.direction, centre.shape), affine), {})
    return None if femora or single else _pairs(tracks, affine, right)


def at_the_midline(
    tracks: Tracks, surface: MidSurface, right: RightHand, rules: SideRules = BUILT_IN_RULES
) -> tuple[dict[int, int], dict[int, float]]:
    """Find sides of muscles beside their partner, where a surface from distant bones may be wrong by a centimetre.

    Args:
        tracks: followed parts of the label map.
        surface: the surface between the two sides.
        right: direction of the patient's right.
        rules: which classes lie at the midline.

    Returns:
        Rows of two parts beside each other with their sides, and rows of parts that are both sides in one with the
        distance in mm, to the right, of their own middle from the surface.
    """
    pairs: dict[int, int] = {}
    joined: dict[int, float] = {}
    for class_id, wide_mm in rules.midline_wide_mm:
        near = {int(r): d for r in tracks.of(class_id) if abs(d := _beside(tracks, surface, int(r))) < MIDLINE_NEAR_MM}
        wide = {r: d for r, d in near.items() if max(wide_mm, 2 * abs(d)) < tracks.width_mm(r)}
        two = sorted(near, key=lambda r: -int(tracks.count[r].sum()))[:2]
        if wide:
            joined |= {r: d for r, d in wide.items() if abs(d) > MIDLINE_OFF_MM}
        elif len(two) == 2 and _distance(tracks, [two[0]], [two[1]]) > MIDLINE_APART_MM:
            pairs |= _order(tracks, [two[0]], [two[1]], right)
    return pairs, joined


def _beside(tracks: Tracks, surface: MidSurface, row: int) -> float:
    """Measure how far right of the surface a part lies, in mm, over the slices where it has about its full width."""
    width = tracks.ends_mm[row, :, 1] - tracks.ends_mm[row, :, 0]
    widest = width >= 0.75 * np.nanmax(width)
    away = ((tracks.centre_mm[row] - surface.point_mm) * surface.right).sum(axis=1)
    return float(np.average(away[widest], weights=tracks.count[row][widest]))


def _group(tracks: Tracks, rows: list[int], apart_mm: float) -> list[list[int]]:
    """Group bone parts: largest first, each joins the nearest group unless it is at least ``apart_mm`` beside all."""
    groups: list[list[int]] = []
    for row in sorted(rows, key=lambda r: -int(tracks.count[r].sum())):
        distances = [_distance(tracks, group, [row]) for group in groups]
        if distances and min(distances) < apart_mm:
            groups[int(np.argmin(distances))].append(row)
        else:
            groups.append([row])
    return groups


def _distance(tracks: Tracks, a: list[int], b: list[int]) -> float:
    """Measure the distance side by side in mm: median over shared slices, else between the nearest slices."""
    _, centre_a = tracks.joined(a)
    _, centre_b = tracks.joined(b)
    apart = np.linalg.norm(centre_a - centre_b, axis=1)
    if np.isfinite(apart).any():
        return float(np.nanmedian(apart))
    slices_a, slices_b = (np.flatnonzero(np.isfinite(c[:, 0])) for c in (centre_a, centre_b))
    gap = np.abs(slices_a[:, None] - slices_b[None, :])
    i, j = np.unravel_index(int(gap.argmin()), gap.shape)
    return float(np.linalg.norm((centre_a[slices_a[i]] - centre_b[slices_b[j]])[:2]))


def _reaches(tracks: Tracks, hip: int, femora: list[int]) -> bool:
    """Tell whether a hip bone is so near to a femur, side by side, that it belongs to it (perhaps joined to both)."""
    _, centre = tracks.joined(femora)
    across = centre[:, 0] - tracks.centre_mm[hip, :, 0]
    gap = np.maximum(across - tracks.ends_mm[hip, :, 1], tracks.ends_mm[hip, :, 0] - across)
    return bool((gap[np.isfinite(gap)] < HIP_BESIDE_FEMUR_MM).any())


def _order(tracks: Tracks, a: list[int], b: list[int], right: RightHand) -> dict[int, int]:
    """Tell which of two groups is the right one: row -> +1 or -1. Shared slices are compared level by level."""
    _, centre_a = tracks.joined(a)
    _, centre_b = tracks.joined(b)
    ahead = (centre_a - centre_b) @ right.direction
    if not np.isfinite(ahead).any():
        ahead = np.array([np.nanmean(centre_a @ right.direction) - np.nanmean(centre_b @ right.direction)])
    sign = 1 if np.nanmean(ahead) >= 0 else -1
    return dict.fromkeys(a, sign) | dict.fromkeys(b, -sign)


def _two_sides(tracks: Tracks, rows: dict[int, int], affine: Affine, right: RightHand) -> TwoSides | None:
    """Compute the surface half way between like parts of both sides, level by level."""
    points, directions, weights = [], [], []
    class_of = {row: int(tracks.class_id[row]) for row in rows}
    for class_id in sorted(set(class_of.values())):
        ours = [[r for r, sign in rows.items() if class_of[r] == class_id and sign == s] for s in (1, -1)]
        if not (ours[0] and ours[1]):
            continue
        (count_r, centre_r), (count_l, centre_l) = (tracks.joined(o) for o in ours)
        points.append((centre_r + centre_l) / 2)
        directions.append(centre_r - centre_l)
        weights.append(np.minimum(count_r, count_l))
    if not points or not np.any(weights):
        # No structure is seen on both sides at one level: half way between the two groups as wholes.
        ends = [np.nanmean(tracks.joined([r for r, s in rows.items() if s == sign])[1], axis=0) for sign in (1, -1)]
        n = tracks.count.shape[1]
        middle = np.broadcast_to((ends[0] + ends[1]) / 2, (n, 3))
        return TwoSides(MidSurface(middle, np.broadcast_to(right.direction, (n, 3))), rows)
    weight = np.stack(weights).astype(np.float64)
    total = weight.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        point, direction = (
            np.where(total[:, None] > 0, np.nansum(np.stack(v) * weight[..., None], axis=0) / total[:, None], np.nan)
            for v in (points, directions)
        )
    return TwoSides(_smooth(point, direction, affine), rows)


def _smooth(point: NDArray[np.float64], direction: NDArray[np.float64], affine: Affine) -> MidSurface:
    """Fit local straight lines along the body, which also continue the surface beyond the bones.

    Args:
        point, direction: (Z, 3); NaN in slices without both sides.
        affine: of the grid; its third column is the step between slices.
    """
    known = np.isfinite(point[:, 0])
    step = float(np.linalg.norm(affine[:3, 2]))
    along = np.arange(len(point)) * step
    slices = np.column_stack([np.ones(known.sum()), along[known]])
    points, directions = np.empty_like(point), np.empty_like(point)
    for k, height in enumerate(along):
        nearest = float(np.clip(height, along[known][0], along[known][-1]))
        beyond = abs(height - nearest)
        # Beyond the last bones the line rests on a longer stretch, or its slope would be noise.
        spread = SMOOTHING_MM * (1.0 if beyond == 0 else 2.0)
        weight = np.exp(-0.5 * ((along[known] - nearest) / spread) ** 2)
        pull = 1e-3 * weight.sum() * np.diag([0.0, spread**2])  # keeps a single slice from having any slope
        around = slices - [0.0, height]
        normal = around.T @ (around * weight[:, None]) + pull
        points[k] = np.linalg.solve(normal, around.T @ (point[known] * weight[:, None]))[0]
        directions[k] = np.average(direction[known], axis=0, weights=weight)
    return MidSurface(points, directions / np.linalg.norm(directions, axis=1, keepdims=True))


def _pairs(tracks: Tracks, affine: Affine, right: RightHand) -> TwoSides | None:
    """Find pairs without bones: the two largest parts of each muscle, if they are alike and lie side by side."""
    rows: dict[int, int] = {}
    for class_id in np.unique(tracks.class_id):
        two = sorted(tracks.of(int(class_id)).tolist(), key=lambda r: -int(tracks.count[r].sum()))[:2]
        if len(two) < 2 or tracks.count[two[1]].sum() < 0.3 * tracks.count[two[0]].sum():
            continue
        if _distance(tracks, [two[0]], [two[1]]) > 0.5 * LEGS_APART_MM:
            rows |= _order(tracks, [two[0]], [two[1]], right)
    return _two_sides(tracks, rows, affine, right) if rows else None


def _own_rows(tracks: Tracks, posts: Signposts) -> list[int]:
    """Choose, for a single leg in the scan, the part of each class that belongs to it.

    The largest one; of several of nearly its size the one nearest to the bone.
    """
    size = tracks.size()
    bones = [int(max(tracks.of(c), key=lambda r: size[r])) for c in (posts.femur, posts.hip) if len(tracks.of(c))]
    own = []
    for class_id in np.unique(tracks.class_id):
        rows = tracks.of(int(class_id))
        large = [int(r) for r in rows if size[r] >= 0.5 * size[rows].max()]
        own.append(min(large, key=lambda r: _distance(tracks, bones, [r])) if bones else large[0])
    return own


def _is_joined(tracks: Tracks, hip: int, posts: Signposts) -> bool:
    """Tell whether the middle of a hip bone is too far from the only femur for a single bone."""
    femora = tracks.of(posts.femur).tolist()
    return bool(femora) and _distance(tracks, femora, [hip]) > HIP_TO_FEMUR_MM


def _surface_beside(tracks: Tracks, own: list[int], medial: float, right: RightHand) -> MidSurface:
    """Compute the surface along the medial rim of a single leg; everything beyond it belongs to the other leg."""
    rim = tracks.centre_mm[own] @ right.direction + tracks.ends_mm[own][..., 0 if medial < 0 else 1]
    held = np.where(tracks.count[own] > 0, rim * medial, -np.inf).max(axis=0)
    known = np.flatnonzero(np.isfinite(held))
    boundary = np.interp(np.arange(len(held)), known, held[known]) * medial
    n = len(boundary)
    point = boundary[:, None] * right.direction
    return MidSurface(point, np.broadcast_to(right.direction, (n, 3)))


def _signs(parts: Parts, tracks: Tracks, rows: dict[int, int]) -> NDArray[np.int8]:
    """Return for each part: +1 known to be right, -1 left, 0 not known."""
    fixed = np.zeros(len(parts.size), np.int8)
    for row, sign in rows.items():
        fixed[tracks.part[row]] = sign
    return fixed


def _assign(
    parts: Parts,
    surface: MidSurface,
    affine: Affine,
    fixed: NDArray[np.int8],
    *,
    whole: bool = False,
    moved_mm: NDArray[np.float64] | None = None,
) -> NDArray[np.uint8]:
    """Give every part its side, or cut it along the surface, moved for some, if it lies on both (unless ``whole``)."""
    right = surface.right
    origin = affine[:3, 3] + np.arange(len(right))[:, None] * affine[:3, 2] - surface.point_mm
    line = np.stack([right @ affine[:3, 0], right @ affine[:3, 1], (origin * right).sum(axis=1)], axis=1)
    count, depth = kernels.beside(parts.index, line, len(parts.size))
    minor = count.argmin(axis=1)
    every = np.arange(len(minor))
    share = count[every, minor] / np.maximum(1, count.sum(axis=1))
    crosses = (share >= CROSSING_SHARE) | (depth[every, minor] >= CROSSING_MM)
    sign = np.where(count[:, 0] >= count[:, 1], 1, -1).astype(np.int8)
    if not whole:
        sign[crosses & (count.min(axis=1) > 0)] = 0
    sign = np.where(fixed == _CUT, 0, np.where(fixed != 0, fixed, sign))
    moved = np.zeros(len(sign)) if moved_mm is None else moved_mm
    offsets = (Side.RIGHT.offset, Side.LEFT.offset)
    labels: NDArray[np.uint8] = kernels.label(parts.index, parts.value, sign, line, moved, offsets).transpose(2, 1, 0)
    return labels
