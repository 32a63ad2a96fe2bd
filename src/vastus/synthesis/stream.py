"""Training patches without end: a pool of bodies on disk, and a new look, crop and scanner for every patch.

A body costs seconds, a patch a fraction of one. The pool holds part numbers and depths of each body at 2 mm, not
images; everything that a scanner or a patient's fat changes is drawn anew for each patch. While a pool grows, later
patches see more bodies; for a finished pool ``patch`` depends on nothing but its arguments.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import CLASS_COUNT
from vastus.errors import MissingInputError
from vastus.io.atomic import atomic_folder
from vastus.synthesis.atlas import Atlas
from vastus.synthesis.growth import NO_PART, Grid
from vastus.synthesis.scanner import Acquisition, Textures, acquire, paint_hu, sample_look
from vastus.synthesis.subject import Body, TissueMap, Variety, build_body, sample_plan
from vastus.synthesis.surroundings import (
    ARMS_FROM,
    Forearms,
    add_cloth,
    arm_reach_mm,
    draw_couch,
    draw_forearms,
    lowest_row,
    sample_cloth,
    sample_couch,
    sample_forearms,
)
from vastus.synthesis.tissues import BONE_IDS, CLASS_OF_TISSUE, FEMUR, Tissue, any_of, name_of, tissue_of_part
from vastus.synthesis.volume_kernels import gather_affine

POOL_SPACING_MM = 2.0
IGNORE = 255
"""Label of voxels outside the scan or inside a lesion: no loss there."""
COUCH, CLOTH, ARMS = 0.7, 0.15, 0.25
"""How often each is drawn; forearms show only in patches that reach beside the hips."""
_POINTS_PER_CLASS = 64
_FAT_PART, _SKIN_PART = 254, 253
"""Stand-ins in the stored part map for what belongs to no part; air stays ``NO_PART``."""


@dataclass(frozen=True, slots=True)
class StoredPart:
    """Name and tissue of a part in the pool."""

    name: str
    tissue: int


@dataclass(frozen=True, slots=True, eq=False)
class StoredBody:
    """One body of a pool, arrays mapped from disk."""

    part: NDArray[np.uint8]
    depth: NDArray[np.int8]
    parts: tuple[StoredPart, ...]
    origin_mm: NDArray[np.float64]
    length_mm: float
    points: NDArray[np.int16]

    @property
    def tissues(self) -> NDArray[np.uint8]:
        """Tissue by stored part number."""
        table = np.zeros(256, np.uint8)
        table[: len(self.parts)] = [p.tissue for p in self.parts]
        table[_FAT_PART], table[_SKIN_PART] = Tissue.FAT, Tissue.SKIN
        return table


def store_body(body: Body, folder: Path, rng: np.random.Generator) -> None:
    """Write a body to ``folder`` at the pool's spacing, cropped to its box."""
    shape = tuple(int(n) for n in (body.high_mm - body.low_mm) / POOL_SPACING_MM)
    grid = Grid(body.low_mm, (POOL_SPACING_MM,) * 3, (shape[0], shape[1], shape[2]))
    tissue_map = body.tissue_map(grid)
    part = tissue_map.part.copy()
    part[tissue_map.tissue == Tissue.FAT] = _FAT_PART
    part[tissue_map.tissue == Tissue.SKIN] = _SKIN_PART
    box, low = [], []
    for axis in range(2):
        hit = np.flatnonzero((part != NO_PART).any(axis=tuple(a for a in range(3) if a != axis)))
        box.append(slice(max(hit[0] - 4, 0), hit[-1] + 5))
        low.append(max(int(hit[0]) - 4, 0))
    part, depth = part[box[0], box[1]], tissue_map.depth[box[0], box[1]]
    classes = CLASS_OF_TISSUE[tissue_map.tissue[box[0], box[1]]]
    points = _points_of_classes(classes, rng)
    head = {
        "parts": [[p.name, name_of(p.tissue)] for p in body.named],
        "origin_mm": [float(v) for v in body.low_mm + POOL_SPACING_MM * np.array([*low, 0])],
        "length_mm": body.length_mm,
        "seed": body.plan.seed,
        "atlas": body.plan.atlas_index,
    }
    with atomic_folder(folder) as temporary:
        np.save(temporary / "part.npy", np.ascontiguousarray(part))
        np.save(temporary / "depth.npy", np.ascontiguousarray(depth))
        np.save(temporary / "points.npy", points)
        (temporary / "body.json").write_text(json.dumps(head))


