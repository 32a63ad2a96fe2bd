"""A network with strangers in it: what says nothing, says nonsense or speaks slowly costs nobody else anything."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pynetdicom")
from pynetdicom import AE, evt

from certificates import make_authority
from orthanc_server import free_port
from vastus.dicom import listener
from vastus.dicom.listener import Doorkeeper, listen, plain_address
from vastus.dicom.tls import TlsFiles, server_context

ECHO = "1.2.840.10008.1.1"
PACS = {"PACS": frozenset({"127.0.0.1"})}


@contextmanager
def listening(doorkeeper: Doorkeeper, tls: Any = None) -> Iterator[tuple[int, Any]]:
    entity = AE(ae_title="VASTUS")
    entity.maximum_associations = 2
    entity.add_supported_context(ECHO)
    port = free_port()
    server = listen(entity, ("127.0.0.1", port), doorkeeper, tls, [(evt.EVT_C_ECHO, lambda _: 0)])
    try:
        yield port, server
    finally:
        server.shutdown()


def echo(port: int, aet: str = "PACS", called: str = "VASTUS", **options: Any) -> bool:
    entity = AE(ae_title=aet)
    entity.add_requested_context(ECHO)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = 8
    association = entity.associate("127.0.0.1", port, ae_title=called, **options)
    good = association.is_established and association.send_c_echo().Status == 0
    if association.is_established:
        association.release()
    return bool(good)


def connect(port: int, source: str = "127.0.0.1", data: bytes = b"") -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), source_address=(source, 0), timeout=10)
    if data:
        made.sendall(data)
    return made


def is_closed(connection: socket.socket, seconds: float = 5.0) -> bool:
    connection.settimeout(seconds)
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def until_none_waits(server: Any, seconds: float = 8.0) -> None:
    deadline = time.monotonic() + seconds
    while server.waiting._until:
        assert time.monotonic() < deadline, "they wait for ever"
        time.sleep(0.05)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",
        struct.pack(">BBL", 1, 0, 200) + b"\0" * 20,
        b"GET / HTTP/1.1\r\n",
        struct.pack(">BBL", 1, 0, 2**31),
    ],
    ids=["silent", "one byte", "half a request", "HTTP", "a length of 2 GiB"],
)
def test_strangers_take_no_place_of_friends_and_go_with_their_socket(data: bytes) -> None:
    with listening(Doorkeeper("VASTUS", {"PACS": frozenset()})) as (port, server):
        strangers = [connect(port, data=data) for _ in range(20)]
        assert echo(port)
        for each in strangers:
            each.close()
        until_none_waits(server)
        assert echo(port)


def test_an_address_that_nobody_may_come_from_is_closed_at_once() -> None:
    told: list[str] = []
    with listening(Doorkeeper("VASTUS", PACS, told.append)) as (port, server):
        stranger = connect(port, "127.0.0.2")
        assert is_closed(stranger) and told == ["address"]
        assert not server.waiting._until and echo(port)


def test_who_does_not_ask_in_time_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "REQUEST_S", 0.5)
    with listening(Doorkeeper("VASTUS")) as (port, server):
        silent, slow = connect(port), connect(port, data=b"\x01")
        stop = threading.Event()

        def drip() -> None:
            while not stop.wait(0.1):
                try:
                    slow.send(b"\0")
                except OSError:
                    return

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        until_none_waits(server)
        assert is_closed(silent)
        thread.join(5)
        assert not thread.is_alive(), "one byte at a time keeps no connection open"
        stop.set()


def test_when_too_many_wait_the_oldest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "_MOST_WAITING", 4)
    with listening(Doorkeeper("VASTUS")) as (port, server):
        silent = [connect(port) for _ in range(12)]
        assert all(is_closed(each) for each in silent[:8]) and len(server.waiting._until) <= 4
        assert echo(port)


def test_wrong_titles_are_rejected_before_they_count() -> None:
    told: list[str] = []
    with listening(Doorkeeper("VASTUS", {"PACS": frozenset({"127.0.0.1"}), "FAR": frozenset()}, told.append)) as (
        port,
        _,
    ):
        assert not echo(port, "OTHER") and not echo(port, called="ELSE") and echo(port, "FAR") and echo(port)
        assert told == ["AE title or address", "called AE title"]


def test_a_silent_connection_keeps_no_tls_handshake_waiting(tmp_path: Path) -> None:
    authority = make_authority(tmp_path, "ca")
    ours = authority.issue("node")
    client = ssl.create_default_context(cafile=str(authority.path))
    client.check_hostname = False
    with listening(Doorkeeper("VASTUS"), server_context(TlsFiles(ours.certificate, ours.key))) as (port, server):
        silent, nonsense = connect(port), connect(port, data=b"GET / HTTP/1.1\r\n\r\n")
        assert echo(port, tls_args=(client, "localhost"))
        silent.close()
        nonsense.close()
        until_none_waits(server)
        half = client.wrap_socket(connect(port), server_hostname="localhost")  # a handshake, then nothing
        assert echo(port, tls_args=(client, "localhost"))
        half.close()


def test_a_message_of_endless_length_ends_the_connection() -> None:
    with listening(Doorkeeper("VASTUS")) as (port, server):
        entity = AE(ae_title="PACS")
        entity.add_requested_context(ECHO)
        association = entity.associate("127.0.0.1", port, ae_title="VASTUS")
        association.dul.socket.socket.sendall(struct.pack(">BBL", 4, 0, 2**32 - 1) + b"\0" * 1000)
        deadline = time.monotonic() + 10
        while server.active_associations and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not server.active_associations
        association.abort()


def test_one_spelling_of_an_address() -> None:
    assert plain_address("::ffff:192.0.2.7") == "192.0.2.7"
    assert plain_address("fe80::1%eth0") == "fe80::1" and plain_address("PC7") == "PC7"
