"""How long annotators wait: opening, saving, growing, many at once, and while the network works.

    python benchmarks/bench_annotation.py [--shape 512 512 400] [--clients 50]

Starts the real server on a folder with phantoms of that size, with the weights that come with Vastus, and asks it over
HTTP as the viewer and 3D Slicer do. Medians of ``--repeats`` in seconds; printed as Markdown.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import requests

from vastus.annotation.project.cases import write_image
from vastus.io.labels import write_labels
from vastus.synthesis.phantom import LabelledScan, make_phantom
from vastus.volume import Volume

CASES = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 512, 400))
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        scan = phantom(tuple(arguments.shape))
        (root / "scans").mkdir()
        for number in range(CASES):
            write_image(scan.ct, root / "scans" / f"case{number}.nii.gz")
        write_labels(scan.labels, root / "labels.nii.gz")
        port = free_port()
        program = [sys.executable, "-m", "vastus", "annotate", str(root / "scans"), "--port", str(port)]
        server = subprocess.Popen(program, stderr=subprocess.PIPE)
        try:
            wait_until_it_listens(server)
            measure(f"http://127.0.0.1:{port}", scan, root / "labels.nii.gz", arguments)
        finally:
            server.terminate()
            server.wait()


def measure(address: str, scan: LabelledScan, label_file: Path, arguments: argparse.Namespace) -> None:
    body, repeats = label_file.read_bytes(), arguments.repeats
    shape = " x ".join(str(n) for n in scan.ct.shape)
    cores, load = os.cpu_count(), os.getloadavg()[0]
    print(f"{shape} voxels, label map of {len(body) / 1e6:.1f} MB, {cores} cores, load {load:.1f}\n")
    print("| what | seconds |\n|---|---|")

    def get(path: str) -> requests.Response:
        return checked(requests.get(address + path, timeout=600))

    def post(path: str, data: bytes | None = None) -> requests.Response:
        return checked(requests.post(address + path, data=data, timeout=600))

    row("list of cases", repeats, lambda _: get("/api/cases"))
    row("open a scan for the first time", 1, lambda _: get("/api/cases/case0/image.nii.gz"))
    row("open it again", repeats, lambda _: get("/api/cases/case0/image.nii.gz"))
    row("save a label map", repeats, lambda _: post("/api/cases/case0/versions", body))
    row("load a label map", repeats, lambda _: get("/api/cases/case0/versions/1/labels.nii.gz"))
    get("/api/cases/case0/versions/1/volumes")  # the compiled loops of the first use
    row("volumes of a version", repeats, lambda _: get("/api/cases/case0/versions/1/volumes"))
    grow(post, scan, label_file.parent, repeats)
    for number in range(1, CASES):
        get(f"/api/cases/case{number}/image.nii.gz")

    def one_client(number: int) -> float:
        start = time.perf_counter()
        get(f"/api/cases/case{number % CASES}/versions")
        post(f"/api/cases/case{number % CASES}/versions", body)
        return time.perf_counter() - start

    with ThreadPoolExecutor(arguments.clients) as pool:
        start = time.perf_counter()
        waits = list(pool.map(one_client, range(arguments.clients)))
        total = time.perf_counter() - start
    print(f"| {arguments.clients} clients save at once: all done | {total:.2f} |")
    print(f"| the same: wait of one, median | {statistics.median(waits):.2f} |")
    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(post, "/api/cases/case1/infer")
        lists = []
        while not going.done():
            start = time.perf_counter()
            get("/api/cases")
            lists.append(time.perf_counter() - start)
            time.sleep(0.05)
        assert going.result().status_code == 201
    print(f"| list of cases while a scan is segmented: median of {len(lists)} | {statistics.median(lists):.3f} |")
    print(f"| the same: slowest | {max(lists):.3f} |")


def grow(post: Callable[..., requests.Response], scan: LabelledScan, folder: Path, repeats: int) -> None:
    """Strokes of eight structures in the middle of the scan, and then one more stroke at a time."""
    labels = scan.labels.array
    middle = labels.shape[2] // 2
    strokes = np.zeros_like(labels)
    values = [int(v) for v in np.unique(labels[:, :, middle]) if v][:8]
    for value in values:
        places = np.argwhere(labels[:, :, middle] == value)
        for k in (middle - 20, middle, middle + 20):
            strokes[(*places[len(places) // 2], k)] = value
    file = folder / "strokes.nii.gz"

    def send(number: int) -> None:
        spot = np.argwhere(labels == values[number % len(values)])[100 + number]
        strokes[tuple(spot)] = values[number % len(values)]
        write_labels(Volume(strokes, scan.labels.affine), file)

    write_labels(Volume(strokes, scan.labels.affine), file)
    row(
        "grow from seeds, first strokes",
        1,
        lambda _: post("/api/cases/case1/tools/grow?preview=true", file.read_bytes()),
    )
    row(
        "grow from seeds, one more stroke",
        repeats,
        lambda _: post("/api/cases/case1/tools/grow?preview=true", file.read_bytes()),
        send,
    )


def row(
    what: str, repeats: int, work: Callable[[int], object], prepare: Callable[[int], object] = lambda _: None
) -> None:
    times = []
    for number in range(repeats):
        prepare(number)
        start = time.perf_counter()
        work(number)
        times.append(time.perf_counter() - start)
    print(f"| {what} | {statistics.median(times):.3f} |", flush=True)


def checked(response: requests.Response) -> requests.Response:
    assert response.ok, response.text
    return response


def wait_until_it_listens(server: subprocess.Popen[bytes]) -> None:
    """Read what the server says until it tells its address."""
    assert server.stderr is not None
    while b"http" not in server.stderr.readline():
        if server.poll() is not None:
            raise RuntimeError("The server did not start.")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def phantom(shape: tuple[int, int, int]) -> LabelledScan:
    extent = (380.0, 260.0, 630.0)
    return make_phantom((extent[0] / shape[0], extent[1] / shape[1], extent[2] / shape[2]))


if __name__ == "__main__":
    main()