def _points_of_classes(classes: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.int16]:
    """Rows (class id, i, j, k): random voxels of every class present."""
    order = np.argsort(classes, axis=None, kind="stable")
    starts = np.searchsorted(classes.ravel()[order], np.arange(CLASS_COUNT + 1))
    rows = []
    for class_id in range(1, CLASS_COUNT):
        first, last = starts[class_id], starts[class_id + 1]
        if last > first:
            chosen = order[rng.integers(first, last, _POINTS_PER_CLASS)]
            rows.append(np.column_stack([np.full(len(chosen), class_id), *np.unravel_index(chosen, classes.shape)]))
    return np.concatenate(rows).astype(np.int16)


def load_body(folder: Path) -> StoredBody:
    """Open one body of a pool; those of older versions, which hold numbers for tissues, are read, too.

    Raises:
        MissingInputError: it holds a tissue that this version does not know.
    """
    path = folder / "body.json"
    head = json.loads(path.read_text())
    return StoredBody(
        np.load(folder / "part.npy", mmap_mode="r"),
        np.load(folder / "depth.npy", mmap_mode="r"),
        tuple(StoredPart(n, tissue_of_part(n, t, path)) for n, t in head["parts"]),
        np.array(head["origin_mm"]),
        head["length_mm"],
        np.load(folder / "points.npy"),
    )


def fill_pool(
    folder: Path, atlases: Sequence[Atlas], count: int, *, first_seed: int = 0, variety: Variety = Variety.WIDE
) -> int:
    """Add bodies until the pool holds those of ``count`` seeds; existing ones are kept. Returns how many were made."""
    folder.mkdir(parents=True, exist_ok=True)
    made = 0
    for seed in range(first_seed, first_seed + count):
        target = folder / f"body_{seed:06d}"
        if not target.exists():
            plan = sample_plan(seed, atlases, variety)
            body = build_body(plan, atlases[plan.atlas_index])
            store_body(body, target, np.random.default_rng([seed, 4]))
            made += 1
    return made


