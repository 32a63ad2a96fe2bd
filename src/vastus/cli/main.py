"""``vastus``: the commands gathered, and errors turned into one line and an exit code."""

from __future__ import annotations

import copy
import errno
import io
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from vastus.cli import (
    add_person,
    annotate,
    batch,
    check_labels,
    classes,
    cohort,
    crossval,
    dataset,
    deidentify,
    doctor,
    evaluate,
    export,
    import_labels,
    measure,
    mix_people,
    node,
    preview,
    pseudo_label,
    segment,
    synth,
    train,
    warm,
)
from vastus.cli import (
    app as app_command,
)
from vastus.errors import SettingsError, VastusError
from vastus.version import __version__

app = typer.Typer(
    name="vastus",
    help="Label each thigh and hip muscle in a hip-to-knee CT. For research; not a medical device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

# One line a command, in the order of --help.
app.command("app")(app_command.app)
app.command("segment")(segment.segment)
app.command("batch")(batch.batch)
app.command("classes")(classes.classes)
app.command("measure")(measure.measure)
app.command("preview")(preview.preview)
app.command("evaluate")(evaluate.evaluate)
app.command("cohort")(cohort.cohort)
app.command("atlas")(synth.atlas)
app.command("add-person")(add_person.add_person)
app.command("mix-people")(mix_people.mix_people)
app.command("synth")(synth.synth)
app.command("import-labels")(import_labels.import_labels)
app.command("train")(train.train)
app.command("crossval")(crossval.crossval)
app.command("pseudo-label")(pseudo_label.pseudo_label)
app.command("export")(export.export)
app.command("annotate")(annotate.annotate)
app.command("check-labels")(check_labels.check_labels)
app.add_typer(dataset.app, name="dataset")
app.command("node")(node.node)
app.command("deidentify")(deidentify.deidentify)
app.command("doctor")(doctor.doctor)
app.command("warm")(warm.warm)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"vastus {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None:
    """Options of the program itself; commands follow."""


def run() -> None:
    """Entry point of the ``vastus`` program."""
    _print_anything()
    try:
        program(sys.argv[1:])()
    except VastusError as error:
        typer.echo(f"vastus: {type(error).__name__}: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        named = SettingsError(
            "A name is longer than this system takes.",
            path=Path(str(error.filename or "")),
            remedy="Give a shorter name of the file or folder.",
        )
        typer.echo(f"vastus: {type(named).__name__}: {named}", err=True)
        sys.exit(named.exit_code)
    except SystemExit as stop:
        if stop.code == segment.INTERRUPTED:  # typer turns Ctrl-C into this exit code
            typer.echo(segment.STOPPED, err=True)
            _leave(segment.INTERRUPTED)
        if not stop.code and sys.argv[1:2] in (["segment"], ["measure"], ["cohort"], ["evaluate"]):
            _leave(0)
        raise


def program(arguments: Sequence[str]) -> typer.Typer:
    """Return the program for a call: with the one command that is called, or with all where none of them is.

    To set out the options of all commands takes as long as to import some of them.

    Args:
        arguments: of the call, without the name of the program.
    """
    asked = [command for command in app.registered_commands if command.name in arguments[:1]]
    if not asked:
        return app
    narrowed = copy.copy(app)
    narrowed.registered_commands, narrowed.registered_groups = asked, []
    return narrowed


def _print_anything() -> None:
    """Put a question mark for a character that a terminal does not have (those of Windows, when written to a file)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not stream.encoding.lower().startswith("utf"):
            stream.reconfigure(errors="replace")


def _leave(code: int) -> NoReturn:
    """End the process at once: everything is cleaned up, and the libraries would need up to two seconds to unload."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
