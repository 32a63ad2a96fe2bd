from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from batch_standin import InlineEngine, StandIn, write_inputs
from vastus.batch.archive import ArchiveTable
from vastus.batch.engine_local import LocalEngine
from vastus.batch.ledger import LEDGER_FILE
from vastus.batch.runner import BatchRequest, BatchResult, OpenBatch
from vastus.batch.task import ScanState
from vastus.errors import BundleError, DeviceError, OutputError


def run(request: BatchRequest, factory: StandIn, workers: int = 0) -> BatchResult:
    """With so many worker processes, or without any."""
    with OpenBatch(request, factory) as batch:
        return batch.work(LocalEngine(workers, 1) if workers else InlineEngine())


def rows_in_table(out: Path) -> Counter[str]:
    """Scan -> number of rows; every scan has 58."""
    with (out / "volumes.csv").open() as file:
        return Counter(row["subject"] for row in csv.DictReader(file))


def lines(event_log: Path) -> Counter[str]:
    return Counter(event_log.read_text().splitlines()) if event_log.exists() else Counter()


def test_every_scan_is_done_once_and_a_second_run_does_nothing(tmp_path: Path) -> None:
    names = [f"s{n:02d}" for n in range(8)]
    scans, out, event_log = write_inputs(tmp_path / "in", names), tmp_path / "out", tmp_path / "event_log"
    factory = StandIn(event_log=event_log)
    result = run(BatchRequest([scans], out), factory, workers=2)
    assert result.counts[ScanState.DONE] == result.worked == 8
    assert rows_in_table(out) == dict.fromkeys(names, 58)
    said = lines(event_log)
    opened = [line for line in said if line.startswith("open")]
    # Loaded once a worker, one thread each; where scans are this short, the first worker may do them all.
    assert 1 <= len({line.split()[1] for line in opened}) == len(opened) <= 2
    assert all(line.endswith(" 1 1") for line in opened)
    assert all(said[f"segment {name}"] == 1 for name in names)
    assert run(BatchRequest([scans], out), factory).worked == 0
    assert lines(event_log) == said
    assert (out / "index.html").stat().st_size > 3000


def test_parquet_and_csv_hold_the_same_rows(tmp_path: Path) -> None:
    import pandas as pd

    scans, out = write_inputs(tmp_path / "in", ["a", "b", "c"]), tmp_path / "out"
    run(BatchRequest([scans], out), StandIn())
    table, parquet = pd.read_csv(out / "volumes.csv"), pd.read_parquet(out / "volumes.parquet")
    assert len(table) == 3 * 58
    pd.testing.assert_frame_equal(table, parquet, check_dtype=False)
    write_inputs(scans, ["d"])
    run(BatchRequest([scans], out), StandIn())
    assert set(pd.read_parquet(out / "volumes.parquet")["subject"]) == {"a", "b", "c", "d"}


def test_changed_weights_redo_all_and_changed_measures_only_measure(tmp_path: Path) -> None:
    scans, out, event_log = write_inputs(tmp_path / "in", ["a", "b"]), tmp_path / "out", tmp_path / "event_log"
    run(BatchRequest([scans], out), StandIn(event_log=event_log))
    run(BatchRequest([scans], out), StandIn(event_log=event_log, measures_key="measures 2"))
    assert lines(event_log)["measure a"] == 1 and lines(event_log)["segment a"] == 1
    run(BatchRequest([scans], out), StandIn(event_log=event_log, measures_key="measures 2", labels_key="labels 2"))
    assert lines(event_log)["segment a"] == 2 and lines(event_log)["measure a"] == 1
    run(
        BatchRequest([scans], out, measure_again=True),
        StandIn(event_log=event_log, measures_key="measures 2", labels_key="labels 2"),
    )
    assert lines(event_log)["measure a"] == 2
    assert rows_in_table(out) == {"a": 58, "b": 58}


