"""The anatomy of one person as signed distances, one block a structure and side.

Built once from the meshes (see ``docs/reference-synthesis.md`` for where they come from) and kept in a cache file.
Every structure has its own block with a margin, so that it can grow beyond its place and compete with its neighbours.

Conventions:
- Iliopsoas: what of psoas major and iliacus lies below the top of the femoral head; above it they keep their names.
- Biceps femoris: both heads in one, joined where the long head's tendon comes down on the short head.
- Blocks marked procedural (abdominal wall, spine, organs, vessels) are modelled, not measured.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import SIDES, Side
from vastus.errors import MissingInputError
from vastus.io.atomic import atomic_path
from vastus.synthesis.kernels import VOXEL_MM
from vastus.synthesis.meshes import signed_distance_mm
from vastus.synthesis.tissues import name_of, tissue_of_part

UNIT_MM = 0.125
"""Distances are stored as int8 in steps of 1/8 mm, cut at +-15.9 mm."""
MARGIN_MM = 14.0
FEMORAL_HEAD_RADIUS_MM = 24.0
UNKNOWN_PEOPLE = "?"
"""Stands among the people of whom a person is made if the file does not tell: a mixture from before this was noted."""
_FORMAT = 2
"""Files of format 1 hold numbers in place of the names of tissues, and are read, too."""


class PersonName(Enum):
    """The two people of the atlas."""

    FEMALE = "vhf"
    MALE = "vhm"


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One structure: where it is and how far every point is from its surface.

    Attributes:
        name: file or structure name, for messages.
        tissue: class id or ``Tissue`` value.
        side: the patient's side; ``UNKNOWN`` for midline structures.
        distance: int8 block of signed distance in ``UNIT_MM``, negative inside.
        origin_mm: centre of its voxel (0, 0, 0) in the person's frame.
        procedural: modelled, not measured.
        voxel_mm: edges of its voxels; those of the atlas itself are all ``VOXEL_MM``.
    """

    name: str
    tissue: int
    side: Side
    distance: NDArray[np.int8]
    origin_mm: NDArray[np.float64]
    procedural: bool = False
    voxel_mm: tuple[float, float, float] = (VOXEL_MM, VOXEL_MM, VOXEL_MM)

    @property
    def volume_mm3(self) -> float:
        """Volume inside the zero level, without competition."""
        return float((self.distance < 0).sum()) * math.prod(self.voxel_mm)


@dataclass(frozen=True, slots=True)
class Landmarks:
    """Points of one person, in mm of the person's frame."""

    head_mm: dict[Side, tuple[float, float, float]]
    knee_mm: dict[Side, tuple[float, float, float]]
    crest_z_mm: float
    midline_x_mm: float

    @property
    def leg_mm(self) -> float:
        """From the knee joint to the middle of the femoral head, mean of the sides."""
        return float(np.mean([self.head_mm[s][2] - self.knee_mm[s][2] for s in SIDES]))


