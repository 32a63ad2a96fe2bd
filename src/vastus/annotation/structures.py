"""The anatomy table as clients get it."""

from __future__ import annotations

from typing import Any, Final

from vastus.anatomy import LABELS, Label, Side

ABBREVIATIONS: Final[dict[str, str]] = {
    "sartorius": "SAR",
    "rectus_femoris": "RF",
    "vastus_lateralis": "VL",
    "vastus_intermedius": "VI",
    "vastus_medialis": "VM",
    "adductor_magnus": "AM",
    "adductor_brevis": "AB",
    "adductor_longus": "AL",
    "gracilis": "GRA",
    "pectineus": "PEC",
    "semitendinosus": "ST",
    "semimembranosus": "SM",
    "biceps_femoris": "BF",
    "gluteus_maximus": "GMAX",
    "gluteus_medius": "GMED",
    "gluteus_minimus": "GMIN",
    "tensor_fasciae_latae": "TFL",
    "piriformis": "PIR",
    "obturator_internus": "OI",
    "obturator_externus": "OE",
    "quadratus_femoris": "QF",
    "iliacus": "ILI",
    "iliopsoas": "IP",
    "psoas": "PSO",
    "abdominal_oblique": "OBL",
    "rectus_abdominis": "RA",
    "multifidus": "MUL",
    "femur": "FEM",
    "hip_bone": "HIP",
}
"""Usual short names in the reading of thigh scans; each is unique."""


def structure_rows() -> list[dict[str, Any]]:
    """One row a label value: right, left, then those without a side."""
    return [_row(label) for label in LABELS]


def display_name(label: Label) -> str:
    """For a person: ``Vastus lateralis, left``."""
    name = label.structure.english
    return name if label.side is Side.UNKNOWN else f"{name}, {label.side.value}"


def _row(label: Label) -> dict[str, Any]:
    structure = label.structure
    return {
        "value": label.value,
        "key": structure.key,
        "name": structure.english,
        "side": label.side.value,
        "colour": "#{:02x}{:02x}{:02x}".format(*structure.colour),
        "group": structure.group.value,
        "abbreviation": ABBREVIATIONS[structure.key],
    }
