"""The one built-in table of structures: 27 muscles, two bones and the background; and what a table is.

Pure data; imports nothing but the standard library. Everything that needs a class id, a label value, a name, a group,
a colour or where a structure lies takes it from here. To add a structure, add a row at the end of ``STRUCTURES``.

Two numberings, both stable:

- A **class id** (0..29) is what a network predicts: the paper's 30 classes, left and right sharing one
  (Kim et al. 2024, doi 10.1038/s41598-024-53707-8).
- A **label value** (``uint8``) is what a user gets in a label map: ``100 + class id`` on the patient's right,
  ``200 + class id`` on the left. A bare class id (1..29) in a label map means that the side is not known.

``class_of`` and ``Structure.label_value`` lead from one to the other; nobody else needs to know the rule.

Beside them stands ``UNLABELLED`` (255): nobody looked there, or nobody can tell.

A data set with structures of its own brings another ``StructureTable``; both numberings follow the same rule there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import ClassVar, Final


@dataclass(frozen=True, slots=True)
class Group:
    """A muscle group, or the bones.

    Attributes:
        value: the stable machine name.
        title: what people read, the same on every page, figure and screen.
        also: other words that people look for it by, in a search.
    """

    value: str
    title: str
    also: str = ""

    ANTERIOR: ClassVar[Group]
    MEDIAL: ClassVar[Group]
    POSTERIOR: ClassVar[Group]
    GLUTEAL: ClassVar[Group]
    OTHER: ClassVar[Group]
    BONE: ClassVar[Group]


Group.ANTERIOR = Group("anterior", "Anterior thigh", "Quadriceps and sartorius")
Group.MEDIAL = Group("medial", "Medial thigh", "Adductors")
Group.POSTERIOR = Group("posterior", "Posterior thigh", "Hamstrings")
Group.GLUTEAL = Group("gluteal", "Gluteal region", "Glutei and hip rotators")
Group.OTHER = Group("other", "Trunk and hip flexors", "Hip flexors and trunk")
Group.BONE = Group("bone", "Bones", "Skeleton")

GROUPS: Final = (Group.ANTERIOR, Group.MEDIAL, Group.POSTERIOR, Group.GLUTEAL, Group.OTHER, Group.BONE)
"""The groups of the built-in table, as in the paper."""
GROUP_BY_VALUE: Final = {group.value: group for group in GROUPS}
THIGH_GROUPS: Final = (Group.ANTERIOR, Group.MEDIAL, Group.POSTERIOR)
"""The groups of the muscles of the thigh."""
MUSCLE_GROUPS: Final = tuple(group for group in GROUPS if group != Group.BONE)
"""All groups but the bones."""


class Region(Enum):
    """Where a structure lies, from the knee upwards.

    A muscle of ``PELVIS`` or ``TRUNK`` ends above the lower end of the ischium, the lowest point of the hip bone; one
    of ``TRUNK`` reaches higher than a scan from hip to knee.
    """

    THIGH = "thigh"
    HIP = "hip"
    PELVIS = "pelvis"
    TRUNK = "trunk"


class ThighLevel(Enum):
    """Where along the thigh a slice lies, by the structures drawn in it, from the feet upwards."""

    DISTAL = "distal"
    MIDDLE = "middle"
    PROXIMAL = "proximal"
    HIP = "hip"


class Depth(Enum):
    """Whether a muscle lies clearly in the front or in the back of the body."""

    FRONT = "front"
    BACK = "back"


class Lie(Enum):
    """Whether a muscle lies clearly at the inner or at the outer side of its leg or of its half of the trunk."""

    MEDIAL = "medial"
    LATERAL = "lateral"


class Coding(Enum):
    """What stands in place of a SNOMED code."""

    PRIVATE = "two independent sources do not agree on a code: the private scheme is used, rather than a guess"
    UNDECIDED = "nobody has looked for a code yet: no DICOM object is written"


class Kind(Enum):
    """What a structure is made of: muscles and bones are summed up apart, the others nowhere."""

    MUSCLE = "muscle"
    BONE = "bone"
    OTHER = "other"


class Side(Enum):
    """The patient's side. ``UNKNOWN``: the geometry does not tell. ``MIDLINE``: a body has one of it, as the sacrum."""

    RIGHT = "right"
    LEFT = "left"
    UNKNOWN = "unknown"
    MIDLINE = "midline"

    @property
    def offset(self) -> int:
        """What is added to a class id to give the label value of this side."""
        return {Side.RIGHT: 100, Side.LEFT: 200}.get(self, 0)

    @property
    def opposite(self) -> Side:
        """The other side; ``UNKNOWN`` and ``MIDLINE`` stay."""
        return {Side.RIGHT: Side.LEFT, Side.LEFT: Side.RIGHT}.get(self, self)


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept (DICOM terms: coding scheme designator, code value, code meaning)."""

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Structure:
    """One muscle or bone: a row of the table.

    Attributes:
        class_id: what a network predicts; never changes.
        key: the stable machine name.
        english, latin: names for people.
        abbreviation: usual short name in the reading of thigh scans.
        group: as in the paper.
        region: where it lies.
        colour: red, green, blue.
        snomed: value of a SNOMED CT code on which two independent sources agree, or why there is none.
        height_mm: how high above the knee its middle lies in a person of middle height; None: nothing to go by.
        depth, lie: front or back, inner or outer side; None: in between, or it changes along the body.
        lowest_level: lowest level of the thigh at which a slice shows it; None: it hangs at the front of the hip and
            tells no level.
        large: a whole one of an adult is larger than 5 cm3.
        other_names: that other programs use, in small letters.
        paired: there is one on each side; else its only label value is its class id.
        own_kind: what it is, where the group does not say it.
        own_code: scheme and value of a code that a data set's own table gives; it counts before ``snomed``.
    """

    class_id: int
    key: str
    english: str
    latin: str
    abbreviation: str
    group: Group
    region: Region
    colour: tuple[int, int, int]
    snomed: str | Coding = Coding.UNDECIDED
    height_mm: float | None = None
    depth: Depth | None = None
    lie: Lie | None = None
    lowest_level: ThighLevel | None = None
    large: bool = False
    other_names: tuple[str, ...] = ()
    paired: bool = True
    own_kind: Kind | None = None
    own_code: tuple[str, str] | None = None

    @property
    def drawn_name(self) -> str:
        """The name for pictures and PDF; the key where their fonts, of Western letters only, can't draw the name."""
        try:
            self.english.encode("cp1252")
        except UnicodeEncodeError:
            return self.key
        return self.english

    @property
    def kind(self) -> Kind:
        """Muscle, bone or neither."""
        return self.own_kind or (Kind.BONE if self.group == Group.BONE else Kind.MUSCLE)

    @property
    def is_muscle(self) -> bool:
        """Whether this is a muscle."""
        return self.kind is Kind.MUSCLE

    @property
    def code(self) -> Code | None:
        """The code of its own table, else the SNOMED CT code; None where there is none to trust."""
        if self.own_code is not None:
            return Code(*self.own_code, self.english)
        return Code("SCT", self.snomed, self.english) if isinstance(self.snomed, str) else None

    def label_value(self, side: Side) -> int:
        """Return the value of this structure in a label map, on the given side; one of the midline has one value."""
        return (side.offset if self.paired else 0) + self.class_id

    @property
    def sides(self) -> tuple[Side, ...]:
        """The sides of a body on which it is: right and left, or the midline."""
        return (Side.RIGHT, Side.LEFT) if self.paired else (Side.MIDLINE,)

    @property
    def label_values(self) -> tuple[int, int, int]:
        """All its values in a label map: right, left, side unknown."""
        return self.label_value(Side.RIGHT), self.label_value(Side.LEFT), self.label_value(Side.UNKNOWN)


