"""The status page and ``/metrics`` (Prometheus text), on loopback only."""

from __future__ import annotations

import html
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from vastus.errors import SettingsError
from vastus.node.event_log import EventLog
from vastus.node.queue import Queue
from vastus.node.receiver import StorageMeter
from vastus.version import __version__

_LOCAL_NAMES: Final = {"127.0.0.1", "localhost"}
_SHOWN: Final = 50
_SILENCE_S: Final = 10.0
_PAGE: Final = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Vastus node</title>
<meta http-equiv="refresh" content="5">
<style>body{{font:16px sans-serif;margin:2em auto;max-width:60em}}
td,th{{text-align:left;padding:.2em 1em .2em 0}}</style>
<h1>Vastus node {version}</h1><table>{counts}</table>
<h2>Last changes</h2><table><tr><th>job</th><th>state</th><th>tries</th><th>changed (UTC)</th><th>reason</th></tr>{jobs}
</table><p>No patient data are shown here. <a href="/metrics">Metrics</a></p></html>
"""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A page that nobody waits for any more is nothing to log."""


class StatusServer:
    """Answers GET / and GET /metrics."""

    def __init__(self, port: int, queue: Queue, event_log: EventLog, storage: StorageMeter) -> None:
        self._port, self._queue, self._event_log, self._storage = port, queue, event_log, storage
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        """Listen on 127.0.0.1; does nothing for port 0.

        Raises:
            SettingsError: the port is taken.
        """
        if not self._port:
            return
        answers = {"/": (self.page, "text/html"), "/metrics": (self.metrics, "text/plain")}

        class Handler(BaseHTTPRequestHandler):
            timeout = _SILENCE_S

            def do_GET(self) -> None:
                # A web page elsewhere must not read this one through a name that points to 127.0.0.1.
                host = self.headers.get("Host", "").rsplit(":", 1)[0]
                if self.path not in answers or host not in _LOCAL_NAMES:
                    self.send_error(404)
                    return
                make, kind = answers[self.path]
                body = make().encode()
                self.send_response(200)
                self.send_header("Content-Type", f"{kind}; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Requests are not logged."""

        try:
            self._server = _Server(("127.0.0.1", self._port), Handler)
        except OSError as error:
            raise SettingsError(f"The status port {self._port} can't be opened ({error.strerror}).") from error
        threading.Thread(target=self._server.serve_forever, name="status", daemon=True).start()

    def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def metrics(self) -> str:
        """Counters since the start, jobs by state, bytes on disk."""
        lines = [f'vastus_node_jobs{{state="{state.value}"}} {n}' for state, n in self._queue.counts().items()]
        lines += [f"vastus_node_{name}_total {n}" for name, n in sorted(self._event_log.counts().items())]
        lines.append(f"vastus_node_storage_bytes {self._storage.used_bytes:.0f}")
        return "\n".join(lines) + "\n"

    def page(self) -> str:
        """The status page."""
        counts = "".join(f"<tr><th>{s.value}</th><td>{n}</td></tr>" for s, n in self._queue.counts().items())
        jobs = "".join(
            f"<tr><td>{job.id}</td><td>{job.state.value}</td><td>{job.tries}</td>"
            f"<td>{datetime.fromtimestamp(job.changed, UTC):%Y-%m-%d %H:%M:%S}</td>"
            f"<td>{html.escape(job.reason)}</td></tr>"
            for job in self._queue.recent(_SHOWN)
        )
        return _PAGE.format(version=__version__, counts=counts, jobs=jobs)
