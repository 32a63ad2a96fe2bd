"""Fuzz the annotation server, request by request, without a network: ``pip install atheris``, then

    nice -n 10 python tools/fuzz_http.py CORPUS -max_total_time=1800 -max_len=4000 -timeout=600 -rss_limit_mb=4000

An input chooses method, path, query, headers (tokens among them), and a body in pieces: label maps, forms, JSON,
deflated ones, and ones that break off. The server has accounts. An answer of 500 and more is a finding, as is an answer
without a body of its own, a success of somebody who did not sign in, or what takes a minute or 4 GB. On a busy machine
the time without a processor does not count, so that ``-timeout`` must be larger than a minute.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gzip
import io
import json
import logging
import random
import sys
import time
import zlib
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import atheris

# Compiled loops can't be instrumented: they are loaded before.
import vastus.curation.kernels
import vastus.evaluation.scan
import vastus.evaluation.surface
import vastus.inference.kernels
import vastus.inference.predictor
import vastus.morphometry.bone
import vastus.morphometry.fat
import vastus.morphometry.voxels
import vastus.pipeline
import vastus.refinement.kernels
import vastus.resampling
import vastus.synthesis.kernels
import vastus.synthesis.volume_kernels  # noqa: F401

with atheris.instrument_imports(include=["vastus.annotation", "vastus.io", "starlette", "python_multipart"]):
    from vastus.annotation.http.app import create_app, guarded
    from vastus.annotation.project.project import Project, ServerSettings
    from vastus.annotation.project.users import Accounts, add_user, read_users

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from fuzz_choices import Choices, Target, fuzz

from annotation_server import ONE_THREAD, label_bytes, make_project, phantom, toy_model

METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "get")
PARTS = {
    "{case_id}": ("scan0", "nobody", "..", "%2e%2e%2fusers", "a\0b", "김", "x" * 300, "1"),
    "{version}": ("1", "0", "-1", "99", "1e3", "9" * 30, "x"),
    "{model}": ("toy", "none", "../toy"),
    "{name}": ("toy", "none"),
    "{index}": ("scan0", "1"),
    "{tool}": ("grow", "between", "smooth", "x"),
    "{finding_id}": ("1-f0001", "x"),
    "{strategy}": ("random", "uncertainty", "first", "x"),
    "{session_id}": ("x", "..", "0" * 36),
    "{path}": ("index.html", "../app.py", "js/../style.css", "%00", "nothing"),
}
MORE_PATHS = ("/", "/viewer/{path}", "/openapi.json", "//", "/api", "/metrics", "/auth/token")
SLOW = ("/train", "/api/train", "/infer", "/findings", "/activelearning")
"""Posts to these start work in the background: tried, but not for a signed-in caller."""
PUBLIC = ("/", "/viewer", "/openapi.json", "/auth", "/info")
TOKENS = ("", "Bearer", "Bearer ", "Bearer x", "bearer  y z", "Basic YTpi", "Bearer " + "a" * 9000, "Bearer \xff", "\0")
HEADERS = (
    (b"content-length", b"5"),
    (b"content-length", b"-1"),
    (b"content-length", b"99999999999999"),
    (b"content-length", b"x"),
    (b"transfer-encoding", b"chunked"),
    (b"content-encoding", b"gzip"),
    (b"content-encoding", b"deflate"),
    (b"content-type", b"application/json"),
    (b"content-type", b"application/x-www-form-urlencoded"),
    (b"content-type", b"multipart/form-data; boundary=b"),
    (b"content-type", b"multipart/form-data"),
    (b"content-type", b"application/octet-stream"),
    (b"content-type", b"text/plain; charset=nonsense"),
    (b"content-type", b"\xff\xfe"),
    (b"origin", b"http://evil.example"),
    (b"origin", b"null"),
    (b"host", b"evil.example"),
    (b"host", b"localhost:8000"),
    (b"cookie", b"vastus_token=x; ="),
    (b"range", b"bytes=5-1"),
    (b"range", b"bytes=0-10,20-"),
    (b"if-none-match", b'"x'),
    (b"x-vastus-author", b"../x"),
    (b"accept-encoding", b"gzip;q=x"),
)
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="params"\r\n\r\n{}\r\n--b\r\n'
    b'Content-Disposition: form-data; name="file"; filename="../a.nii.gz"\r\n\r\nx\r\n--b--\r\n'
)
LONGEST_S = 60.0
PASSWORD = "correct horse battery"


class HttpTarget:
    """The server under test, asked by ASGI messages."""

    def __init__(self, folder: Path) -> None:
        logging.disable(logging.CRITICAL)
        project = make_project(folder / "project", 1)
        add_user(folder / "users.json", "anna", PASSWORD)
        self._accounts = Accounts(read_users(folder / "users.json"))
        settings = ServerSettings(project, toy_model(folder / "toy"), ONE_THREAD, body_limit=1 << 20)
        self._project = Project(settings, self._accounts)
        app = create_app(self._project)
        self._app = guarded(app, self._project)
        self._loop = asyncio.new_event_loop()
        self._paths = (*sorted(app.openapi()["paths"]), *MORE_PATHS)
        self._labels = label_bytes(phantom(0).labels, folder)
        self._token = self._sign_in()

    def _sign_in(self) -> str:
        form = f"username=anna&password={PASSWORD.replace(' ', '+')}&grant_type=password".encode()
        headers = [
            (b"host", b"localhost:8000"),
            (b"content-type", b"application/x-www-form-urlencoded"),
            (b"content-length", b"%d" % len(form)),
        ]
        status, body = self._ask("POST", "/auth/token", b"", headers, [form])
        assert status == 200, body
        return str(json.loads(body)["access_token"])

    def __call__(self, data: bytes) -> None:
        """Fail on what no server may answer."""
        choices = Choices(data)
        method, template = choices.of(METHODS), choices.of(self._paths)
        path = template
        for part, options in PARTS.items():
            if part in path:
                path = path.replace(part, choices.of(options))
        signed_in = choices.yes() and not (method != "GET" and template.startswith(SLOW))
        headers = [(b"host", b"localhost:8000")]
        token = f"Bearer {self._token}" if signed_in else choices.of(TOKENS)
        if token:
            headers.append((b"authorization", token.encode("latin-1")))
        for _ in range(choices.below(4)):
            extra = choices.of(HEADERS)
            headers = [h for h in headers if h[0] != extra[0] or extra[0] != b"host"] + [extra]
        query = choices.of([b"", b"image=scan0&tag=final", b"parent=1", b"parent=x&&=&%ff", b"output=all&version=1"])
        pieces = self._body(choices)
        if method in ("GET", "HEAD") and not choices.yes():
            pieces = []
        elif pieces and not any(h[0] in (b"content-length", b"transfer-encoding") for h in headers):
            headers.append((b"transfer-encoding", b"chunked"))
        status, body = self._ask(method, path, query, headers, pieces)
        assert 200 <= status < 500 or status in (501, 503, 507), (method, path, status, body[:300])
        assert signed_in or status >= 300 or method == "OPTIONS" or path == "/" or path.startswith(PUBLIC), (
            method,
            path,
        )
        hung_up = None in pieces  # type: ignore[comparison-overlap]
        by_framework = path.startswith("/viewer") or body.startswith(b"Range header")
        if status >= 400 and method != "HEAD" and not by_framework and not hung_up:
            assert body.startswith(b"{"), (method, path, status, body[:300])
            assert json.loads(body)["error"] and b"Traceback" not in body, (method, path, status, body[:300])

    def _body(self, choices: Choices) -> list[bytes]:
        kind = choices.below(9)
        bodies = (
            b"",
            self._labels,
            FORM,
            b"{}",
            b"[" * 3000,
            gzip.compress(bytes(1 << 20)),
            zlib.compress(bytes(9999)),
        )
        if kind < len(bodies):
            body = bodies[kind]
        elif kind == 7:
            with gzip.open(stream := io.BytesIO(), "wb") as file:
                file.write(gzip.decompress(self._labels)[: choices.below(60000)])
            body = stream.getvalue()
        else:
            body = choices.rest()
        if body and choices.yes():
            changed = bytearray(body)
            for _ in range(1 + choices.below(6)):
                changed[choices.below(min(65536, len(changed)))] = choices.byte()
            body = bytes(changed)
        size = 1 + choices.below(65536)
        pieces = [body[start : start + size] for start in range(0, len(body), size)][:50]
        return [*pieces, None] if choices.yes() else pieces  # type: ignore[list-item]  # None: the client hangs up

    def _ask(
        self, method: str, path: str, query: bytes, headers: list[tuple[bytes, bytes]], pieces: list[bytes]
    ) -> tuple[int, bytes]:
        left, answer, status = list(pieces), bytearray(), 0

        async def receive() -> dict[str, Any]:
            if not left:
                return {"type": "http.disconnect"}
            piece = left.pop(0)
            if piece is None:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": piece, "more_body": bool(left)}

        async def send(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                answer.extend(message.get("body", b""))

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode("utf-8", "replace"),
            "root_path": "",
            "query_string": query,
            "headers": headers,
            "client": ("127.0.0.1", 5),
            "server": ("localhost", 8000),
        }
        hung_up = any(piece is None for piece in pieces)
        if not pieces:
            left.append(b"")
        with suppress(_disconnected() if hung_up else ()):
            self._loop.run_until_complete(_in_time(self._app(scope, receive, send), f"{method} {path}"))
        # Nobody reads an answer after hanging up: it may be missing.
        return (status, bytes(answer)) if status or not hung_up else (499, b'{"error": "hung up"}')


async def _in_time(asked: Coroutine[Any, Any, None], what: str) -> None:
    """Wait for an answer; fail where the server stands still or computes for a minute, not where others slow it.

    Threads that wait for a processor are not at fault: their own time and that of waiting for one are told apart from
    the time in which none of them had anything to do.
    """
    task = asyncio.ensure_future(asked)
    began, (used_s, queued_s) = time.monotonic(), _processor_times()
    while not task.done():
        await asyncio.wait({task}, timeout=5.0)
        used, queued = (now - before for now, before in zip(_processor_times(), (used_s, queued_s), strict=True))
        idle_s = time.monotonic() - began - used - queued
        if not task.done() and (max(used, idle_s) > LONGEST_S):
            faulthandler.dump_traceback(all_threads=True)
            task.print_stack()
            raise TimeoutError(
                f"{what}: {used:.0f} s computed, {queued:.0f} s without a processor, {idle_s:.0f} s idle"
            )
    await task


def _processor_times() -> tuple[float, float]:
    """Seconds for which the threads of this process ran, and for which they could run but had no processor (Linux)."""
    ran = waited = 0.0
    for file in Path("/proc/self/task").glob("*/schedstat"):
        with suppress(OSError):  # a thread that has ended
            numbers = file.read_text().split()
            ran, waited = ran + int(numbers[0]) * 1e-9, waited + int(numbers[1]) * 1e-9
    return ran, waited


def _disconnected() -> type[Exception]:
    from starlette.requests import ClientDisconnect

    return ClientDisconnect


def seeds() -> dict[str, bytes]:
    """Random requests."""
    dice = random.Random(4)
    return {f"http{n:03d}": dice.randbytes(60) for n in range(200)}


def make_target(folder: Path) -> Target:
    """The target."""
    return HttpTarget(folder)


if __name__ == "__main__":
    fuzz(make_target, seeds)
