"""The node's handle on its worker: started when needed, asked with a time limit, replaced when it dies."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from vastus.io.library_logs import identifier, without_values
from vastus.node.config import Processing
from vastus.node.worker import CAN_NOT_START, SAID

Tell = Callable[[str, str], None]
_LONGEST_LINE: Final = 1 << 16
_ENDING_S: Final = 5.0


class WorkerFailure(Exception):
    """The worker could not process a series.

    Attributes:
        reason: in words, without patient data.
        final: another try would fail in the same way.
        hindered: the series had no part in it: a full disk, a worker that can't be started.
    """

    def __init__(self, reason: str, *, final: bool = False, hindered: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.final, self.hindered = reason, final, hindered


class WorkerProcess:
    """One worker; to be used by one thread, which must live as long as the worker.

    Args:
        processing: which one, and how long it may take.
        tell: is given what libraries said in the worker (who, and of what kind); of another program's error output
            only that there was some.
    """

    def __init__(self, processing: Processing, tell: Tell | None = None) -> None:
        default = (
            sys.executable,
            "-m",
            "vastus.node.worker",
            processing.formats,
            str(processing.weights or ""),
            str(processing.threads or ""),
        )
        self._command = processing.command or default
        self._timeout_s = processing.timeout_s
        self._tell = tell or (lambda who, kind: None)
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str] = queue.Queue()

    def run(self, series: Path, output: Path, subject: str) -> None:
        """Process a series.

        Raises:
            WorkerFailure: refused, crashed, or out of time.
            OSError: it can't be started.
        """
        process = self._running()
        if not self._lines.empty():
            # An answer that nobody asked for would be taken for that of this series.
            self.stop()
            process = self._running()
        assert process.stdin is not None
        try:
            request = {"series": str(series), "output": str(output), "subject": subject}
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            line = self._lines.get(timeout=self._timeout_s)
        except queue.Empty:
            self.stop()
            raise WorkerFailure(f"took longer than {self._timeout_s:.0f} s") from None
        except OSError:
            line = ""
        if not line:
            raise self._ended(process)
        answer = _parsed(line)
        if not answer.get("ok"):
            reason = without_values(f"{answer.get('error', 'failure')}: {answer.get('reason', '')}")
            raise WorkerFailure(reason, final=bool(answer.get("final")), hindered=bool(answer.get("hindered")))

    def stop(self) -> None:
        """End the worker, whatever it does."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def _ended(self, process: subprocess.Popen[str]) -> WorkerFailure:
        try:
            code: int | str = process.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            code = "none: it only closed its output"
        self.stop()
        return WorkerFailure(f"the worker ended (exit code {code})", hindered=code == CAN_NOT_START)

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            guard = str(Path(__file__).with_name("guard.py"))
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", guard, str(os.getpid()), *self._command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
                umask=0o077,
            )
            self._lines = queue.Queue()
            for stream, read in ((self._process.stdout, self._lines), (self._process.stderr, self._tell)):
                reader = _read_answers if read is self._lines else _read_errors
                threading.Thread(target=reader, args=(stream, read), daemon=True).start()
        return self._process


def _read_answers(stream: Any, lines: queue.Queue[str]) -> None:
    try:
        while line := stream.readline(_LONGEST_LINE):
            lines.put(line)
    finally:
        lines.put("")


def _read_errors(stream: Any, tell: Tell) -> None:
    """Let through what our own worker says of its libraries; of anything else, once, that there was something."""
    strange = False
    while line := stream.readline(_LONGEST_LINE):
        message = _parsed(line)
        if message.get("event") == SAID:
            tell(identifier(str(message.get("by"))), identifier(str(message.get("kind"))))
        elif not strange:
            strange = True
            tell("worker", "output")


def _parsed(line: str) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        return {"error": "protocol", "reason": "the worker answered something else than a JSON object"}
    return answer
