"""Measure the machinery of ``vastus batch``: ``python benchmarks/bench_batch.py ledger workers dask throughput``.

ledger: scans that take no time, through queue, ledger, tables and page: what the command itself costs a scan.
workers: scans that sleep and write, on many local processes: how near the whole comes to workers x time.
scale: the same with very many scans: does memory stay flat, does the command keep up?
dask: starting a cluster, and tasks through it. throughput: real scans, against ``vastus segment`` in a loop.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from batch_standin import StandIn, rows_of, write_inputs
from vastus.batch.engine import BatchEngine, NextTask
from vastus.batch.engine_local import LocalEngine
from vastus.batch.runner import BatchRequest, OpenBatch
from vastus.batch.task import Ending, Outcome, ProcessorFactory, Product
from vastus.batch.worker import peak_bytes
from vastus.io.tables import VOLUMES_FILE
from vastus.processors import usable_processors

PARTS = ("ledger", "workers", "scale", "dask", "throughput")


@dataclass
class NoWork:
    """An engine whose scans are done the moment they are taken."""

    text: str
    workers: int = 64

    def outcomes(self, factory: ProcessorFactory, next_task: NextTask) -> Iterator[Outcome]:
        while (task := next_task()) is not None:
            rows = self.text.replace("NAME", task.name)
            yield Outcome(task, Ending.DONE, Product({VOLUMES_FILE: rows}, (), 10**8), seconds=60.0, peak_bytes=10**9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=PARTS[:2])
    parser.add_argument("--scans", type=int, nargs="*", default=[10_000, 100_000], help="of the ledger's part")
    parser.add_argument("--workers", type=int, nargs="*", default=[4, 16, 64])
    parser.add_argument("--sleep", type=float, default=1.0, help="seconds of a simulated scan")
    parser.add_argument("--tasks", type=int, default=10, help="simulated scans for each worker")
    parser.add_argument("--weights", type=Path, help="bundle of the throughput's part; default: the shipped one")
    parser.add_argument("--real-scans", type=int, default=6, help="phantoms of the throughput's part")
    parser.add_argument("--whole", action="store_true", help="these of 512 x 512 x 450 voxels")
    options = parser.parse_args()
    print(
        f"## Batch\n\n{usable_processors()} cores, load average at start {os.getloadavg()[0]:.1f}, "
        f"Python {platform.python_version()}.\n"
    )
    if "ledger" in options.parts:
        print(*ledger_table(options.scans), "", sep="\n")
    if "workers" in options.parts:
        print(*worker_table(options.workers, options.sleep, options.tasks), "", sep="\n")
    if "scale" in options.parts:
        print(*scale_table(options.scans, options.workers[-1], options.sleep), "", sep="\n")
    if "dask" in options.parts:
        print(*dask_table(options.tasks), "", sep="\n")
    if "throughput" in options.parts:
        print(*throughput_table(options.weights, options.real_scans, whole=options.whole), "", sep="\n")


def ledger_table(sizes: list[int]) -> list[str]:
    """Machinery alone, for archives of several sizes."""
    lines = [
        "| scans | enter, s | a scan, ms | closing, s | start again, s | ledger, MB | table, MB | memory, MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for size in sizes:
        # Each size in a process of its own, so that its memory is its own.
        code = f"from bench_batch import measure_ledger; print(measure_ledger({size}))"
        result = subprocess.run(
            [sys.executable, "-c", code], cwd=Path(__file__).parent, check=True, capture_output=True, text=True
        )
        lines.append(result.stdout.strip())
    return lines


def measure_ledger(size: int) -> str:
    """One line of the table."""
    text = "".join(f"NAME,{','.join(row)}\n" for row in _cells())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        listing = folder / "list.csv"
        listing.write_text("path\n" + "".join(f"scans/{n:07d}.nii.gz\n" for n in range(size)))
        request, factory = BatchRequest([listing], folder / "out"), StandIn()
        start = time.perf_counter()
        with OpenBatch(request, factory) as batch:
            entered = time.perf_counter() - start
            engine = Timed(NoWork(text))
            batch.work(engine)
            finish = time.perf_counter() - engine.ended
        start = time.perf_counter()
        with OpenBatch(request, factory) as batch:
            again = time.perf_counter() - start
            assert batch.waiting == 0
        mega = [(folder / "out" / f).stat().st_size / 1e6 for f in ("ledger.sqlite", VOLUMES_FILE)]
        return (
            f"| {size} | {entered:.1f} | {1000 * engine.seconds / size:.2f} | {finish:.1f} | {again:.1f} |"
            f" {mega[0]:.0f} | {mega[1]:.0f} | {engine.peak_bytes / 1e6:.0f}, {peak_bytes() / 1e6:.0f} |"
        )


def _cells() -> list[list[str]]:
    return [[r.structure, r.group.value, r.side.value, f"{r.volume_mm3:.1f}", "50.00", "false"] for r in rows_of("x")]


class Timed:
    """Another engine, and how long it ran."""

    def __init__(self, engine: BatchEngine) -> None:
        self.engine, self.workers = engine, engine.workers
        self.seconds = self.ended = 0.0
        self.peak_bytes = 0

    def outcomes(self, factory: ProcessorFactory, next_task: NextTask) -> Iterator[Outcome]:
        start = time.perf_counter()
        try:
            yield from self.engine.outcomes(factory, next_task)
        finally:
            self.ended = time.perf_counter()
            self.seconds = self.ended - start
            self.peak_bytes = peak_bytes()


class Idle(Timed):
    """How long workers had nothing to do between scans, once all of them had started."""

    share = 0.0

    def outcomes(self, factory: ProcessorFactory, next_task: NextTask) -> Iterator[Outcome]:
        tries: dict[str, array[float]] = {}  # begin, end, begin, end ...; an array, not to measure its own memory
        for outcome in self.engine.outcomes(factory, next_task):
            now = time.perf_counter()
            tries.setdefault(outcome.worker, array("d")).extend((now - outcome.seconds, now))
            yield outcome
        began = max(each[0] for each in tries.values())
        counted = [
            [(start, end) for start, end in zip(each[::2], each[1::2], strict=True) if start >= began]
            for each in tries.values()
        ]
        spans = sum(each[-1][1] - each[0][0] for each in counted if each)
        self.seconds = max(each[-1] for each in tries.values()) - min(each[0] for each in tries.values())
        self.share = 1 - sum(end - start for each in counted for start, end in each) / spans


def worker_table(counts: list[int], sleep: float, tasks: int) -> list[str]:
    """Scans that sleep, on local processes."""
    lines = [
        f"Scans that sleep {sleep:g} s and write, {tasks} for each worker. Idle: a worker's time between scans.",
        "",
        "| workers | scans | idle | seconds, first to last | memory of the command, MB |",
        "|---|---|---|---|---|",
    ]
    for count in counts:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            scans = write_inputs(folder / "in", [f"{n:06d}" for n in range(count * tasks)])
            with OpenBatch(BatchRequest([scans], folder / "out"), StandIn(sleep)) as batch:
                engine = Idle(LocalEngine(count, 1))
                batch.work(engine)
        lines.append(
            f"| {count} | {count * tasks} | {engine.share:.2%} | {engine.seconds:.1f} | {peak_bytes() / 1e6:.0f} |"
        )
    return lines


class Scale(Idle):
    """Also how much of a core the command used meanwhile, and its memory as the scans went by."""

    def outcomes(self, factory: ProcessorFactory, next_task: NextTask) -> Iterator[Outcome]:
        self.memory: list[float] = []
        start = time.process_time()
        for number, outcome in enumerate(super().outcomes(factory, next_task)):
            if number % 500 == 0:
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                self.memory.append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)
            yield outcome
        self.cpu_seconds = time.process_time() - start


def scale_table(sizes: list[int], workers: int, sleep: float) -> list[str]:
    """Sleeping scans of a list, on so many processes."""
    lines = [
        f"Scans that sleep {sleep:g} s and write, on {workers} local workers.",
        "Command: its processor time as a share of the scans' time.",
        "",
        "| scans | seconds | idle | command | memory of the command in fifths of the run, MB |",
        "|---|---|---|---|---|",
    ]
    for size in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            listing = folder / "list.csv"
            listing.write_text("path\n" + "".join(f"scans/{n:07d}.nii.gz\n" for n in range(size)))
            with OpenBatch(BatchRequest([listing], folder / "out"), StandIn(sleep)) as batch:
                engine = Scale(LocalEngine(workers, 1, timeout_s=600.0))
                batch.work(engine)
        count = len(engine.memory)
        fifths = [f"{engine.memory[(count - 1) * n // 5]:.0f}" for n in range(6)]
        share = engine.cpu_seconds / (size * sleep)
        lines.append(f"| {size} | {engine.seconds:.0f} | {engine.share:.2%} | {share:.2%} | {', '.join(fifths)} |")
    return lines


def dask_table(tasks: int) -> list[str]:
    """A cluster of two processes: from import to the first result, and tasks through it."""
    code = (
        "import time; s=time.perf_counter()\n"
        "from distributed import LocalCluster\n"
        "if __name__ == '__main__':\n"
        "    c=LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)\n"
        "    k=c.get_client(); k.submit(int, 1).result(); print(time.perf_counter()-s)\n"
        "    k.close(); c.close()\n"
    )
    with tempfile.TemporaryDirectory() as name:
        script = Path(name) / "start.py"
        script.write_text(code)
        starts = [
            float(subprocess.run([sys.executable, script], check=True, capture_output=True, text=True).stdout)
            for _ in range(3)
        ]
        from distributed import LocalCluster

        from vastus.batch.engine_dask import DaskEngine

        scans = write_inputs(Path(name) / "in", [f"{n:06d}" for n in range(2 * tasks)])
        with (
            LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
            OpenBatch(BatchRequest([scans], Path(name) / "out"), StandIn()) as batch,
        ):
            engine = Idle(DaskEngine(cluster.scheduler_address))
            batch.work(engine)
    each = ", ".join(f"{s:.1f}" for s in starts)
    return [
        f"Dask: import, start two workers, first result: {each} s. Scans that take no time: "
        f"{1000 * engine.seconds / (2 * tasks):.1f} ms each through two workers.",
    ]


def throughput_table(weights: Path | None, count: int, *, whole: bool) -> list[str]:
    """Real scans: ``vastus segment`` once a scan, ``vastus batch`` with one worker and with two."""
    bundle = [] if weights is None else ["--weights", str(weights)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = _write_phantoms(folder / "in", count, whole=whole)
        _vastus("warm", *bundle)
        loop, ours = "`vastus segment`, once a scan", "`vastus batch`, {} worker(s) of {} thread(s)"
        cost = {loop: Cost()}
        for n, path in enumerate(paths):
            cost[loop] += _vastus("segment", str(path), "-o", str(folder / "loop" / str(n)), *bundle)
        for workers, threads in ((1, 2), (2, 1)):
            out = ["-o", str(folder / f"batch{workers}"), "-w", str(workers), "-t", str(threads), "--pages"]
            cost[ours.format(workers, threads)] = _vastus("batch", str(folder / "in"), *out, *bundle)
    head = [
        f"| {count} {'whole thighs' if whole else 'scans'}, with pages | seconds | scans/h | against the loop "
        "| processor seconds | against the loop |",
        "|---|---|---|---|---|---|",
    ]
    return head + [
        f"| {label} | {one.seconds:.1f} | {count * 3600 / one.seconds:.0f} | {cost[loop].seconds / one.seconds:.2f} "
        f"| {one.processor_seconds:.1f} | {cost[loop].processor_seconds / one.processor_seconds:.2f} |"
        for label, one in cost.items()
    ]


@dataclass(frozen=True)
class Cost:
    """Time by the clock and of all processors. On a busy machine only the second means something."""

    seconds: float = 0.0
    processor_seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.seconds + other.seconds, self.processor_seconds + other.processor_seconds)


def _write_phantoms(folder: Path, count: int, *, whole: bool) -> list[Path]:
    import nibabel as nib

    from bench_segment import write_phantom
    from vastus.synthesis.phantom import make_phantom

    folder.mkdir()
    if whole:
        scan, _ = write_phantom(folder.parent)
        return [shutil.copy(scan, folder / f"{n}.nii.gz") for n in range(count)]
    for n in range(count):
        phantom = make_phantom((1.2, 1.2, 3.0), z_range_mm=(0.0, 450.0), seed=n)
        nib.save(nib.Nifti1Image(phantom.ct.array, phantom.ct.affine), folder / f"{n}.nii.gz")
    return sorted(folder.iterdir())


def _vastus(command: str, *arguments: str) -> Cost:
    device = [] if command == "warm" else ["--device", "cpu"]
    start = time.perf_counter()
    # Processes that a process started count too, once it has waited for them.
    process = subprocess.Popen(
        [sys.executable, "-m", "vastus", command, *arguments, *device],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: vastus {command} {' '.join(arguments)}")
    return Cost(time.perf_counter() - start, usage.ru_utime + usage.ru_stime)


if __name__ == "__main__":
    main()
