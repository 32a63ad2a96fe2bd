"""kill -9 at random points, 30 times in all: of the command, of its workers, and of a Dask scheduler (test_dask)."""

from __future__ import annotations

import csv
import multiprocessing as mp
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from batch_standin import StandIn, write_inputs
from vastus.batch.engine_local import LocalEngine
from vastus.batch.runner import BatchRequest, OpenBatch
from vastus.batch.task import ScanState

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")
COMMAND_KILLS, WORKER_KILLS = 16, 12
COMMAND = Path(__file__).parents[1] / "batch_command.py"


def check(out: Path, event_log: Path, names: list[str]) -> Counter[str]:
    """Every scan has its 58 rows once; returns how often each was finished by a worker."""
    with (out / "volumes.csv").open() as file:
        rows = Counter((row["subject"], row["structure"], row["side"]) for row in csv.DictReader(file))
    assert set(rows.values()) == {1}
    assert Counter(name for name, _, _ in rows) == dict.fromkeys(names, 58)
    assert not list(out.rglob(".vastus-*"))
    return Counter(line.split()[1] for line in event_log.read_text().splitlines() if line.startswith("segment"))


def opened(event_log: Path) -> set[int]:
    """Process numbers of the workers that have loaded."""
    text = event_log.read_text() if event_log.exists() else ""
    return {int(line.split()[1]) for line in text.splitlines() if line.startswith("open")}


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_the_command_is_killed_again_and_again(tmp_path: Path) -> None:
    # More than two workers can do, however fast the machine, in all the time that the command has before its kills.
    names = [f"s{n:03d}" for n in range(450)]
    scans, out, event_log = write_inputs(tmp_path / "in", names), tmp_path / "out", tmp_path / "event_log"
    command = [sys.executable, str(COMMAND), str(scans), str(out), str(event_log)]
    dice = random.Random(4)
    kills = 0
    for _ in range(COMMAND_KILLS):
        process = subprocess.Popen([*command, "0.05"], stderr=subprocess.DEVNULL)
        time.sleep(dice.uniform(0.2, 1.4))
        if process.poll() is None:
            kills += 1
            process.kill()
        process.wait()
    assert kills == COMMAND_KILLS
    subprocess.run([*command, "0.0"], check=True, timeout=120)
    done = check(out, event_log, names)
    assert set(done) == set(names)
    # A kill costs at most the scan that each of the two workers held.
    assert done.total() - len(names) <= 2 * kills
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in opened(event_log)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in opened(event_log))  # no worker outlives its command


@pytest.mark.slow
def test_workers_are_killed_again_and_again(tmp_path: Path) -> None:
    # Twice the work that fits between the kills, even when each pause is the longest.
    names = [f"s{n:03d}" for n in range(450)]
    scans, out, event_log = write_inputs(tmp_path / "in", names), tmp_path / "out", tmp_path / "event_log"
    dice, killed, over = random.Random(5), [], threading.Event()

    def kill_some() -> None:
        while len(killed) < WORKER_KILLS and not over.wait(dice.uniform(0.2, 0.6)):
            # Not those that still load: where that is slow, all would die at the start, which rightly ends a batch.
            workers = [p for p in mp.active_children() if p.pid in opened(event_log)]
            if workers:
                victim = dice.choice(workers)
                os.kill(victim.pid or 0, signal.SIGKILL)
                killed.append(victim.pid)

    killer = threading.Thread(target=kill_some)
    with OpenBatch(BatchRequest([scans], out), StandIn(0.06, event_log=event_log)) as batch:
        killer.start()
        try:
            result = batch.work(LocalEngine(2, 1))
        finally:
            over.set()
            killer.join()
    assert len(killed) == WORKER_KILLS
    assert result.counts[ScanState.DONE] == len(names)
    done = check(out, event_log, names)
    assert done.total() - len(names) <= WORKER_KILLS


def test_ctrl_c_ends_in_order(tmp_path: Path) -> None:
    scans, out, event_log = write_inputs(tmp_path / "in", ["a", "b", "c"]), tmp_path / "out", tmp_path / "event_log"
    command = [sys.executable, str(COMMAND), str(scans), str(out), str(event_log), "30"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while len(list(out.rglob(".vastus-half"))) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) != 0, "a scan takes 30 s here: it isn't waited for"
    assert not list(out.rglob(".vastus-*"))
    with OpenBatch(BatchRequest([scans], out), StandIn()) as batch:
        assert [(row["state"], row["attempts"], row["cut_short"]) for row in batch.ledger.rows()] == [
            ("pending", 0, 0)
        ] * 3
