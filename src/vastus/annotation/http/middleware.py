"""What every request passes before anything else: host, page, sender, and the size and speed of its body.

A server on the loopback interface is open to every page in the user's browser unless it looks at these: a foreign page
can send requests to 127.0.0.1 (``Origin`` gives it away), or make its own name resolve to it (``Host`` does).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException

from vastus.annotation.hosts import LOOPBACK_HOSTS
from vastus.annotation.refusals import (
    BadRequestError,
    ForeignOriginError,
    NotSignedInError,
    Refusal,
    SlowBodyError,
    TooLargeError,
)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LINGER_S: Final = 10.0
"""How long the rest of a body is read, and thrown away, after its answer went out."""
PATIENCE_S: Final = 30.0
"""How long a body may take, and as much longer as what has come of it needs at ``_SLOWEST_BYTES_PER_S``."""
_SLOWEST_BYTES_PER_S: Final = 16 * 1024
_SIGN_IN: Final = frozenset({"/auth/token", "/auth/token/"})
_SIGN_IN_LIMIT: Final = 16 * 1024
_IN_MEMORY_LIMIT: Final = 1 << 20
_IN_MEMORY: Final = ("/activelearning", "/train", "/api/train", "/api/models", "/auth")
"""Routes that read a whole body into memory: what they are sent is a few words."""
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_HEADERS: Final = (
    (
        b"content-security-policy",
        b"default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; style-src 'self' "
        b"'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self' blob: data:; object-src 'none'; "
        b"base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class BodyRefused(HTTPException):
    """Raised inside ``receive`` for a body too large or too slow. An HTTPException, as FastAPI lets those through."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(int(refusal.status))
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """What the guard lets through.

    Attributes:
        hosts: names of this server, without port.
        body_limit: bytes of a body.
        refuse_strangers: raises a refusal for a request of somebody who did not sign in, if one must.
    """

    hosts: frozenset[str] = field(default=LOOPBACK_HOSTS)
    body_limit: int = 1 << 30
    refuse_strangers: Callable[[Scope], None] = lambda scope: None


class Guard:
    """ASGI middleware, outermost."""

    def __init__(self, app: App, settings: GuardSettings) -> None:
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request, then pass it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = _Body(scope, receive, min(self.settings.body_limit, _limit_of(scope)))
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", ()), *_missing(message), *_no_store(scope, message)]
            elif not body.finished and not message.get("more_body", False):
                # The server hangs up after the last piece. A client that still sends would see that, not the answer.
                await send({**message, "more_body": True})
                await body.discard()
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        try:
            refuse_foreign(scope, self.settings)
            if not body.finished and scope["path"] not in _SIGN_IN:
                # A form would be stored as a whole before a route asks who sent it.
                self.settings.refuse_strangers(scope)
            body.refuse_announced()
            await self.app(scope, body.receive, send_with_headers)
        except Refusal as error:
            await _answer(error, send_with_headers)
        except BodyRefused as error:
            if not started:
                await _answer(error.refusal, send_with_headers)


