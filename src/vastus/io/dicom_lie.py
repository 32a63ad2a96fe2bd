"""How the patient lies by the words of DICOM headers, and where these contradict the axes or each other.

``ImageOrientationPatient`` alone places the voxels. The words beside it are written by scanners and people: where they
say otherwise, one of the two is wrong, and left and right may be swapped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from vastus.anatomy import Side
from vastus.io.dicom_headers import SliceHeader
from vastus.io.scan_types import LyingOn, ToldLie

_LYING_ON: Final = {
    "S": LyingOn.BACK,
    "P": LyingOn.FRONT,
    "DR": LyingOn.RIGHT,
    "DL": LyingOn.LEFT,
}
"""By the end of PatientPosition, behind ``HF`` or ``FF`` (head or feet first)."""
_SIDES: Final = {"R": Side.RIGHT, "L": Side.LEFT}
_DIRECTIONS: Final = (("L", "R"), ("P", "A"), ("H", "F"))
"""Letters of PatientOrientation along each axis of DICOM, plus then minus."""
_IN_WORDS: Final = {"R": "right", "L": "left", "A": "front", "P": "back", "H": "head", "F": "feet"}
_OBLIQUE: Final = 0.8
"""Cosine: an axis that is turned farther from those of the patient has no single letter."""
_WHAT_TO_DO: Final = (
    "One of them is wrong. Vastus goes by ImageOrientationPatient: {may_be} Look at the page, and at the scan in a"
    " viewer of the hospital, before you use a number of one side."
)


def told_lie(slices: Sequence[SliceHeader]) -> ToldLie:
    """Read how the body lies from the words of the headers; nothing where slices or attributes disagree."""
    positions = {header.patient_position for header in slices} - {""}
    position = positions.pop() if len(positions) == 1 else ""
    on = _LYING_ON.get(position[2:]) if position[:2] in ("HF", "FF") else None
    words = {word for header in slices for word in header.laterality} & _SIDES.keys()
    unpaired = any("B" in header.laterality for header in slices)
    side = words.pop() if len(words) == 1 and not unpaired else ""
    return ToldLie(
        on,
        _SIDES.get(side),
        f"PatientPosition {position}" if on else "",
        f"{_attribute(slices, side)} {side}" if side else "",
    )


def _attribute(slices: Sequence[SliceHeader], side: str) -> str:
    return "Laterality" if any(header.laterality[0] == side for header in slices) else "ImageLaterality"


def contradictions(slices: Sequence[SliceHeader]) -> Iterator[str]:
    """Warn where words of the headers contradict the axes, or each other."""
    sides = {word for header in slices for word in header.laterality} & _SIDES.keys()
    if len(sides) > 1:
        yield (
            "The DICOM headers contradict each other: by Laterality or ImageLaterality this is a scan of the right side"
            f" and of the left one. {_WHAT_TO_DO.format(may_be='it does not use these words.')}"
        )
    for header in slices:
        wrong = _against_axes(header)
        if wrong:
            yield wrong
            return


def _against_axes(header: SliceHeader) -> str:
    """Say which direction PatientOrientation and ImageOrientationPatient tell differently; empty if none."""
    if len(header.patient_orientation) != 2:
        return ""
    for name, told, axis in zip(
        ("rows", "columns"), header.patient_orientation, (header.orientation[:3], header.orientation[3:]), strict=True
    ):
        number = max(range(3), key=lambda n: abs(axis[n]))
        if not told or told[0] not in _IN_WORDS or abs(axis[number]) < _OBLIQUE:
            continue
        found = _DIRECTIONS[number][0 if axis[number] > 0 else 1]
        if told[0] != found:
            swapped = " and ".join(_IN_WORDS[letter] for letter in _DIRECTIONS[number])
            may_be = f"if it is the wrong one, {swapped} are swapped, and left and right may be."
            return (
                f"The DICOM header contradicts itself: its {name} run to the {_IN_WORDS[told[0]]} by PatientOrientation"
                f" ({told}) and to the {_IN_WORDS[found]} by ImageOrientationPatient."
                f" {_WHAT_TO_DO.format(may_be=may_be)}"
            )
    return ""