class Anatomy(Protocol):
    """What is needed of a person to be matched: an ``Atlas`` has it."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """The structures."""

    @property
    def landmarks(self) -> Landmarks:
        """Hips and knees."""


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """A scalar field on a coarse grid (float32, mm)."""

    values: NDArray[np.float32]
    origin_mm: NDArray[np.float64]
    voxel_mm: float


@dataclass(frozen=True, slots=True, eq=False)
class Atlas:
    """One person: parts, landmarks, and two fields that carry the outline.

    ``skin`` is the signed distance to the skin of the atlas; ``deep`` the one to the envelope of everything under the
    subcutaneous fat (muscle fascia, abdominal wall). ``made_from`` names all whose anatomy is in this person; a person
    read from a file is among them. Whoever tests on one of them does not train on this person.
    """

    person: PersonName
    parts: tuple[Part, ...]
    landmarks: Landmarks
    skin: Field
    deep: Field
    made_from: tuple[str, ...] = ()

    def select(self, tissue: int) -> Iterator[Part]:
        """The parts of one tissue."""
        return (part for part in self.parts if part.tissue == tissue)


def quantise(distance_mm: NDArray[np.float32]) -> NDArray[np.int8]:
    """Signed distance in mm to int8 steps of ``UNIT_MM``."""
    return np.clip(np.round(distance_mm / UNIT_MM), -127, 127).astype(np.int8)


def part_from_mask(
    name: str, tissue: int, side: Side, mask: NDArray[np.bool_], origin_mm: NDArray[np.float64], *, procedural: bool
) -> Part:
    """A part from voxels on a ``VOXEL_MM`` grid, cropped to its box and margin.

    Raises:
        MissingInputError: the mask is empty.
    """
    if not mask.any():
        raise MissingInputError(f"The structure {name} is empty in the atlas.")
    margin = round(MARGIN_MM / VOXEL_MM)
    low, high = [], []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        low.append(int(hit[0]) - margin)
        high.append(int(hit[-1]) + 1 + margin)
    block = np.zeros([b - a for a, b in zip(low, high, strict=True)], dtype=bool)
    inner = tuple(slice(max(a, 0), min(b, n)) for a, b, n in zip(low, high, mask.shape, strict=True))
    outer = tuple(slice(s.start - a, s.stop - a) for s, a in zip(inner, low, strict=True))
    block[outer] = mask[inner]
    distance = quantise(signed_distance_mm(block, VOXEL_MM, 127 * UNIT_MM))
    return Part(name, tissue, side, distance, origin_mm + VOXEL_MM * np.array(low), procedural)


def save_atlas(atlas: Atlas, path: Path) -> None:
    """Write an atlas as one compressed ``.npz``."""
    index = [
        {
            "name": p.name,
            "tissue": name_of(p.tissue),
            "side": p.side.value,
            "procedural": p.procedural,
            "origin_mm": list(map(float, p.origin_mm)),
        }
        for p in atlas.parts
    ]
    marks = atlas.landmarks
    head = {
        "format": _FORMAT,
        "person": atlas.person.value,
        "made_from": list(atlas.made_from),
        "parts": index,
        "landmarks": {
            "head_mm": {s.value: v for s, v in marks.head_mm.items()},
            "knee_mm": {s.value: v for s, v in marks.knee_mm.items()},
            "crest_z_mm": marks.crest_z_mm,
            "midline_x_mm": marks.midline_x_mm,
        },
        "fields": {
            name: {"origin_mm": list(map(float, f.origin_mm)), "voxel_mm": f.voxel_mm}
            for name, f in (("skin", atlas.skin), ("deep", atlas.deep))
        },
    }
    arrays: dict[str, Any] = {f"part{i:03d}": p.distance for i, p in enumerate(atlas.parts)}
    arrays |= {name: f.values.astype(np.float16) for name, f in (("skin", atlas.skin), ("deep", atlas.deep))}
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary,
            head=np.frombuffer(json.dumps(head).encode(), np.uint8),
            **arrays,
        )


def load_atlas(path: Path) -> Atlas:
    """Read what ``save_atlas`` wrote, of this version or an older one.

    Raises:
        MissingInputError: no such file, or one with a tissue that this version does not know.
    """
    if not path.is_file():
        raise MissingInputError("The atlas file is not there.", path=path, remedy="Make it with `vastus atlas`.")
    with np.load(path, allow_pickle=False) as data:
        head = json.loads(bytes(data["head"]))
        parts = tuple(
            Part(
                p["name"],
                tissue_of_part(p["name"], p["tissue"], path),
                Side(p["side"]),
                data[f"part{i:03d}"],
                np.array(p["origin_mm"]),
                p["procedural"],
            )
            for i, p in enumerate(head["parts"])
        )
        fields = {
            name: Field(data[name].astype(np.float32), np.array(f["origin_mm"]), f["voxel_mm"])
            for name, f in head["fields"].items()
        }
    marks = head["landmarks"]
    landmarks = Landmarks(
        {Side(k): tuple(v) for k, v in marks["head_mm"].items()},
        {Side(k): tuple(v) for k, v in marks["knee_mm"].items()},
        marks["crest_z_mm"],
        marks["midline_x_mm"],
    )
    made_from = _made_from(head, path)
    return Atlas(PersonName(head["person"]), parts, landmarks, fields["skin"], fields["deep"], made_from)


def read_made_from(path: Path) -> tuple[str, ...]:
    """All whose anatomy is in the person of a file, itself among them; reads nothing else of it."""
    with np.load(path, allow_pickle=False) as data:
        return _made_from(json.loads(bytes(data["head"])), path)


def _made_from(head: dict[str, Any], path: Path) -> tuple[str, ...]:
    name = path.stem.removeprefix("atlas_")
    noted: list[str] | None = head.get("made_from")
    if noted is None:
        noted = _told_by_name(name, head["person"])
    return tuple(sorted({name, *noted}))


def _told_by_name(name: str, person: str) -> list[str]:
    """Of whom a person is made, in files from before this was noted."""
    if name.startswith("mix_"):
        return [UNKNOWN_PEOPLE]
    between = name.removeprefix(f"{person}_")
    return [p.value for p in PersonName] if between != name and between.isdecimal() else [person]