class _Body:
    """The body of one request: counted as it is read.

    Attributes:
        finished: there is none, or its end, or the end of the connection, was received; or nobody waits for it any
            more.
    """

    def __init__(self, scope: Scope, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._received = 0
        self._begun: float | None = None
        self._announced = _header(scope, b"content-length")
        self.finished = self._announced in (None, "0") and _header(scope, b"transfer-encoding") is None

    def refuse_announced(self) -> None:
        """Refuse a body that says itself that it is too large."""
        if self._announced is not None and (not self._announced.isdigit() or int(self._announced) > self._limit):
            raise _too_large(self._limit)

    async def receive(self) -> Message:
        """The next piece.

        Raises:
            BodyRefused: all pieces together are over the limit, or they come too slowly.
        """
        if self.finished:
            return await self._next()  # for the end of the connection, which may take as long as it likes
        try:
            async with asyncio.timeout_at(self._patience()):
                message = await self._next()
        except TimeoutError:
            self.finished = True
            raise BodyRefused(SlowBodyError("The body comes too slowly.", remedy="Send it again.")) from None
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            if self._received > self._limit:
                raise BodyRefused(_too_large(self._limit))
        return message

    def _patience(self) -> float:
        """Until when the next piece must be there, in the time of the event loop: the more came, the longer."""
        now = asyncio.get_running_loop().time()
        if self._begun is None:
            self._begun = now
        return self._begun + PATIENCE_S + self._received / _SLOWEST_BYTES_PER_S

    async def discard(self) -> None:
        """Read to the end, but no longer than ``LINGER_S``, and keep nothing."""
        try:
            async with asyncio.timeout(LINGER_S):
                while not self.finished:
                    await self._next()
        except TimeoutError:
            self.finished = True

    async def _next(self) -> Message:
        message = await self._receive()
        self.finished = message["type"] != "http.request" or not message.get("more_body", False)
        return message


def refuse_foreign(scope: Scope, settings: GuardSettings) -> None:
    """Refuse a request for another host, and a change that a page of another site asks for.

    Raises:
        BadRequestError: no host is named.
        ForeignOriginError: not this server's name, or another site's page.
    """
    host = _header(scope, b"host")
    if not host:
        raise BadRequestError("The request names no host.")
    if _host_name(host) not in settings.hosts:
        raise ForeignOriginError(
            "This server does not answer to that host name.", remedy="Start it with --allow-host NAME."
        )
    if scope["method"] in _SAFE_METHODS:
        return
    if _header(scope, b"sec-fetch-site") in ("cross-site", "same-site"):
        raise ForeignOriginError("Pages of other sites may not change anything here.")
    origin = _header(scope, b"origin")
    if origin is not None:
        try:
            foreign = urlsplit(origin).netloc.lower() != host.lower()
        except ValueError:
            foreign = True
        if foreign:
            raise ForeignOriginError("Pages of other sites may not change anything here.")


def _host_name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _header(scope: Scope, name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)


def _missing(message: Message) -> list[tuple[bytes, bytes]]:
    """The headers of every answer, without those that an answer brings its own of (a stricter or other policy)."""
    own = {name.lower() for name, _ in message.get("headers", ())}
    return [(name, value) for name, value in _HEADERS if name not in own]


def _no_store(scope: Scope, message: Message) -> list[tuple[bytes, bytes]]:
    """Patients' images and labels stay out of the browser's cache on disk, the viewer's own files may be kept."""
    if any(key.lower() == b"cache-control" for key, _ in message.get("headers", ())):
        return []
    own = scope["path"] == "/" or scope["path"].startswith("/viewer")
    return [(b"cache-control", b"no-cache" if own else b"no-store")]


def _limit_of(scope: Scope) -> int:
    """Bytes that a body may have where no large ones are meant."""
    if scope["path"] in _SIGN_IN:
        return _SIGN_IN_LIMIT
    kind = (_header(scope, b"content-type") or "").partition(";")[0].strip().lower()
    texts = kind in ("application/json", "application/x-www-form-urlencoded")
    if scope["path"].startswith(_IN_MEMORY) or (texts and not scope["path"].startswith("/api/cases/")):
        return _IN_MEMORY_LIMIT
    return 1 << 62


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(
        f"The body is larger than {limit >> 20} MiB." if limit >= 1 << 20 else "The body is too large.",
        remedy="The server's --max-upload-mb sets the limit for scans and labels.",
    )


async def _answer(error: Refusal, send: Send) -> None:
    body = json.dumps(error_body(error)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if isinstance(error, NotSignedInError):
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": int(error.status), "headers": headers})
    await send({"type": "http.response.body", "body": body})


def error_body(error: Exception) -> dict[str, Any]:
    """What a client gets for an error: its name, what is wrong, what to do. No path of this machine."""
    return {
        "error": type(error).__name__,
        "detail": getattr(error, "problem", str(error)),
        "remedy": getattr(error, "remedy", None),
    }
