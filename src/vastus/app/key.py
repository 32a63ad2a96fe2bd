"""A key for the page: other users of the same computer can reach its address, but not open it."""

from __future__ import annotations

import hashlib
import secrets
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

from vastus.annotation.http.middleware import App, Receive, Scope, Send

PAGE_PATH: Final = "/app"
_YEAR_S: Final = 365 * 24 * 3600
_CLOSED: Final = (
    b"<!doctype html><html lang=en><meta charset=utf-8><title>Vastus</title>"
    b"<h1>This page is closed</h1><p>Start Vastus again (vastus app): it opens the page with its key.</p></html>"
)


def read_key(path: Path) -> str:
    """The key of a folder, made at the first start; the owner alone can read it."""
    try:
        key = path.read_text(encoding="ascii").strip()
        if key:
            return key
    except FileNotFoundError:
        pass
    key = secrets.token_urlsafe(24)
    path.touch(mode=0o600)
    path.write_text(key, encoding="ascii")
    return key


class Keyed:
    """ASGI middleware: without the key, as a cookie or in the address that the program opens, nothing is answered."""

    def __init__(self, app: App, key: str) -> None:
        self.app = app
        self._key = key
        # Cookies do not tell ports apart: the page of another folder has one of its own.
        self._cookie = f"vastus_app_{hashlib.sha256(key.encode()).hexdigest()[:8]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let in who has the key; put it into a cookie, so that it does not stay in the address."""
        if scope["type"] != "http" or self._is_key(self._sent(scope)):
            await self.app(scope, receive, send)
            return
        given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("key", [""])[0]
        if scope["path"] == PAGE_PATH and self._is_key(given):
            cookie = f"{self._cookie}={self._key}; Path=/; HttpOnly; SameSite=Strict; Max-Age={_YEAR_S}"
            headers = [(b"location", PAGE_PATH.encode()), (b"set-cookie", cookie.encode()), (b"content-length", b"0")]
            await send({"type": "http.response.start", "status": 303, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        headers = [(b"content-type", b"text/html"), (b"content-length", str(len(_CLOSED)).encode())]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": _CLOSED})

    def _is_key(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), self._key.encode())

    def _sent(self, scope: Scope) -> str:
        for name, value in scope["headers"]:
            if name == b"cookie":
                try:
                    found = SimpleCookie(value.decode("latin-1")).get(self._cookie)
                except CookieError:
                    return ""
                return found.value if found is not None else ""
        return ""
