"""Coded concepts of structures and measurements.

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
COMPUTED_TOMOGRAPHY: Final = Code("SCT", "77477000", "Computed tomography")
VOLUME: Final = Code("SCT", "118565006", "Volume")
AREA: Final = Code("SCT", "42798000", "Area")
ATTENUATION: Final = Code("DCM", "112031", "Attenuation Coefficient")
MEAN: Final = Code("SCT", "373098007", "Mean")
MAXIMUM: Final = Code("SCT", "56851009", "Maximum")
LARGEST_SLICE: Final = Code(SCHEME, "largest_slice_area", "Largest cross-section among the slices")
CUT_BY_SCAN: Final = Code(SCHEME, "cut_by_scan", "Cut by the edge of the scan")
FRAGMENT: Final = Code(SCHEME, "fragment", "Fragment, too small to be the structure")
YES: Final = Code("SCT", "373066001", "Yes")
NO: Final = Code("SCT", "373067005", "No")
ARTIFICIAL_INTELLIGENCE: Final = Code("DCM", "113239", "Artificial Intelligence")

CUBIC_MILLIMETRE: Final = Code("UCUM", "mm3", "cubic millimeter")
SQUARE_MILLIMETRE: Final = Code("UCUM", "mm2", "square millimeter")
HOUNSFIELD_UNIT: Final = Code("UCUM", "[hnsf'U]", "Hounsfield unit")


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
    """The laterality; None where the side is not known."""
    return {Side.RIGHT: CODE_RIGHT, Side.LEFT: CODE_LEFT, Side.UNKNOWN: None}[side]


def _short(key: str) -> str:
    """A code value has at most 16 characters (VR SH): longer keys lose their vowels after the first letter."""
    if len(key) <= 16:
        return key
    return (key[0] + "".join(c for c in key[1:] if c not in "aeiou"))[:16]
