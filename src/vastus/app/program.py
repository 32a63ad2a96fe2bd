"""The program behind ``vastus app``: one server a folder, on the loopback interface."""

from __future__ import annotations

import os
import signal
import socket
import threading
import webbrowser
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvicorn

from vastus.annotation.http.connections import server_config
from vastus.app.http import create
from vastus.app.key import PAGE_PATH, read_key
from vastus.app.layout import AppLayout
from vastus.app.service import App, AppSettings
from vastus.errors import SettingsError
from vastus.io.atomic import ensure_private_folder, write_text
from vastus.io.folder_lock import take_folder_lock
from vastus.io.library_logs import LibraryLogs

HOST: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Start:
    """How the app starts.

    Attributes:
        folder: of the results.
        port: wished for; None: ``usual_port``, or another one where that is taken.
        usual_port: so that a bookmark stays true.
        weights, threads: for the network; None: those of Vastus, and all.
        browser: whether the page is opened.
    """

    folder: Path
    port: int | None
    usual_port: int
    weights: Path | None = None
    threads: int | None = None
    browser: bool = True


def run(start: Start, tell: Callable[[str], object]) -> None:
    """Serve until the program is stopped. Where it runs already on this folder, only open its page.

    Args:
        start: folder, port and so on.
        tell: is given what to print.

    Raises:
        OutputError: the folder can't be written to.
        SettingsError: the wished port is taken.
    """
    os.umask(0o077)
    layout = AppLayout(start.folder.absolute())
    for folder in (layout.root, layout.state):
        ensure_private_folder(folder)
    lock = take_folder_lock(layout.lock)
    if lock is None:
        address = layout.address.read_text(encoding="ascii").strip() if layout.address.is_file() else ""
        tell(f"Vastus is open already: {address.partition('?')[0]}")
        _show(address, start.browser)
        return
    with lock, LibraryLogs(lambda who, kind: None), closing(_listen(start)) as listening:
        served = App(AppSettings(start.folder, start.weights, start.threads))
        key = read_key(layout.key)
        address = f"http://{HOST}:{listening.getsockname()[1]}{PAGE_PATH}?key={key}"
        write_text(layout.address, address + "\n")
        for folder in served.readable_by_others:
            tell(f"warning: others on this computer can read the folder {folder}; make it 0700.")
        tell(f"Vastus is open: {address}")
        tell(f"Results are kept in {layout.root}. Close this window, or press Ctrl-C, to end.")
        served.runner.start()
        config = server_config(create(served, key), graceful_s=2)
        threading.Timer(0.5, _show, (address, start.browser)).start()
        # The server hands a signal on when it has ended: it must not kill the program before that is tidied up.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            with suppress(KeyboardInterrupt):
                uvicorn.Server(config).run(sockets=[listening])
        finally:
            layout.address.unlink(missing_ok=True)
            served.close()
            served.project.close()


def _listen(start: Start) -> socket.socket:
    """The wished port or a refusal; else the usual one, else any."""
    wishes = [start.usual_port, 0] if start.port is None else [start.port]
    for number in wishes:
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            if os.name == "posix":  # elsewhere it would let two programs have the same port
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((HOST, number))
            listening.listen(128)
        except OSError:
            listening.close()
            continue
        return listening
    raise SettingsError(f"Port {start.port} is taken.", remedy="Give another --port, or none.")


def _show(address: str, open_browser: bool) -> None:
    if open_browser and address:
        webbrowser.open(address)
