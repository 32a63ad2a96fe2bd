from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from batch_standin import InlineEngine, StandIn, write_inputs
from vastus.batch.engine_dask import DaskEngine, _outcome, _Share, run_task
from vastus.batch.runner import BatchRequest, OpenBatch
from vastus.batch.task import Ending, ScanState, Task, Work
from vastus.errors import DeviceError

distributed = pytest.importorskip("distributed")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="signals")]


def rows_in_table(out: Path) -> Counter[str]:
    with (out / "volumes.csv").open() as file:
        return Counter(row["subject"] for row in csv.DictReader(file))


def test_a_cluster_of_several_workers_loses_nothing_when_one_dies(tmp_path: Path) -> None:
    names = [f"s{n:02d}" for n in range(24)]
    scans, out, event_log = write_inputs(tmp_path / "in", [*names, "kill_1", "bad_1"]), tmp_path / "o", tmp_path / "j"
    with (
        distributed.LocalCluster(n_workers=3, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        OpenBatch(BatchRequest([scans], out), StandIn(0.05, event_log=event_log)) as batch,
    ):
        before = cluster.scheduler.allowed_failures
        engine = DaskEngine(cluster.scheduler_address)
        assert engine.workers == 3
        result = batch.work(engine)
        assert cluster.scheduler.allowed_failures == before
    assert rows_in_table(out) == dict.fromkeys(names, 58)
    assert (result.counts[ScanState.DONE], result.counts[ScanState.SET_ASIDE], result.counts[ScanState.REFUSED]) == (
        24,
        1,
        1,
    )
    failed = {row["subject"]: row for row in csv.DictReader((out / "failed.csv").open())}
    assert failed["kill_1"]["attempts"] == "3" and failed["kill_1"]["error"] == "WorkerDied"
    opened = [line for line in event_log.read_text().splitlines() if line.startswith("open")]
    assert len(opened) <= 3 + 3  # once a worker, and once for each that took the place of a dead one
    # Each scan once, and perhaps again one whose result was still with a worker when that died.
    assert 24 <= event_log.read_text().count("segment") <= 24 + 3


def test_a_result_lost_with_its_worker_is_computed_again(tmp_path: Path) -> None:
    scans, event_log = write_inputs(tmp_path / "in", ["a"]), tmp_path / "event_log"
    task = Task(1, "0a", "a", scans / "a.nii.gz", None, tmp_path / "out" / "a", Work.SEGMENT)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        future = client.submit(run_task, StandIn(event_log=event_log), task, _Share(1, 2, None))
        distributed.wait(future)
        (holder,) = client.who_has(future)[future.key]
        os.kill(client.run(os.getpid, workers=[holder])[holder], signal.SIGKILL)
        deadline = time.monotonic() + 30
        while future.status == "finished" and time.monotonic() < deadline:
            time.sleep(0.01)
        outcome = _outcome(future, task, 1.0, None)
    assert outcome.ending is Ending.DONE
    assert event_log.read_text().count("segment") == 2


def test_a_scan_that_hangs_costs_its_worker_and_is_set_aside(tmp_path: Path) -> None:
    scans, out = write_inputs(tmp_path / "in", ["a", "b", "hang_1"]), tmp_path / "out"
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        OpenBatch(BatchRequest([scans], out), StandIn()) as batch,
    ):
        result = batch.work(DaskEngine(cluster.scheduler_address, timeout_s=2.0))
        ended = {row["name"]: (row["error"], row["attempts"]) for row in batch.ledger.rows()}
    assert ended == {"a": (None, 1), "b": (None, 1), "hang_1": ("TimedOut", 3)}
    assert result.counts[ScanState.SET_ASIDE] == 1
    assert rows_in_table(out) == {"a": 58, "b": 58}


@pytest.mark.parametrize("delay", [0.2, 0.8])
def test_a_scheduler_that_is_killed_ends_the_run_and_the_next_goes_on(
    tmp_path: Path, delay: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vastus.batch.engine_dask._CONNECT_S", 3)
    names = [f"s{n:02d}" for n in range(60)]
    scans, out, event_log = write_inputs(tmp_path / "in", names), tmp_path / "o", tmp_path / "j"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    scheduler = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "distributed.cli.dask_scheduler",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--no-dashboard",
            "--no-show",
        ],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    worker = None
    try:
        assert scheduler.stderr is not None
        address = next(m[0] for line in scheduler.stderr if (m := re.search(r"tcp://[\d.:]+", line)))
        worker = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "distributed.cli.dask_worker",
                address,
                "--nthreads",
                "1",
                "--no-nanny",
                "--no-dashboard",
                "--death-timeout",
                "5",
            ],
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd=tmp_path,
        )
        with OpenBatch(BatchRequest([scans], out), StandIn(0.05, event_log=event_log)) as batch:
            engine = DaskEngine(address, 1)

            def kill() -> None:
                while not event_log.exists():
                    time.sleep(0.02)
                time.sleep(delay)
                os.kill(scheduler.pid, signal.SIGKILL)

            threading.Thread(target=kill, daemon=True).start()
            with pytest.raises(DeviceError, match="scheduler was lost"):
                batch.work(engine)
    finally:
        scheduler.kill()
        if worker is not None:
            worker.kill()
            worker.wait()
        scheduler.wait()
    with OpenBatch(BatchRequest([scans], out), StandIn(event_log=event_log)) as batch:
        result = batch.work(InlineEngine())
    assert 0 < result.worked < 60
    assert rows_in_table(out) == dict.fromkeys(names, 58)
    assert event_log.read_text().count("segment") <= 61


def test_no_scheduler_is_a_named_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vastus.batch.engine_dask._CONNECT_S", 1)
    with pytest.raises(DeviceError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:1"):
        DaskEngine("tcp://127.0.0.1:1")
