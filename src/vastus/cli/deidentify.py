"""``vastus deidentify``: copies of CT series without what identifies a patient."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def deidentify(
    source: Annotated[Path, typer.Argument(help="DICOM folder, zip or file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the copies; one folder a series in it.")],
    key: Annotated[
        Path, typer.Option("--key", help="Secret file; made if it is not there. The same key gives the same UIDs.")
    ],
) -> None:
    """Copy CT images for research, by PS3.15's basic profile: new names, UIDs and dates, only what is needed kept."""
    from vastus.dicom.deidentify import Pseudonyms, deidentify_folder, load_key
    from vastus.dicom.extra import need
    from vastus.io.library_logs import LibraryLogs

    need("De-identification", "dicomanonymizer")
    # Warnings of pydicom quote what they warn of; a terminal's text ends up in tickets and mails.
    with LibraryLogs(lambda who, kind: None):
        done = deidentify_folder(source, output, Pseudonyms(load_key(key)))
    for warning in done.warnings:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(f"{done.images} images de-identified, {done.left_out} other files left out -> {output}")
