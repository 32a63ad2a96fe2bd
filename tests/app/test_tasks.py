from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from vastus.app.runner import Runner
from vastus.app.tasks import Step, Task, Tasks, TaskState, Work

LIMIT_S = 60.0
# Answers each request as its name says.
STAND_IN = """
import json, sys, time
for line in sys.stdin:
    name = json.loads(line)["name"]
    print(json.dumps({"stage": "network", "done": 1, "total": 4}), flush=True)
    if name == "slow": time.sleep(3600)
    if name == "dies": sys.exit(9)
    bad = {"ok": False, "problem": "No CT.", "remedy": "Give one."}
    print(json.dumps(bad if name == "bad" else {"ok": True}), flush=True)
"""


def until(holds: Callable[[], object]) -> None:
    limit = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < limit
        time.sleep(0.01)


class Bench:
    """Tasks with a stand-in for the worker."""

    def __init__(self, folder: Path, command: Sequence[str] = (sys.executable, "-c", STAND_IN)) -> None:
        self.tasks = Tasks(folder / "queue.json")
        self.finished: list[str] = []
        self.runner = Runner(self.tasks, self._done, command=command)

    def _done(self, task: Task) -> dict[str, float]:
        self.finished.append(task.name)
        return {"read": 1.0, "network": 10.0, "total": 16.0}

    def add(self, name: str) -> Task:
        return self.tasks.add(Work.SEGMENT, name, {"name": name})


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.runner.close()


def test_one_after_another_and_a_bad_one_leaves_the_rest(bench: Bench) -> None:
    for name in ("first", "bad", "dies", "last"):
        bench.add(name)
    bench.runner.start()
    until(lambda: bench.finished == ["first", "last"])
    until(lambda: [task.state for task in bench.tasks.all()] == [TaskState.FAILED] * 2)
    bad, dies = bench.tasks.all()
    assert (bad.name, bad.problem, bad.remedy) == ("bad", "No CT.", "Give one.")
    assert "memory" in dies.problem
    assert bench.runner.mean_seconds() == 16.0


def test_cancelling_ends_what_runs_at_once_and_the_next_begins(bench: Bench) -> None:
    slow = bench.add("slow")
    bench.add("next")
    bench.runner.start()
    until(lambda: (bench.runner.progress() or {}).get("done") == 1)
    assert bench.runner.progress() == {"id": slow.id, "stage": "network", "done": 1, "total": 4, "seconds_left": None}
    bench.runner.cancel(slow.id)
    until(lambda: bench.finished == ["next"] and bench.tasks.all() == ())


def test_the_list_outlives_the_program(tmp_path: Path) -> None:
    before = Bench(tmp_path)
    before.add("bad")
    slow = before.add("slow")
    before.add("third")
    before.runner.start()
    until(lambda: (before.runner.progress() or {}).get("id") == slow.id)
    before.runner.close()
    after = Bench(tmp_path)
    assert [(t.name, t.state) for t in after.tasks.all()] == [
        ("bad", TaskState.FAILED),
        ("slow", TaskState.WAITING),
        ("third", TaskState.WAITING),
    ]
    assert after.tasks.all()[0].remedy == "Give one."
    after.tasks.retry(after.tasks.all()[0].id)
    assert [t.name for t in after.tasks.all() if t.state is TaskState.WAITING] == ["slow", "third", "bad"]


def test_time_left_comes_from_the_windows_after_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    step = Step()
    assert step.seconds_left(0.5) is None
    step.note("network", 1, 5)
    assert step.seconds_left(0.5) is None
    now[0] = 104.0
    step.note("network", 3, 5)  # two windows in four seconds
    assert step.seconds_left(0.5) == pytest.approx(2 * 2.0 + 0.5 * 5 * 2.0)
