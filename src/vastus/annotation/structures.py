"""The table of structures as clients get it."""

from __future__ import annotations

from typing import Any

from vastus.anatomy import BUILT_IN, SIDES, Label, StructureTable


def structure_rows(table: StructureTable = BUILT_IN) -> list[dict[str, Any]]:
    """One row a label value: right, left, then those without a side."""
    return [_row(label) for label in table.labels]


def display_name(label: Label) -> str:
    """For a person: ``Vastus lateralis, left``."""
    name = label.structure.english
    return f"{name}, {label.side.value}" if label.side in SIDES else name


def name_of_value(value: int, table: StructureTable) -> str:
    """The same for a label value; empty for one that the table does not know."""
    return display_name(table.by_value[value]) if value in table.by_value else ""


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
