"""The guard by itself, as an ASGI application: how it answers a body that it does not want, and when it hangs up."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from vastus.annotation.http import middleware
from vastus.annotation.http.middleware import Guard, GuardSettings
from vastus.annotation.refusals import NotSignedInError

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
        "type": "http",
        "method": "POST",
        "path": "/api/x",
        "headers": [(b"host", b"localhost:8000"), *headers],
    }
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
    monkeypatch.setattr(middleware, "LINGER_S", 0.05)
    client = _ask(_refuse_unread, Client([b"a"], ends=False), CHUNKED)
    assert client.events == ["answer", "piece", "last", "hang up"]


def test_a_client_that_hung_up_is_not_waited_for() -> None:
    class Gone(Client):
        async def receive(self) -> dict[str, Any]:
            self.events.append("gone")
            return {"type": "http.disconnect"}

    assert _ask(_refuse_unread, Gone([]), CHUNKED).events == ["answer", "gone", "last", "hang up"]


def _as_stranger(path: str, *headers: tuple[bytes, bytes], pieces: list[bytes] | None = None) -> Client:
    def refuse(_scope: Any) -> None:
        raise NotSignedInError("You are not signed in.")

    client = Client([b"a"] * 3 if pieces is None else pieces)
    scope = {"type": "http", "method": "PUT", "path": path, "headers": [(b"host", b"localhost"), *headers]}
    settings = GuardSettings(body_limit=LIMIT, refuse_strangers=refuse)
    asyncio.run(Guard(_echo_length, settings)(scope, client.receive, client.send))
    return client


def test_a_stranger_is_answered_before_the_first_byte_of_a_body_is_read() -> None:
    client = _as_stranger("/datastore/", CHUNKED)
    assert (client.status, json.loads(client.body)["error"]) == (401, "NotSignedInError")
    assert client.events[0] == "answer"
    assert _as_stranger("/datastore/", pieces=[b""]).status == 200, "without a body the route itself asks"


def test_what_a_stranger_sends_to_sign_in_is_short() -> None:
    assert _as_stranger("/auth/token", CHUNKED).status == 200
    assert _as_stranger("/auth/token", CHUNKED, pieces=[bytes(20_000)]).status == 413
    assert _as_stranger("/auth/token/", (b"content-length", b"20000")).status == 413


@pytest.mark.parametrize(
    ("path", "kind", "status"),
    [
        ("/activelearning/random", b"", 413),
        ("/train/vastus", b"application/octet-stream", 413),
        ("/api/train", b"application/json", 413),
        ("/datastore/", b"application/x-www-form-urlencoded", 413),
        ("/infer/x", b"application/json; charset=utf-8", 413),
        ("/datastore/", b"multipart/form-data", 200),
        ("/api/cases/a/versions", b"application/x-www-form-urlencoded", 200),
    ],
)
def test_what_is_read_into_memory_is_short(path: str, kind: bytes, status: int) -> None:
    client = Client([bytes(1 << 20)] * 3)
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "headers": [(b"host", b"localhost"), (b"content-type", kind), CHUNKED],
    }
    asyncio.run(Guard(_echo_length, GuardSettings(body_limit=1 << 30))(scope, client.receive, client.send))
    assert client.status == status


def test_a_body_that_stops_coming_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "PATIENCE_S", 0.05)
    client = _ask(_echo_length, Client([b"a"], ends=False), CHUNKED)
    assert (client.status, json.loads(client.body)["error"]) == (408, "SlowBodyError")
    assert client.events[-1] == "hang up"


def test_one_byte_at_a_time_is_too_slow_and_a_large_body_gets_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Dripping(Client):
        pause_s = 0.02

        async def receive(self) -> dict[str, Any]:
            await asyncio.sleep(self.pause_s)
            return await super().receive()

    monkeypatch.setattr(middleware, "PATIENCE_S", 0.1)
    assert _ask(_echo_length, Dripping([b"a"] * 100), CHUNKED).status == 408
    assert _ask(_echo_length, Dripping([bytes(16 * 1024)] * 20), CHUNKED).status == 200


def test_after_the_body_the_end_of_the_connection_may_take_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "PATIENCE_S", 0.02)

    async def waits(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await receive()
        await _refuse_unread(scope, receive, send)

    class Patient(Client):
        async def receive(self) -> dict[str, Any]:
            return await super().receive() if self.pieces else await asyncio.Event().wait()  # type: ignore[return-value]

    assert _ask(waits, Patient([b"a"]), CHUNKED).status == 401


def test_a_client_that_hangs_up_in_its_body_is_no_failure_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    from fastapi import FastAPI
    from fastapi.responses import JSONResponse

    from vastus.annotation.http import app as application

    monkeypatch.setattr(application.LOG, "error", lambda *_: pytest.fail("logged as a failure"))
    served = FastAPI()
    for kind, handler in application._HANDLERS.items():
        served.add_exception_handler(kind, handler)

    async def take(request: Any) -> JSONResponse:
        return JSONResponse(len(await request.body()))

    served.add_route("/api/x", take, methods=["POST"])
    sent: list[dict[str, Any]] = []
    pieces = [{"type": "http.request", "body": b"begin", "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> dict[str, Any]:
        return pieces.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/api/x", "query_string": b"", "headers": [CHUNKED]}
    asyncio.run(served(scope, receive, send))
    assert sent[0]["status"] == 400
