"""``vastus preview``: a picture of a scan, with or without labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def preview(
    ct: Annotated[Path, typer.Argument(help="CT scan: NIfTI, NRRD, MetaImage, or a DICOM folder or zip.")],
    labels: Annotated[
        Path | None, typer.Argument(help="Label map of the scan; without it only the CT is shown.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG file to write.")] = Path("preview.png"),
    title: Annotated[str, typer.Option("--title", help="Title above the pictures.")] = "",
    series: Annotated[str | None, typer.Option("--series", help="DICOM series to read, if there are several.")] = None,
) -> None:
    """Draw six axial slices and one coronal slice as a PNG: the CT above, the labels in colour below."""
    typer.echo("vastus preview: loading", err=True)
    from vastus.errors import SettingsError
    from vastus.io.atomic import ensure_folder
    from vastus.io.labels import read_labels_on
    from vastus.io.scans import read_scan
    from vastus.report.montage import write_montage

    if output.suffix.lower() != ".png":
        raise SettingsError("The picture is a PNG.", path=output, remedy="End the name after -o with .png.")
    scan = read_scan(ct, series=series)
    label_map = None
    if labels is not None:
        read = read_labels_on(labels, scan.volume, ct)
        label_map = read.volume
        for warning in read.warnings:
            typer.echo(f"vastus: {labels.name}: {warning}", err=True)
    ensure_folder(output.parent)
    write_montage(output, scan.volume, label_map, title=title)
    typer.echo(f"Picture: {output}")