def test_weights_changed_and_changed_back_cost_nothing(tmp_path: Path) -> None:
    scans, out, event_log = write_inputs(tmp_path / "in", ["a", "b", "c"]), tmp_path / "out", tmp_path / "event_log"
    run(BatchRequest([scans], out), StandIn(event_log=event_log))
    other = StandIn(event_log=event_log, labels_key="labels 2")
    with OpenBatch(BatchRequest([scans], out), other, dry=True) as batch:
        assert batch.waiting == 3
    assert run(BatchRequest([scans], out), StandIn(event_log=event_log)).worked == 0
    assert run(BatchRequest([scans], out, limit=1), other).worked == 1
    assert set(rows_in_table(out)) == {"a"}  # a table never mixes weights
    assert run(BatchRequest([scans], out), StandIn(event_log=event_log)).worked == 1
    assert rows_in_table(out) == {"a": 58, "b": 58, "c": 58}
    assert lines(event_log)["segment a"] == 3 and lines(event_log)["segment b"] == 1


def test_a_dry_run_beside_a_running_one_leaves_no_trace(tmp_path: Path) -> None:
    scans, out = write_inputs(tmp_path / "in", ["a"]), tmp_path / "out"
    with OpenBatch(BatchRequest([scans], out), StandIn(), dry=True) as batch:
        assert batch.waiting == 1
    assert not out.exists()
    with (
        OpenBatch(BatchRequest([scans], out), StandIn()),
        OpenBatch(BatchRequest([scans], out), StandIn(), dry=True) as batch,
    ):
        assert batch.waiting == 1


def test_a_changed_file_is_done_again_and_nothing_else(tmp_path: Path) -> None:
    scans, out, event_log = write_inputs(tmp_path / "in", ["a", "b"]), tmp_path / "out", tmp_path / "event_log"
    run(BatchRequest([scans], out), StandIn(event_log=event_log))
    (scans / "a.nii.gz").write_bytes(b"another scan")
    run(BatchRequest([scans], out), StandIn(event_log=event_log))
    assert lines(event_log)["segment a"] == 2 and lines(event_log)["segment b"] == 1
    assert rows_in_table(out) == {"a": 58, "b": 58}


def test_bad_scans_among_good_ones_are_named(tmp_path: Path) -> None:
    names = ["kill_1", "bug_1", "bad_1", "good_1", "good_2", "good_3"]
    scans, out, event_log = write_inputs(tmp_path / "in", names), tmp_path / "out", tmp_path / "event_log"
    result = run(BatchRequest([scans], out), StandIn(event_log=event_log), workers=2)
    assert result.counts[ScanState.DONE] == 3
    assert rows_in_table(out) == {"good_1": 58, "good_2": 58, "good_3": 58}
    failed = {row["subject"]: row for row in csv.DictReader((out / "failed.csv").open())}
    assert {(n, r["state"], r["attempts"], r["error"]) for n, r in failed.items()} == {
        ("kill_1", "set_aside", "3", "WorkerDied"),
        ("bug_1", "set_aside", "3", "ZeroDivisionError"),
        ("bad_1", "refused", "1", "UnreadableScanError"),
    }
    assert "signal 9" in failed["kill_1"]["message"]
    assert run(BatchRequest([scans], out), StandIn(event_log=event_log)).worked == 0
    again = run(BatchRequest([scans], out, retry=(ScanState.REFUSED,)), StandIn(event_log=event_log))
    assert again.worked == 1 and again.counts[ScanState.REFUSED] == 1


def test_the_log_and_the_metrics_know_nobody(tmp_path: Path) -> None:
    scans = write_inputs(tmp_path / "DOE^JOHN", ["DOE_JOHN_1", "bug_DOE_JOHN"])
    out = tmp_path / "out"
    run(BatchRequest([scans], out), StandIn())
    text = (out / "batch.log.jsonl").read_text()
    events = [json.loads(line) for line in text.splitlines()]
    assert "DOE" not in text and str(tmp_path) not in text
    assert [e["event"] for e in events] == ["start", *["scan"] * 4, "end"]
    tries = [e for e in events if e["event"] == "scan"]
    assert [t["ending"] for t in tries].count("failed") == 3
    assert all(t["seconds"] >= 0 and t["peak_bytes"] > 1e6 for t in tries)
    assert "DOE" not in (out / "failed.csv").read_text().replace("bug_DOE_JOHN", "").replace(str(scans), "")