@dataclass(frozen=True, slots=True, eq=False)
class WindowPlace:
    """Where a patch lies in a body: ``body index = matrix @ (patch voxel) + shift``, and the scan's limits.

    ``low`` and ``high`` bound, in patch voxels, what the scan covers; outside there is no image.
    """

    matrix: NDArray[np.float32]
    shift: NDArray[np.float32]
    low: NDArray[np.int64]
    high: NDArray[np.int64]

    def in_halves(self, halves: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Matrix and shift of the same patch with every slice cut into so many."""
        matrix = self.matrix.copy()
        matrix[:, 2] /= halves
        return matrix, self.shift - matrix[:, 2] * np.float32((halves - 1) / 2)


class Pool:
    """Patches from a folder of bodies; see the module."""

    _REFRESH = 100

    def __init__(self, folder: Path, texture_seed: int = 0) -> None:
        self.folder = folder
        self._texture_seed = texture_seed
        self._textures: dict[tuple[float, float, float], Textures] = {}
        self._calls = 0
        self.bodies: list[Path] = []
        self._refresh()

    def _refresh(self) -> None:
        self.bodies = sorted(self.folder.glob("body_*"))
        if not self.bodies:
            raise MissingInputError(
                "The pool holds no bodies.", path=self.folder, remedy="Fill it with `vastus synth --pool`."
            )

    def patch(
        self, seed: int, index: int, window_size: tuple[int, int, int], spacing_mm: tuple[float, float, float]
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """One patch: HU (float32, -1024 outside the scan) and class ids (``IGNORE`` outside and in lesions)."""
        rng = np.random.default_rng([seed, index, 5])
        body = load_body(self.draw_body(rng))
        view = sample_view(body, window_size, spacing_mm, rng)
        return self._render(body, view, window_size, spacing_mm, rng)

    def draw_body(self, rng: np.random.Generator) -> Path:
        """Choose a body; now and then the folder is looked at again."""
        self._calls += 1
        if self._calls % self._REFRESH == 0:
            self._refresh()
        return self.bodies[int(rng.integers(len(self.bodies)))]

    def _render(
        self,
        body: StoredBody,
        view: WindowPlace,
        size: tuple[int, int, int],
        spacing_mm: tuple[float, float, float],
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        halves, fine, tall = halves_of(size, spacing_mm)
        matrix, shift = view.in_halves(halves)
        part, depth = gather_affine(body.part, body.depth, matrix, shift, np.array(tall))
        centre, _ = (
            (part, depth)
            if halves == 1
            else gather_affine(body.part, body.depth, view.matrix, view.shift, np.array(size))
        )
        tissues = body.tissues
        grid = patch_grid(body, view, fine, tall)
        tissue_map = TissueMap(grid, part, depth, tissues[part])
        if fine not in self._textures:
            self._textures[fine] = Textures(fine, self._texture_seed)
        textures = self._textures[fine]
        hu = paint_hu(tissue_map, body.length_mm, sample_look(body.parts, rng), textures, rng)
        labels = CLASS_OF_TISSUE[tissues[centre]]
        labels[tissues[centre] == Tissue.METAL] = FEMUR
        air = tissue_map.tissue == Tissue.AIR
        couch = sample_couch(lowest_row(tissue_map.tissue), rng) if rng.random() < COUCH else None
        if couch is not None:
            draw_couch(hu, air, couch)
        if rng.random() < CLOTH:
            add_cloth(hu, tissue_map.tissue, sample_cloth(tissue_map.tissue, grid, rng))
        arms = arms_beside(body, rng) if rng.random() < ARMS else None
        if arms is not None and arms_in_reach(arms, body, matrix, shift, tall):
            draw_forearms(hu, air, arms, patch_to_mm(body, matrix, shift, tall))
        sheet = sample_sheet(tall, fine, rng)
        if sheet is not None:
            hu[sheet.inside(*np.ogrid[: tall[0], : tall[1], : tall[2]]) & (tissue_map.tissue == Tissue.FAT)] = sheet.hu
        blob = sample_lesion(tall, fine, rng)
        if blob is not None:
            lesion = blob.inside(*np.ogrid[: tall[0], : tall[1], : tall[2]])
            soft = lesion & (hu > -150) & (hu < 250)
            hu[soft] = rng.uniform(0, 65) + 8 * textures.take(textures.blotch, tall, rng)[soft]
            labels[lesion[:, :, ::halves] & ~any_of(labels, BONE_IDS)] = IGNORE
        hu = acquire(hu, tissue_map, patch_acquisition(width_at(body, view, size), rng), textures, rng)
        if halves > 1:
            hu = hu.reshape(size[0], size[1], size[2], halves).mean(axis=3)
        if rng.random() < 0.4:
            weight = np.float32(rng.uniform(0, 0.25))
            padded = np.concatenate([hu[:, :, :1], hu, hu[:, :, -1:]], axis=2)
            hu = (1 - 2 * weight) * hu + weight * (padded[:, :, :-2] + padded[:, :, 2:])
        hu = hu * np.float32(rng.normal(1, 0.02)) + np.float32(rng.normal(0, 5))
        covered = np.zeros(size, bool)
        covered[tuple(slice(a, b) for a, b in zip(view.low, view.high, strict=True))] = True
        hu[~covered] = -1024.0
        labels[~covered] = IGNORE
        return np.ascontiguousarray(hu, np.float32), np.ascontiguousarray(labels)


Size = tuple[int, int, int]
Spacing = tuple[float, float, float]


def halves_of(size: Size, spacing_mm: Spacing) -> tuple[int, Spacing, Size]:
    """Thick slices are painted in halves, so that partial volume along z is real: how many, their spacing and shape."""
    halves = 2 if spacing_mm[2] > 1.5 * spacing_mm[0] else 1
    return halves, (spacing_mm[0], spacing_mm[1], spacing_mm[2] / halves), (size[0], size[1], size[2] * halves)


def patch_grid(body: StoredBody, view: WindowPlace, fine_mm: Spacing, tall: Size) -> Grid:
    """Where a patch lies: only the height counts, which says what part of the bone it shows."""
    height = POOL_SPACING_MM * (view.shift[2] + view.matrix[2] @ np.array([tall[0] / 2, tall[1] / 2, 0]))
    return Grid(np.array([0, 0, body.origin_mm[2] + height]), fine_mm, tall)


def patch_acquisition(width_mm: float, rng: np.random.Generator) -> Acquisition:
    """Draw the scanner setting of a patch of a body so wide: in the network's voxels, noise is less than in a scan's.

    On real CT of thighs and hips (voxels of 2 x 2 x 4 mm, one scanner each of GE and Philips), streaks across the body
    are about as strong as the noise beside them.
    """
    blur, noise = float(rng.uniform(0.3, 1.6)), float(np.exp(rng.uniform(np.log(2), np.log(24))))
    streaks = float(rng.choice([0.0, rng.uniform(0.3, 1.4)], p=[0.15, 0.85]))
    return Acquisition(blur, noise, streaks * noise, float(rng.uniform(0, 14)), width_mm)


def width_at(body: StoredBody, view: WindowPlace, size: Size) -> float:
    """How wide a body is at the middle of a patch, in mm, from the outermost fat on the left to that on the right."""
    middle = view.shift[2] + view.matrix[2] @ ((np.array(size) - 1) / 2)
    level = int(np.clip(round(float(middle)), 0, body.part.shape[2] - 1))
    columns = np.flatnonzero((body.part[::4, ::8, level] != NO_PART).any(axis=1))
    return float(4 * POOL_SPACING_MM * (columns[-1] - columns[0] + 1)) if len(columns) else 0.0


def open_pool(folder: Path) -> Pool:
    """Open a folder that ``fill_pool`` made or is making."""
    return Pool(folder)


def sample_view(
    body: StoredBody, size: tuple[int, int, int], spacing_mm: tuple[float, float, float], rng: np.random.Generator
) -> WindowPlace:
    """Choose centre, rotation, size and the scan's limits of one patch.

    Six in ten patches are centred near a voxel of a random class, so that small muscles are seen; the others anywhere.
    Six in ten patches meet an edge of the scan: few slices, one leg, a field of view that cuts through the thigh.
    """
    shape = np.array(body.part.shape)
    if rng.random() < 0.6:
        classes = np.unique(body.points[:, 0])
        rows = body.points[body.points[:, 0] == rng.choice(classes)]
        centre = rows[rng.integers(len(rows)), 1:].astype(float)
        centre += rng.normal(0, 0.18, 3) * np.array(size) * np.array(spacing_mm) / POOL_SPACING_MM
    else:
        centre = _place_in_body(body, rng)
    centre[2] = np.clip(centre[2], 0, shape[2] - 1)
    angles = np.radians(rng.normal(0, [4.0, 4.0, 8.0]))
    zoom = np.exp(rng.normal(0, 0.06)) * np.exp(rng.normal(0, 0.03, 3))
    matrix = _rotation(angles) @ np.diag(np.array(spacing_mm) / POOL_SPACING_MM / zoom)
    middle = (np.array(size) - 1) / 2
    shift = centre - matrix @ middle
    low, high = np.zeros(3, np.int64), np.array(size)
    if rng.random() < 0.6:
        for axis, chance in ((0, 0.5), (1, 0.3), (2, 0.7)):
            if rng.random() < chance:
                keep = int(size[axis] * rng.uniform(0.3 if axis == 2 else 0.4, 0.95))
                low[axis] = int(
                    rng.integers(max(0, size[axis] // 2 - keep), min(size[axis] // 2, size[axis] - keep) + 1)
                )
                high[axis] = low[axis] + keep
    # Nothing is known beyond the ends of the modelled body.
    ends = [
        (-shift[2] - matrix[2, :2] @ middle[:2]) / matrix[2, 2],
        (shape[2] - 1 - shift[2] - matrix[2, :2] @ middle[:2]) / matrix[2, 2],
    ]
    low[2] = int(np.clip(max(low[2], math.ceil(ends[0]) + 2), 0, size[2] - 4))
    high[2] = int(np.clip(min(high[2], math.floor(ends[1]) - 1), low[2] + 2, size[2]))
    return WindowPlace(matrix.astype(np.float32), shift.astype(np.float32), low, high)


def _place_in_body(body: StoredBody, rng: np.random.Generator) -> NDArray[np.float64]:
    """A point that is not air, the height drawn first so that thin legs get their share."""
    shape = np.array(body.part.shape)
    for _ in range(20):
        k = int(rng.integers(4, shape[2] - 4))
        solid = np.argwhere(body.part[::4, ::4, k] != NO_PART)
        if len(solid):
            i, j = solid[rng.integers(len(solid))] * 4
            return np.array([i, j, k], dtype=np.float64)
    return shape / 2


def _rotation(angles_rad: NDArray[np.float64]) -> NDArray[np.float64]:
    result = np.eye(3)
    for axis, angle in enumerate(angles_rad):
        i, j = [a for a in range(3) if a != axis]
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = math.cos(angle)
        turn[i, j], turn[j, i] = -math.sin(angle), math.sin(angle)
        result = result @ turn
    return result


def arms_beside(body: StoredBody, rng: np.random.Generator) -> Forearms | None:
    """Forearms beside the hips of a body; None where the body doesn't reach up to the wrists."""
    wrists_mm = ARMS_FROM * body.length_mm
    first = max(math.ceil((wrists_mm - body.origin_mm[2]) / POOL_SPACING_MM), 0)
    columns = np.flatnonzero((body.part[:, ::4, first::8] != NO_PART).any(axis=(1, 2)))
    if not len(columns):
        return None
    x = body.origin_mm[0] + POOL_SPACING_MM * columns[[0, -1]]
    return sample_forearms((float(x[0]), float(x[1])), wrists_mm, rng)


def arms_in_reach(
    arms: Forearms,
    body: StoredBody,
    matrix: NDArray[np.float32],
    shift: NDArray[np.float32],
    size: tuple[int, int, int],
) -> bool:
    """Whether a patch may show a forearm, judged by its corners."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in size], indexing="ij")).reshape(3, -1)
    x, _, z = body.origin_mm[:, None] + POOL_SPACING_MM * (matrix @ corners + shift[:, None])
    reach = arm_reach_mm(arms, float(z.max()))
    beside = x.min() < arms.x_mm[0] + reach or x.max() > arms.x_mm[1] - reach
    return bool(beside and z.max() > arms.lowest_mm)


def patch_to_mm(
    body: StoredBody, matrix: NDArray[np.float32], shift: NDArray[np.float32], size: tuple[int, int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """x, y, z in the body's frame of all voxels of a patch."""
    i, j, k = np.ogrid[: size[0], : size[1], : size[2]]
    at = (m[0] * i + m[1] * j + m[2] * k + s for m, s in zip(matrix, shift, strict=True))
    x, y, z = (np.asarray(o + POOL_SPACING_MM * a, np.float32) for o, a in zip(body.origin_mm, at, strict=True))
    return x, y, z


@dataclass(frozen=True, slots=True, eq=False)
class Lesion:
    """An ellipsoid in voxels of a patch."""

    centre: NDArray[np.float64]
    radius: NDArray[np.float64]

    def inside(self, x: Any, y: Any, z: Any) -> Any:
        """Which voxels it holds; arrays of numpy or torch that broadcast."""
        (a, b, c), (ra, rb, rc) = (map(float, v) for v in (self.centre, self.radius))
        return ((x - a) / ra) ** 2 + ((y - b) / rb) ** 2 + ((z - c) / rc) ** 2 < 1


def sample_lesion(
    shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], rng: np.random.Generator
) -> Lesion | None:
    """One patch in five has a blob of soft tissue or fluid in it, up to the size of a large tumour."""
    if rng.random() > 0.2:
        return None
    centre = rng.uniform(0.2, 0.8, 3) * np.array(shape)
    radius = np.exp(rng.uniform(np.log(8), np.log(60))) * np.exp(rng.normal(0, 0.2, 3)) / np.array(spacing_mm)
    return Lesion(centre, radius)


