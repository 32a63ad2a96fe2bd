"""``vastus add-person``: a label map as one more person of an atlas."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from vastus.errors import OutputError, SettingsError

WHOLE = "vh[fm]"
"""The people of the mesh pack, of whom everything is known."""


def add_person(
    labels: Annotated[Path, typer.Argument(help="Label map of a person: both hips, and as much more as there is.")],
    atlas_folder: Annotated[Path, typer.Option("--atlas", help="Folder made by `vastus atlas`; the person is added.")],
    names: Annotated[
        str | None, typer.Option("--names", help="Table of names: CSV (value, name, ours), JSON, or a shipped one.")
    ] = None,
    skin: Annotated[
        Path | None, typer.Option("--skin", help="Mask of the body on the same grid (image > 0 under the skin).")
    ] = None,
    person: Annotated[
        str | None, typer.Option("--person", help="Name of the person in the atlas; default: that of the file.")
    ] = None,
    like: Annotated[
        str, typer.Option("--like", help="Who completes what is not drawn: people of the atlas; the best fit is taken.")
    ] = WHOLE,
) -> None:
    """Add a person to the atlas from a label map; what is not drawn comes from a whole person, bent to fit."""
    typer.echo("vastus add-person: reading the label map", err=True)
    from dataclasses import replace

    from vastus.cli.synth import load_people
    from vastus.importing.drawn_labels import read_drawn
    from vastus.importing.label_maps import label_stem
    from vastus.importing.name_tables import UserTable, read_user_table, shipped_names
    from vastus.synthesis.atlas import save_atlas
    from vastus.synthesis.graft import grafted_person

    name = person or label_stem(labels)
    if not re.fullmatch(r"[\w.-]+", name):
        raise SettingsError(f"{name!r} is no name of a person.", remedy="Letters, digits, dots, _ and -; see --person.")
    path = atlas_folder / f"atlas_{name}.npz"
    if path.exists():
        raise OutputError("The atlas has a person of this name.", path=path, remedy="Choose another with --person.")
    user = UserTable()
    if names is not None:
        user = read_user_table(Path(names)) if Path(names).is_file() else UserTable(shipped_names(names))
    whole = load_people(atlas_folder, [like])
    drawn = read_drawn(labels, user, skin, lambda line: typer.echo(line, err=True))
    low, high = drawn.seen_mm
    typer.echo(f"{len(drawn.names)} names, {high - low:.0f} mm of the body; matching with {len(whole)}", err=True)
    made = grafted_person(drawn, whole)
    save_atlas(replace(made.atlas, made_from=(name, *made.whole.made_from)), path)
    before, after = made.match.miss_mm
    typer.echo(
        f"{path}: {len(made.atlas.parts)} structures; completed by {made.whole.person.value};"
        f" surfaces {before:.1f} mm apart, {after:.1f} mm once matched"
    )
