"""Settings of the node, from a TOML file."""

from __future__ import annotations

import ipaddress
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from vastus.dicom.pacs_address import PacsAddress, parse_address
from vastus.dicom.tls import TlsFiles
from vastus.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Peer:
    """Who may send: an AE title and, if given, the one address it comes from."""

    ae_title: str
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What a sender can't exceed, and how long things are kept.

    Attributes:
        instance_mb: one object; a larger one ends the connection.
        series_instances: objects of one series.
        storage_gb: everything under the data folder; above it, objects are refused.
        associations: connections at the same time.
        instances_per_s: of one AE title; faster ones are slowed down, not refused.
        tries: of processing, before a series is set aside.
        keep_done_hours: images and results after they were sent.
        keep_set_aside_hours: images of series that failed.
    """

    instance_mb: float = 1024.0
    series_instances: int = 5000
    storage_gb: float = 100.0
    associations: int = 16
    instances_per_s: float = 2000.0
    tries: int = 3
    keep_done_hours: float = 24.0
    keep_set_aside_hours: float = 24.0 * 14


@dataclass(frozen=True, slots=True)
class Processing:
    """How a series is processed.

    Attributes:
        formats: as ``vastus segment -f``.
        weights: another bundle.
        threads: of the network.
        timeout_s: a series that takes longer counts as failed.
        command: another worker program, which speaks the protocol of ``vastus.node.worker``.
    """

    formats: str = "dicom-seg,sr"
    weights: Path | None = None
    threads: int | None = None
    timeout_s: float = 3600.0
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """All settings.

    Attributes:
        data: folder of queue, images and results.
        ae_title: our AE title; a sender must call us by it.
        listen, port: where objects are received.
        status_port: of the status page, always on loopback; 0: none.
        quiet_s: a series is complete when nothing came for so long.
        fsync: wait for the disk before an object is acknowledged, for power failures. A killed process loses nothing
            either way.
        allow: who may send; empty only on loopback.
        tls: of the receiver; None: plain connections. With authorities, a sender must show a certificate of theirs.
        destination: who gets the results; None: they stay in the data folder.
        destination_tls: our certificate for it, and whom we trust, where its address says ``dicoms`` or ``dicomwebs``.
    """

    data: Path
    ae_title: str = "VASTUS"
    listen: str = "127.0.0.1"
    port: int = 11112
    status_port: int = 8642
    quiet_s: float = 30.0
    fsync: bool = False
    allow: tuple[Peer, ...] = ()
    tls: TlsFiles | None = None
    destination: PacsAddress | None = None
    destination_tls: TlsFiles = field(default_factory=TlsFiles)
    limits: Limits = Limits()
    processing: Processing = Processing()


def load_config(path: Path) -> NodeConfig:
    """Read and check a configuration.

    Raises:
        SettingsError: missing, malformed, unknown or out of range, with the name of the setting.
    """
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SettingsError("There is no such configuration.", path=path) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"The configuration is not valid TOML: {error}", path=path) from error
    try:
        return _config(given, path.parent)
    except SettingsError as error:
        raise SettingsError(error.problem, path=path, remedy=error.remedy) from error


def _config(given: dict[str, Any], folder: Path) -> NodeConfig:
    unknown = set(given) - {"node", "limits", "allow", "tls", "destination", "process"}
    if unknown:
        raise SettingsError(f"Unknown section: {', '.join(sorted(unknown))}.")
    node = dict(given.get("node", {}))
    if "data" not in node:
        raise SettingsError("node.data, the folder of the queue, is missing.")
    node["data"] = folder / node["data"]
    tls = _tls(given["tls"], folder, "tls") if "tls" in given else None
    if tls is not None and (tls.certificate is None or tls.key is None):
        raise SettingsError("Section tls is incomplete: it needs certificate and key.")
    target = dict(given.get("destination", {}))
    url = target.pop("url", None)
    if url is None and target:
        raise SettingsError("Section destination is incomplete: it needs url.")
    destination = parse_address(url) if url else None
    process = dict(given.get("process", {}))
    if "weights" in process:
        process["weights"] = folder / process["weights"]
    if "command" in process:
        process["command"] = tuple(process["command"])
    config = _fill(
        NodeConfig,
        node
        | {
            "allow": tuple(_fill(Peer, peer, "allow") for peer in given.get("allow", ())),
            "tls": tls,
            "destination": destination,
            "destination_tls": _tls(target, folder, "destination"),
            "limits": _fill(Limits, given.get("limits", {}), "limits"),
            "processing": _fill(Processing, process, "process"),
        },
        "node",
    )
    _check(config)
    return config


def _tls(given: dict[str, Any], folder: Path, section: str) -> TlsFiles:
    files: TlsFiles = _fill(TlsFiles, {name: folder / str(value) for name, value in given.items()}, section)
    return files


def _fill(kind: Any, given: dict[str, Any], section: str) -> Any:
    known = {each.name for each in fields(kind)}
    unknown = set(given) - known
    if unknown:
        raise SettingsError(f"Unknown setting: {section}.{', '.join(sorted(unknown))}.")
    for each in fields(kind):
        value = given.get(each.name)
        expected: Any = {"int": int, "float": (int, float), "str": str, "bool": bool}.get(str(each.type))
        if (
            value is not None
            and expected
            and (not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool))
        ):
            raise SettingsError(f"{section}.{each.name} is not of the right kind (it is a {each.type}).")
    try:
        return kind(**given)
    except TypeError as error:
        raise SettingsError(f"Section {section} is incomplete: {error}.") from error


def _check(config: NodeConfig) -> None:
    positive = {f"limits.{f.name}": getattr(config.limits, f.name) for f in fields(Limits)}
    positive |= {"node.quiet_s": config.quiet_s, "process.timeout_s": config.processing.timeout_s}
    for name, value in positive.items():
        if not value > 0:
            raise SettingsError(f"{name} must be above 0.")
    if not (0 < config.port < 65536 and 0 <= config.status_port < 65536):
        raise SettingsError("node.port or node.status_port is no port.")
    if not (0 < len(config.ae_title.strip()) <= 16):
        raise SettingsError("node.ae_title must have 1 to 16 characters.")
    try:
        loopback = ipaddress.ip_address(config.listen).is_loopback
    except ValueError as error:
        raise SettingsError("node.listen is no IP address.") from error
    for peer in config.allow:
        _check_address(peer.address)
    if not loopback and not config.allow:
        raise SettingsError(
            "The node would take images from anyone on the network.",
            remedy="Name the senders under [[allow]], or listen on 127.0.0.1.",
        )


def _check_address(address: str | None) -> None:
    try:
        ipaddress.ip_address(address or "127.0.0.1")
    except ValueError as error:
        raise SettingsError("allow.address is no IP address (a name is not looked up).") from error
