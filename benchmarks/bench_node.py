"""How fast the node receives, beside Orthanc on the same files in the same run; and whether anything is lost.

    python benchmarks/bench_node.py --studies 200 --slices 100 --senders 8

Senders are processes of their own, as scanners are. The node's worker is a stub, so that receiving is measured and
not the network. Prints a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

MOST_CONNECTIONS = 20


def make_study(number: int, slices: int, side: int) -> list:
    """One study in memory: noise, so that nothing compresses."""
    import numpy as np
    from pydicom.uid import generate_uid

    import dicom_factory as factory

    rng = np.random.default_rng(number)
    spec = factory.series(slices, hu=np.zeros((slices, 4, 4), np.int16), study_uid=generate_uid())
    with tempfile.TemporaryDirectory() as folder:
        import pydicom

        datasets = [pydicom.dcmread(path) for path in factory.write_series(Path(folder), spec)]
    for dataset in datasets:
        dataset.Rows = dataset.Columns = side
        dataset.PixelData = rng.integers(0, 2000, side * side, dtype=np.uint16).tobytes()
    return datasets


@dataclass
class _Job:
    port: int
    called: str
    start_at: float
    numbers: list[int]
    slices: int
    side: int


def _send(job: _Job) -> tuple[int, float, list[str]]:
    """Send studies, one after the other; (objects acknowledged, seconds on the wire, why connections were lost)."""
    from pynetdicom import AE

    from vastus.dicom.network import keep_responses

    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage()[:200])
    logging.getLogger("pynetdicom").addHandler(handler)
    entity = AE(ae_title="SENDER")
    entity.add_requested_context("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")
    acknowledged, seconds = 0, 0.0
    lost: list[str] = []
    time.sleep(max(0.0, job.start_at - time.time()))
    for number in job.numbers:
        left = make_study(number, job.slices, job.side)
        start = time.perf_counter()
        # As a scanner does: what was not acknowledged is sent again over a new connection.
        for _ in range(MOST_CONNECTIONS):
            association = entity.associate("127.0.0.1", job.port, ae_title=job.called)
            if association.is_established:
                keep_responses(association)
            status, asked = 0, time.perf_counter()
            while left and association.is_established:
                asked = time.perf_counter()
                status = association.send_c_store(left[-1]).get("Status", -1)
                if status != 0:
                    break
                left.pop()
                acknowledged += 1
            if association.is_established:
                association.release()
            if not left:
                break
            waited = time.perf_counter() - asked
            lost.append(f"status {status}, {waited:.1f} s after the last request: {'; '.join(said[-3:])}")
            time.sleep(0.2)
        seconds += time.perf_counter() - start
    return acknowledged, seconds, lost


def send_all(port: int, called: str, options: argparse.Namespace) -> dict[str, object]:
    """All senders at once; objects a second while sending."""
    start_at = time.time() + 3.0
    senders = options.senders
    jobs = [
        _Job(port, called, start_at, list(range(s, options.studies, senders)), options.slices, options.side)
        for s in range(senders)
    ]
    with multiprocessing.get_context("spawn").Pool(senders) as pool:
        results = pool.map(_send, jobs, chunksize=1)
    # Each sender's own time on the wire: making the studies is not counted.
    rate = sum(n / s for n, s, _ in results if s)
    return {
        "acknowledged": sum(n for n, _, _ in results),
        "objects_per_s": round(rate, 1),
        "connections_lost": [reason for _, _, lost in results for reason in lost],
    }


def _memory_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _wait_for(port: int) -> None:
    import socket

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError("the node does not listen")


def run_node(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """The node in a process of its own."""
    import sqlite3
    import subprocess

    from node_parts import stub_command
    from orthanc_server import free_port

    port = free_port()
    command = json.dumps(stub_command(folder))
    (folder / "node.toml").write_text(
        f'[node]\ndata = "data"\nport = {port}\nstatus_port = 0\nquiet_s = 10.0\n'
        f"[limits]\nassociations = 32\n[process]\ncommand = {command}\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "vastus", "node", "--config", str(folder / "node.toml")],
        stderr=(folder / "node.log").open("w"),
    )
    try:
        _wait_for(port)
        memory = [_memory_mb(process.pid)]
        over = threading.Event()

        def watch() -> None:
            while not over.wait(5.0):
                memory.append(_memory_mb(process.pid))

        threading.Thread(target=watch, daemon=True).start()
        found = send_all(port, "VASTUS", options)
        over.set()
        thirds = [memory[len(memory) * n // 3 : max(1, len(memory) * (n + 1) // 3)] for n in range(3)]
        found["memory_mb_in_thirds"] = [round(max(part)) for part in thirds if part]
        deadline = time.monotonic() + 300
        done = 0
        while done < options.studies and time.monotonic() < deadline:
            time.sleep(1.0)
            with sqlite3.connect(folder / "data" / "queue.sqlite") as queue:
                done = queue.execute("SELECT COUNT(*) FROM jobs WHERE state = 'done'").fetchone()[0]
                jobs = queue.execute("SELECT COUNT(*) FROM jobs").fetchone()[0]
        found["files"] = sum(1 for _ in (folder / "data" / "incoming").rglob("*.dcm"))
        events = Counter(
            json.loads(line)["event"] for line in (folder / "node.log").read_text().splitlines() if line[:1] == "{"
        )
        return found | {"done": done, "jobs": jobs, "events": events}
    finally:
        process.terminate()
        process.wait(30)


def main() -> None:
    """Run both and print the comparison."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--slices", type=int, default=100)
    parser.add_argument("--senders", type=int, default=8)
    parser.add_argument("--side", type=int, default=512, help="rows and columns of an image")
    options = parser.parse_args()
    result: dict[str, object] = vars(options) | {"object_kb": options.side**2 * 2 // 1024, "cores": os.cpu_count()}
    with tempfile.TemporaryDirectory() as name:
        result["vastus"] = run_node(Path(name), options)
    print(json.dumps(result), file=sys.stderr, flush=True)
    from orthanc_server import is_installed, running_orthanc

    if is_installed():
        with tempfile.TemporaryDirectory() as name, running_orthanc(Path(name)) as server:
            sent = send_all(server.dicom_port, "ORTHANC", options)
            result["orthanc"] = sent | {"files": server.get("/statistics")["CountInstances"]}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
