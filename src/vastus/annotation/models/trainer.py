"""Training in the background: ``vastus train`` on the final labels, then ``vastus export``, in processes of their own.

The server goes on meanwhile. A run starts from the selected model's weights, on a snapshot of the final labels that
later saves do not disturb; its bundle appears among the models when it is whole.
"""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import subprocess
import sys
import threading
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Final

from vastus.annotation.models.registry import ModelRegistry, now_text
from vastus.annotation.project.final_labels import FinalLabels
from vastus.annotation.project.layout import Layout
from vastus.annotation.refusals import BadRequestError, BusyError, NotReadyError, UnknownItemError
from vastus.inference.bundle import Bundle

_KEPT_LINES: Final = 50
_STOP_SECONDS: Final = 20.0
_FINE_TUNING_RATE: Final = 0.002
"""A tenth of the default: the weights are there already."""
_DEFAULT_MINUTES: Final = 30.0
_MOST_MINUTES: Final = 7 * 24 * 60.0
_LOG_FILE: Final = "log.csv"
_VALIDATION_FILE: Final = "validation.csv"


class TaskState(Enum):
    """Where a training is; the words are MONAI Label's."""

    RUNNING = "RUNNING"
    DONE = "DONE"
    ERROR = "ERROR"
    STOPPED = "STOPPED"


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """What may be asked of a training.

    Attributes:
        minutes: length in minutes, or None.
        steps: length in steps, or None; one of the two, else the project's settings or 30 minutes.
        learning_rate: None: that of the settings, a tenth of the default.
        fresh: start from random weights.
    """

    minutes: float | None = None
    steps: int | None = None
    learning_rate: float | None = None
    fresh: bool = False

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> TrainRequest:
        """Read a client's table; what is not known here is ignored, as 3D Slicer sends more.

        Raises:
            BadRequestError: not a number, or out of range.
        """
        minutes = _number(values, "minutes", 1 / 60, _MOST_MINUTES)
        steps = _number(values, "steps", 1, 10_000_000)
        rate = _number(values, "learning_rate", 1e-8, 1.0)
        return cls(minutes, None if steps is None else int(steps), rate, values.get("fresh") in (True, "true", "True"))


def _number(values: Mapping[str, Any], name: str, least: float, most: float) -> float | None:
    given = values.get(name)
    if given is None or given == "":
        return None
    try:
        number = float(given)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadRequestError(f"{name} must be a number.") from error
    if not least <= number <= most:
        raise BadRequestError(f"{name} must lie in {least:g}..{most:g}.")
    return number


@dataclass(slots=True)
class TrainingTask:
    """One training."""

    id: str
    name: str
    run: Path
    request: dict[str, Any]
    started: str = field(default_factory=now_text)
    ended: str | None = None
    state: TaskState = TaskState.RUNNING
    lines: deque[str] = field(default_factory=lambda: deque(["starting"], maxlen=_KEPT_LINES))
    process: subprocess.Popen[str] | None = None
    stopping: bool = False

    def status(self) -> dict[str, Any]:
        """As MONAI Label gives it, and the progress besides."""
        last = _last_row(self.run / _LOG_FILE)
        validation = _last_row(self.run / _VALIDATION_FILE)
        return {
            "id": self.id,
            "status": self.state.value,
            "request": self.request,
            "start_ts": self.started,
            "end_ts": self.ended,
            "details": list(self.lines),
            "result": self._result(),
            "model": self.name,
            "running": self.state is TaskState.RUNNING,
            "progress": _float(last.get("share")),
            "step": int(last["step"]) if last.get("step", "").isdigit() else None,
            "loss": _float(last.get("loss")),
            "mean_dice": _float(validation.get("mean_dice")),
        }

    def _result(self) -> dict[str, Any] | None:
        return {"model": self.name} if self.state is TaskState.DONE else None