@dataclass(frozen=True, slots=True, eq=False)
class TableSheet:
    """A curved sheet of skin in fat: where two thighs touch, or the skin folds.

    Attributes:
        centre: a point on it, in voxels.
        normal_mm: unit normal in mm, over the spacing: voxel offsets times it are mm.
        bend: how far it bends, in mm for each mm2 along y and z.
        half_mm: half its thickness.
        hu: of it.
    """

    centre: NDArray[np.float64]
    normal_mm: NDArray[np.float64]
    bend: NDArray[np.float64]
    half_mm: float
    hu: float

    def inside(self, x: Any, y: Any, z: Any) -> Any:
        """Which voxels it holds; arrays of numpy or torch that broadcast."""
        a, b, c = (axis - float(centre) for axis, centre in zip((x, y, z), self.centre, strict=True))
        nx, ny, nz = map(float, self.normal_mm)
        along = a * nx + b * ny + c * nz + float(self.bend[0]) * b**2 + float(self.bend[1]) * c**2
        return abs(along) < self.half_mm


def sample_sheet(
    shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], rng: np.random.Generator
) -> TableSheet | None:
    """Three patches in ten have such a sheet, mostly sagittal; it is drawn in fat only and carries no class."""
    if rng.random() > 0.3:
        return None
    spacing = np.array(spacing_mm)
    normal = np.array([1.0, *rng.normal(0, [0.5, 0.15])])
    normal /= np.linalg.norm(normal)
    bend = rng.normal(0, 1.5e-3, 2) * spacing[1:] ** 2
    centre = rng.uniform(0.05, 0.95, 3) * np.array(shape)
    return TableSheet(centre, normal * spacing, bend, float(rng.uniform(1.0, 3.0)), float(rng.uniform(-30, 60)))
