"""Connections that say nothing, on a real server."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator

import pytest

uvicorn = pytest.importorskip("uvicorn")

# ruff: noqa: E402
from vastus.annotation.http import connections
from vastus.annotation.http.connections import patient_protocol


async def _hello(_scope: object, receive: object, send: object) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})  # type: ignore[operator]
    await send({"type": "http.response.body", "body": b"hi"})  # type: ignore[operator]


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(_hello, http=patient_protocol(), log_level="error", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=asyncio.run, args=(server.serve([listening]),), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.02)
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join(10)


def connect(port: int, data: bytes = b"") -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), timeout=5)
    made.sendall(data)
    return made


def is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def answered(connection: socket.socket) -> bool:
    got = b""
    while piece := b"" if got.endswith(b"hi") else connection.recv(4096):
        got += piece
    return got.endswith(b"hi")


GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize("data", [b"", b"GET / HT"], ids=["silent", "half a head"])
def test_the_head_of_a_request_must_come_in_time(port: int, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.3)
    assert is_closed(connect(port, data))


def test_half_a_head_after_an_answer_is_not_waited_for_either(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.5)
    client = connect(port, GET)
    assert answered(client)
    client.sendall(b"GET / HT")
    assert is_closed(client)


def test_when_too_many_wait_the_oldest_goes(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST_WAITING", 3)
    silent = [connect(port) for _ in range(8)]
    assert all(is_closed(each) for each in silent[:5])
    friend = connect(port, GET)
    assert answered(friend)
    friend.sendall(GET)
    assert answered(friend), "a connection is used again"
