"""The listening side of the DICOM network, on pynetdicom, for a network with strangers in it.

pynetdicom makes the TLS handshake in the thread that accepts everybody, counts a connection before anything is known
of it, and waits without limit for the rest of a message. Here a connection is an association only after it has asked
for one, as a whole and in time, and after its titles and its address were looked at. Until then:

- it costs one thread, which nobody else waits for, and no place of ``limits.associations``;
- it ends by itself after ``REQUEST_S``, or at once when its other end closes it;
- when too many wait, the oldest one goes: somebody who means it has asked within milliseconds.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

REQUEST_S: Final = 10.0
"""Until a connection must have made its handshake and asked for an association."""
SILENCE_S: Final = 60.0
"""A message of an association that stops in its middle for so long ends it."""
_MOST_WAITING: Final = 128
_HEADER: Final = struct.Struct(">BBL")
_REQUEST_PDU: Final = 1
_LONGEST_REQUEST: Final = 1 << 20
_LONGEST_PDU: Final = 16 << 20
_TITLES: Final = slice(10, 26), slice(26, 42)
"""Where called and calling AE title stand in an A-ASSOCIATE-RQ, its header included (PS3.8, table 9-11)."""
CALLED_TITLE: Final = 7
CALLING_TITLE: Final = 3
_REJECTED: Final = struct.Struct(">BBLBBBB")


@dataclass(frozen=True, slots=True)
class Doorkeeper:
    """Who may ask for an association.

    Attributes:
        our_title: the AE title by which we must be called.
        allowed: calling AE title -> addresses it may come from (empty: any); no entry at all: everybody may ask.
        refused: told why somebody was refused.
    """

    our_title: str
    allowed: dict[str, frozenset[str]] = field(default_factory=dict)
    refused: Callable[[str], None] = lambda because: None

    def knows_address(self, address: str) -> bool:
        """Whether anybody at all may come from an address."""
        anywhere = not self.allowed or any(not addresses for addresses in self.allowed.values())
        return anywhere or any(plain_address(address) in addresses for addresses in self.allowed.values())

    def objection(self, called: str, calling: str, address: str) -> int | None:
        """The reason of PS3.8 why a request is refused, ``None`` where it is not."""
        if called != self.our_title.strip():
            return CALLED_TITLE
        if not self.allowed:
            return None
        addresses = self.allowed.get(calling)
        if addresses is None or (addresses and plain_address(address) not in addresses):
            return CALLING_TITLE
        return None


def plain_address(address: str) -> str:
    """One spelling of an IP address: IPv4 that came over an IPv6 socket is IPv4."""
    try:
        known = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    mapped = known.ipv4_mapped if isinstance(known, ipaddress.IPv6Address) else None
    return str(mapped or known)


def listen(entity: Any, address: tuple[str, int], doorkeeper: Doorkeeper, tls: Any, handlers: list[Any]) -> Any:
    """Start a server in a thread of its own.

    Args:
        entity: pynetdicom's ``AE`` with its contexts and limits.
        address: to listen on.
        doorkeeper: who may ask.
        tls: ``ssl.SSLContext``, or ``None``.
        handlers: as for ``AE.start_server``.

    Returns:
        The server; end it with ``shutdown()``.

    Raises:
        OSError: the port is taken.
    """
    server = entity.make_server(
        address, ssl_context=tls, evt_handlers=handlers, server_class=_server_class(), doorkeeper=doorkeeper
    )
    entity._servers.append(server)
    threading.Thread(target=server.serve_forever, name="DicomListener", daemon=True).start()
    return server


class _Waiting:
    """Connections that have not asked for an association yet, and until when they may."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: dict[socket.socket, float] = {}

    def add(self, connection: socket.socket) -> None:
        with self._lock:
            self._until[connection] = time.monotonic() + REQUEST_S
            surplus = list(self._until)[: max(0, len(self._until) - _MOST_WAITING)]
            for each in surplus:
                self._end(each)

    def remove(self, connection: socket.socket) -> bool:
        """Whether it had been waiting until now: ``False`` if it was ended in the meantime."""
        with self._lock:
            return self._until.pop(connection, None) is not None

    def end(self, *, all_of_them: bool = False) -> None:
        with self._lock:
            now = time.monotonic()
            for connection in [c for c, until in self._until.items() if all_of_them or until <= now]:
                self._end(connection)

    def _end(self, connection: socket.socket) -> None:
        del self._until[connection]
        # Only the transport is shut, which wakes the thread that waits for it: a TLS object belongs to that thread.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _read(connection: socket.socket, count: int) -> bytes:
    """Exactly so many bytes.

    Raises:
        OSError: the other end closed, or took too long.
    """
    parts = bytearray()
    while len(parts) < count:
        piece = connection.recv(min(count - len(parts), 1 << 16))
        if not piece:
            raise ConnectionError("closed")
        parts += piece
    return bytes(parts)


