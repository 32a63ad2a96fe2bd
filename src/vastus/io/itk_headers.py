"""What the text header of a NRRD or MetaImage says about sizes, units and orientation, where ITK is silent."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Final

from vastus.errors import GeometryError, UnsupportedScanError
from vastus.io.itk_bytes import check_voxel_bytes

_MOST_BYTES = 1 << 20
_MM_OF_UNIT: Final = {
    "mm": 1.0,
    "millimeter": 1.0,
    "millimeters": 1.0,
    "millimetre": 1.0,
    "millimetres": 1.0,
    "cm": 10.0,
    "centimeter": 10.0,
    "centimeters": 10.0,
    "centimetre": 10.0,
    "m": 1000.0,
    "meter": 1000.0,
    "meters": 1000.0,
    "metre": 1000.0,
    "um": 0.001,
    "µm": 0.001,
    "micrometer": 0.001,
    "micrometers": 0.001,
    "micron": 0.001,
    "microns": 0.001,
    "micrometre": 0.001,
}
_KNOWN_SPACES: Final = (
    "left-posterior-superior",
    "lps",
    "right-anterior-superior",
    "ras",
    "left-anterior-superior",
    "las",
)
NO_ORIENTATION: Final = (
    "The file says no orientation ({what}): left and right, front and back, head and feet are guessed. The sides may be"
    " swapped. Export the scan again with its orientation."
)


def check_text_header(path: Path) -> tuple[float, tuple[str, ...]]:
    """Return the factor that brings the lengths of the file to mm, and warnings.

    Raises:
        GeometryError: no voxel sizes, ones that are no numbers, or units that differ or are not known.
        UnreadableScanError: the file breaks off, or is longer than it says.
        UnsupportedScanError: a scale of its values that other programs do not apply.
    """
    fields = _fields(path)
    check_voxel_bytes(path, fields)
    if path.name.lower().endswith((".mha", ".mhd")):
        return _check_meta_image(fields, path)
    return _check_nrrd(fields, path)


def _fields(path: Path) -> dict[str, str]:
    """Return the fields by name, in lower case without spaces; key/value pairs of NRRD are left out."""
    with path.open("rb") as file:
        head = file.read(_MOST_BYTES)
    nrrd = head.startswith(b"NRRD")
    if nrrd:
        head = re.split(rb"\r?\n\r?\n", head, maxsplit=1)[0]
    fields: dict[str, str] = {}
    for raw in head.splitlines():
        line = raw.decode("utf-8", "replace")
        name, sign, value = line.partition(":" if nrrd else "=")
        if not sign or line.startswith("#") or (nrrd and value.startswith("=")):
            continue
        fields[re.sub(r"\s", "", name).lower()] = value.strip()
        if not nrrd and name.strip() == "ElementDataFile":
            break
    return fields


def _check_nrrd(fields: dict[str, str], path: Path) -> tuple[float, tuple[str, ...]]:
    directions = fields.get("spacedirections")
    sizes = _numbers(directions if directions is not None else fields.get("spacings", ""))
    if not sizes:
        raise _no_sizes("neither 'space directions' nor 'spacings'", path)
    if not all(math.isfinite(s) for s in sizes) and directions is not None:
        raise _no_sizes("'space directions' that are no numbers", path)
    if directions is None and sum(math.isfinite(s) and s > 0 for s in sizes) < 3:
        raise _no_sizes("'spacings' that are no numbers", path)
    units = re.findall(
        r'"([^"]*)"', fields.get("spaceunits", "" if directions is not None else fields.get("units", ""))
    )
    space = fields.get("space", "").lower()
    warnings: tuple[str, ...] = ()
    if directions is None:
        warnings = (NO_ORIENTATION.format(what="no 'space directions'"),)
    elif not space.startswith(_KNOWN_SPACES):
        warnings = (NO_ORIENTATION.format(what=f"its 'space' is '{space}'" if space else "no 'space'"),)
    return _factor(units, path, warnings)


def _check_meta_image(fields: dict[str, str], path: Path) -> tuple[float, tuple[str, ...]]:
    text = fields.get("elementspacing", fields.get("elementsize", ""))
    sizes = _numbers(text)
    if not sizes or not all(math.isfinite(s) and s > 0 for s in sizes):
        raise _no_sizes("no usable ElementSpacing", path)
    slope, offset = (
        _numbers(fields.get(f"elementtointensityfunction{name}", plain))[:1]
        for name, plain in (("slope", "1"), ("offset", "0"))
    )
    if slope != [1.0] or offset != [0.0]:
        raise UnsupportedScanError(
            "The header says that its values are scaled (ElementToIntensityFunctionSlope, -Offset), which most programs"
            " ignore.",
            path=path,
            remedy="Export it again with the values themselves.",
        )
    known = {"transformmatrix", "rotation", "orientation", "directioncosines"} & fields.keys()
    warnings = () if known else (NO_ORIENTATION.format(what="no TransformMatrix"),)
    unit = fields.get("distanceunits", "").strip()
    return _factor([unit] if unit and unit != "?" else [], path, warnings)


def _factor(units: list[str], path: Path, warnings: tuple[str, ...]) -> tuple[float, tuple[str, ...]]:
    named = {unit.strip().lower() for unit in units if unit.strip() not in ("", "?", "???", "s", "sec")}
    if not named:
        return 1.0, warnings
    factors = {_MM_OF_UNIT.get(unit) for unit in named}
    factor = factors.pop() if len(factors) == 1 else None
    if factor is None:
        raise GeometryError(
            f"The sizes are in units that are not known or differ: {', '.join(sorted(named))}.",
            path=path,
            remedy="Export it again with its sizes in mm.",
        )
    if factor != 1.0:
        warnings += (f"The sizes were converted from {' and '.join(sorted(named))} to mm.",)
    return factor, warnings


def _numbers(text: str) -> list[float]:
    found = re.findall(r"[-+]?(?:nan|inf|\d[\d.]*(?:e[-+]?\d+)?|\.\d+(?:e[-+]?\d+)?)", text.lower())
    return [float(value) if value.count(".") < 2 else math.nan for value in found]


def _no_sizes(what: str, path: Path) -> GeometryError:
    return GeometryError(
        f"The header says no voxel sizes ({what}).",
        path=path,
        remedy="Export it again: without them there is no volume.",
    )
