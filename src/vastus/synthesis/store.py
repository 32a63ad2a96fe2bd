"""Bodies on disk: part numbers and depths at 2 mm, from which every patch is taken.

A body costs seconds, a patch a fraction of one. So bodies are kept, and images are not: everything that a scanner or a
patient's fat changes is drawn anew for each patch (``recipe``, ``render``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import CLASS_COUNT
from vastus.io.atomic import atomic_folder
from vastus.synthesis.atlas import Atlas
from vastus.synthesis.growth import NO_PART, Grid
from vastus.synthesis.subject import Body, Variety, build_body, sample_plan
from vastus.synthesis.tissues import (
    CLASS_OF_TISSUE,
    FEMUR,
    WITHIN_FEMUR,
    Tissue,
    any_of,
    name_of,
    tissue_of_part,
)

POOL_SPACING_MM = 2.0
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

    @property
    def labels(self) -> NDArray[np.uint8]:
        """Class id by stored part number; metal and fracture lines count as femur."""
        tissues = self.tissues
        return np.where(any_of(tissues, WITHIN_FEMUR), np.uint8(FEMUR), CLASS_OF_TISSUE[tissues])


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