BACKGROUND_ID = 0
UNLABELLED = 255
"""Value of a voxel of a reference that nobody labelled, or where nobody can tell: it has no loss and no score."""
LARGEST_CLASS_ID: Final = 51
"""Label values are bytes: 200 + 51 is the largest. 252 to 254 are the viewer's, 255 is ``UNLABELLED``."""
CODE_LEFT = Code("SCT", "7771000", "Left")
CODE_RIGHT = Code("SCT", "24028007", "Right")

# Lines of each structure: its names; group, region, colour and code; where it lies and how large it is; other names.
# fmt: off
STRUCTURES: tuple[Structure, ...] = (
    Structure(
        1, "sartorius", "Sartorius", "Musculus sartorius", "SAR",
        Group.ANTERIOR, Region.THIGH, (209, 26, 59), snomed="12595009",
        height_mm=240, depth=Depth.FRONT, lowest_level=ThighLevel.DISTAL, large=True,
    ),
    Structure(
        2, "rectus_femoris", "Rectus femoris", "Musculus rectus femoris", "RF",
        Group.ANTERIOR, Region.THIGH, (236, 101, 105), snomed=Coding.PRIVATE,
        height_mm=270, depth=Depth.FRONT, lowest_level=ThighLevel.DISTAL, large=True,
    ),
    Structure(
        3, "vastus_lateralis", "Vastus lateralis", "Musculus vastus lateralis", "VL",
        Group.ANTERIOR, Region.THIGH, (230, 76, 55), snomed=Coding.PRIVATE,
        height_mm=220, depth=Depth.FRONT, lie=Lie.LATERAL, lowest_level=ThighLevel.DISTAL, large=True,
    ),
    Structure(
        4, "vastus_intermedius", "Vastus intermedius", "Musculus vastus intermedius", "VI",
        Group.ANTERIOR, Region.THIGH, (209, 75, 26), snomed=Coding.PRIVATE,
        height_mm=215, depth=Depth.FRONT, lowest_level=ThighLevel.DISTAL, large=True,
    ),
    Structure(
        5, "vastus_medialis", "Vastus medialis", "Musculus vastus medialis", "VM",
        Group.ANTERIOR, Region.THIGH, (236, 157, 101), snomed=Coding.PRIVATE,
        height_mm=160, depth=Depth.FRONT, lie=Lie.MEDIAL, lowest_level=ThighLevel.DISTAL, large=True,
    ),
    Structure(
        6, "adductor_magnus", "Adductor magnus", "Musculus adductor magnus", "AM",
        Group.MEDIAL, Region.THIGH, (26, 165, 209), snomed=Coding.PRIVATE,
        height_mm=250, depth=Depth.BACK, lie=Lie.MEDIAL, lowest_level=ThighLevel.DISTAL, large=True,
    ),
    Structure(
        7, "adductor_brevis", "Adductor brevis", "Musculus adductor brevis", "AB",
        Group.MEDIAL, Region.HIP, (101, 175, 236), snomed=Coding.PRIVATE,
        height_mm=335, lie=Lie.MEDIAL, lowest_level=ThighLevel.PROXIMAL,
    ),
    Structure(
        8, "adductor_longus", "Adductor longus", "Musculus adductor longus", "AL",
        Group.MEDIAL, Region.THIGH, (55, 115, 230), snomed=Coding.PRIVATE,
        height_mm=290, lie=Lie.MEDIAL, lowest_level=ThighLevel.MIDDLE, large=True,
    ),
    Structure(
        9, "gracilis", "Gracilis", "Musculus gracilis", "GRA",
        Group.MEDIAL, Region.THIGH, (26, 50, 209), snomed=Coding.PRIVATE,
        height_mm=235, lie=Lie.MEDIAL, lowest_level=ThighLevel.DISTAL,
    ),
    Structure(
        10, "pectineus", "Pectineus", "Musculus pectineus", "PEC",
        Group.MEDIAL, Region.HIP, (111, 101, 236), snomed=Coding.PRIVATE,
        height_mm=380, depth=Depth.FRONT, lie=Lie.MEDIAL, lowest_level=ThighLevel.PROXIMAL,
    ),
    Structure(
        11, "semitendinosus", "Semitendinosus", "Musculus semitendinosus", "ST",
        Group.POSTERIOR, Region.THIGH, (117, 209, 26), snomed=Coding.PRIVATE,
        height_mm=215, depth=Depth.BACK, lie=Lie.MEDIAL, lowest_level=ThighLevel.DISTAL, large=True,
    ),
    Structure(
        12, "semimembranosus", "Semimembranosus", "Musculus semimembranosus", "SM",
        Group.POSTERIOR, Region.THIGH, (120, 236, 101), snomed=Coding.PRIVATE,
        height_mm=145, depth=Depth.BACK, lie=Lie.MEDIAL, lowest_level=ThighLevel.DISTAL, large=True,
    ),
    Structure(
        13, "biceps_femoris", "Biceps femoris", "Musculus biceps femoris", "BF",
        Group.POSTERIOR, Region.THIGH, (55, 230, 94), snomed=Coding.PRIVATE,
        height_mm=170, depth=Depth.BACK, lie=Lie.LATERAL, lowest_level=ThighLevel.DISTAL, large=True,
    ),
    Structure(
        14, "gluteus_maximus", "Gluteus maximus", "Musculus gluteus maximus", "GMAX",
        Group.GLUTEAL, Region.HIP, (62, 26, 209), snomed=Coding.PRIVATE,
        height_mm=420, depth=Depth.BACK, lie=Lie.LATERAL, lowest_level=ThighLevel.PROXIMAL, large=True,
    ),
    Structure(
        15, "gluteus_medius", "Gluteus medius", "Musculus gluteus medius", "GMED",
        Group.GLUTEAL, Region.PELVIS, (151, 101, 236), snomed="78333006",
        height_mm=480, lie=Lie.LATERAL, lowest_level=ThighLevel.HIP, large=True,
    ),
    Structure(
        16, "gluteus_minimus", "Gluteus minimus", "Musculus gluteus minimus", "GMIN",
        Group.GLUTEAL, Region.PELVIS, (150, 55, 230), snomed="75297007",
        height_mm=460, lie=Lie.LATERAL, lowest_level=ThighLevel.HIP,
    ),
    Structure(
        17, "tensor_fasciae_latae", "Tensor fasciae latae", "Musculus tensor fasciae latae", "TFL",
        Group.GLUTEAL, Region.HIP, (157, 26, 209), snomed=Coding.PRIVATE,
        height_mm=420, depth=Depth.FRONT, lie=Lie.LATERAL, lowest_level=ThighLevel.PROXIMAL,
        other_names=("tensor fascia latae", "tfl"),
    ),
    Structure(
        18, "piriformis", "Piriformis", "Musculus piriformis", "PIR",
        Group.GLUTEAL, Region.PELVIS, (220, 101, 236), snomed=Coding.PRIVATE,
        height_mm=455, depth=Depth.BACK, lowest_level=ThighLevel.HIP,
    ),
    Structure(
        19, "obturator_internus", "Obturator internus", "Musculus obturatorius internus", "OI",
        Group.GLUTEAL, Region.PELVIS, (230, 55, 220), snomed=Coding.PRIVATE,
        height_mm=405, lie=Lie.MEDIAL, lowest_level=ThighLevel.PROXIMAL,
    ),
    Structure(
        20, "obturator_externus", "Obturator externus", "Musculus obturatorius externus", "OE",
        Group.GLUTEAL, Region.HIP, (209, 26, 167), snomed=Coding.PRIVATE,
        height_mm=375, lie=Lie.MEDIAL, lowest_level=ThighLevel.PROXIMAL,
    ),
    Structure(
        21, "quadratus_femoris", "Quadratus femoris", "Musculus quadratus femoris", "QF",
        Group.GLUTEAL, Region.HIP, (236, 101, 182), snomed=Coding.PRIVATE,
        height_mm=365, depth=Depth.BACK, lowest_level=ThighLevel.PROXIMAL,
    ),
    Structure(
        22, "iliacus", "Iliacus", "Musculus iliacus", "ILI",
        Group.OTHER, Region.PELVIS, (209, 125, 26), snomed=Coding.PRIVATE,
        height_mm=490, lowest_level=ThighLevel.HIP, large=True,
    ),
    Structure(
        23, "iliopsoas", "Iliopsoas", "Musculus iliopsoas", "IP",
        Group.OTHER, Region.HIP, (236, 188, 101), snomed="68455001",
        height_mm=405, depth=Depth.FRONT, lowest_level=ThighLevel.PROXIMAL, large=True,
    ),
    Structure(
        24, "psoas", "Psoas major", "Musculus psoas major", "PSO",
        Group.OTHER, Region.TRUNK, (230, 188, 55), snomed=Coding.PRIVATE,
        height_mm=540, lie=Lie.MEDIAL, lowest_level=ThighLevel.HIP, large=True,
    ),
    Structure(
        25, "abdominal_oblique", "Abdominal oblique", "Musculi obliqui abdominis", "OBL",
        Group.OTHER, Region.TRUNK, (209, 184, 26), snomed=Coding.PRIVATE,
        height_mm=550, lie=Lie.LATERAL,
        other_names=("abdominal obliques",),
    ),
    Structure(
        26, "rectus_abdominis", "Rectus abdominis", "Musculus rectus abdominis", "RA",
        Group.OTHER, Region.TRUNK, (236, 232, 101), snomed=Coding.PRIVATE,
        height_mm=530, depth=Depth.FRONT, lie=Lie.MEDIAL,
    ),
    Structure(
        27, "multifidus", "Multifidus", "Musculus multifidus", "MUL",
        Group.OTHER, Region.TRUNK, (216, 230, 55), snomed=Coding.PRIVATE,
        height_mm=545, depth=Depth.BACK, lie=Lie.MEDIAL, lowest_level=ThighLevel.HIP,
    ),
    Structure(
        28, "femur", "Femur", "Os femoris", "FEM",
        Group.BONE, Region.THIGH, (240, 234, 214), snomed=Coding.PRIVATE,
        lowest_level=ThighLevel.DISTAL, large=True,
    ),
    Structure(
        29, "hip_bone", "Hip bone", "Os coxae", "HIP",
        Group.BONE, Region.PELVIS, (205, 196, 170), snomed=Coding.PRIVATE,
        height_mm=460, lowest_level=ThighLevel.PROXIMAL, large=True,
        other_names=("hip", "hipbone"),
    ),
)
"""The 29 structures, in the order of their class ids. Stored label maps and weights depend on the ids."""
# fmt: on


