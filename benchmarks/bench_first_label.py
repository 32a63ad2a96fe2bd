"""Time the first label that ``vastus annotate`` gives a client of MONAI Label, beside ``vastus segment``, same scan.

The server is warm: it has loaded its network and labelled its made-up scan. Every request is for a scan that it has
not labelled; the client has fetched it, as 3D Slicer does. The server reads, labels and sends a whole thigh. The two
take turns. "Labelling" is what the command's record gives from reading to the way back to the scan's grid, without
start, measuring and page: what both have to do. (The command has read its scan by then, while its network was loaded.)
Processor seconds of the server: from Linux's /proc.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import requests

from bench_annotation import free_port
from bench_segment import write_phantom
from vastus.inference.processor import processor_name

LABELLING = ("read", "preprocess", "network", "clean", "restore")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scan", type=Path, help="NIfTI to use; default: the phantom, 512 x 512 x 450")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scan = options.scan or write_phantom(folder)[0]
        (folder / "scans").mkdir()
        for number in range(options.repeats):
            shutil.copy(scan, folder / "scans" / f"case{number}.nii.gz")
        report(folder, scan, options.repeats, options.threads)


def report(folder: Path, scan: Path, repeats: int, threads: int) -> None:
    """Start the server, let both take turns, and print the table."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "vastus", "annotate", str(folder / "scans"), "--port", str(port)]
    server = subprocess.Popen([*command, "--threads", str(threads)], stderr=subprocess.DEVNULL)
    rows = []
    try:
        wait_until_warm(address)
        model = next(iter(requests.get(f"{address}/info/", timeout=600).json()["models"]))
        for number in range(repeats):
            # As 3D Slicer does: it shows the scan before it asks for labels.
            requests.get(f"{address}/datastore/image?image=case{number}", timeout=600).raise_for_status()
            before, start = processor_seconds(server.pid), time.perf_counter()
            got = requests.post(
                f"{address}/infer/{model}?image=case{number}&output=all", data={"params": "{}"}, timeout=600
            )
            seconds, used = time.perf_counter() - start, processor_seconds(server.pid) - before
            assert got.ok, got.text
            record = segment(scan, folder / "out", threads)
            rows.append((seconds, used, sum(record[stage] for stage in LABELLING), record["network"]))
    finally:
        server.terminate()
        server.wait()
    first, used, labelling, network = (statistics.median(values) for values in zip(*rows, strict=True))
    print(f"{processor_name()}, {threads} threads, load average {os.getloadavg()[0]:.1f}; medians of {repeats}.\n")
    print(
        "| first label of the server, s | its processor seconds | labelling by the command, s | of this, network, s |"
    )
    print("|---|---|---|---|")
    print(f"| {first:.2f} | {used:.2f} | {labelling:.2f} | {network:.2f} |\n")
    print(f"First label against labelling: {first / labelling:.2f} times; against the network: {first / network:.2f}.")


def wait_until_warm(address: str) -> None:
    """Wait until the server answers and its queue is empty."""
    while True:
        try:
            if not requests.get(f"{address}/api/queue", timeout=60).json():
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.2)


def segment(scan: Path, out: Path, threads: int) -> dict[str, float]:
    """Run the command; return the seconds of its stages."""
    command = [sys.executable, "-m", "vastus", "segment", str(scan), "-o", str(out), "--threads", str(threads)]
    subprocess.run(command, check=True, capture_output=True)
    seconds: dict[str, float] = json.loads((out / "run.json").read_text())["seconds"]
    return seconds


def processor_seconds(process: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