def _read_request(connection: socket.socket) -> bytes:
    """The whole A-ASSOCIATE-RQ.

    Raises:
        OSError: it does not come, or is something else.
    """
    head = _read(connection, _HEADER.size)
    kind, _, length = _HEADER.unpack(head)
    if kind != _REQUEST_PDU or not _TITLES[1].stop <= length + _HEADER.size <= _LONGEST_REQUEST:
        raise ConnectionError("no request for an association")
    return head + _read(connection, length)


@cache
def _socket_class() -> Any:
    """The socket as a subclass of pynetdicom's, which is imported only where something listens."""
    from pynetdicom.transport import AssociationSocket

    class Socket(AssociationSocket):
        """Gives out first what was read already."""

        def __init__(self, assoc: Any, connection: socket.socket, first: bytes) -> None:
            super().__init__(assoc, client_socket=connection)
            self._first = bytearray(first)

        @property
        def ready(self) -> bool:
            return bool(self._first) or bool(super().ready)

        def recv(self, nr_bytes: int) -> bytearray:
            if nr_bytes > _LONGEST_PDU:
                raise OSError("a message of that length is not read")
            if not self._first:
                return bytearray(super().recv(nr_bytes))
            piece = self._first[:nr_bytes]
            del self._first[:nr_bytes]
            return piece

    return Socket


@cache
def _handler_class() -> Any:
    """What handles one connection, as a subclass of pynetdicom's."""
    from pynetdicom.transport import RequestHandler

    socket_class = _socket_class()

    class Handler(RequestHandler):
        """One connection, in a thread of its own, until it is an association."""

        def handle(self) -> None:
            server: Any = self.server
            connection = self.request
            try:
                if server.ssl_context is not None:
                    connection.do_handshake()
                first = _read_request(connection)
            except (OSError, ValueError):
                server.waiting.remove(connection)
                server.shutdown_request(connection)
                return
            if not server.waiting.remove(connection):
                server.shutdown_request(connection)
                return
            called, calling = (first[part].decode("ascii", "replace").strip("\0 ") for part in _TITLES)
            reason = server.doorkeeper.objection(called, calling, str(self.client_address[0]))
            if reason is None:
                self._begin(connection, first)
                return
            server.doorkeeper.refused("called AE title" if reason == CALLED_TITLE else "AE title or address")
            with contextlib.suppress(OSError):
                connection.sendall(_REJECTED.pack(3, 0, 4, 0, 1, 1, reason))
            server.shutdown_request(connection)

        def _begin(self, connection: socket.socket, first: bytes) -> None:
            from pynetdicom import evt

            connection.settimeout(SILENCE_S)
            association = self._create_association()
            association.dul.event_queue.get_nowait()  # "connected" of the socket that is replaced
            association.dul.socket = None
            association.set_socket(socket_class(association, connection, first))
            evt.trigger(association, evt.EVT_CONN_OPEN, {"address": self.client_address})
            association.start()

    return Handler


@cache
def _server_class() -> Any:
    """The server as a subclass of pynetdicom's."""
    from pynetdicom.transport import ThreadedAssociationServer

    handler_class = _handler_class()

    class Server(ThreadedAssociationServer):
        """Accepts, and does nothing else in the thread that accepts."""

        daemon_threads = True
        request_queue_size = 128

        def __init__(self, *args: Any, doorkeeper: Doorkeeper, **options: Any) -> None:
            self.doorkeeper, self.waiting = doorkeeper, _Waiting()
            super().__init__(*args, **options | {"request_handler": handler_class})

        def get_request(self) -> Any:
            accepting: Any = self.socket
            connection, address = accepting.accept()
            connection.settimeout(REQUEST_S)
            if self.ssl_context is not None:
                connection = self.ssl_context.wrap_socket(
                    connection, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=True
                )
            return connection, address

        def verify_request(self, request: Any, client_address: Any) -> bool:
            known = self.doorkeeper.knows_address(str(client_address[0]))
            if known:
                self.waiting.add(request)
            else:
                self.doorkeeper.refused("address")
            return known

        def service_actions(self) -> None:
            super().service_actions()
            self.waiting.end()

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Nothing: what a stranger's bytes raise is printed nowhere."""

        def shutdown(self) -> None:
            super().shutdown()
            self.waiting.end(all_of_them=True)

    return Server
