"""How long the viewer takes to open a large scan in a browser without a graphics card, and how much memory it needs.

    python benchmarks/bench_viewer.py [--shape 512 512 450] [--scan ct.nii.gz] [--browser chromium] [--repeats 3]

Starts the real server on one scan (a phantom with noise, unless ``--scan`` names another, which is repeated along the
body until it has the shape) with labels, and opens it in the browser as a person does: *overview* is the time from
the click until the coarse scan and its labels are drawn, *whole* until all voxels are, which follow by themselves. A
change of the grey window and a step to the next slice are timed until drawn. Memory is that of the page's own process
and of the process that stands in for the graphics card, as Linux counts it (PSS); peaks are those of a sample every
50 ms. Processor seconds of the browser are printed besides, because they depend less on what else runs. Linux only.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from bench_annotation import free_port, phantom, wait_until_it_listens
from browser import browser_named
from vastus.annotation.project.cases import write_image
from vastus.io.labels import write_labels
from vastus.io.nifti import read_nifti
from vastus.volume import Volume

NOISE_HU = 12
DRAWN = "() => document.querySelector('#busy').hidden && document.querySelector('#case-title').textContent === 'large'"
WHOLE = "() => !vastus.workspace.overview && vastus.workspace.following === null"
FRAMES = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
READY = """(() => {
    const { gl } = vastus.scene.nv;
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
})()"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 512, 450))
    parser.add_argument("--scan", type=Path)
    parser.add_argument("--browser", choices=("chromium", "firefox"), default="chromium")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_case(root, tuple(arguments.shape), arguments.scan)
        with served(root / "scans", root / "labels.nii.gz") as address:
            runs = [opened(address, arguments.browser) for _ in range(arguments.repeats)]
    tell(runs, arguments)


def write_case(root: Path, shape: tuple[int, int, int], scan: Path | None) -> None:
    (root / "scans").mkdir()
    made = phantom(shape)
    ct = made.ct
    if scan is not None:
        array = read_nifti(scan).array
        repeats = [-(-n // m) for n, m in zip(shape, array.shape, strict=True)]
        ct = Volume(np.asfortranarray(np.tile(array, repeats)[: shape[0], : shape[1], : shape[2]]), ct.affine)
    else:
        noise = np.random.default_rng(1).normal(0, NOISE_HU, (*shape[:2], 16)).astype(np.int16)
        grainy = ct.array[: shape[0], : shape[1], : shape[2]].copy(order="F")
        for k in range(grainy.shape[2]):
            grainy[:, :, k] += noise[: grainy.shape[0], : grainy.shape[1], k % 16]
        ct = Volume(grainy, ct.affine)
    # Towards the left and the back, as most scanners store slices.
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    flip[0, 3], flip[1, 3] = ct.array.shape[0] - 1, ct.array.shape[1] - 1
    labels = made.labels.array[: ct.array.shape[0], : ct.array.shape[1], : ct.array.shape[2]]
    write_image(Volume(np.asfortranarray(ct.array[::-1, ::-1]), ct.affine @ flip), root / "scans" / "large.nii.gz")
    write_labels(Volume(np.asfortranarray(labels[::-1, ::-1]), ct.affine @ flip), root / "labels.nii.gz")


@contextmanager
def served(scans: Path, labels: Path) -> Iterator[str]:
    import requests

    port = free_port()
    program = [sys.executable, "-m", "vastus", "annotate", str(scans), "--port", str(port)]
    server = subprocess.Popen(program, stderr=subprocess.PIPE)
    try:
        wait_until_it_listens(server)
        address = f"http://127.0.0.1:{port}"
        answer = requests.post(f"{address}/api/cases/large/versions", data=labels.read_bytes(), timeout=600)
        answer.raise_for_status()
        yield address
    finally:
        server.terminate()
        server.wait()


def opened(address: str, browser: str) -> dict[str, float]:
    """Open the scan in a browser of its own, and change what is seen."""
    with browser_named(browser) as started, Watched() as watched:
        page = started.new_page(viewport={"width": 1366, "height": 768})
        page.set_default_timeout(600_000)
        page.goto(f"{address}/")
        page.wait_for_selector("body[data-ready]")
        page.wait_for_selector("[data-id=large]")
        watched.restart()
        result = {"overview s": timed(page, lambda: page.click("[data-id=large]"))}
        result["processor s of overview"] = watched.processor_s()
        result["whole s"] = result["overview s"] + timed(page, lambda: page.wait_for_function(WHOLE))
        result["processor s of whole"] = watched.processor_s()
        result |= watched.memory_mb()
        result["next slice s"] = timed(page, lambda: page.keyboard.press("ArrowUp"))
        result["other window s"] = timed(page, lambda: page.evaluate("vastus.scene.setWindow(-500, 1300)"))
    return result


def timed(page: Any, act: Any) -> float:
    """Seconds from an act until what follows is on the screen; the pixels are read, because drawing is put off."""
    start = time.perf_counter()
    act()
    page.wait_for_function(DRAWN)
    page.evaluate(FRAMES)
    page.evaluate(READY)
    return time.perf_counter() - start


class Watched:
    """Memory and processor time of the browser's processes that this program started."""

    def __enter__(self) -> Watched:
        self._over = threading.Event()
        self._most: dict[str, float] = {}
        self._start = 0.0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def restart(self) -> None:
        self._start = sum(_processor_s(pid) for pid, _ in _browser_processes())

    def processor_s(self) -> float:
        return sum(_processor_s(pid) for pid, _ in _browser_processes()) - self._start

    def memory_mb(self) -> dict[str, float]:
        now = _sizes_mb()
        return {f"{what} MB": now[what] for what in now} | {f"{what} MB, peak": self._most[what] for what in now}

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            for what, size in _sizes_mb().items():
                self._most[what] = max(self._most.get(what, 0.0), size)


def _sizes_mb() -> dict[str, float]:
    """The largest process of a page, and that of the graphics card (Firefox: all processes together)."""
    sizes: dict[str, float] = {}
    for pid, kind in _browser_processes():
        size = _pss_mb(pid)
        sizes[kind] = max(sizes.get(kind, 0.0), size) if kind == "page" else sizes.get(kind, 0.0) + size
    return sizes


def _browser_processes() -> Iterator[tuple[int, str]]:
    """Process id and kind of what descends from this process."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
    for pid in parents:
        above = pid
        while above > 1 and above != os.getpid():
            above = parents.get(above, 0)
        if above != os.getpid() or pid == above:
            continue
        try:
            command = (Path("/proc") / str(pid) / "cmdline").read_text(errors="replace")
        except OSError:
            continue
        if "--type=renderer" in command or "-contentproc" in command:
            yield pid, "page"
        elif "--type=gpu-process" in command:
            yield pid, "graphics"
        elif "chrom" in command or "firefox" in command:
            yield pid, "rest"


def _pss_mb(pid: int) -> float:
    try:
        lines = (Path("/proc") / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((float(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


def _processor_s(pid: int) -> float:
    try:
        fields = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def tell(runs: list[dict[str, float]], arguments: argparse.Namespace) -> None:
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    shape = " x ".join(map(str, arguments.shape))
    print(f"{arguments.browser}, {shape} voxels, {len(runs)} runs, {os.cpu_count()} cores, load {load}\n")
    print("| | median | least | most |\n|---|---|---|---|")
    for what in runs[0]:
        values = [run[what] for run in runs if what in run]
        print(f"| {what} | {statistics.median(values):.2f} | {min(values):.2f} | {max(values):.2f} |")


if __name__ == "__main__":
    main()
