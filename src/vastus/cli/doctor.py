"""``vastus doctor``: what is there, what is missing, how fast this machine is."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of text.")] = False,
    test: Annotated[bool, typer.Option("--test/--no-test", help="Segment a small drawn body and time it.")] = True,
    threads: Annotated[int | None, typer.Option(help="Threads of the network.", min=1)] = None,
) -> None:
    """Say what is installed, what is missing and how to get it, whether it works, and how fast. Exit code 1: broken."""
    import json

    if test and not as_json:
        typer.echo("Looking; the first time this takes a minute or two, as loops are compiled.", err=True)
    from vastus.doctor.examination import as_dict, as_text, examine

    seen = examine(test=test, threads=threads)
    typer.echo(json.dumps(as_dict(seen), indent=2) if as_json else as_text(seen))
    if not seen.works:
        raise typer.Exit(1)
