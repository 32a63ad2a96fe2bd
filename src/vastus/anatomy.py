"""The one table of structures: 27 muscles, two bones and the background.

Pure data; imports nothing but the standard library. Everything that needs a class id, a label value, a name, a
group or a colour takes it from here.

Two numberings, both stable:

- A **class id** (0..29) is what a network predicts: the paper's 30 classes, left and right sharing one
  (Kim et al. 2024, doi 10.1038/s41598-024-53707-8).
- A **label value** (``uint8``) is what a user gets in a label map: ``100 + class id`` on the patient's right,
  ``200 + class id`` on the left. A bare class id (1..29) in a label map means that the side is not known.

Beside them stands ``UNLABELLED`` (255): nobody looked there, or nobody can tell.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum


class Group(Enum):
    """Muscle group, as in the paper."""

    ANTERIOR = "anterior"
    MEDIAL = "medial"
    POSTERIOR = "posterior"
    GLUTEAL = "gluteal"
    OTHER = "other"
    BONE = "bone"


class Side(Enum):
    """The patient's side. ``UNKNOWN`` is used where the geometry does not tell."""

    RIGHT = "right"
    LEFT = "left"
    UNKNOWN = "unknown"

    @property
    def offset(self) -> int:
        """What is added to a class id to give the label value of this side."""
        return {Side.RIGHT: 100, Side.LEFT: 200, Side.UNKNOWN: 0}[self]

    @property
    def opposite(self) -> Side:
        """The other side; ``UNKNOWN`` stays."""
        return {Side.RIGHT: Side.LEFT, Side.LEFT: Side.RIGHT, Side.UNKNOWN: Side.UNKNOWN}[self]


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept (DICOM terms: coding scheme designator, code value, code meaning)."""

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Structure:
    """One muscle or bone.

    ``key`` is the stable machine name. ``code`` is set only where two independent sources agree on it.
    """

    class_id: int
    key: str
    english: str
    latin: str
    group: Group
    colour: tuple[int, int, int]
    code: Code | None = None

    @property
    def is_muscle(self) -> bool:
        """Whether this is one of the 27 muscles (not a bone)."""
        return self.group is not Group.BONE

    def label_value(self, side: Side) -> int:
        """Value of this structure in a label map, on the given side."""
        return side.offset + self.class_id


BACKGROUND_ID = 0
UNLABELLED = 255
"""Value of a voxel of a reference that nobody labelled, or where nobody can tell: it has no loss and no score."""
CODE_LEFT = Code("SCT", "7771000", "Left")
CODE_RIGHT = Code("SCT", "24028007", "Right")

_SNOMED = {
    # Only codes on which two independent sources agree; the others get none rather than a guess.
    "sartorius": "12595009",
    "gluteus_medius": "78333006",
    "gluteus_minimus": "75297007",
    "iliopsoas": "68455001",
}

# (key, English, Latin, group), in the order of the class ids 1..29.
_ROWS: tuple[tuple[str, str, str, Group], ...] = (
    ("sartorius", "Sartorius", "Musculus sartorius", Group.ANTERIOR),
    ("rectus_femoris", "Rectus femoris", "Musculus rectus femoris", Group.ANTERIOR),
    ("vastus_lateralis", "Vastus lateralis", "Musculus vastus lateralis", Group.ANTERIOR),
    ("vastus_intermedius", "Vastus intermedius", "Musculus vastus intermedius", Group.ANTERIOR),
    ("vastus_medialis", "Vastus medialis", "Musculus vastus medialis", Group.ANTERIOR),
    ("adductor_magnus", "Adductor magnus", "Musculus adductor magnus", Group.MEDIAL),
    ("adductor_brevis", "Adductor brevis", "Musculus adductor brevis", Group.MEDIAL),
    ("adductor_longus", "Adductor longus", "Musculus adductor longus", Group.MEDIAL),
    ("gracilis", "Gracilis", "Musculus gracilis", Group.MEDIAL),
    ("pectineus", "Pectineus", "Musculus pectineus", Group.MEDIAL),
    ("semitendinosus", "Semitendinosus", "Musculus semitendinosus", Group.POSTERIOR),
    ("semimembranosus", "Semimembranosus", "Musculus semimembranosus", Group.POSTERIOR),
    ("biceps_femoris", "Biceps femoris", "Musculus biceps femoris", Group.POSTERIOR),
    ("gluteus_maximus", "Gluteus maximus", "Musculus gluteus maximus", Group.GLUTEAL),
    ("gluteus_medius", "Gluteus medius", "Musculus gluteus medius", Group.GLUTEAL),
    ("gluteus_minimus", "Gluteus minimus", "Musculus gluteus minimus", Group.GLUTEAL),
    ("tensor_fasciae_latae", "Tensor fasciae latae", "Musculus tensor fasciae latae", Group.GLUTEAL),
    ("piriformis", "Piriformis", "Musculus piriformis", Group.GLUTEAL),
    ("obturator_internus", "Obturator internus", "Musculus obturatorius internus", Group.GLUTEAL),
    ("obturator_externus", "Obturator externus", "Musculus obturatorius externus", Group.GLUTEAL),
    ("quadratus_femoris", "Quadratus femoris", "Musculus quadratus femoris", Group.GLUTEAL),
    ("iliacus", "Iliacus", "Musculus iliacus", Group.OTHER),
    ("iliopsoas", "Iliopsoas", "Musculus iliopsoas", Group.OTHER),
    ("psoas", "Psoas major", "Musculus psoas major", Group.OTHER),
    ("abdominal_oblique", "Abdominal oblique", "Musculi obliqui abdominis", Group.OTHER),
    ("rectus_abdominis", "Rectus abdominis", "Musculus rectus abdominis", Group.OTHER),
    ("multifidus", "Multifidus", "Musculus multifidus", Group.OTHER),
    ("femur", "Femur", "Os femoris", Group.BONE),
    ("hip_bone", "Hip bone", "Os coxae", Group.BONE),
)

# (first hue, hue width) of each group: one family of colours a group, told apart inside by hue and lightness.
_HUES: dict[Group, tuple[float, float]] = {
    Group.ANTERIOR: (0.97, 0.10),
    Group.MEDIAL: (0.54, 0.14),
    Group.POSTERIOR: (0.25, 0.12),
    Group.GLUTEAL: (0.70, 0.20),
    Group.OTHER: (0.09, 0.09),
}
_BONE_COLOURS = {"femur": (240, 234, 214), "hip_bone": (205, 196, 170)}


def _colour(key: str, group: Group) -> tuple[int, int, int]:
    if key in _BONE_COLOURS:
        return _BONE_COLOURS[key]
    members = [row[0] for row in _ROWS if row[3] is group]
    rank = members.index(key)
    start, width = _HUES[group]
    hue = (start + width * rank / max(len(members) - 1, 1)) % 1.0
    lightness = (0.46, 0.66, 0.56)[rank % 3]
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, 0.78)
    return round(255 * red), round(255 * green), round(255 * blue)


def _structure(class_id: int, row: tuple[str, str, str, Group]) -> Structure:
    key, english, latin, group = row
    snomed = _SNOMED.get(key)
    code = Code("SCT", snomed, english) if snomed else None
    return Structure(class_id, key, english, latin, group, _colour(key, group), code)


STRUCTURES: tuple[Structure, ...] = tuple(_structure(i, row) for i, row in enumerate(_ROWS, start=1))
"""The 29 structures, in the order of their class ids."""

MUSCLES: tuple[Structure, ...] = tuple(s for s in STRUCTURES if s.is_muscle)
BONES: tuple[Structure, ...] = tuple(s for s in STRUCTURES if not s.is_muscle)
CLASS_COUNT = len(STRUCTURES) + 1
"""Number of classes of a network, background included: 30."""

SIDES: tuple[Side, Side] = (Side.RIGHT, Side.LEFT)
BY_KEY: dict[str, Structure] = {s.key: s for s in STRUCTURES}
BY_ID: dict[int, Structure] = {s.class_id: s for s in STRUCTURES}


@dataclass(frozen=True, slots=True)
class Label:
    """One value of a label map: a structure on a side."""

    value: int
    structure: Structure
    side: Side

    @property
    def name(self) -> str:
        """Machine name, e.g. ``femur_left``; the bare key when the side is not known."""
        return self.structure.key if self.side is Side.UNKNOWN else f"{self.structure.key}_{self.side.value}"


LABELS: tuple[Label, ...] = tuple(
    Label(s.label_value(side), s, side) for side in (*SIDES, Side.UNKNOWN) for s in STRUCTURES
)
"""Every value a label map may hold besides 0: right, left, then side unknown."""

BY_VALUE: dict[int, Label] = {label.value: label for label in LABELS}


def structures_of(group: Group) -> Iterator[Structure]:
    """The structures of one group, in the order of their ids."""
    return (s for s in STRUCTURES if s.group is group)
