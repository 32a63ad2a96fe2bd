"""``vastus import-labels``: labels of other programs and people, brought into a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vastus.importing.importer import Imported


def import_labels(
    sources: Annotated[
        list[Path] | None,
        typer.Argument(help="Label maps, SEG or RTSTRUCT files, folders of masks or of cases, or an nnU-Net data set."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the data set; must not exist yet.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option("--images", help="The CT, or the folder of CTs that are called like the labels.")
    ] = None,
    names: Annotated[
        str | None, typer.Option("--names", help="Table of names: CSV (value, name, ours), JSON, or a shipped one.")
    ] = None,
    background: Annotated[
        list[str] | None, typer.Option("--background", help="A name that is background to you (repeatable).")
    ] = None,
    join_sides: Annotated[bool, typer.Option("--join-sides", help="Left and right become one label.")] = False,
    list_tables: Annotated[
        bool, typer.Option("--list-names", help="List the shipped tables of names, and end.")
    ] = False,
) -> None:
    """Bring labels of TotalSegmentator, MuscleMap, nnU-Net, 3D Slicer, RTSTRUCT or SEG into a data set."""
    typer.echo("vastus import-labels: looking for labels and scans", err=True)
    from vastus.errors import SettingsError
    from vastus.importing.name_tables import UserTable, read_user_table, shipped_names, table_names
    from vastus.importing.name_tables import sources as origins

    if list_tables:
        for table in table_names():
            origin = origins()[table.split("-")[0]]
            typer.echo(f"{table:<30}{len(shipped_names(table)):>4} names   {origin['source']}")
        return
    if not sources or output is None:
        raise SettingsError("Which labels, and where to?", remedy="vastus import-labels LABELS --images CTS -o FOLDER")
    user = UserTable()
    if names is not None:
        user = read_user_table(Path(names)) if Path(names).is_file() else UserTable(shipped_names(names))

    from vastus.importing.discovery import find_cases
    from vastus.importing.importer import ImportOptions
    from vastus.importing.importer import import_labels as bring_in

    options = ImportOptions(user, user.names, tuple(background or ()), join_sides)
    cases = find_cases(sources, images)
    imported = bring_in(cases, output, options, lambda line: typer.echo(line, err=True))
    _tell(imported, output)
    if imported.failures:
        failed = ", ".join(failure.name for failure in imported.failures)
        typer.echo(
            f"vastus: {len(imported.failures)} of {len(cases)} cases could not be brought in: {failed}", err=True
        )
        raise typer.Exit(imported.failures[0].exit_code)


def _tell(imported: Imported, output: Path) -> None:
    from vastus.importing.importer import MAPPING_FILE, SHEET_FILE, UNMAPPED_FILE

    for name, members in imported.merged.items():
        typer.echo(f"{name}: one of {', '.join(members)}")
    lost = sorted((row for row in imported.rows if not row.mapped and row.voxels), key=lambda row: -row.mm3)
    if lost:
        shown = ", ".join(f"{row.name} {row.mm3 / 1000:.0f} mL" for row in lost[:10])
        more = f" and {len(lost) - 10} more" if len(lost) > 10 else ""
        typer.echo(f"Did not map, so 255 (nobody can tell): {shown}{more}. All in {output / UNMAPPED_FILE}")
    mapped = sum(row.mapped and row.voxels > 0 for row in imported.rows)
    typer.echo(f"{len(imported.cases)} case(s), {mapped} names mapped: {output}; what became of each: {MAPPING_FILE}")
    typer.echo(f"Look at {output / SHEET_FILE} before you train.")
