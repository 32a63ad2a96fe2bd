"""Logs of a run: two CSV files, TensorBoard, and a progress bar (a plain line now and then without a terminal)."""

from __future__ import annotations

import csv
import io
import math
import sys
import time
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any

from vastus.io.atomic import write_text

LOG_FILE = "log.csv"
VALIDATION_FILE = "validation.csv"
_PLAIN_LINE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class LogRow:
    """One row of ``log.csv``: means since the row before.

    ``waiting`` is the share of the time spent waiting for data: above 0.1 the loader starves the trainer.
    """

    step: int
    seconds: float
    share: float
    learning_rate: float
    loss: float
    gradient_norm: float
    seconds_per_step: float
    waiting: float


class RunLog:
    """Writes the logs of one run; rows after the step that a run resumes from are dropped."""

    def __init__(self, run: Path, classes: tuple[str, ...], *, from_step: int, active: bool, progress: bool) -> None:
        self.run = run
        self.classes = classes
        self.active = active
        self._board: Any = None
        self._bar: Any = None
        self._task: Any = None
        self._spoke = 0.0
        if not active:
            return
        _start_csv(run / LOG_FILE, [f.name for f in fields(LogRow)], from_step)
        _start_csv(run / VALIDATION_FILE, ["step", "mean_dice", *classes[1:]], from_step)
        from torch.utils.tensorboard.writer import SummaryWriter

        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=from_step + 1)
        if progress and sys.stderr.isatty():
            self._bar = _progress_bar()
            self._bar.start()
            self._task = self._bar.add_task("training", total=1.0, note="")

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._board is not None:
            self._board.close()

    def row(self, row: LogRow) -> None:
        """Log the means of some steps."""
        if not self.active:
            return
        _append(self.run / LOG_FILE, [_short(v) for v in astuple(row)])
        self._board.add_scalar("loss", row.loss, row.step)
        self._board.add_scalar("learning_rate", row.learning_rate, row.step)
        self._board.add_scalar("seconds_per_step", row.seconds_per_step, row.step)
        left = row.seconds / max(row.share, 1e-6) * (1.0 - row.share)
        note = f"step {row.step}  loss {row.loss:.3f}  {row.seconds_per_step:.2f} s/step  waiting {row.waiting:.0%}"
        if self._bar is not None:
            self._bar.update(self._task, completed=row.share, note=note)
        elif time.monotonic() - self._spoke > _PLAIN_LINE_SECONDS or row.share >= 1.0:
            self.say(f"{row.share:5.1%}  {note}  {left / 60:.0f} min left")
            self._spoke = time.monotonic()

    def validation(self, step: int, mean_dice: float, dice: list[float]) -> None:
        """Log a validation."""
        if not self.active:
            return
        _append(self.run / VALIDATION_FILE, [step, _short(mean_dice), *(_short(d) for d in dice[1:])])
        self._board.add_scalar("dice/mean", mean_dice, step)
        for name, value in zip(self.classes[1:], dice[1:], strict=True):
            if not math.isnan(value):
                self._board.add_scalar(f"dice/{name}", value, step)
        self._board.flush()
        self.say(f"validation at step {step}: mean Dice {mean_dice:.3f}")

    def say(self, text: str) -> None:
        """One line for the user, on stderr."""
        if not self.active:
            return
        if self._bar is not None:
            self._bar.console.print(text, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)


def _progress_bar() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _start_csv(path: Path, header: list[str], from_step: int) -> None:
    kept: list[list[str]] = []
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        # A killed run may have left half a row, and rows of steps that will be done again.
        kept = [r for r in rows[1:] if len(r) == len(header) and r[0].isdigit() and int(r[0]) <= from_step]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *kept])
    write_text(path, text.getvalue())


def _append(path: Path, values: list[Any]) -> None:
    with path.open("a", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerow(values)


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return value
