"""``vastus app``: a page in the browser for everything, without a command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_PORT = 8600


def app(
    folder: Annotated[
        Path | None,
        typer.Option("--folder", metavar="DIR", help="Folder of the results; default: Vastus in your home folder."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", min=0, max=65535, help="Port to listen on; default: 8600, or another free port."),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Bundle of weights; default: the shipped one.")
    ] = None,
    threads: Annotated[int | None, typer.Option("--threads", "-t", min=1, help="Number of processor threads.")] = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in the browser at the start.")
    ] = True,
) -> None:
    """Open a page in the browser to segment scans, enter clinical values, and see, correct and download results."""
    from vastus.annotation.extra import require_server

    require_server("The app")
    typer.echo("vastus app: loading", err=True)
    from vastus.app.program import Start, run

    run(Start(folder or Path.home() / "Vastus", port, _PORT, weights, threads, browser), typer.echo)