def test_a_full_disk_stops_the_batch_and_the_next_run_goes_on(tmp_path: Path) -> None:
    scans, out = write_inputs(tmp_path / "in", ["a", "full_1", "z"]), tmp_path / "out"
    with pytest.raises(OutputError, match="No space left"):
        run(BatchRequest([scans], out), StandIn(), workers=1)
    assert rows_in_table(out) == {"a": 58}
    assert not list(out.glob("scans/*/.vastus-*"))
    (scans / "full_1.nii.gz").unlink()
    assert run(BatchRequest([scans], out), StandIn()).worked == 1
    assert rows_in_table(out) == {"a": 58, "z": 58}


def test_a_second_command_on_the_same_folder_is_refused_by_name(tmp_path: Path) -> None:
    scans, out = write_inputs(tmp_path / "in", ["a"]), tmp_path / "out"
    with OpenBatch(BatchRequest([scans], out), StandIn()), pytest.raises(OutputError, match="Another vastus batch"):
        run(BatchRequest([scans], out), StandIn())
    assert run(BatchRequest([scans], out), StandIn()).worked == 1


def test_workers_that_can_not_load_end_the_batch_with_the_reason(tmp_path: Path) -> None:
    scans, out = write_inputs(tmp_path / "in", ["a"]), tmp_path / "out"
    with pytest.raises(BundleError, match="No weights"):
        run(BatchRequest([scans], out), StandIn(broken=True), workers=1)
    with pytest.raises(DeviceError, match="signal 9"):
        run(BatchRequest([scans], out), StandIn(dies_at_start=True), workers=1)
    assert run(BatchRequest([scans], out), StandIn()).worked == 1


def test_a_limit_leaves_the_rest_in_the_queue(tmp_path: Path) -> None:
    scans, out = write_inputs(tmp_path / "in", ["a", "b", "c"]), tmp_path / "out"
    result = run(BatchRequest([scans], out, limit=2), StandIn())
    assert (result.worked, result.counts[ScanState.PENDING]) == (2, 1)
    assert run(BatchRequest([scans], out), StandIn()).worked == 1


def test_a_table_whose_end_was_never_committed_is_cut_back(tmp_path: Path) -> None:
    scans, out = write_inputs(tmp_path / "in", ["a", "b"]), tmp_path / "out"
    run(BatchRequest([scans], out), StandIn())
    whole = (out / "volumes.csv").read_bytes()
    (out / "volumes.csv").write_bytes(whole + b"b,psoas,oth")
    run(BatchRequest([scans], out), StandIn())
    assert (out / "volumes.csv").read_bytes() == whole
    (out / "volumes.csv").write_bytes(whole[:100])  # a power cut took committed bytes: rebuilt from the scans' folders
    run(BatchRequest([scans], out), StandIn())
    assert sorted((out / "volumes.csv").read_bytes().splitlines()) == sorted(whole.splitlines())


def test_a_disk_that_fills_while_the_table_grows_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scans, out = write_inputs(tmp_path / "in", ["a", "b", "c"]), tmp_path / "out"
    append = ArchiveTable.append

    def half(self: ArchiveTable, rows: str) -> None:
        if rows.startswith("b,"):
            append(self, rows[:1000])
            raise OutputError("The archive's table can't be written (No space left on device).")
        append(self, rows)

    with monkeypatch.context() as patch, pytest.raises(OutputError, match="No space"):
        patch.setattr(ArchiveTable, "append", half)
        run(BatchRequest([scans], out), StandIn())
    assert run(BatchRequest([scans], out), StandIn()).worked == 2
    assert rows_in_table(out) == {"a": 58, "b": 58, "c": 58}


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process")
def test_a_worker_that_may_write_no_more_stops_the_batch(tmp_path: Path) -> None:
    import resource

    scans, out = write_inputs(tmp_path / "in", ["a", "big_1"]), tmp_path / "out"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 22, hard))
    try:
        with pytest.raises(OutputError, match="too large"):
            run(BatchRequest([scans], out), StandIn(), workers=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert run(BatchRequest([scans], out), StandIn()).worked == 1
    assert rows_in_table(out) == {"a": 58, "big_1": 58}


def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path) -> None:
    scans, out = write_inputs(tmp_path / "in", ["a"]), tmp_path / "out"
    out.mkdir()
    (out / LEDGER_FILE).write_bytes(b"not a database, but a text that is long enough to be looked at" * 20)
    with pytest.raises(OutputError, match="ledger can't be used"):
        run(BatchRequest([scans], out), StandIn())


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_scan_that_hangs_is_ended_tried_again_and_set_aside(tmp_path: Path) -> None:
    scans, out = write_inputs(tmp_path / "in", ["a", "b", "hang_1", "grip_1"]), tmp_path / "out"
    with OpenBatch(BatchRequest([scans], out), StandIn()) as batch:
        result = batch.work(LocalEngine(2, 1, timeout_s=0.5))
        ended = {row["name"]: (row["error"], row["attempts"], row["message"]) for row in batch.ledger.rows()}
    assert (result.counts[ScanState.DONE], result.counts[ScanState.SET_ASIDE]) == (2, 2)
    for name in ("hang_1", "grip_1"):
        assert ended[name] == ("TimedOut", 3, "The scan took longer than 0.5 s.")
    assert rows_in_table(out) == {"a": 58, "b": 58}
    assert not list(out.rglob(".vastus-*"))


