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
    config: Annotated[Path, typer.Option("--config", help="Settings (TOML); see the how-to for all of them.")],
) -> None:
    """Receive CT series by C-STORE, segment them, send the results on; until Ctrl-C or SIGTERM."""
    if sys.platform == "win32":
        raise SettingsError("The node runs on Linux and macOS only.")
    from vastus.io.library_logs import LibraryLogs
    from vastus.node.config import load_config
    from vastus.node.journal import Journal
    from vastus.node.service import Node

    # The log is ours alone: what libraries print may quote a header.
    os.umask(0o077)
    journal = Journal()
    logs = LibraryLogs(lambda who, kind: journal.log("library message", by=who, kind=kind))
    if os.geteuid() == 0:
        journal.log("warning", about="The node runs as root. Give it an account of its own.")
    running = Node(load_config(config), journal)

    def stop(_signal: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    running.start()
    typer.echo(f"Receiving on port {running.config.port} as {running.config.ae_title}.", err=True)
    try:
        running.wait()
    except KeyboardInterrupt:
        running.stop()
    finally:
        logs.release()