@dataclass(frozen=True, slots=True)
class TrainerSettings:
    """How trainings run here.

    Attributes:
        values: laid over the settings of every run (see ``vastus train --config``), e.g. ``{"batch_size": 4}``.
        device: ``cpu`` or ``cuda``.
        threads: of the network.
        workers: processes that prepare windows.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    threads: int | None = None
    workers: int = 1


class Trainer:
    """Starts, watches and stops trainings, one at a time."""

    def __init__(self, layout: Layout, labels: FinalLabels, registry: ModelRegistry, settings: TrainerSettings) -> None:
        self._layout = layout
        self._labels = labels
        self._registry = registry
        self._settings = settings
        self._task: TrainingTask | None = None
        self._guard = threading.Lock()
        self._watcher: threading.Thread | None = None

    def start(self, request: TrainRequest) -> TrainingTask:
        """Begin a training.

        Raises:
            MissingExtraError: torch is not installed.
            BusyError: one is running.
            NotReadyError: fewer than two final labels, or a model without weights to start from.
        """
        from vastus.training.networks import require_torch

        require_torch()
        with self._guard:
            if self._task is not None and self._task.state is TaskState.RUNNING:
                raise BusyError("A training is running.", remedy="Wait for it, or stop it: DELETE /api/train")
            task = self._prepare(request)
            self._task = task
            self._watcher = threading.Thread(target=self._watch, args=(task,), name="training", daemon=True)
            self._watcher.start()
            return task

    def task(self) -> TrainingTask | None:
        """The training that is running, or the last one."""
        return self._task

    def stop(self) -> TrainingTask:
        """End the training that is running; what it wrote stays in its run's folder.

        Raises:
            UnknownItemError: there never was one.
        """
        task = self._task
        if task is None:
            raise UnknownItemError("There is no training.")
        if task.state is TaskState.RUNNING:
            task.stopping = True
            _end(task.process)
            if self._watcher is not None:
                self._watcher.join(_STOP_SECONDS)
        return task

    def close(self) -> None:
        """Stop whatever runs."""
        if self._task is not None and self._task.state is TaskState.RUNNING:
            self.stop()

    def _prepare(self, request: TrainRequest) -> TrainingTask:
        count = len(self._labels.finals())
        if count < 2:
            raise NotReadyError(
                f"A training needs two final labels, one of them to be held out; there are {count}.",
                remedy="Save labels with the tag final.",
            )
        start = None if request.fresh else self._registry.start_of_training()
        if start is not None and not start.safetensors_path.is_file():
            raise NotReadyError(
                "The selected model has no weights that a training could start from.",
                remedy='Select another one, or send {"fresh": true}.',
            )
        name = self._next_name()
        run = self._layout.runs / name
        run.mkdir(parents=True)
        count = self._labels.snapshot(run / "data")
        values = run_settings(request, start, self._settings.values)
        (run / "settings.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        init = {"init": str(start.folder.name)} if start is not None else {}
        shown = {k: v for k, v in values.items() if k in ("minutes", "steps", "learning_rate")}
        task = TrainingTask(uuid.uuid4().hex, name, run, shown | init | {"cases": count})
        task.lines.append(f"{name}: {count} final labels" + (f", from {start.folder.name}" if start else ""))
        self._commands = self._command_lines(run, name, start, count)
        return task

    def _command_lines(self, run: Path, name: str, start: Bundle | None, count: int) -> tuple[list[str], ...]:
        out = run / "out"
        train = ["train", "--data", str(run / "data"), "-o", str(out), "--config", str(run / "settings.json")]
        train += ["--device", self._settings.device, "--workers", str(self._settings.workers), "--nice", "5"]
        train += ["--threads", str(self._settings.threads)] if self._settings.threads else []
        train += ["--init", str(start.folder)] if start is not None else []
        seen = f"{count} final label maps of an annotation project"
        seen += f", starting from {start.info.name} ({start.info.trained_on})" if start is not None else ""
        export = ["export", str(out), "-o", str(self._layout.models / name), "--name", name, "--trained-on", seen]
        export += ["--metrics", str(run / "metrics.json")]
        return train, export

    def _next_name(self) -> str:
        taken = {
            p.name for folder in (self._layout.runs, self._layout.models) if folder.is_dir() for p in folder.iterdir()
        }
        number = 1
        while f"round-{number:03d}" in taken:
            number += 1
        return f"round-{number:03d}"

    def _watch(self, task: TrainingTask) -> None:
        train, export = self._commands
        try:
            done = self._follow(task, train)
            if done:
                dice = _float(_last_row(task.run / "out" / _VALIDATION_FILE).get("mean_dice"))
                metrics = {} if dice is None else {"mean Dice on held-out windows": dice}
                (task.run / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
                self._layout.models.mkdir(parents=True, exist_ok=True)
                done = self._follow(task, export)
            if done:
                # The run's checkpoint goes on lying there; what was only copied for it does not.
                shutil.rmtree(task.run / "out" / "cache", ignore_errors=True)
                self._registry.select(task.name)
            task.state = TaskState.DONE if done else TaskState.STOPPED if task.stopping else TaskState.ERROR
        except Exception as error:
            # The thread must leave a state behind whatever happens: a disk that is full, a bundle that is damaged.
            task.lines.append(f"{type(error).__name__}: {getattr(error, 'problem', 'the training could not go on')}")
            task.state = TaskState.STOPPED if task.stopping else TaskState.ERROR
        finally:
            task.ended = now_text()

    def _follow(self, task: TrainingTask, arguments: list[str]) -> bool:
        """Run a command to its end, keeping its last lines; whether it succeeded."""
        if task.stopping:
            return False
        process = subprocess.Popen(
            _training_command(arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        task.process = process
        if task.stopping:
            _end(process)
        assert process.stdout is not None
        for line in process.stdout:
            if text := line.replace(str(self._layout.root), "DIR").strip():
                task.lines.append(text[:500])
        return process.wait() == 0 and not task.stopping


def _training_command(arguments: list[str]) -> list[str]:
    """The command of a training, under a guard that ends it with the server, even when that is killed.

    On Windows a program can't become another one, as the guard does: its training would run on unwatched, and count as
    done at once. There it runs without.
    """
    command = [sys.executable, "-m", "vastus", *arguments]
    guard = [sys.executable, "-m", "vastus.node.guard", str(os.getpid())]
    return command if sys.platform == "win32" else [*guard, *command]


def run_settings(request: TrainRequest, start: Bundle | None, project: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run: network and preprocessing of the weights it starts from, then the project's, then the
    request's."""
    values: dict[str, Any] = {}
    if start is not None:
        values["learning_rate"] = _FINE_TUNING_RATE
    values |= dict(project)
    if start is not None:
        info = start.info
        values |= {
            "network": info.network.name,
            "network_arguments": dict(info.network.arguments),
            "preprocessing": info.preprocessing.to_dict(),
        }
    if request.minutes is not None or request.steps is not None:
        values |= {"minutes": request.minutes, "steps": request.steps}
    elif values.get("minutes") is None and values.get("steps") is None:
        values["minutes"] = _DEFAULT_MINUTES
    if request.learning_rate is not None:
        values["learning_rate"] = request.learning_rate
    return values


def _end(process: subprocess.Popen[str] | None) -> None:
    if process is None or process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_STOP_SECONDS / 2)
    except subprocess.TimeoutExpired:
        process.kill()


def _last_row(path: Path) -> dict[str, str]:
    """The last whole row of a table that may be growing; empty if there is none."""
    for place in (path, path.parent / "out" / path.name):
        if place.is_file():
            with place.open(newline="", encoding="utf-8") as file:
                rows = list(csv.reader(file))
            whole = [row for row in rows[1:] if len(row) == len(rows[0])]
            return dict(zip(rows[0], whole[-1], strict=True)) if whole else {}
    return {}


def _float(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def read_train_settings(path: Path) -> Mapping[str, Any]:
    """The project's own settings of trainings, from a TOML or JSON file.

    Raises:
        MissingInputError, SettingsError: missing or malformed.
    """
    from vastus.training.config import TrainConfig, read_values

    values = read_values(path)
    # Refused now, by name, and not when the first training starts.
    TrainConfig.from_dict(values if {"steps", "minutes"} & set(values) else values | {"minutes": 1.0})
    return values
