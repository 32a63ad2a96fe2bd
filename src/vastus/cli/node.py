"""``vastus node``: a DICOM node that a PACS can send to."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from vastus.errors import SettingsError


def node(
    config: Annotated[
        Path, typer.Option("--config", help="TOML file with the settings; the how-to page lists all of them.")
    ],
) -> None:
    """Receive CT series by C-STORE, segment them and send the results on, until Ctrl-C or SIGTERM."""
    if sys.platform == "win32":
        raise SettingsError("The node runs on Linux and macOS only.")
    from vastus.io.library_logs import LibraryLogs
    from vastus.node.config import load_config
    from vastus.node.event_log import EventLog
    from vastus.node.service import Node

    # The log is ours alone: what libraries print may quote a header.
    os.umask(0o077)
    event_log = EventLog()
    with LibraryLogs(lambda who, kind: event_log.log("library message", by=who, kind=kind)):
        if os.geteuid() == 0:
            event_log.log("warning", about="The node runs as root. Give it an account of its own.")
        running = Node(load_config(config), event_log)

        def stop(_signal: int, _frame: Any) -> None:
            raise KeyboardInterrupt

        signal.signal(signal.SIGTERM, stop)
        running.start()
        typer.echo(f"Receiving on port {running.config.port} as {running.config.ae_title}.", err=True)
        try:
            running.wait()
        except KeyboardInterrupt:
            running.stop()
