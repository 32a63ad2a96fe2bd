"""Connections that say nothing: uvicorn waits for the head of a first request without limit.

A stranger needs no more than a thousand of them to use up the file descriptors of the server. Here the head of a
request must come in time, and where too many connections wait for theirs, the oldest one goes.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import h11
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S: Final = 15.0
MOST_WAITING: Final = 256


class PatientProtocol(H11Protocol):
    """uvicorn's protocol with a limit on how long it waits for the head of a request."""

    waiting: dict[PatientProtocol, None]
    """Shared by all connections of a server, the oldest first."""
    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._came()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Stop waiting once the head is there, wait again for what begins to come after an answer."""
        super().handle_events()
        if self.conn.their_state is not h11.IDLE:
            self._came()
        elif self._patience is None and self.conn.trailing_data[0]:
            self._wait()

    def _wait(self) -> None:
        self._patience = self.loop.call_later(HEAD_S, self._hang_up)
        self.waiting[self] = None
        while len(self.waiting) > MOST_WAITING:
            next(iter(self.waiting))._hang_up()

    def _came(self) -> None:
        self.waiting.pop(self, None)
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _hang_up(self) -> None:
        self._came()
        # Not ``close``, which over TLS waits for the other side.
        self.transport.abort()


def server_config(
    application: Any, *, graceful_s: int, certificate: str | None = None, key: str | None = None
) -> Config:
    """Settings of a server of patients' data: it names nobody in a log and waits for no silent connection.

    Args:
        application: ASGI.
        graceful_s: how long requests may go on when the server ends.
        certificate, key: PEM files, for https.
    """
    return Config(
        application,
        log_level="warning",
        access_log=False,
        server_header=False,
        http=patient_protocol(),
        ws="none",
        log_config=None,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        timeout_graceful_shutdown=graceful_s,
    )


def patient_protocol() -> type[PatientProtocol]:
    """The protocol of one server."""

    class OfOneServer(PatientProtocol):
        waiting: dict[PatientProtocol, None] = {}  # noqa: RUF012 - shared on purpose

    return OfOneServer
