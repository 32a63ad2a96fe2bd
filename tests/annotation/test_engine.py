"""Who gets the network when. The network is a stand-in whose windows the tests let through one by one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from vastus.annotation.models.engine import Engine, Priority, Purpose, RequestKind, State
from vastus.annotation.refusals import NotYoursError, StoppedError, UnknownItemError
from vastus.inference.bundle import load_bundle
from vastus.inference.choices import RuntimeName, RuntimeOptions
from vastus.inference.predictor import Predictor, Progress, SegmentStage
from vastus.synthesis.phantom import make_phantom

if TYPE_CHECKING:
    from annotation_server import Running

WINDOWS = 4
LIMIT_S = 120.0
RANKING = Purpose(RequestKind.UNCERTAINTY, "large", "", Priority.BACKGROUND)


class Windows:
    """A network of four windows; each waits until it is let through."""

    def __init__(self) -> None:
        self.gates: dict[str, threading.Semaphore] = {}
        self.log: list[str] = []

    def segment(self, name: str, tell: Callable[[Progress], None]) -> str:
        gate = self.gates.setdefault(name, threading.Semaphore(0))
        for number in range(WINDOWS):
            assert gate.acquire(timeout=LIMIT_S)
            self.log.append(f"{name} {number + 1}")
            tell(Progress(SegmentStage.NETWORK, number + 1, WINDOWS))
        return name

    def let(self, name: str, count: int = WINDOWS) -> None:
        self.gates.setdefault(name, threading.Semaphore(0)).release(count)

    def seen(self, entry: str) -> None:
        until(lambda: entry in self.log)


def until(holds: Callable[[], bool]) -> None:
    limit = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < limit
        time.sleep(0.002)


@pytest.fixture
def windows() -> Windows:
    return Windows()


@pytest.fixture
def engine(windows: Windows, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    engine = Engine()
    monkeypatch.setattr(engine, "_predictor", lambda _bundle: windows)
    yield engine
    engine.close()


def ask(engine: Engine, name: str, who: str = "ann") -> Any:
    purpose = RANKING if who == "" else Purpose(RequestKind.LABEL, name, who)
    return engine.submit(lambda load: load(None).segment(name), purpose)


def states(engine: Engine) -> dict[str, State]:
    return {row.purpose.case_id: row.state for row in engine.queue()}


def test_a_person_goes_between_two_windows_of_a_ranking(engine: Engine, windows: Windows) -> None:
    ranking = ask(engine, "large", "")
    windows.let("large", 1)
    windows.seen("large 1")
    label = ask(engine, "small")
    windows.let("large")  # all that are left may run, and the next one is the last before it stands still
    windows.seen("large 2")
    until(lambda: states(engine)["large"] is State.PAUSED)
    windows.let("small")
    assert label.result(LIMIT_S) == "small"
    assert ranking.result(LIMIT_S) == "large"
    order = windows.log
    assert order.index("small 4") < order.index("large 3")
    assert engine.queue() == []


def test_people_are_served_in_the_order_of_arrival_and_rankings_last(engine: Engine, windows: Windows) -> None:
    jobs = [ask(engine, "first"), ask(engine, "large", ""), ask(engine, "second"), ask(engine, "third")]
    rows = engine.queue()
    assert [(row.purpose.case_id, row.position) for row in rows] == [
        ("first", 0),
        ("second", 1),
        ("third", 2),
        ("large", 3),
    ]
    for name in ("large", "third", "second", "first"):
        windows.let(name)
    assert [job.result(LIMIT_S) for job in jobs] == ["first", "large", "second", "third"]
    assert [entry.split()[0] for entry in windows.log[::WINDOWS]] == ["first", "second", "third", "large"]


def test_progress_is_told(engine: Engine, windows: Windows) -> None:
    label = ask(engine, "small")
    windows.let("small", 3)
    until(lambda: engine.queue()[0].done == 3)
    row = engine.queue()[0]
    assert (row.stage, row.total, row.state) == ("network", WINDOWS, State.RUNNING)
    assert row.seconds_left is not None
    windows.let("small")
    assert label.result(LIMIT_S) == "small"


def test_stopping_ends_what_runs_before_its_next_window(engine: Engine, windows: Windows) -> None:
    running, waiting = ask(engine, "first"), ask(engine, "second")
    windows.let("first", 1)
    windows.seen("first 1")
    for row in engine.queue():
        engine.stop(row.id, "ann")
    with pytest.raises(StoppedError):
        waiting.result(LIMIT_S)
    windows.let("first", 1)
    with pytest.raises(StoppedError):
        running.result(LIMIT_S)
    assert "first 3" not in windows.log
    assert ask_and_finish(engine, windows, "third") == "third"


def ask_and_finish(engine: Engine, windows: Windows, name: str) -> str:
    windows.let(name)
    return str(ask(engine, name).result(LIMIT_S))


def test_a_ranking_that_stands_still_can_be_stopped(engine: Engine, windows: Windows) -> None:
    ranking, label = ask(engine, "large", ""), ask(engine, "small")
    windows.let("large", 1)
    until(lambda: states(engine)["large"] is State.PAUSED)
    engine.stop(next(row.id for row in engine.queue() if row.purpose.case_id == "large"), "bob")
    with pytest.raises(StoppedError):
        ranking.result(LIMIT_S)
    windows.let("small")
    assert label.result(LIMIT_S) == "small"


def test_only_ones_own_requests_and_the_servers_can_be_stopped(engine: Engine, windows: Windows) -> None:
    label = ask(engine, "small", "ann")
    with pytest.raises(NotYoursError):
        engine.stop(engine.queue()[0].id, "bob")
    with pytest.raises(UnknownItemError):
        engine.stop("nothing", "bob")
    windows.let("small")
    assert label.result(LIMIT_S) == "small"


def test_what_somebody_waits_for_now_does_not_stand_still_any_more(engine: Engine, windows: Windows) -> None:
    ranking, label = ask(engine, "large", ""), ask(engine, "small")
    windows.let("large", 1)
    until(lambda: states(engine)["large"] is State.PAUSED)
    engine.promote(ranking)
    windows.let("large")
    assert ranking.result(LIMIT_S) == "large"
    windows.let("small")
    assert label.result(LIMIT_S) == "small"


def test_closing_ends_everything(engine: Engine, windows: Windows) -> None:
    ranking, label, next_one = ask(engine, "large", ""), ask(engine, "small"), ask(engine, "next")
    windows.let("large", 1)
    until(lambda: states(engine)["large"] is State.PAUSED)
    engine.close()
    windows.let("small", 1)
    for job in (ranking, label):
        with pytest.raises(StoppedError):
            job.result(LIMIT_S)
    assert next_one.cancelled()


@pytest.mark.parametrize("runtime", [RuntimeName.ONNXRUNTIME, RuntimeName.OPENVINO])
def test_a_scan_in_the_middle_of_another_changes_neither(runtime: RuntimeName, model: Path) -> None:
    predictor = Predictor(load_bundle(model), RuntimeOptions(runtime=runtime, threads=1))
    large, small = make_phantom((8.0, 8.0, 8.0), seed=1).ct, make_phantom((10.0, 10.0, 12.0), seed=2).ct
    alone = [predictor.segment(scan).labels.array for scan in (large, small)]
    assert all((labels > 0).any() for labels in alone)
    between: list[np.ndarray] = []

    def tell(progress: Progress) -> None:
        if progress.stage is SegmentStage.NETWORK and progress.done == 1:
            assert progress.total > 2  # others of its windows are under way
            between.append(predictor.segment(small).labels.array)

    found = predictor.segment(large, tell).labels.array
    assert np.array_equal(found, alone[0])
    assert np.array_equal(between[0], alone[1])


def test_the_server_warms_its_model_and_tells_its_queue(running: Running) -> None:
    warm = running.project.engine.warm(running.project.registry.bundle())
    assert warm.result(LIMIT_S).windows >= 1
    until(lambda: running.client.get("/api/queue").json == [])
    gate = threading.Event()
    held = running.project.engine.submit(lambda _load: gate.wait(LIMIT_S), Purpose(RequestKind.LABEL, "scan0", "local"))
    waiting = running.project.segment("scan1", None, "local")
    rows = running.client.get("/api/queue").json
    assert [(r["case"], r["state"], r["position"], r["kind"]) for r in rows] == [
        ("scan0", "running", 0, "label"),
        ("scan1", "waiting", 1, "label"),
    ]
    assert running.client.ask("DELETE", f"/api/queue/{rows[1]['id']}").json == {"id": rows[1]["id"], "stopped": True}
    assert running.client.ask("DELETE", f"/api/queue/{rows[1]['id']}").status == 404
    with pytest.raises(StoppedError):
        waiting.result(LIMIT_S)
    gate.set()
    assert held.result(LIMIT_S) is True


def test_a_label_that_is_stopped_is_answered_so_and_makes_no_version(running: Running) -> None:
    gate = threading.Event()
    running.project.engine.submit(lambda _load: gate.wait(LIMIT_S), Purpose(RequestKind.LABEL, "scan0", "local"))
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(running.client.post("/api/cases/scan1/infer")))
    asking.start()
    until(lambda: len(running.client.get("/api/queue").json) == 2)
    running.client.ask("DELETE", f"/api/queue/{running.client.get('/api/queue').json[1]['id']}")
    asking.join(LIMIT_S)
    assert (answers[0].status, answers[0].json["error"]) == (409, "StoppedError")
    assert running.client.get("/api/cases/scan1/versions").json == []
    gate.set()
