"""What a voxel of a synthetic body is made of: the structures by class id, and the tissues that carry no class.

Files hold the names of tissues, not their numbers, so that a structure more in the anatomy table changes no file.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import IntEnum
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from vastus.anatomy import BONES, BY_ID, BY_KEY, CLASS_COUNT, LARGEST_CLASS_ID, MUSCLES
from vastus.errors import MissingInputError
from vastus.synthesis import kernels


class Tissue(IntEnum):
    """What carries no class. The numbers lie above all class ids that there can ever be; 0 is air."""

    AIR = 0
    FAT = 64
    SKIN = 65
    OTHER_MUSCLE = 66
    OTHER_BONE = 67
    VESSEL = 68
    BOWEL = 69
    GAS = 70
    FLUID = 71
    ORGAN = 72
    TENDON = 73
    CALF_MUSCLE = 74
    METAL = 75
    TABLE = 76
    CLOTH = 77
    SOFT = 78
    CALCIUM = 79
    FRACTURE = 80


TISSUE_COUNT: Final = max(Tissue) + 1
assert min(t for t in Tissue if t is not Tissue.AIR) > LARGEST_CLASS_ID

CLASS_OF_TISSUE = np.array([t if t < CLASS_COUNT else 0 for t in range(TISSUE_COUNT)], dtype=np.uint8)
"""Class id of every tissue id: a look-up table."""

FEMUR: Final = BY_KEY["femur"].class_id
WITHIN_FEMUR: Final = (Tissue.METAL, Tissue.FRACTURE)
"""What looks otherwise but is labelled as femur (the cup of a prosthesis: as hip bone)."""
MUSCLE_IDS: Final = frozenset(m.class_id for m in MUSCLES)
BONE_IDS: Final = tuple(b.class_id for b in BONES)
_KINDS: Final = {
    Tissue.AIR: kernels.AIR,
    Tissue.FAT: kernels.FAT,
    Tissue.SKIN: kernels.SKIN,
    Tissue.BOWEL: kernels.BOWEL,
    Tissue.OTHER_BONE: kernels.BONE,
}


def _kinds() -> np.ndarray[Any, np.dtype[np.uint8]]:
    table = np.full(TISSUE_COUNT, kernels.OTHER, np.uint8)
    for tissue, kind in _KINDS.items():
        table[tissue] = kind
    table[list(BONE_IDS)] = kernels.BONE
    table[FEMUR] = kernels.FEMUR
    return table


KIND_OF_TISSUE: Final = _kinds()
"""How compiled code paints each tissue id (constants of ``kernels``)."""

Values = TypeVar("Values")
"""An array or a tensor."""


def any_of(values: Values, ids: Collection[int]) -> Values:
    """Mask of the voxels that hold one of a few ids; for arrays and for tensors."""
    first, *others = ids
    found: Any = values == first
    for other in others:
        found = found | (values == other)
    return found


def is_muscle(tissue: int) -> bool:
    """Whether a tissue is a muscle: one of the table, or one that carries no class."""
    return tissue in MUSCLE_IDS or tissue in (Tissue.OTHER_MUSCLE, Tissue.CALF_MUSCLE)


# The first files held numbers: the class ids 1..29 as they are, and the tissues from 30 in this order.
_FIRST_NUMBERED: Final = tuple(t for t in Tissue if Tissue.AIR < t <= Tissue.CLOTH)
_FIRST_TISSUE: Final = 30


def tissue_of_part(name: str, tissue: str | int, path: Path) -> int:
    """The tissue of a stored part; a muscle or bone that has become a structure of the table since gets its class.

    Args:
        name: of the part.
        tissue: as ``tissue_of`` takes it.
        path: of the file, for the message.

    Raises:
        MissingInputError: as ``tissue_of``.
    """
    found = tissue_of(tissue, path)
    unclassed = (Tissue.OTHER_MUSCLE, Tissue.CALF_MUSCLE, Tissue.OTHER_BONE)
    return BY_KEY[name].class_id if found in unclassed and name in BY_KEY else found


def name_of(tissue: int) -> str:
    """What a file calls a tissue: the key of a structure, or ``tissue:fat``."""
    return BY_ID[tissue].key if tissue in BY_ID else f"tissue:{Tissue(tissue).name.lower()}"


def tissue_of(name: str | int, path: Path) -> int:
    """The tissue that a file names; the numbers of the first files are read, too.

    Args:
        name: what ``name_of`` gave, or a number of a file without names.
        path: of the file, for the message.

    Raises:
        MissingInputError: this version knows no such structure or tissue.
    """
    if isinstance(name, int):
        if 0 <= name < _FIRST_TISSUE:
            return name
        if 0 <= name - _FIRST_TISSUE < len(_FIRST_NUMBERED):
            return int(_FIRST_NUMBERED[name - _FIRST_TISSUE])
    elif name in BY_KEY:
        return BY_KEY[name].class_id
    elif name.startswith("tissue:") and name[7:].upper() in Tissue.__members__:
        return int(Tissue[name[7:].upper()])
    raise MissingInputError(
        f"The synthetic body holds {name!r}, which this version of Vastus does not know.",
        path=path,
        remedy="Read it with the version that made it, or make it again with `vastus synth`.",
    )
