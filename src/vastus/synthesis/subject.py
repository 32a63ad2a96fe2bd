"""A new body: a plan drawn from a seed, and the body built from it.

``sample_plan`` decides (who, how muscular, how fat, which pose); ``build_body`` deforms a person of the atlas
accordingly and fits every muscle's volume to its target; ``Body.tissue_map`` evaluates the result on any grid.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BY_ID, BY_KEY, GROUPS, SIDES, THIGH_GROUPS, Group, Side
from vastus.sex import Sex
from vastus.synthesis.anchors import Anchors, find_anchors, moved_point
from vastus.synthesis.atlas import Atlas, Part
from vastus.synthesis.bundles import grown_together
from vastus.synthesis.clinical import Person, Population, sample_person, target_volumes_mm3
from vastus.synthesis.components import drop_crumbs
from vastus.synthesis.deformation import Deformation, Girth, NodeMap, Pose, backward_map, person_origin
from vastus.synthesis.growth import (
    NO_PART,
    Fit,
    Grid,
    Offsets,
    Packed,
    fit_offsets,
    nearest_parts,
    pack,
    paint,
    whole_parts,
)
from vastus.synthesis.implants import Implant, axis_of_neck, implant_parts
from vastus.synthesis.joint_tissues import joint_tissues
from vastus.synthesis.kernels import NODE_MM
from vastus.synthesis.muscle_variation import Belly, nearer, sample_bellies, with_bellies
from vastus.synthesis.outline import SKIN_MM, laid_down, outline_mm, sample_lying, sample_nodes
from vastus.synthesis.overlay import Overlay, lay_over
from vastus.synthesis.patient_changes import after_fracture, calcium, fracture_line
from vastus.synthesis.perineum import REPLACED, soft_tissue
from vastus.synthesis.shapes import Point
from vastus.synthesis.skin_shapes import reshaped, sample_shape
from vastus.synthesis.tissues import CLASS_OF_TISSUE, FEMUR, MUSCLE_IDS, Tissue, is_muscle


class Variety(Enum):
    """How far subjects may stray: plausible patients, or anything a network should bear."""

    CLINICAL = "clinical"
    WIDE = "wide"


_FIT_SPACING_MM = {Variety.WIDE: (2.2, 2.2, 1.7), Variety.CLINICAL: (1.6, 1.6, 1.3)}
"""Grid on which volumes are fitted; the finer one is for scans whose volumes are reported. Finer along z, where the cut
between iliopsoas and what lies above it runs along the slices."""
_ATTEMPTS = 4
_MOST_MISS = 0.02
"""A plan in which a volume misses its target by more is tried again with more room."""
_MORE_ROOM = 1.06
_REAL_OUTLINES = 0.5
"""Share of bodies whose skin has the shape of real people's."""


