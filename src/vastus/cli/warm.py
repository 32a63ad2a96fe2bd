"""``vastus warm``: prepare networks and loops before the first run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vastus.garbage import no_collecting
from vastus.inference.choices import RuntimeOptions


def warm(
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Folder of a bundle, or the name of a shipped one.")
    ] = None,
    threads: Annotated[int | None, typer.Option("--threads", "-t", min=1, help="Number of processor threads.")] = None,
) -> None:
    """Prepare networks and loops before the first `segment`: after an installation, or in a container image."""
    import time

    start = time.perf_counter()
    typer.echo("Compiling; this takes up to a minute, once.", err=True)
    from vastus.inference.bundle import default_bundle, load_bundle
    from vastus.inference.predictor import Predictor
    from vastus.warm import warm as run

    with no_collecting():
        run(Predictor(load_bundle(weights) if weights else default_bundle(), RuntimeOptions(threads=threads)))
    typer.echo(f"Ready after {time.perf_counter() - start:.0f} s: the next runs start at once.")
