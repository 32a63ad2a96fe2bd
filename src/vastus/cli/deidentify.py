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
    """Copy CT images for research: names, UIDs, dates and private attributes replaced by PS3.15's basic profile."""
    from vastus.dicom.deidentify import Pseudonyms, deidentify_folder, load_key
    from vastus.dicom.extra import need

    need("De-identification", "dicomanonymizer")
    done = deidentify_folder(source, output, Pseudonyms(load_key(key)))
    for warning in done.warnings:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(f"{done.images} images de-identified, {done.left_out} other files left out -> {output}")
