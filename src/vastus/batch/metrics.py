"""Prometheus metrics over HTTP, on loopback only."""

from __future__ import annotations

import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from vastus.batch.logs import BatchProgress
from vastus.batch.task import Outcome, ScanState

HOST = "127.0.0.1"
_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class BatchMetrics:
    """Counted by the command, read by the server's thread."""

    def __init__(self, progress: BatchProgress, workers: int) -> None:
        self._progress, self._workers = progress, workers
        self._endings: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._seconds = 0.0
        self._peak_bytes = 0
        self._lock = threading.Lock()

    def count(self, outcome: Outcome, state: ScanState) -> None:
        """Take in a try."""
        with self._lock:
            self._endings[outcome.ending.value] += 1
            self._seconds += outcome.seconds
            self._peak_bytes = max(self._peak_bytes, outcome.peak_bytes)
            if outcome.error:
                self._errors[outcome.error] += 1

    def text(self) -> str:
        """In Prometheus' text format."""
        progress = self._progress
        with self._lock:
            families: list[tuple[str, str, str, dict[str, float]]] = [
                (
                    "tries_total",
                    "counter",
                    "Tries by how they ended.",
                    {f'{{ending="{k}"}}': v for k, v in sorted(self._endings.items())},
                ),
                (
                    "errors_total",
                    "counter",
                    "Tries that failed, by the error's name.",
                    {f'{{error="{k}"}}': v for k, v in sorted(self._errors.items())},
                ),
                ("work_seconds_total", "counter", "Time workers spent on scans.", {"": self._seconds}),
                ("scans_finished", "gauge", "Scans of this run that need nothing more.", {"": progress.finished}),
                ("scans_total", "gauge", "Scans of this run.", {"": progress.total}),
                ("scans_per_hour", "gauge", "Throughput over the last scans.", {"": round(progress.per_hour, 3)}),
                ("seconds_left", "gauge", "Estimated time left.", {"": round(progress.seconds_left or 0.0, 1)}),
                ("workers", "gauge", "Scans done at a time.", {"": self._workers}),
                ("worker_peak_bytes", "gauge", "Largest memory of a worker so far.", {"": self._peak_bytes}),
            ]
        lines = []
        for name, kind, text, samples in families:
            lines += [f"# HELP vastus_batch_{name} {text}", f"# TYPE vastus_batch_{name} {kind}"]
            lines += [f"vastus_batch_{name}{labels} {value}" for labels, value in samples.items()]
        return "\n".join(lines) + "\n"


class MetricsServer:
    """Serves ``/metrics`` until closed. Port 0 takes a free one."""

    def __init__(self, metrics: BatchMetrics, port: int) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path != "/metrics":
                    self.send_error(404)
                    return
                body = metrics.text().encode()
                self.send_response(200)
                self.send_header("Content-Type", _TYPE)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing: standard error belongs to the progress."""

        self._server = ThreadingHTTPServer((HOST, port), Handler)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Free the port."""
        self._server.shutdown()
        self._server.server_close()