def problems_of(rows: tuple[Structure, ...]) -> tuple[str, ...]:
    """Say what is wrong with a table: ids that are not 1, 2, 3 ..., or something given twice."""
    found = []
    if [row.class_id for row in rows] != list(range(1, len(rows) + 1)):
        found.append("class ids must be 1, 2, 3 ... in the order of the rows")
    if len(rows) > LARGEST_CLASS_ID:
        found.append(f"there is room for {LARGEST_CLASS_ID} structures, because a label value is one byte")
    for column in ("key", "english", "latin", "abbreviation", "colour"):
        often = Counter(getattr(row, column) for row in rows)
        found += [f"{column} {value} is given {n} times" for value, n in often.items() if n > 1]
    return tuple(found)


_PROBLEMS = problems_of(STRUCTURES)
if _PROBLEMS:
    raise ValueError(f"The table of structures in vastus/anatomy.py is wrong: {'; '.join(_PROBLEMS)}.")

SIDES: tuple[Side, Side] = (Side.RIGHT, Side.LEFT)


@dataclass(frozen=True, slots=True)
class Label:
    """One value of a label map: a structure on a side."""

    value: int
    structure: Structure
    side: Side

    @property
    def name(self) -> str:
        """Machine name, e.g. ``femur_left``; the bare key without a known side, or of what lies in the midline."""
        return f"{self.structure.key}_{self.side.value}" if self.side in SIDES else self.structure.key


