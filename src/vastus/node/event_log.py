"""Structured logs and counters. Neither ever holds a UID, a name or any header value."""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from typing import TextIO


class EventLog:
    """One JSON object a line, and counters for ``/metrics``; safe for threads."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def log(self, event: str, **fields: str | int | float) -> None:
        """Write a line: time, event, fields."""
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **fields}
        # A full disk under the log, or a pipe that nobody reads any more, must not end the thread that works.
        with self._lock, suppress(OSError, ValueError):
            print(json.dumps(line), file=self._stream, flush=True)

    def count(self, name: str, amount: int = 1) -> None:
        """Raise a counter."""
        with self._lock:
            self._counts[name] += amount

    def counts(self) -> dict[str, int]:
        """All counters."""
        with self._lock:
            return dict(self._counts)
