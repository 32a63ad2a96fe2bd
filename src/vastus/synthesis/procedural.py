"""What the meshes lack, modelled: abdominal wall, back muscles, spine, organs, vessels, tendons, the outline fields.

Nothing here is measured. Places and sizes follow textbook proportions, in mm of an adult, and are anchored on the
bones: midline, femoral heads, iliac crest, sacrum, psoas. Every part made here is marked ``procedural``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vastus.anatomy import BY_KEY, CLASS_COUNT, SIDES, Side
from vastus.synthesis.atlas import Atlas, Field, Landmarks, Part, PersonName, part_from_mask
from vastus.synthesis.kernels import VOXEL_MM
from vastus.synthesis.tissues import BONE_IDS, Tissue

GRID_MM = 3.0
_SHANK_MM = 240.0
"""How far below the knee the body is modelled."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class _Scene:
    """The person on a coarse grid (``GRID_MM``) while parts are added.

    ``x, y, z`` are sparse coordinate arrays in mm; ``outwards(side)`` is the distance from the midline.
    """

    origin: NDArray[np.float64]
    shape: tuple[int, int, int]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    z: NDArray[np.float64]
    marks: Landmarks
    solid: Mask
    bone: Mask
    deep: Mask
    deep_mm: NDArray[np.float32]
    spine_y: NDArray[np.float64]
    sacrum_top_mm: float

    def outwards(self, side: Side) -> NDArray[np.float64]:
        """Distance from the midline to the given side in mm."""
        return (self.x - self.marks.midline_x_mm) * (1.0 if side is Side.RIGHT else -1.0)

    @property
    def head_z_mm(self) -> float:
        """Mean height of the femoral heads."""
        return float(np.mean([h[2] for h in self.marks.head_mm.values()]))

    def tube(self, points_mm: list[tuple[float, float, float]], radius_mm: float) -> Mask:
        """All voxels within ``radius_mm`` of a polyline that runs mainly along z, given from low to high."""
        path = np.array(points_mm)
        px = np.interp(self.z, path[:, 2], path[:, 0])
        py = np.interp(self.z, path[:, 2], path[:, 1])
        inside = (self.x - px) ** 2 + (self.y - py) ** 2 < radius_mm**2
        return inside & (self.z >= path[0, 2]) & (self.z <= path[-1, 2])

    def ball(self, centre_mm: tuple[float, float, float], radii_mm: tuple[float, float, float]) -> Mask:
        """An ellipsoid."""
        (cx, cy, cz), (rx, ry, rz) = centre_mm, radii_mm
        return ((self.x - cx) / rx) ** 2 + ((self.y - cy) / ry) ** 2 + ((self.z - cz) / rz) ** 2 < 1


def add_procedural(
    person: PersonName, parts: list[Part], marks: Landmarks, skin_mask: Mask, skin_origin: NDArray[np.float64]
) -> Atlas:
    """Complete the measured parts to an atlas."""
    low = np.min([p.origin_mm for p in parts], axis=0)
    low = np.minimum(low, skin_origin) - 30.0
    knee_z = min(k[2] for k in marks.knee_mm.values())
    low[2] = knee_z - _SHANK_MM
    high = np.max([p.origin_mm + VOXEL_MM * np.array(p.distance.shape) for p in parts], axis=0)
    high = np.maximum(high, skin_origin + VOXEL_MM * np.array(skin_mask.shape)) + 30.0
    high[2] = skin_origin[2] + VOXEL_MM * skin_mask.shape[2] - 2 * GRID_MM
    low = np.floor(low / GRID_MM) * GRID_MM
    n_x, n_y, n_z = (int(n) for n in np.ceil((high - low) / GRID_MM))
    shape = (n_x, n_y, n_z)
    skin = _skin_on_grid(skin_mask, skin_origin, low, shape, parts, knee_z)
    scene = _scene(parts, marks, low, shape, skin)
    made = list(_procedural_parts(scene, parts))
    skin_mm = _signed(skin)
    return Atlas(person, (*parts, *made), marks, Field(skin_mm, low, GRID_MM), Field(scene.deep_mm, low, GRID_MM))


def _signed(mask: Mask) -> NDArray[np.float32]:
    # One more slice at either end, so that the cut faces of the body are no surface.
    padded = np.pad(mask, ((0, 0), (0, 0), (8, 8)), mode="edge")
    distance = ndimage.distance_transform_edt(~padded) - ndimage.distance_transform_edt(padded)
    distance += np.where(padded, 0.5, -0.5)
    return ndimage.gaussian_filter(distance.astype(np.float32), 1.0)[:, :, 8:-8] * np.float32(GRID_MM)


