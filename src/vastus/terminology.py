"""Coded terms of structures and sides, the same in DICOM and in 3D Slicer.

SNOMED CT where ``anatomy`` holds a code that two sources agree on; else the private scheme 99VASTUS, whose code
values are the stable keys of ``anatomy``. A wrong standard code would be worse than a private one.
"""

from __future__ import annotations

from typing import Final

from vastus.anatomy import CODE_LEFT, CODE_RIGHT, Code, Coding, Side, Structure
from vastus.errors import OutputError

SCHEME: Final = "99VASTUS"
SCHEME_NAME: Final = "Vastus muscle and bone structures"
ANATOMICAL_STRUCTURE: Final = Code("SCT", "91723000", "Anatomical Structure")


def structure_code(structure: Structure) -> Code:
    """Give the code of a structure, without its side.

    Raises:
        OutputError: nobody has decided yet which code the structure has.
    """
    if structure.snomed is Coding.UNDECIDED:
        raise OutputError(
            f"Nobody has decided which DICOM code {structure.english} has.",
            remedy=f"Give the row {structure.key!r} of src/vastus/anatomy.py a `snomed`: a SNOMED CT code on which two"
            " independent sources agree, or Coding.PRIVATE.",
        )
    return structure.code or Code(SCHEME, _short(structure.key), structure.english)


def side_code(side: Side) -> Code | None:
    """Give the code of a side; None where it is not known, or in the midline."""
    return {Side.RIGHT: CODE_RIGHT, Side.LEFT: CODE_LEFT}.get(side)


def _short(key: str) -> str:
    """Shorten a code value, which has at most 16 characters (VR SH): longer keys lose their vowels but a first one."""
    if len(key) <= 16:
        return key
    return (key[0] + "".join(c for c in key[1:] if c not in "aeiou"))[:16]
