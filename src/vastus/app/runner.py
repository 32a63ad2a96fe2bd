"""Works through the list of tasks, one at a time, in a worker process that ends when there is nothing to do."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from vastus.app.tasks import Step, Task, Tasks
from vastus.errors import VastusError

_IDLE_S: Final = 60.0
"""How long the worker keeps its memory when nothing waits."""
_TAIL_SHARE: Final = 0.4
"""What follows the network, as a share of its time, until a scan of this run has shown it."""
_DIED: Final = "The program that works on the scans ended unexpectedly; mostly because memory ran out."
_DIED_REMEDY: Final = "Close other programs, look whether the disk is full, and try again."


class Runner:
    """One thread that hands tasks to a worker.

    Args:
        tasks: the list.
        finished: is given a task that is done, and what the worker said of it.
        options: added to every request (``weights``, ``threads``).
        command: of the worker.
    """

    def __init__(
        self,
        tasks: Tasks,
        finished: Callable[[Task], Mapping[str, float]],
        options: Mapping[str, Any] | None = None,
        command: Sequence[str] = (sys.executable, "-m", "vastus.app.worker"),
    ) -> None:
        self._tasks = tasks
        self._finished = finished
        self._options = dict(options or {})
        self._command = list(command)
        self._worker: subprocess.Popen[str] | None = None
        self._running: Task | None = None
        self._step = Step()
        self._cancelled = False
        self._guard = threading.Lock()
        self._tails: deque[float] = deque([_TAIL_SHARE], maxlen=1)
        self._totals: deque[float] = deque(maxlen=5)
        self._thread = threading.Thread(target=self._work, name="tasks", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def close(self) -> None:
        """Stop, whatever is being done; it waits again at the next start."""
        self._tasks.close()
        self._end_worker()
        if self._thread.is_alive():
            self._thread.join(10)

    def progress(self) -> dict[str, Any] | None:
        """Id, stage, windows and seconds left of what runs; None if nothing does."""
        with self._guard:
            task, step = self._running, self._step
        if task is None:
            return None
        left = step.seconds_left(self._tails[0])
        return {
            "id": task.id,
            "stage": step.stage,
            "done": step.done,
            "total": step.total,
            "seconds_left": None if left is None else round(left),
        }

    def mean_seconds(self) -> float | None:
        """How long the last scans took; None before the first."""
        return sum(self._totals) / len(self._totals) if self._totals else None

    def cancel(self, task_id: str) -> None:
        """Take a task out, also the running one."""
        with self._guard:
            running = self._running is not None and self._running.id == task_id
            self._cancelled = self._cancelled or running
        self._tasks.remove(task_id)
        if running:
            self._end_worker()

    def _work(self) -> None:
        while not self._tasks.closed:
            task = self._tasks.next(_IDLE_S)
            if task is None:
                self._end_worker()  # frees its memory
                continue
            with self._guard:
                self._running, self._step, self._cancelled = task, Step(), False
            try:
                self._do(task)
            except Exception as error:  # a full disk, a result that was removed meanwhile: the next tasks still come
                with suppress(VastusError):
                    self._tasks.fail(task.id, getattr(error, "problem", type(error).__name__), _DIED_REMEDY)
            finally:
                with self._guard:
                    self._running = None

    def _do(self, task: Task) -> None:
        try:
            answer = self._ask({"work": task.work.value} | task.request | self._options)
        except (OSError, ValueError):  # its streams ended, or were closed under our hands
            answer = None
        if self._cancelled or self._tasks.closed:
            return
        if answer is None:
            self._end_worker()
            self._tasks.fail(task.id, _DIED, _DIED_REMEDY)
        elif not answer.get("ok"):
            self._tasks.fail(task.id, str(answer.get("problem", "")), str(answer.get("remedy", "")))
        else:
            self._learn(self._finished(task))
            self._tasks.remove(task.id)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """The worker's last word on a request; None if it ended without one."""
        worker = self._start_worker()
        assert worker.stdin is not None and worker.stdout is not None
        worker.stdin.write(json.dumps(request) + "\n")
        worker.stdin.flush()
        if self._cancelled:
            return None
        for line in worker.stdout:
            message: dict[str, Any] = json.loads(line)
            if "ok" in message:
                return message
            with self._guard:
                self._step.note(message["stage"], message["done"], message["total"])
        return None

    def _learn(self, seconds: Mapping[str, float]) -> None:
        """From a scan's own times: how long the next ones may take."""
        network, total = seconds.get("network", 0.0), seconds.get("total", 0.0)
        if network and total:
            before = network + seconds.get("read", 0.0) + seconds.get("preprocess", 0.0)
            self._tails.append(max(0.0, total - before) / network)
            self._totals.append(total)

    def _start_worker(self) -> subprocess.Popen[str]:
        if self._worker is None or self._worker.poll() is not None:
            self._worker = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
            )
        return self._worker

    def _end_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            with suppress(OSError):
                worker.kill()
            worker.wait()
            for stream in (worker.stdin, worker.stdout):
                with suppress(OSError):
                    if stream is not None:
                        stream.close()
