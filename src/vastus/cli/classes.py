"""``vastus classes``: the label values and what they mean."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from vastus.anatomy import LABELS, Label, Side


def classes(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list instead of a table.")] = False,
    colour_table: Annotated[bool, typer.Option("--ctbl", help="Print a colour table for 3D Slicer instead.")] = False,
) -> None:
    """List the values of a label map: structure, side, group and colour."""
    sided = [label for label in LABELS if label.side is not Side.UNKNOWN]
    if as_json:
        typer.echo(json.dumps([_row(label) for label in sided], indent=2))
    elif colour_table:
        typer.echo("# Color table file: vastus label values\n0 background 0 0 0 0")
        for label in LABELS:
            red, green, blue = label.structure.colour
            typer.echo(f"{label.value} {label.name} {red} {green} {blue} 255")
    else:
        typer.echo(f"{'value':>5}  {'structure':<22}{'side':<7}{'group':<11}Latin")
        for label in sided:
            s = label.structure
            typer.echo(f"{label.value:>5}  {s.english:<22}{label.side.value:<7}{s.group.value:<11}{s.latin}")


def _row(label: Label) -> dict[str, object]:
    """Everything that a program may know a label by; null where there is nothing to trust."""
    from vastus.importing.name_tables import totalsegmentator_name

    structure = label.structure
    return {
        "value": label.value,
        "key": label.name,
        "structure": structure.key,
        "side": label.side.value,
        "english": structure.english,
        "latin": structure.latin,
        "abbreviation": structure.abbreviation,
        "group": structure.group.value,
        "colour": list(structure.colour),
        "snomed": None if structure.code is None else structure.code.value,
        "totalsegmentator": totalsegmentator_name(label),
    }
