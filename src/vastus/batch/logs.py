"""Watching a batch: JSON lines without patient data, and progress for people."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from vastus.batch.task import Outcome, ScanState

LOG_FILE = "batch.log.jsonl"
_EVERY_S = 20.0
_WINDOW = 200


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class BatchLog:
    """One JSON object a line. Scans appear under their keys; names, paths and messages may tell who somebody is."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("a", encoding="utf-8")

    def write(self, event: str, **values: Any) -> None:
        """Add a line. A log that can't be written must not end the work."""
        with suppress(OSError):
            self._file.write(json.dumps({"time": now(), "event": event, **values}) + "\n")
            self._file.flush()

    def outcome(self, outcome: Outcome, state: ScanState) -> None:
        """The line of one try."""
        self.write(
            "scan",
            scan=outcome.task.key,
            work=outcome.task.work.value,
            ending=outcome.ending.value,
            state=state.value,
            error=outcome.error or None,
            seconds=round(outcome.seconds, 3),
            peak_bytes=outcome.peak_bytes,
            voxels=outcome.product.voxels,
            worker=outcome.worker,
        )

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):
            self._file.close()


class BatchProgress:
    """How far a run is: a line that rewrites itself on a terminal, a line now and then elsewhere.

    Args:
        total: scans to do in this run.
        stream: where to; None: nowhere.
    """

    def __init__(self, total: int, stream: TextIO | None = sys.stderr) -> None:
        self.total, self._stream = total, stream
        self.done = self.failed = 0
        self._start = time.monotonic()
        self._ends: deque[float] = deque(maxlen=_WINDOW)
        self._said = 0.0
        self._terminal = stream is not None and stream.isatty()

    def count(self, state: ScanState) -> None:
        """Take in a scan's new state."""
        if state is ScanState.PENDING:
            return
        self._ends.append(time.monotonic())
        self.done += state is ScanState.DONE
        self.failed += state is not ScanState.DONE
        wait = 1.0 if self._terminal else _EVERY_S
        if time.monotonic() - self._said >= wait:
            self.say()

    @property
    def finished(self) -> int:
        """Scans that need nothing more in this run."""
        return self.done + self.failed

    @property
    def per_hour(self) -> float:
        """Throughput over the last two hundred scans."""
        since = self._start if len(self._ends) < _WINDOW else self._ends[0]
        seconds = time.monotonic() - since
        return 3600.0 * len(self._ends) / seconds if seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Until all are finished at that throughput."""
        return (self.total - self.finished) / self.per_hour * 3600.0 if self.per_hour else None

    def line(self) -> str:
        """In words."""
        left = "" if self.seconds_left is None else f", about {duration(self.seconds_left)} left"
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.finished}/{self.total} scans{failed}, {self.per_hour:.0f} scans/h{left}"

    def say(self, *, last: bool = False) -> None:
        """Show it."""
        self._said = time.monotonic()
        if self._stream is not None:
            start, end = ("\r", "\n" if last else "") if self._terminal else ("", "\n")
            self._stream.write(f"{start}{self.line():<78}".rstrip(" " * (not self._terminal)) + end)
            self._stream.flush()


def duration(seconds: float) -> str:
    """``95 s``, ``12 min``, ``3 h 20 min``, ``2 days 4 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} days {hours % 24} h"
