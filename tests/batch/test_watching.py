"""Progress, metrics, the plan of workers, the archive's page."""

from __future__ import annotations

import io
import json
import re
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from batch_standin import InlineEngine, StandIn, write_inputs
from vastus.batch import engine
from vastus.batch.engine import WorkerPlan, plan_workers
from vastus.batch.logs import BatchProgress, duration
from vastus.batch.metrics import BatchMetrics, MetricsServer
from vastus.batch.runner import BatchRequest, OpenBatch
from vastus.batch.summary import ScanLine, render
from vastus.batch.task import Ending, Outcome, ScanState, Task, Work


def outcome(ending: Ending = Ending.DONE, error: str = "") -> Outcome:
    task = Task(1, "k", "DOE^JOHN", Path("/DOE^JOHN"), None, Path("/out"), Work.SEGMENT)
    return Outcome(task, ending, error=error, message="DOE^JOHN", seconds=2.5, peak_bytes=100)


def test_progress_counts_what_is_finished() -> None:
    stream = io.StringIO()
    progress = BatchProgress(10, stream)
    for state in (ScanState.DONE, ScanState.PENDING, ScanState.REFUSED, ScanState.DONE):
        progress.count(state)
    assert (progress.finished, progress.done, progress.failed) == (3, 2, 1)
    assert progress.seconds_left is not None and progress.per_hour > 0
    assert re.fullmatch(r"3/10 scans, 1 failed, \d+ scans/h, about .* left", progress.line())


@pytest.mark.parametrize(
    ("seconds", "words"), [(5, "5 s"), (600, "10 min"), (3 * 3600 + 1200, "3 h 20 min"), (52 * 3600, "2 days 4 h")]
)
def test_durations_read_well(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_metrics_are_served_on_loopback_without_names() -> None:
    progress = BatchProgress(4, None)
    metrics = BatchMetrics(progress, 2)
    metrics.count(outcome(), ScanState.DONE)
    metrics.count(outcome(Ending.CRASHED, "WorkerDied"), ScanState.PENDING)
    progress.count(ScanState.DONE)
    server = MetricsServer(metrics, 0)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=5) as response:
            assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            text = response.read().decode()
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{server.port}/", timeout=5)
        assert server._server.server_address[0] == "127.0.0.1"
    finally:
        server.close()
    assert "DOE" not in text
    samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert samples['vastus_batch_tries_total{ending="done"}'] == "1"
    assert samples['vastus_batch_errors_total{error="WorkerDied"}'] == "1"
    assert samples["vastus_batch_work_seconds_total"] == "5.0"
    assert samples["vastus_batch_scans_finished"] == "1" and samples["vastus_batch_scans_total"] == "4"
    assert all(re.fullmatch(r'vastus_batch_[a-z_]+(\{[a-z]+="\w+"\})?', name) for name in samples)


@pytest.mark.parametrize(
    ("cores", "free_gb", "known_gb", "asked", "plan"),
    [
        (8, 100, 2, (None, None), (8, 1)),  # cores decide
        (8, 10, 2, (None, None), (4, 2)),  # memory decides, and the cores are shared out
        (2, 1, 0, (None, None), (1, 2)),  # one worker at least
        (8, 100, 2, (None, 4), (2, 4)),
        (8, 10, 2, (3, None), (3, 2)),
        (2, 100, 0, (4, None), (4, 1)),
    ],
)
def test_workers_fit_into_cores_and_memory(
    cores: int,
    free_gb: int,
    known_gb: int,
    asked: tuple[int | None, int | None],
    plan: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "usable_processors", lambda: cores)
    monkeypatch.setattr(engine, "free_memory_bytes", lambda: free_gb * 10**9)
    assert plan_workers(*asked, known_gb * 10**9) == WorkerPlan(*plan)


def test_the_page_needs_nothing_from_elsewhere_and_survives_odd_names(tmp_path: Path) -> None:
    scans, out = write_inputs(tmp_path / "in", ["plain", "bad_1", "quo'te & 한국"]), tmp_path / "out"
    with OpenBatch(BatchRequest([scans], out), StandIn()) as batch:
        batch.work(InlineEngine())
    page = (out / "index.html").read_text(encoding="utf-8")
    assert page.count("</script>") == 2 and "http" not in page.replace("http-equiv", "")
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    by_name = {row["name"]: row for row in data}
    assert by_name["quo'te & 한국"]["state"] == "done" and by_name["plain"]["total"] > 0
    assert [row["error"] for row in data if row["state"] == "refused"] == ["UnreadableScanError"]


def test_a_name_can_not_end_the_script_of_the_page(tmp_path: Path) -> None:
    odd = "</script><script>alert(1)</script>"
    page = render([ScanLine(odd, "done", 1.0, None, 58, 0, (), "", None)], tmp_path)
    assert odd not in page
    assert json.loads(page.split('id="data">')[1].split("</script>")[0])[0]["name"] == odd
