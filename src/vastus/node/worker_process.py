"""The node's handle on its worker: started when needed, asked with a time limit, replaced when it dies."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from vastus.node.config import Processing


class WorkerFailure(Exception):
    """The worker could not process a series.

    Attributes:
        reason: in words, without patient data.
        final: another try would fail in the same way.
    """

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.final = reason, final


class WorkerProcess:
    """One worker; to be used by one thread, which must live as long as the worker."""

    def __init__(self, processing: Processing) -> None:
        default = (
            sys.executable, "-m", "vastus.node.worker", processing.formats, str(processing.weights or ""),
            str(processing.threads or ""),
        )  # fmt: skip
        self._command = processing.command or default
        self._timeout_s = processing.timeout_s
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str] = queue.Queue()

    def run(self, series: Path, output: Path, subject: str) -> None:
        """Process a series.

        Raises:
            WorkerFailure: refused, crashed, or out of time.
        """
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
            code = process.wait()
            self.stop()
            raise WorkerFailure(f"the worker ended (exit code {code})")
        answer = _parsed(line)
        if not answer.get("ok"):
            reason = f"{answer.get('error', 'failure')}: {answer.get('reason', '')}"
            raise WorkerFailure(reason, final=bool(answer.get("final")))

    def stop(self) -> None:
        """End the worker, whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            guard = str(Path(__file__).with_name("guard.py"))
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", guard, str(os.getpid()), *self._command],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            self._lines = queue.Queue()
            threading.Thread(target=_read_lines, args=(self._process.stdout, self._lines), daemon=True).start()
        return self._process


def _read_lines(stream: Any, lines: queue.Queue[str]) -> None:
    for line in stream:
        lines.put(line)
    lines.put("")


def _parsed(line: str) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except json.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict):
        return {"error": "protocol", "reason": "the worker answered something else than a JSON object"}
    return answer