def _place(
    part: Part, low: NDArray[np.float64], shape: tuple[int, int, int], threshold: int = 0
) -> tuple[Mask, tuple[slice, ...]]:
    """The inside of a part on the coarse grid, and where it goes."""
    step = round(GRID_MM / VOXEL_MM)
    start = np.round((part.origin_mm - low) / VOXEL_MM).astype(int)
    first = -(-np.maximum(start, 0) // step)
    stop = np.minimum((start + part.distance.shape - 1) // step + 1, shape)
    if (first >= stop).any():
        return np.zeros((0, 0, 0), bool), (slice(0, 0),) * 3
    window = tuple(
        slice(int(a) * step - int(s), (int(b) - 1) * step - int(s) + 1, step)
        for a, b, s in zip(first, stop, start, strict=True)
    )
    return part.distance[window] < threshold, tuple(slice(int(a), int(b)) for a, b in zip(first, stop, strict=True))


def _paint(parts: Iterator[Part] | list[Part], low: NDArray[np.float64], shape: tuple[int, int, int]) -> Mask:
    result = np.zeros(shape, bool)
    for part in parts:
        inside, window = _place(part, low, shape)
        result[window] |= inside
    return result


def _skin_on_grid(
    skin: Mask,
    origin: NDArray[np.float64],
    low: NDArray[np.float64],
    shape: tuple[int, int, int],
    parts: list[Part],
    knee_z: float,
) -> Mask:
    result = np.zeros(shape, bool)
    step = round(GRID_MM / VOXEL_MM)
    start = np.round((origin - low) / VOXEL_MM).astype(int)
    index = [np.arange(n) * step - s for n, s in zip(shape, start, strict=True)]
    valid = [(i >= 0) & (i < m) for i, m in zip(index, skin.shape, strict=True)]
    chosen = np.ix_(*[i[v] for i, v in zip(index, valid, strict=True)])
    result[np.ix_(*valid)] = skin[chosen]
    # The skin of the atlas ends below the knee; the shank gets one of its own, 6 mm over its muscles.
    limbs = _paint(parts, low, shape)
    disk = _disk(4)
    seam = int((knee_z - 45.0 - low[2]) / GRID_MM)
    for k in range(seam):
        closed = ndimage.binary_closing(np.pad(limbs[..., k], 6), disk)[6:-6, 6:-6]
        result[..., k] = ndimage.binary_dilation(closed, _disk(2))
    return result


def _disk(radius: int) -> Mask:
    grid = np.arange(-radius, radius + 1)
    return (grid[:, None] ** 2 + grid[None, :] ** 2) <= radius**2 + 0.5


def _closing_2d(mask: Mask, radius_mm: float) -> Mask:
    reach = radius_mm / GRID_MM
    pad = int(reach) + 2
    padded = np.pad(mask, ((pad, pad), (pad, pad)))
    if not padded.any():
        return mask
    grown = ndimage.distance_transform_edt(~padded) <= reach
    closed: Mask = ndimage.distance_transform_edt(np.pad(grown, 1))[1:-1, 1:-1] > reach
    return (closed | padded)[pad:-pad, pad:-pad]


def _scene(
    parts: list[Part], marks: Landmarks, low: NDArray[np.float64], shape: tuple[int, int, int], skin: Mask
) -> _Scene:
    axes = [low[a] + GRID_MM * np.arange(shape[a]) for a in range(3)]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    solid = _paint(parts, low, shape)
    bone_ids = {*BONE_IDS, int(Tissue.OTHER_BONE)}
    bone = _paint([p for p in parts if p.tissue in bone_ids], low, shape)
    head_z = float(np.mean([h[2] for h in marks.head_mm.values()]))
    # Where the abdominal wall was drawn, nobody needs to guess how deep it lies under the skin.
    painted_wall = _paint([p for p in parts if p.name == "abdominal_oblique"], low, shape)
    drawn_wall: NDArray[np.bool_] = np.asarray(painted_wall.any(axis=(0, 1)))
    deep = np.zeros(shape, bool)
    for k in range(shape[2]):
        height = axes[2][k]
        deep[..., k] = _closing_2d(solid[..., k], 12.0)
        if height > head_z - 35.0:
            deep[..., k] |= _closing_2d(solid[..., k], 60.0) & skin[..., k]
        if height > head_z + 25.0 and not drawn_wall[k]:
            inner = ndimage.distance_transform_edt(skin[..., k]) * GRID_MM > np.interp(
                height, [head_z + 25, head_z + 80], [30.0, 19.0]
            )
            deep[..., k] |= inner
        deep[..., k] = ndimage.binary_fill_holes(deep[..., k])
    deep |= solid
    deep_mm = _signed(deep)
    psoas = _paint([p for p in parts if p.name == "psoas"], low, shape)
    spine_y = np.full(shape[2], np.nan)
    for level in np.flatnonzero(psoas.any(axis=(0, 1))):
        spine_y[level] = axes[1][np.nonzero(psoas[..., level])[1]].mean()
    known = np.flatnonzero(~np.isnan(spine_y))
    spine_y = np.interp(np.arange(shape[2]), known, spine_y[known])
    sacrum = next(p for p in parts if p.name == "sacrum")
    top = float(sacrum.origin_mm[2] + VOXEL_MM * np.flatnonzero((sacrum.distance < 0).any(axis=(0, 1)))[-1])
    return _Scene(low, shape, x, y, z, marks, solid, bone, deep, deep_mm, spine_y[None, None, :], top)


def _procedural_parts(scene: _Scene, parts: list[Part]) -> Iterator[Part]:
    taken = scene.solid.copy()

    def part(name: str, tissue: int, side: Side, mask: Mask, *, carve: bool = False) -> Iterator[Part]:
        free = mask if carve else mask & ~taken
        free = ndimage.binary_opening(free, iterations=1) if free.sum() > 4000 else free
        if tissue < CLASS_COUNT:
            free = _largest_piece(free)
        if free.sum() < 8:
            return
        taken[free] = True
        fine = np.repeat(np.repeat(np.repeat(free, 2, 0), 2, 1), 2, 2)
        origin = scene.origin - (GRID_MM - VOXEL_MM) / 2
        yield part_from_mask(name, tissue, side, fine, origin, procedural=True)

    # What somebody drew in this person is not modelled.
    drawn = {(p.name, p.side) for p in parts}
    for makers in (_spine, _back_muscles, _abdominal_wall, _vessels, _organs, _knee):
        for name, tissue, side, mask, carve in makers(scene, parts):
            if (name, side) in drawn:
                continue
            yield from part(name, tissue, side, mask, carve=carve)
    yield from part("cavity", int(Tissue.BOWEL), Side.UNKNOWN, _cavity(scene))


def _largest_piece(mask: Mask) -> Mask:
    pieces, count = ndimage.label(mask, np.ones((3, 3, 3)))
    return mask if count < 2 else np.asarray(pieces == np.bincount(pieces.ravel())[1:].argmax() + 1)


Made = Iterator[tuple[str, int, Side, Mask, bool]]


def _spine(scene: _Scene, parts: list[Part]) -> Made:
    middle, y_v = scene.marks.midline_x_mm, scene.spine_y - 6.0
    above = scene.z > scene.sacrum_top_mm - 12.0
    along = scene.z - scene.sacrum_top_mm
    body = ((scene.x - middle) / 24.0) ** 2 + ((scene.y - y_v) / 17.0) ** 2 < 1
    disc = (along % 36.0) > 27.0
    canal = ((scene.x - middle) / 9.0) ** 2 + ((scene.y - (y_v - 24.0)) / 8.0) ** 2 < 1
    arch = ((scene.x - middle) / 19.0) ** 2 + ((scene.y - (y_v - 25.0)) / 14.0) ** 2 < 1
    process = (np.abs(scene.x - middle) < 4.0) & (scene.y < y_v - 28) & (scene.y > y_v - 60) & ((along % 36.0) < 20)
    across = (
        (np.abs(scene.x - middle) < 42.0) & (np.abs(scene.y - (y_v - 20.0)) < 5.0) & (np.abs((along % 36.0) - 14) < 6)
    )
    yield "canal", int(Tissue.FLUID), Side.UNKNOWN, above & canal, False
    yield "vertebrae", int(Tissue.OTHER_BONE), Side.UNKNOWN, above & ((body & ~disc) | arch | process | across), False
    yield "discs", int(Tissue.TENDON), Side.UNKNOWN, above & body & disc, False


def _back_muscles(scene: _Scene, parts: list[Part]) -> Made:
    y_v = scene.spine_y - 6.0
    sacrum = next(p for p in parts if p.name == "sacrum")
    inside, window = _place(sacrum, scene.origin, scene.shape)
    bone = np.zeros(scene.shape, bool)
    bone[window] = inside
    # Hindmost sacral voxel of each column: the back muscles lie behind it.
    hindmost = np.where(bone.any(axis=1), bone.argmax(axis=1), -1)
    per_level = np.array([np.median(h[h >= 0]) if (h >= 0).any() else np.nan for h in hindmost.T])
    known = np.flatnonzero(~np.isnan(per_level))
    back = np.interp(np.arange(scene.shape[2]), known, per_level[known])
    sacral_y = (scene.origin[1] + GRID_MM * back)[None, None, :]
    lumbar = scene.z > scene.sacrum_top_mm
    front = np.where(lumbar, y_v - 30.0, np.minimum(sacral_y, y_v - 10) + 2.0)
    low_end = scene.sacrum_top_mm - 75.0
    for side in SIDES:
        out = scene.outwards(side)
        taper = np.clip((scene.z - low_end) / 75.0, 0.25, 1.0)
        depth = 32.0 * taper
        behind = (scene.y < front) & (scene.y > front - depth) & scene.deep & (scene.z > low_end)
        yield "multifidus", BY_KEY["multifidus"].class_id, side, behind & (out > 3) & (out < 6 + 22 * taper), False
        erector = (scene.y < front + 4) & (scene.y > front - depth) & (out >= 6 + 22 * taper + 1.5) & (out < 75)
        yield (
            "erector",
            int(Tissue.OTHER_MUSCLE),
            side,
            erector & scene.deep & (scene.z > scene.sacrum_top_mm - 30),
            False,
        )
        square = ((out - 62) / 18.0) ** 2 + ((scene.y - (y_v - 16)) / 11.0) ** 2 < 1
        yield (
            "quadratus_lumborum",
            int(Tissue.OTHER_MUSCLE),
            side,
            square & scene.deep & (scene.z > scene.marks.crest_z_mm - 12),
            False,
        )


def _abdominal_wall(scene: _Scene, parts: list[Part]) -> Made:
    # Depth within each slice: the distance in space would also count the ends of the modelled trunk.
    depth = np.stack(
        [ndimage.distance_transform_edt(scene.deep[..., k]) * GRID_MM for k in range(scene.shape[2])], axis=2
    )
    crest, head = scene.marks.crest_z_mm, scene.head_z_mm
    head_y = float(np.mean([h[1] for h in scene.marks.head_mm.values()]))
    centre_y = np.where(scene.z > crest, scene.spine_y + 25.0, head_y)
    for side in SIDES:
        out = scene.outwards(side)
        width = np.interp(scene.z, [head, head + 60, crest, crest + 120], [22.0, 48.0, 62.0, 70.0])
        straight = (out > 3.0) & (out < width) & (depth > 0) & (depth < 12.0) & (scene.y > centre_y + 20)
        yield ("rectus_abdominis", BY_KEY["rectus_abdominis"].class_id, side, straight & (scene.z > head + 8), False)
        angle = np.degrees(np.arctan2(out, scene.y - centre_y))
        edge = np.degrees(np.arctan2(width + 6.0, 80.0))
        flank = (angle > edge) & (angle < 122.0) & (out > width + 5.0)
        thickness = np.interp(scene.z, [head + 25, crest - 20, crest + 10], [7.0, 11.0, 19.0])
        wall = flank & (depth > 0) & (depth < thickness)
        # Below the crest the wall spans only from the anterior iliac spine to the rectus.
        ligament = head + 22.0 + 0.45 * np.clip(out - 35.0, 0, None)
        wall &= (scene.z > crest - 6) | ((scene.z > ligament) & (angle < 62.0))
        yield "abdominal_oblique", BY_KEY["abdominal_oblique"].class_id, side, wall, False


def _vessels(scene: _Scene, parts: list[Part]) -> Made:
    crest = scene.marks.crest_z_mm
    middle = scene.marks.midline_x_mm
    spine = float(scene.spine_y.ravel()[-1])
    for side in SIDES:
        sign = 1.0 if side is Side.RIGHT else -1.0
        hx, hy, hz = scene.marks.head_mm[side]
        kx, ky, kz = scene.marks.knee_mm[side]
        length = hz - kz
        for shift, radius, name in ((0.0, 4.2, "artery"), (-10.0, 5.2, "vein")):
            points = [
                (kx + sign * shift * 0.3, ky - 30, kz - 60),
                (kx + sign * shift * 0.3, ky - 26, kz),
                (kx - sign * 14, ky - 14 + shift * 0.6, kz + 0.22 * length),
                (kx - sign * 26 + sign * shift * 0.3, ky + 14, kz + 0.45 * length),
                ((kx + hx) / 2 - sign * 20 + sign * shift * 0.5, hy + 22, kz + 0.72 * length),
                (hx - sign * 8 + sign * shift, hy + 40, hz),
                (hx - sign * 24 + sign * shift, hy + 34, hz + 40),
                (middle + sign * (24 - shift * 0.3), spine + 26, crest - 20),
                (middle + sign * (12 - shift * 0.2), spine + 26, crest + 10),
            ]
            yield name, int(Tissue.VESSEL), side, scene.tube(points, radius), True
    vena_cava = scene.tube([(middle + 14, spine + 26, crest + 6), (middle + 16, spine + 24, crest + 300)], 10.0)
    aorta = scene.tube([(middle - 12, spine + 26, crest + 6), (middle - 12, spine + 24, crest + 300)], 8.5)
    yield "great_vessels", int(Tissue.VESSEL), Side.UNKNOWN, vena_cava | aorta, False


def _organs(scene: _Scene, parts: list[Part]) -> Made:
    middle, head, crest = scene.marks.midline_x_mm, scene.head_z_mm, scene.marks.crest_z_mm
    head_y = float(np.mean([h[1] for h in scene.marks.head_mm.values()]))
    spine = float(scene.spine_y.ravel()[-1])
    yield "bladder", int(Tissue.FLUID), Side.UNKNOWN, scene.ball((middle, head_y + 22, head + 22), (42, 30, 32)), False
    yield "womb", int(Tissue.ORGAN), Side.UNKNOWN, scene.ball((middle, head_y - 14, head + 24), (26, 18, 34)), False
    yield "rectum", int(Tissue.ORGAN), Side.UNKNOWN, scene.ball((middle, head_y - 46, head + 10), (17, 15, 60)), False
    for side in SIDES:
        sign = 1.0 if side is Side.RIGHT else -1.0
        kidney = scene.ball((middle + sign * 68, spine - 2, crest + 105), (27, 26, 55))
        yield "kidney", int(Tissue.ORGAN), side, kidney & scene.deep, False
    liver = scene.ball((middle + 75, spine + 60, crest + 190), (85, 85, 110)) & scene.deep & (scene.deep_mm < -22)
    yield "liver", int(Tissue.ORGAN), Side.UNKNOWN, liver, False
    pelvic_floor = scene.ball((middle, head_y - 12, head - 36), (34, 52, 14))
    yield "pelvic_floor", int(Tissue.OTHER_MUSCLE), Side.UNKNOWN, pelvic_floor, False


def _knee(scene: _Scene, parts: list[Part]) -> Made:
    for side in SIDES:
        bones: dict[str, Mask] = {}
        for name in ("femur", "tibia", "patella"):
            bone = next(p for p in parts if p.name == name and p.side is side)
            # Within 7 mm of the bone.
            inside, window = _place(bone, scene.origin, scene.shape, threshold=56)
            bones[name] = np.zeros(scene.shape, bool)
            bones[name][window] = inside
        yield "joint", int(Tissue.TENDON), side, bones["femur"] & (bones["tibia"] | bones["patella"]), False
        kneecap = next(p for p in parts if p.name == "patella" and p.side is side)
        middle = kneecap.origin_mm + VOXEL_MM * np.array(kneecap.distance.shape) / 2
        cx, cy, cz = (float(v) for v in middle)
        kx, _, kz = scene.marks.knee_mm[side]
        band = scene.tube([((cx + kx) / 2, cy - 12, kz - 38), (cx, cy + 2, cz - 14)], 9.0)
        upper = scene.tube([(cx, cy + 2, cz + 14), (cx, cy + 4, cz + 60)], 9.0)
        yield "patellar_tendon", int(Tissue.TENDON), side, band, False
        yield "quadriceps_tendon", int(Tissue.TENDON), side, upper, False


def _cavity(scene: _Scene) -> Mask:
    inner: Mask = (scene.deep_mm < -14.0) & (scene.z > scene.head_z_mm - 22.0)
    wide = np.abs(scene.x - scene.marks.midline_x_mm) < np.interp(
        scene.z, [scene.head_z_mm, scene.head_z_mm + 40, scene.marks.crest_z_mm], [55.0, 75.0, 170.0]
    )
    return inner & wide
