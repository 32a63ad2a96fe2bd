"""``vastus deidentify``: copies of CT series without what identifies a patient."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def deidentify(
    source: Annotated[Path, typer.Argument(help="DICOM folder, zip or file.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the copies; each series gets its own folder there.")
    ],
    key: Annotated[
        Path,
        typer.Option("--key", help="Secret key file; made if it does not exist. The same key gives the same UIDs."),
    ],
) -> None:
    """Copy CT images without patient data (basic profile of PS3.15): new names, UIDs and dates."""
    from vastus.dicom.deidentify import Pseudonyms, deidentify_folder, load_key
    from vastus.dicom.extra import need
    from vastus.io.library_logs import LibraryLogs

    need("De-identification", "dicomanonymizer")
    # Warnings of pydicom quote the values in question, and the text of a terminal ends up in tickets and mails.
    with LibraryLogs(lambda who, kind: None):
        done = deidentify_folder(source, output, Pseudonyms(load_key(key)))
    for warning in done.warnings:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(f"{done.images} images de-identified, {done.left_out} other files left out -> {output}")
    if done.failures:
        for failure in done.failures:
            typer.echo(f"vastus: {failure.name}: {failure.problem}", err=True)
        typer.echo(f"vastus: {len(done.failures)} folder(s) with a damaged file; nothing of them was kept.", err=True)
        raise typer.Exit(done.failures[0].exit_code)
