"""``vastus dataset``: open sets of drawn slices, put together with the CTs that they were drawn on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vastus.datasets.split import Split

app = typer.Typer(help="Join an open set of labels with your own download of its CTs.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep ``build`` a command of its own: typer would turn a single command into the group."""


@app.command("build")
def build(
    folder: Annotated[Path, typer.Argument(help="Folder of the open set: labels, index.csv, checksums.csv ...")],
    images: Annotated[
        Path, typer.Option("--images", help="Folder of your download; its subfolders are searched, too.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the data set; must not exist yet.")],
    split: Annotated[
        Split, typer.Option("--split", help="Part of the set; use the test scans for scoring only.")
    ] = Split.TRAIN,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Leave out scans whose CT is missing, instead of stopping.")
    ] = False,
    redraw: Annotated[
        bool, typer.Option("--redraw", help="Draw every mask again from its strokes; stop if a mask differs.")
    ] = False,
    propagate: Annotated[
        bool,
        typer.Option(
            "--propagate", help="Fill between drawn slices (see propagated.csv). Nobody has looked at these slices."
        ),
    ] = False,
    disease: Annotated[
        Path | None,
        typer.Option(
            "--disease", help="Folder of masks of tumours, with the names of the scans; they become background."
        ),
    ] = None,
) -> None:
    """Find each CT by the checksum of its voxels and write imagesTr, labelsTr and dataset.json (nnU-Net layout)."""
    typer.echo("vastus dataset build: loading", err=True)
    from vastus.datasets.building import BuildOptions, build_dataset
    from vastus.datasets.layout import read_open_set

    options = BuildOptions(split, allow_missing, redraw, propagate, disease)
    built = build_dataset(
        read_open_set(folder), images, output, options, on_scan=lambda scan: typer.echo(scan, err=True)
    )
    typer.echo(f"{len(built.scans)} scans with {built.slices} drawn slices ({split.value}): {output}")
    if propagate:
        typer.echo(f"{built.propagated} slices between the drawn ones were filled, not drawn: see propagated.csv")
    if disease is not None:
        typer.echo(f"Masks of disease became background in {len(built.diseased)} scan(s).")
    if built.missing:
        typer.echo(f"Left out because no CT was found: {', '.join(built.missing)}")
