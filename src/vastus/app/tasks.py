"""What is to be done: one list, in order, that outlives the program."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

from vastus.io.atomic import write_text


class Work(Enum):
    """What is done."""

    SEGMENT = "segment"
    MEASURE = "measure"
    COHORT = "cohort"


class TaskState(Enum):
    """``FAILED`` ones stay in the list, with their message, until somebody takes them out."""

    WAITING = "waiting"
    RUNNING = "running"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of work.

    Attributes:
        id: never used twice.
        work: what is done.
        name: of the result that it makes.
        request: what the worker is told.
        kept: folder in ``scans/`` that holds the scan; empty if it lies elsewhere.
        state: where it stands.
        problem, remedy: of a failed one: what is wrong, what to do.
    """

    id: str
    work: Work
    name: str
    request: dict[str, Any]
    kept: str = ""
    state: TaskState = TaskState.WAITING
    problem: str = ""
    remedy: str = ""


@dataclass(slots=True)
class Step:
    """How far the running task is.

    Attributes:
        stage: in the worker's words; ``start`` while the program is loaded.
        done, total: windows of the network.
        begun, first_window: seconds of ``time.monotonic``; 0 before the first window is done.
    """

    stage: str = "start"
    done: int = 0
    total: int = 0
    begun: float = field(default_factory=time.monotonic)
    first_window: float = 0.0

    def note(self, stage: str, done: int, total: int) -> None:
        """Take in what the worker says."""
        if done == 1 and not self.first_window:
            self.first_window = time.monotonic()
        self.stage, self.done, self.total = stage, done, total

    def seconds_left(self, tail_share: float) -> float | None:
        """Windows to come at the pace of those done, and what follows the network; None before the second window.

        Args:
            tail_share: how long everything after the network takes, as a share of the network's time.
        """
        if self.done < 2 or not self.total or not self.first_window:
            return None
        a_window = (time.monotonic() - self.first_window) / (self.done - 1) if self.stage == "network" else 0.0
        if not a_window:
            return None
        return a_window * (self.total - self.done + tail_share * self.total)


class Tasks:
    """The list. Thread-safe; what waits or has failed is on the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._guard = threading.Condition()
        self._tasks = _read(path)
        self._closed = False

    def add(self, work: Work, name: str, request: dict[str, Any], kept: str = "") -> Task:
        """Append a task."""
        task = Task(secrets.token_hex(6), work, name, request, kept)
        with self._guard:
            self._tasks.append(task)
            self._write()
        return task

    def all(self) -> tuple[Task, ...]:
        """All tasks, in order."""
        with self._guard:
            return tuple(self._tasks)

    def get(self, task_id: str) -> Task | None:
        """One task, or None."""
        with self._guard:
            return next((task for task in self._tasks if task.id == task_id), None)

    def remove(self, task_id: str) -> None:
        """Take a task out of the list."""
        with self._guard:
            self._tasks = [task for task in self._tasks if task.id != task_id]
            self._write()

    def retry(self, task_id: str) -> None:
        """Let a failed task wait again, behind the others."""
        with self._guard:
            for task in [t for t in self._tasks if t.id == task_id and t.state is TaskState.FAILED]:
                self._tasks.remove(task)
                self._tasks.append(replace(task, state=TaskState.WAITING, problem="", remedy=""))
            self._write()

    def fail(self, task_id: str, problem: str, remedy: str) -> None:
        """Keep why a task came to nothing."""
        self._change(task_id, lambda task: replace(task, state=TaskState.FAILED, problem=problem, remedy=remedy))

    def next(self, patience_s: float) -> Task | None:
        """The first that waits, now running; None if none came in time, or the list is closed."""
        with self._guard:
            self._guard.wait_for(lambda: self._closed or self._first() is not None, patience_s)
            task = None if self._closed else self._first()
            if task is None:
                return None
            place = self._tasks.index(task)
            self._tasks[place] = replace(task, state=TaskState.RUNNING)
            return self._tasks[place]

    def close(self) -> None:
        """Let nobody wait any more."""
        with self._guard:
            self._closed = True
            self._guard.notify_all()

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed

    def _first(self) -> Task | None:
        return next((task for task in self._tasks if task.state is TaskState.WAITING), None)

    def _change(self, task_id: str, change: Callable[[Task], Task]) -> None:
        with self._guard:
            self._tasks = [change(task) if task.id == task_id else task for task in self._tasks]
            self._write()

    def _write(self) -> None:
        self._guard.notify_all()
        rows = [asdict(task) | {"work": task.work.value, "state": task.state.value} for task in self._tasks]
        write_text(self._path, json.dumps(rows, indent=2) + "\n")


def _read(path: Path) -> list[Task]:
    """The list as it was left; what was running waits again."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return []
    tasks = []
    for row in rows:
        state = TaskState.FAILED if row["state"] == TaskState.FAILED.value else TaskState.WAITING
        tasks.append(Task(**(row | {"work": Work(row["work"]), "state": state})))
    return tasks