@dataclass(frozen=True, slots=True, eq=False)
class SubjectPlan:
    """Everything that is decided about a body before it is built.

    Attributes:
        seed, variety: of the plan.
        atlas_index: which person of the atlas is deformed.
        mirrored: whether left and right are swapped.
        person: sex, age, size, muscle status; with ``Variety.WIDE`` the volumes stray from what they predict.
        target_mm3: wanted volume of muscles, by (structure key, side) of the new body.
        deformation: see there; sides are those of the atlas person.
        fat_mm: mean thickness of subcutaneous fat.
        skin_share: 0..1, how much of the outline follows the skin of the atlas (the rest: offset of the fascia).
        implants: by side of the atlas person.
        bellies: how single muscles differ from the person's; sides are those of the atlas person.
        rectus_joined: sides (again of the atlas person) without fat between rectus femoris and the vasti.
    """

    seed: int
    variety: Variety
    atlas_index: int
    mirrored: bool
    person: Person
    target_mm3: dict[tuple[str, Side], float]
    deformation: Deformation
    fat_mm: float
    skin_share: float
    implants: dict[Side, Implant]
    bellies: dict[tuple[str, Side], Belly]
    rectus_joined: frozenset[Side] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class TissueMap:
    """A body on a grid.

    Attributes:
        grid: where.
        part: uint8 number of the part at each voxel; ``NO_PART`` for fat, skin and air.
        depth: int8, how deep inside the part, in 1/8 mm, negative inside.
        tissue: uint8 ``Tissue`` or class id.
    """

    grid: Grid
    part: NDArray[np.uint8]
    depth: NDArray[np.int8]
    tissue: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """A deformed person, ready to be put on a grid.

    Attributes:
        plan, parts, packed, node_map, offsets: what it was made from.
        overlays: soft tissue around the parts; its part numbers follow theirs.
        outline_mm: signed distance to the skin, on the nodes.
        low_mm, high_mm: the box that is modelled.
        length_mm: from the knee joint to the middle of the femoral head.
        volumes_mm3: by label value, of the whole body, as a fine grid would count them.
        closed: see ``growth.Fit``.
    """

    plan: SubjectPlan
    parts: tuple[Part, ...]
    packed: Packed
    node_map: NodeMap
    offsets: Offsets
    overlays: tuple[Overlay, ...]
    outline_mm: NDArray[np.float32]
    low_mm: NDArray[np.float64]
    high_mm: NDArray[np.float64]
    length_mm: float
    volumes_mm3: dict[int, float]
    closed: frozenset[int] = frozenset()

    @property
    def named(self) -> tuple[Part | Overlay, ...]:
        """Everything with a name and a tissue, by part number."""
        return (*self.parts, *self.overlays)

    def side_of(self, part: Part) -> Side:
        """Side of a part in the new body."""
        return part.side.opposite if self.plan.mirrored else part.side

    def label_values(self) -> NDArray[np.uint8]:
        """Look-up table from part number to label value (0 for what carries no class)."""
        table = np.zeros(256, np.uint8)
        for number, part in enumerate(self.parts):
            class_id = int(CLASS_OF_TISSUE[part.tissue]) or _class_of_implant(part)
            if class_id:
                table[number] = BY_ID[class_id].label_value(self.side_of(part))
        for number, overlay in enumerate(self.overlays, start=len(self.parts)):
            if overlay.tissue is Tissue.FRACTURE:
                table[number] = BY_ID[FEMUR].label_value(self.plan.person.fracture_side)
        return table

    def skin_box_mm(self, z_range_mm: tuple[float, float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The box of the body between two heights, cut to what is modelled."""
        z_range = max(z_range_mm[0], self.low_mm[2]), min(z_range_mm[1], self.high_mm[2])
        low, high = _skin_box(self.outline_mm, self.node_map.origin_mm, z_range)
        for overlay in self.overlays:
            if Tissue.AIR in overlay.takes:
                low[:2] = np.minimum(low[:2], overlay.shape.box_mm()[0][:2])
                high[:2] = np.maximum(high[:2], overlay.shape.box_mm()[1][:2])
        if self.plan.mirrored:
            low[0], high[0] = -high[0], -low[0]
        return low, high

    def tissue_map(self, grid: Grid) -> TissueMap:
        """Evaluate on a grid of the subject's frame."""
        asked = _mirrored(grid) if self.plan.mirrored else grid
        part, depth = paint(self.packed, self.node_map, asked, self.offsets)
        drop_crumbs(part, whole_parts(self.packed), self.closed)
        outline = sample_nodes(self.outline_mm, self.node_map.origin_mm, asked)
        tissue = np.append(self.packed.tissues, np.zeros(256 - len(self.parts), np.uint8))[part]
        free = part == NO_PART
        tissue[free & (outline < 0)] = Tissue.FAT
        tissue[free & (outline < 0) & (outline > -SKIN_MM)] = Tissue.SKIN
        lay_over(part, depth, tissue, asked, self.overlays, len(self.parts))
        if self.plan.mirrored:
            part, depth, tissue = part[::-1], depth[::-1], tissue[::-1]
        return TissueMap(grid, part, depth, tissue)


def _class_of_implant(part: Part) -> int:
    # What replaces or sits in the femur counts as femur, the cup as hip bone.
    if part.tissue != Tissue.METAL:
        return 0
    return BY_KEY["hip_bone"].class_id if part.name == "cup" else BY_KEY["femur"].class_id


def _mirrored(grid: Grid) -> Grid:
    origin = grid.origin_mm.copy()
    origin[0] = -(grid.origin_mm[0] + grid.spacing_mm[0] * (grid.shape[0] - 1))
    return Grid(origin, grid.spacing_mm, grid.shape)


def sample_plan(seed: int, atlases: Sequence[Atlas], variety: Variety = Variety.WIDE) -> SubjectPlan:
    """Draw a plan; the same seed gives the same plan."""
    rng = np.random.default_rng([seed, 1])
    index = int(rng.integers(len(atlases)))
    wide = variety is Variety.WIDE
    population = Population.ADULT if rng.random() < 0.5 else Population.HIP_FRACTURE
    person = sample_person(rng, population)
    targets = {k: v for k, v in target_volumes_mm3(person, rng).items() if v is not None}
    if wide:
        targets = _wider(targets, rng)
    atlas = atlases[index]
    sides = SIDES[::-1] if rng.random() < 0.5 else SIDES
    mirrored = sides != SIDES
    # Femur length is 26.7% of the height (Feldesman 1990); from knee joint to head centre about 0.253.
    length = 0.253 * 10 * person.height_cm * float(np.exp(rng.normal(0, 0.03)))
    along = float(length / atlas.landmarks.leg_mm)
    across = float(np.clip(along * np.exp(rng.normal(0, 0.04)), 0.8, 1.2))
    girth = {}
    # Below 1 the muscles are packed tighter than their volumes ask for and close the gaps of the source.
    common = float(rng.uniform(0.75, 0.97))
    for source, target in zip(SIDES, sides, strict=True):
        have = _compartments(atlas, source, target, targets, across * across * along)
        girth[source] = _girth(have, common, rng)
    deformation = Deformation(
        (across, across * float(np.exp(rng.normal(0, 0.03))), along),
        {side: _pose(rng, wide=wide) for side in SIDES},
        girth,
        ((110.0, float(rng.uniform(2, 9))), (45.0, float(rng.uniform(1, 5))), (18.0, float(rng.uniform(0.3, 1.3)))),
        int(rng.integers(2**31)),
        {side: float(np.clip(rng.normal(0, 5.0 if wide else 4.0), -13, 13)) for side in SIDES},
    )
    fat = float(np.clip(np.exp(rng.normal(np.log(13 + 0.6 * (person.bmi_kg_m2 - 24)), 0.45)), 2, 60))
    implants = {
        side: Implant(rng.choice([i.value for i in Implant if i is not Implant.NONE]))
        for side in SIDES
        if rng.random() < (0.08 if wide else 0.03)
    }
    share = float(rng.choice([0.0, rng.uniform(0, 0.8)]))
    bellies = sample_bellies(rng, 1.0 if wide else 0.5)
    # A person has it on both sides or on none. On real CT the seam is faint in half of the patients.
    joined = frozenset(SIDES) if rng.random() < 0.5 else frozenset[Side]()
    return SubjectPlan(
        seed, variety, index, mirrored, person, targets, deformation, fat, share, implants, bellies, joined
    )


def _wider(targets: dict[tuple[str, Side], float], rng: np.random.Generator) -> dict[tuple[str, Side], float]:
    """Beyond the model of people: groups and single muscles from a third to one and a half times their volume."""
    whole = rng.uniform(0.5, 1.35)
    # In the order of the table: that of a set changes from process to process.
    group = {g: np.exp(rng.normal(0, 0.15)) for g in GROUPS}
    own = {k: np.exp(rng.normal(0, 0.12)) for k, _ in targets}
    side = {s: np.exp(rng.normal(0, 0.08)) for s in SIDES}
    return {
        (k, s): v * float(np.clip(whole * group[BY_KEY[k].group] * own[k] * side[s], 0.33, 1.5))
        for (k, s), v in targets.items()
    }


def _pose(rng: np.random.Generator, *, wide: bool) -> Pose:
    big = 1.0 if wide else 0.5
    flexion = rng.normal(3, 5 * big) + (rng.uniform(10, 28) if rng.random() < 0.12 * big else 0)
    knee = abs(rng.normal(0, 5)) + max(0.0, flexion) * 1.2
    return Pose(
        float(np.clip(flexion, -10, 32)),
        float(np.clip(rng.normal(2, 4 * big), -7, 13)),
        float(np.clip(rng.normal(0, 9 * big), -25, 25)),
        float(min(knee, 45)),
    )


def _compartments(
    atlas: Atlas, source: Side, target: Side, targets: dict[tuple[str, Side], float], enlarged: float
) -> tuple[float, float]:
    """Root of wanted over present volume, for the thigh's three groups together and for the gluteal group.

    Args:
        atlas: the person.
        source, target: side in the atlas and in the new body.
        targets: wanted volumes in mm3.
        enlarged: by how much size alone multiplies the atlas' volumes.
    """
    ratios = []
    for groups in (THIGH_GROUPS, (Group.GLUTEAL,)):
        have = want = 0.0
        for part in atlas.parts:
            if part.side is source and not part.procedural and part.tissue in MUSCLE_IDS:
                structure = BY_ID[part.tissue]
                if structure.group in groups and (structure.key, target) in targets:
                    have += part.volume_mm3 * enlarged
                    want += targets[structure.key, target]
        ratios.append(float(np.clip(np.sqrt(want / have), 0.5, 1.45)) if have else 1.0)
    return ratios[0], ratios[1]


def _girth(compartments: tuple[float, float], common: float, rng: np.random.Generator) -> Girth:
    """Scale the thigh as a whole so that what is left for single muscles is small."""
    thigh, gluteal = compartments
    hip = 1.0 + 0.7 * (gluteal - 1.0)
    low, middle = thigh * np.exp(rng.normal(0, 0.06, 2))
    ripple = (
        (float(rng.uniform(0, 0.08)), float(rng.uniform(-np.pi, np.pi))),
        (float(rng.uniform(0, 0.07)), float(rng.uniform(-np.pi, np.pi))),
    )
    at_knee, at_middle = float(1 + 0.75 * (low - 1)) * common, float(middle) * common
    return Girth((at_knee, at_middle, hip * (0.5 + 0.5 * common), 1 + 0.6 * (hip - 1)), ripple)


def build_body(plan: SubjectPlan, atlas: Atlas) -> Body:
    """Deform the person and fit the volumes. About three seconds of one core.

    A plan whose muscles don't find the room they need, or fall apart, is tried again with a little more girth, and
    with bellies nearer to the person's own, for as long as that helps; the body depends on nothing but the plan and
    the atlas.
    """
    best, fit = _attempt(plan, atlas)
    least = _badness(fit)
    for attempt in range(1, _ATTEMPTS):
        if not least:
            break
        body, fit = _attempt(_roomier(plan, attempt), atlas)
        if _badness(fit) >= least:
            break
        best, least = body, _badness(fit)
    return best


def _badness(fit: Fit) -> float:
    """0 for a fit that is good enough; else parts in pieces, and by how much the worst volume misses."""
    return len(fit.split) + max(0.0, float(np.abs(fit.miss).max(initial=0.0)) - _MOST_MISS)


def _roomier(plan: SubjectPlan, attempt: int) -> SubjectPlan:
    if not attempt:
        return plan
    more = _MORE_ROOM**attempt
    girth = {
        side: replace(g, along=(g.along[0] * more, g.along[1] * more, g.along[2] * more, g.along[3]))
        for side, g in plan.deformation.girth.items()
    }
    bellies = nearer(plan.bellies, 1.0 - attempt / _ATTEMPTS)
    return replace(plan, deformation=replace(plan.deformation, girth=girth), bellies=bellies)


def _attempt(plan: SubjectPlan, atlas: Atlas) -> tuple[Body, Fit]:
    rng = np.random.default_rng([plan.seed, 2])
    source_top = atlas.skin.origin_mm[2] + atlas.skin.voxel_mm * (atlas.skin.values.shape[2] - 1)
    origin = person_origin(atlas)
    along = plan.deformation.scale[2]
    low = np.array([-300.0, -230.0, (atlas.skin.origin_mm[2] + 12 - origin[2]) * along])
    high = np.array([300.0, 300.0, (source_top - 10 - origin[2]) * along])
    node_map = backward_map(atlas, plan.deformation, low, high)
    implants = (p for side, implant in plan.implants.items() for p in implant_parts(implant, atlas, side))
    own = tuple(p for p in atlas.parts if not (p.procedural and p.name in REPLACED))
    around = np.random.default_rng([plan.seed, 3])
    # Of what takes only what is left, the last one counts: soft tissue comes after the cavity.
    parts = (
        *implants,
        *grown_together(with_bellies(own, plan.bellies), plan.rectus_joined),
        *joint_tissues(atlas, around),
    )
    packed = pack(parts)
    start = _first_offsets(parts, rng)
    length = atlas.landmarks.leg_mm * along
    anchors = find_anchors(atlas, node_map, length)
    floating, deep = outline_mm(atlas, node_map, plan.fat_mm, plan.skin_share, rng)
    shaped = np.random.default_rng([plan.seed, 12])
    if shaped.random() < _REAL_OUTLINES:
        shape = sample_shape(shaped)
        shape = shape.of_woman() if plan.person.sex is Sex.WOMAN else shape
        floating = reshaped(floating, deep, node_map, anchors, shape)
    outline = laid_down(floating, deep, node_map, anchors, sample_lying(plan.fat_mm, around))

    def room(point_mm: Point) -> float:
        at = Grid(np.array(point_mm), (1.0, 1.0, 1.0), (1, 1, 1))
        return float(sample_nodes(outline, node_map.origin_mm, at)[0, 0, 0])

    overlays = (
        *soft_tissue(anchors, plan.person.sex, plan.person.age_years, room, around),
        *_changes(plan, atlas, node_map, anchors),
    )
    spacing = _FIT_SPACING_MM[plan.variety]
    first, last = _skin_box(outline, node_map.origin_mm, (float(low[2]), float(high[2])))
    n_x, n_y, n_z = (int(n) + 1 for n in (last - first) / spacing)
    candidates = nearest_parts(packed, node_map, Grid(first, spacing, (n_x, n_y, n_z)), start)
    fit = fit_offsets(candidates, packed, start, np.array([_target(p, plan) for p in parts]), spacing)
    body = Body(plan, parts, packed, node_map, fit.offsets, overlays, outline, low, high, length, {}, fit.closed)
    for value, volume in zip(body.label_values(), fit.volume_mm3, strict=False):
        if value:
            body.volumes_mm3[int(value)] = body.volumes_mm3.get(int(value), 0.0) + float(volume)
    return body, fit


def _changes(plan: SubjectPlan, atlas: Atlas, node_map: NodeMap, anchors: Anchors) -> Iterator[Overlay]:
    """What age and a fracture leave, in the frame of the atlas person's sides."""
    rng = np.random.default_rng([plan.seed, 13])
    yield from calcium(atlas.parts, node_map, plan.person, rng)
    injured = plan.person.fracture_side
    if injured is not Side.UNKNOWN:
        side = injured.opposite if plan.mirrored else injured
        yield from after_fracture(anchors, 1.0 if side is Side.RIGHT else -1.0, anchors.head_mm[side], rng)
        if side not in plan.implants:
            shaft = moved_point(node_map, axis_of_neck(atlas, side)[1])
            yield from fracture_line(anchors.head_mm[side], shaft, anchors.unit, rng)


def _skin_box(
    outline_mm: NDArray[np.float32], node_origin_mm: NDArray[np.float64], z_range_mm: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The box around the outline between two heights."""
    bottom, top = z_range_mm
    z = node_origin_mm[2] + NODE_MM * np.arange(outline_mm.shape[2])
    inside = outline_mm[:, :, (z >= bottom - NODE_MM) & (z <= top + NODE_MM)] < NODE_MM
    low, high = np.zeros(3), np.zeros(3)
    for axis in range(2):
        hit = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
        low[axis] = node_origin_mm[axis] + NODE_MM * (hit[0] - 1)
        high[axis] = node_origin_mm[axis] + NODE_MM * (hit[-1] + 1)
    low[2], high[2] = bottom, top
    return low, high


def _target(part: Part, plan: SubjectPlan) -> float:
    if part.procedural or part.tissue not in MUSCLE_IDS:
        return np.nan
    side = part.side.opposite if plan.mirrored else part.side
    return plan.target_mm3.get((BY_ID[part.tissue].key, side), np.nan)


def _first_offsets(parts: tuple[Part, ...], rng: np.random.Generator) -> Offsets:
    """Procedural and unclassed muscles get a random offset; every muscle a random slope along its length."""
    middle = np.zeros(len(parts), np.float32)
    slope = np.zeros(len(parts), np.float32)
    centre = np.zeros(len(parts), np.float32)
    own = rng.normal(0, 1, (len(parts), 2))
    wall = rng.normal(-0.8, 1.2)
    for number, part in enumerate(parts):
        height = part.voxel_mm[2] * part.distance.shape[2]
        centre[number] = part.origin_mm[2] + height / 2
        if is_muscle(part.tissue):
            slope[number] = own[number, 0] * 1.2 / max(height / 2, 40.0)
            if part.procedural:
                middle[number] = wall + own[number, 1] * 0.4
            elif part.tissue not in MUSCLE_IDS:
                middle[number] = own[number, 1] * 0.8
    return Offsets(middle, slope, centre)
