from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vastus.batch.ledger import LEDGER_FILE, FoundScan, Keys, Ledger
from vastus.batch.task import Ending, Outcome, Product, ScanState, Work

KEYS = Keys("labels", "measures", "weights", "1")


def scan(name: str, fingerprint: str = "1") -> FoundScan:
    return FoundScan(Path("/data") / name / "ct.nii", "ct", fingerprint)


def finish(ledger: Ledger, run: int, ending: Ending) -> tuple[str, ScanState]:
    with ledger.transaction():
        task = ledger.claim(run)
        assert task is not None
        return task.key, ledger.settle(Outcome(task, ending, Product(voxels=5), seconds=2.0), KEYS, "now")


def test_names_stay_with_their_scans(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.register([scan("b"), scan("c")], KEYS, ledger.start_run())
        before = {row["path"]: row["name"] for row in ledger.rows()}
        assert sorted(before.values()) == ["ct", "ct_2"]
        ledger.register([scan("a"), scan("c"), scan("b")], KEYS, ledger.start_run())
        after = {row["path"]: row["name"] for row in ledger.rows()}
        assert before.items() <= after.items() and after[str(scan("a").path)] == "ct_3"


def test_what_a_killed_run_held_comes_back_behind_the_others(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        run = ledger.start_run()
        ledger.register([scan("a"), scan("b")], KEYS, run)
        with ledger.transaction():
            first = ledger.claim(run)
    assert first is not None
    with Ledger(tmp_path) as ledger:
        run = ledger.start_run()
        ledger.register([scan("a"), scan("b")], KEYS, run)
        keys = [finish(ledger, run, Ending.DONE)[0] for _ in range(2)]
        assert keys == [scan("b").key, scan("a").key] and first.key == scan("a").key
        assert ledger.counts(run)[ScanState.DONE] == 2


def test_three_failures_set_a_scan_aside_and_a_refusal_does_at_once(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        run = ledger.start_run()
        ledger.register([scan("a")], KEYS, run)
        states = [finish(ledger, run, ending)[1] for ending in (Ending.CRASHED, Ending.FAILED, Ending.CRASHED)]
        assert states == [ScanState.PENDING, ScanState.PENDING, ScanState.SET_ASIDE]
        assert ledger.claim(run) is None
        ledger.try_again([ScanState.SET_ASIDE], run)
        assert finish(ledger, run, Ending.REFUSED)[1] is ScanState.REFUSED
        ledger.register([scan("a", "another file")], KEYS, run)
        assert finish(ledger, run, Ending.DONE)[1] is ScanState.DONE


def test_only_scans_that_this_run_names_are_done(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.register([scan("a")], KEYS, ledger.start_run())
        run = ledger.start_run()
        ledger.register([scan("b")], KEYS, run)
        assert finish(ledger, run, Ending.DONE)[0] == scan("b").key
        assert ledger.claim(run) is None


@given(st.lists(st.tuples(st.sampled_from("12"), st.sampled_from("12"), st.sampled_from("12")), max_size=6))
@settings(max_examples=25, deadline=None)
def test_work_follows_from_what_changed(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, str, str]]
) -> None:
    with Ledger(tmp_path_factory.mktemp("ledger")) as ledger:
        before = None
        for fingerprint, labels, measures in changes:
            run = ledger.start_run()
            ledger.register([scan("a", fingerprint)], Keys(labels, measures, "w", "1"), run)
            if before is None or (fingerprint, labels) != before[:2]:
                expected: Work | None = Work.SEGMENT
            else:
                expected = Work.MEASURE if measures != before[2] else None
            with ledger.transaction():
                task = ledger.claim(run)
                assert (task.work if task else None) is expected
                if task:
                    ledger.settle(Outcome(task, Ending.DONE), KEYS, "now")
            before = fingerprint, labels, measures


def test_the_ledger_can_be_read_beside_and_is_in_wal_mode(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        run = ledger.start_run()
        ledger.register([scan("a")], KEYS, run)
        reader = sqlite3.connect(tmp_path / LEDGER_FILE)
        assert reader.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        with ledger.transaction():
            ledger.claim(run)
            assert reader.execute("SELECT state FROM scans").fetchone()[0] == "pending"
        assert reader.execute("SELECT state FROM scans").fetchone()[0] == "running"
        reader.close()


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        with pytest.raises(ZeroDivisionError), ledger.transaction():
            ledger.remember("a", "1")
            raise ZeroDivisionError
        assert ledger.fact("a") is None


def test_history_counts_segmentations_with_these_settings_only(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        run = ledger.start_run()
        ledger.register([scan("a"), scan("b")], KEYS, run)
        finish(ledger, run, Ending.DONE)
        seen = ledger.history("labels")
        assert (seen.scans, seen.seconds, seen.voxels) == (1, 2.0, 5)
        assert ledger.history("other").scans == 0