@dataclass(frozen=True)
class StructureTable:
    """A table of structures, and what follows from it.

    ``BUILT_IN`` is the default everywhere. A data set with names of its own brings another one
    (``vastus.io.own_structures``), which then travels with weights, label maps and measures.

    Attributes:
        rows: the structures; class ids are 1, 2, 3 ... in this order.
    """

    rows: tuple[Structure, ...]

    @property
    def is_built_in(self) -> bool:
        """Whether this is the table of this file."""
        return self is BUILT_IN or self == BUILT_IN

    @cached_property
    def by_key(self) -> dict[str, Structure]:
        """The structures by their key."""
        return {s.key: s for s in self.rows}

    @cached_property
    def by_id(self) -> dict[int, Structure]:
        """The structures by their class id."""
        return {s.class_id: s for s in self.rows}

    @cached_property
    def muscles(self) -> tuple[Structure, ...]:
        """All muscles."""
        return tuple(s for s in self.rows if s.is_muscle)

    @cached_property
    def bones(self) -> tuple[Structure, ...]:
        """All bones."""
        return tuple(s for s in self.rows if s.kind is Kind.BONE)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The groups in their order in the table."""
        return tuple(dict.fromkeys(s.group for s in self.rows))

    @cached_property
    def muscle_groups(self) -> tuple[Group, ...]:
        """The groups that hold a muscle."""
        return tuple(group for group in self.groups if any(s.is_muscle for s in self.structures_of(group)))

    @property
    def class_count(self) -> int:
        """Number of classes of a network of all structures, background included."""
        return len(self.rows) + 1

    @cached_property
    def labels(self) -> tuple[Label, ...]:
        """Every value that a label map may hold besides 0: right, left, then side unknown or midline."""
        sided = tuple(Label(s.label_value(side), s, side) for side in SIDES for s in self.rows if s.paired)
        return sided + tuple(Label(s.class_id, s, Side.UNKNOWN if s.paired else Side.MIDLINE) for s in self.rows)

    @cached_property
    def by_value(self) -> dict[int, Label]:
        """The labels by their value."""
        return {label.value: label for label in self.labels}

    @cached_property
    def value_of_name(self) -> dict[str, int]:
        """The values of the labels by their machine name."""
        return {label.name: label.value for label in self.labels}

    @cached_property
    def class_of_value(self) -> bytes:
        """Class id by label value, for arrays: ``numpy.frombuffer(..., numpy.uint8)``; 0 for unused values."""
        return bytes(self.by_value[v].structure.class_id if v in self.by_value else BACKGROUND_ID for v in range(256))

    @cached_property
    def whole_labels(self) -> tuple[Label, ...]:
        """One label for each structure of a body: those of the pairs by side, right first, then the midline."""
        return tuple(label for label in self.labels if label.side is not Side.UNKNOWN)

    def is_bone(self, value: int) -> bool:
        """Tell whether a label value is that of a bone."""
        label = self.by_value.get(value)
        return label is not None and label.structure.kind is Kind.BONE

    @cached_property
    def has_whole_thigh(self) -> bool:
        """Whether all muscles of the built-in thigh groups are here one by one, and nothing else in these groups."""
        return all(
            {s.key for s in self.structures_of(group)} == {s.key for s in STRUCTURES if s.group == group}
            for group in THIGH_GROUPS
        )

    def structures_of(self, group: Group) -> Iterator[Structure]:
        """Return the structures of one group, in the order of their ids."""
        return (s for s in self.rows if s.group == group)


BUILT_IN: Final = StructureTable(STRUCTURES)

MUSCLES: tuple[Structure, ...] = BUILT_IN.muscles
BONES: tuple[Structure, ...] = BUILT_IN.bones
CLASS_COUNT = BUILT_IN.class_count
"""Number of classes of a network, background included: 30."""

BY_KEY: dict[str, Structure] = BUILT_IN.by_key
BY_ID: dict[int, Structure] = BUILT_IN.by_id
LABELS: tuple[Label, ...] = BUILT_IN.labels
"""Every value a label map may hold besides 0: right, left, then side unknown."""

BY_VALUE: dict[int, Label] = BUILT_IN.by_value
CLASS_OF_VALUE: bytes = BUILT_IN.class_of_value
"""Class id by label value, for arrays: ``numpy.frombuffer(CLASS_OF_VALUE, numpy.uint8)``."""


def class_of(value: int) -> int:
    """Return the class id of a label value of any side; 0 for background and for unused values (0..255)."""
    return CLASS_OF_VALUE[value]


def structures_of(group: Group) -> Iterator[Structure]:
    """Return the built-in structures of one group, in the order of their ids."""
    return BUILT_IN.structures_of(group)
