"""The guard by itself, as an ASGI application: how it answers a body that it does not want, and when it hangs up."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from vastus.annotation import guards
from vastus.annotation.guards import Guard, GuardSettings

LIMIT = 1 << 20


async def _echo_length(_scope: Any, receive: Any, send: Any) -> None:
    length, more = 0, True
    while more:
        message = await receive()
        length += len(message.get("body", b""))
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(length).encode()})


async def _refuse_unread(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 401, "headers": []})
    await send({"type": "http.response.body", "body": b"no"})


class Client:
    """Sends pieces when it is asked for them, and writes down what happens in which order."""

    def __init__(self, pieces: list[bytes], *, ends: bool = True) -> None:
        self.pieces, self.ends = list(pieces), ends
        self.events: list[str] = []
        self.status, self.body = 0, b""

    async def receive(self) -> dict[str, Any]:
        if not self.pieces:
            assert not self.ends, "read past the end of the body"
            await asyncio.Event().wait()
        self.events.append("piece")
        body = self.pieces.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(self.pieces) or not self.ends}

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.body += message["body"]
            self.events.append("answer" if message["body"] else "last")
            if not message.get("more_body", False):
                self.events.append("hang up")


def _ask(app: Any, client: Client, *headers: tuple[bytes, bytes]) -> Client:
    scope = {
        "type": "http", "method": "POST", "path": "/api/x", "headers": [(b"host", b"localhost:8000"), *headers],
    }  # fmt: skip
    asyncio.run(Guard(app, GuardSettings(body_limit=LIMIT))(scope, client.receive, client.send))
    return client


CHUNKED = (b"transfer-encoding", b"chunked")


def test_a_body_that_is_read_to_its_end_is_answered_at_once() -> None:
    client = _ask(_echo_length, Client([bytes(LIMIT // 2), bytes(LIMIT // 2)]), CHUNKED)
    assert (client.status, client.body) == (200, str(LIMIT).encode())
    assert client.events == ["piece", "piece", "answer", "hang up"]


def test_without_a_body_nothing_is_read() -> None:
    assert _ask(_refuse_unread, Client([])).events == ["answer", "hang up"]
    assert _ask(_refuse_unread, Client([]), (b"content-length", b"0")).events == ["answer", "hang up"]


@pytest.mark.parametrize("header", [CHUNKED, (b"content-length", str(3 * LIMIT).encode())])
def test_too_large_a_body_is_answered_before_the_server_hangs_up_on_it(header: tuple[bytes, bytes]) -> None:
    client = _ask(_echo_length, Client([bytes(LIMIT)] * 3), header)
    assert (client.status, json.loads(client.body)["error"]) == (413, "TooLargeError")
    assert client.events.index("answer") < client.events.index("hang up") == len(client.events) - 1
    assert client.events.count("piece") == 3


def test_a_body_that_the_application_did_not_read_is_thrown_away() -> None:
    client = _ask(_refuse_unread, Client([b"a"] * 4), CHUNKED)
    assert (client.status, client.body) == (401, b"no")
    assert client.events == ["answer", "piece", "piece", "piece", "piece", "last", "hang up"]


def test_a_body_without_end_is_left_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "LINGER_S", 0.05)
    client = _ask(_refuse_unread, Client([b"a"], ends=False), CHUNKED)
    assert client.events == ["answer", "piece", "last", "hang up"]


def test_a_client_that_hung_up_is_not_waited_for() -> None:
    class Gone(Client):
        async def receive(self) -> dict[str, Any]:
            self.events.append("gone")
            return {"type": "http.disconnect"}

    assert _ask(_refuse_unread, Gone([]), CHUNKED).events == ["answer", "gone", "last", "hang up"]
