"""``vastus annotate``: a server on which labels are corrected, in 3D Slicer or in the browser."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vastus.errors import SettingsError
from vastus.inference.choices import Device, PrecisionChoice, RuntimeName, RuntimeOptions

if TYPE_CHECKING:
    from vastus.annotation.project.project import Project

_EVERYWHERE = frozenset({"0.0.0.0", "::"})
_OPEN_FILES = 1 << 16
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def annotate(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="Folder of scans; the server also writes its own folders there."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels", help="Label maps of these scans, e.g. labelsTr: the first version of those without one."
        ),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; other than this machine only with --users.")
    ] = ("127.0.0.1"),
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on.")] = 8000,
    users: Annotated[Path | None, typer.Option("--users", help="File of users; then everybody must sign in.")] = None,
    add_user: Annotated[
        str | None, typer.Option("--add-user", help="Add this user to the users file, ask for the password, and stop.")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option("--allow-host", help="Name that users type to reach the server (repeatable).")
    ] = None,
    weights: Annotated[Path | None, typer.Option("--weights", help="Bundle of weights to start with.")] = None,
    structures: Annotated[
        Path | None,
        typer.Option(
            "--structures", help="Table of structures of your own (structure_table.csv); default: that of the weights."
        ),
    ] = None,
    train_config: Annotated[
        Path | None, typer.Option("--train-config", help="Training settings, TOML or JSON (see vastus train).")
    ] = None,
    device: Annotated[Device, typer.Option("--device", help="Device on which networks run and train.")] = Device.AUTO,
    threads: Annotated[int | None, typer.Option("--threads", "-t", min=1, help="Number of processor threads.")] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=0, help="Number of processes that prepare training windows.")
    ] = 1,
    max_upload_mb: Annotated[
        int, typer.Option("--max-upload-mb", min=1, help="Largest body of a request, in MiB.")
    ] = 1024,
    certificate: Annotated[
        Path | None, typer.Option("--tls-certificate", help="PEM file of the certificate, for https.")
    ] = None,
    key: Annotated[Path | None, typer.Option("--tls-key", help="PEM file of the key of the certificate.")] = None,
) -> None:
    """Serve scans for correction in 3D Slicer (MONAI Label) or the browser; retrain; suggest the next scan."""
    from vastus.annotation.extra import require_server

    if add_user is not None:
        _add_user(users, add_user)
        return
    if folder is None:
        raise SettingsError("The folder of scans is missing.", remedy="Give it: vastus annotate DIR")
    if host not in _LOOPBACK:
        _look_at_safety(host, users, allow_host, certificate)
    require_server("The annotation server")
    typer.echo("vastus annotate: loading", err=True)
    import uvicorn

    from vastus.annotation.hosts import LOOPBACK_HOSTS
    from vastus.annotation.http.app import create_app, guarded
    from vastus.annotation.http.connections import server_config
    from vastus.annotation.models.trainer import TrainerSettings, read_train_settings
    from vastus.annotation.project.project import Project, ServerSettings
    from vastus.annotation.project.users import Accounts, read_users
    from vastus.io.library_logs import LibraryLogs

    names = frozenset(name.lower() for name in allow_host or [])
    hosts = LOOPBACK_HOSTS | names | (frozenset({host.lower()}) - _EVERYWHERE)
    training = TrainerSettings(
        read_train_settings(train_config) if train_config else {},
        "cuda" if device is Device.CUDA else "cpu",
        threads,
        workers,
    )
    settings = ServerSettings(
        folder,
        weights,
        RuntimeOptions(device, RuntimeName.AUTO, PrecisionChoice.AUTO, threads),
        training,
        hosts,
        max_upload_mb << 20,
        structures=structures,
    )
    with closing(_listen(host, port)) as listening, _own_records_on_terminal(), LibraryLogs(_tell_source):
        # Only its owner may read what the server writes. The log holds our messages only: libraries may quote headers.
        os.umask(0o077)
        _many_connections()
        project = Project(settings, Accounts(read_users(users)) if users else None)
        try:
            _take_labels(project, labels)
            _announce(project, _address(host, listening.getsockname()[1], secure=certificate is not None))
            config = server_config(
                guarded(create_app(project), project),
                graceful_s=5,
                certificate=str(certificate) if certificate else None,
                key=str(key) if key else None,
            )
            project.warm()
            uvicorn.Server(config).run(sockets=[listening])
        finally:
            project.close()


def _look_at_safety(host: str, users: Path | None, names: list[str] | None, certificate: Path | None) -> None:
    """Refuse or warn where other machines can reach the server.

    Raises:
        SettingsError: nobody has to sign in, or the server can't know its own name.
    """
    if users is None:
        raise SettingsError(
            f"On {host} other machines can reach the server, so its users must sign in.",
            remedy="Make a users file: vastus annotate --add-user NAME --users FILE",
        )
    if host in _EVERYWHERE and not names:
        raise SettingsError(
            f"On {host} the server can't know its own name.", remedy="Give the name that users type: --allow-host NAME."
        )
    if certificate is None:
        typer.echo("warning: passwords and scans travel unencrypted. Give --tls-certificate and --tls-key,", err=True)
        typer.echo("or let a proxy on this machine do TLS, and listen on 127.0.0.1.", err=True)


def _address(host: str, port: int, *, secure: bool) -> str:
    return f"{'https' if secure else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def _announce(project: Project, address: str) -> None:
    """Say where the server listens, and what about its folder and account is unsafe."""
    typer.echo(f"{len(project.cases.all())} scans. Viewer and 3D Slicer: {address}", err=True)
    if not project.table.is_built_in:
        typer.echo(f"structures of your own: {', '.join(s.key for s in project.table.rows)}", err=True)
    for readable in project.cases.readable_by_others:
        typer.echo(f"warning: others on this machine can read the folder {readable.name}; make it 0700.", err=True)
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        typer.echo("warning: the server runs as root; give it an account of its own.", err=True)


def _tell_source(who: str, kind: str) -> None:
    typer.echo(f"warning: a message of {who} ({kind}) was not shown, because it may name a patient", err=True)


def _take_labels(project: Project, folder: Path | None) -> None:
    """Give the scans that have no label yet those of a folder, if one was given."""
    from vastus.annotation.first_labels import take_first_labels

    if folder is not None:
        taken = take_first_labels(project, folder, lambda line: typer.echo(line, err=True))
        typer.echo(f"{taken} scans got their first labels from {folder}", err=True)


@contextmanager
def _own_records_on_terminal() -> Iterator[None]:
    """Print our own warnings as long as the server runs."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    own = logging.getLogger("vastus")
    own.addHandler(handler)
    try:
        yield
    finally:
        own.removeHandler(handler)


def _many_connections() -> None:
    """Allow as many open files as the system does, so that silent connections can't use them up."""
    if sys.platform == "win32":
        return
    import resource

    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    open_files = _OPEN_FILES if most == resource.RLIM_INFINITY else min(most, _OPEN_FILES)
    with suppress(ValueError, OSError):  # macOS says "no limit" and takes no more than it likes
        resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, most))


def _listen(host: str, port: int) -> socket.socket:
    """Open the socket before anything is loaded: a taken port is refused at once, and port 0 gets a free number."""
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, number)
        if sys.platform != "win32":  # there it would let two servers have the same port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(2048)
    except OSError as error:
        raise SettingsError(f"Can't listen on {host}, port {port} ({error.strerror}).", remedy="Use --port.") from error
    return listening


def _add_user(file: Path | None, name: str) -> None:
    from vastus.annotation.project.users import add_user

    if file is None:
        raise SettingsError(
            "The users file is missing.", remedy="Give it: vastus annotate --add-user NAME --users FILE"
        )
    if sys.stdin.isatty():
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        password = sys.stdin.readline().rstrip("\n")
    add_user(file, name, password)
    typer.echo(f"{name} can sign in with {file}.")
