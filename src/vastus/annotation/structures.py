"""The anatomy table as clients get it."""

from __future__ import annotations

from typing import Any

from vastus.anatomy import LABELS, Label, Side


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
        "group_title": structure.group.title,
        "group_also": structure.group.also,
        "abbreviation": structure.abbreviation,
    }