def test_time_is_counted_for_each_scan_anew(tmp_path: Path) -> None:
    scans, out = write_inputs(tmp_path / "in", [f"s{n}" for n in range(6)]), tmp_path / "out"
    with OpenBatch(BatchRequest([scans], out), StandIn(0.6)) as batch:
        assert batch.work(LocalEngine(1, 1, timeout_s=3.0)).counts[ScanState.DONE] == 6
        assert all(row["attempts"] == 1 for row in batch.ledger.rows())


def test_each_worker_sees_one_graphics_card(tmp_path: Path) -> None:
    scans, out = write_inputs(tmp_path / "in", [f"s{n:02d}" for n in range(12)]), tmp_path / "out"
    event_log = tmp_path / "event_log"
    with OpenBatch(BatchRequest([scans], out), StandIn(0.1, event_log=event_log)) as batch:
        batch.work(LocalEngine(3, 1, gpus=("5", "GPU-8a")))
    assert lines(event_log)["device 5"] + lines(event_log)["device GPU-8a"] == sum(
        n for line, n in lines(event_log).items() if line.startswith("device")
    )
    assert lines(event_log)["device GPU-8a"] <= 1  # the second of three workers; the others share the first card


@pytest.mark.parametrize(
    ("visible", "there", "wanted", "plan"),
    [
        (None, 3, None, (3, ("0", "1", "2"))),
        ("4,7", 2, None, (2, ("4", "7"))),  # what SLURM gave this job, by its numbers in the machine
        ("GPU-aa,GPU-bb", 2, 4, (4, ("GPU-aa", "GPU-bb"))),
    ],
)
def test_the_command_starts_one_worker_a_card(
    visible: str | None,
    there: int,
    wanted: int | None,
    plan: tuple[int, tuple[str, ...]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from vastus.cli.batch import _engine, _plan
    from vastus.inference.choices import Device, RuntimeOptions

    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr("vastus.inference.runtime.choose", lambda _: (Device.CUDA, None))
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=SimpleNamespace(device_count=lambda: there)))
    scans = write_inputs(tmp_path / "in", [f"s{n}" for n in range(9)])
    with OpenBatch(BatchRequest([scans], tmp_path / "out"), StandIn()) as batch:
        workers, gpus = _plan(batch, RuntimeOptions(), wanted, None)
    assert (workers.workers, gpus) == plan
    engine = _engine(workers, gpus, None, None, 60.0)
    assert isinstance(engine, LocalEngine) and (engine.gpus, engine.timeout_s) == (plan[1], 60.0)


def test_what_holds_a_scan_and_is_away_costs_no_try(tmp_path: Path) -> None:
    scans, out = write_inputs(tmp_path / "in", ["away1", "drive1", "good"]), tmp_path / "out"
    for _ in range(4):  # more often than a scan is tried
        result = run(BatchRequest([scans], out), StandIn())
        assert (result.counts[ScanState.WAITING], result.counts[ScanState.DONE]) == (2, 1)
        with (out / "failed.csv").open() as file:
            failed = {row["subject"]: row["error"] for row in csv.DictReader(file)}
        assert failed == {"away1": "UnreachablePacsError", "drive1": "OSError"}
