"""Time what a user waits for before and beside the network: first line, first result of a fresh installation, cohort.

Every run is a fresh process. "Fresh installation" has empty folders for compiled loops and kept networks; "warm" has
those that ``vastus warm`` has filled. The variants take turns. Seconds by the clock mean something only on an idle
machine; processor seconds also on a busy one.
"""

from __future__ import annotations

import argparse
import os
import selectors
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vastus.inference.processor import processor_name

SAMPLE = Path(__file__).parents[1] / "examples" / "sample_scan.nii.gz"
COHORT_PEOPLE = 100


@dataclass(frozen=True, slots=True)
class Run:
    """One process: seconds to its first line, to its end, and of all processors."""

    first_line: float
    seconds: float
    processor_seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options, _ = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as name:
        print(report(Path(name), options.repeats, options.threads))


def report(folder: Path, repeats: int, threads: int) -> str:
    """The table, as Markdown."""
    warm = _folders(folder / "warm")
    _run(["warm", "-t", str(threads)], warm)
    clinical = _write_cohort(folder / "cohort")
    segment = ["segment", str(SAMPLE), "-o", str(folder / "out"), "-t", str(threads)]
    variants: dict[str, Callable[[int], Run]] = {
        "`vastus --version`": lambda _: _run(["--version"], warm),
        "sample scan, fresh installation": lambda n: _run(segment, _folders(folder / f"fresh{n}")),
        "sample scan, after `vastus warm`": lambda _: _run(segment, warm),
        f"`vastus cohort`, {COHORT_PEOPLE} people": lambda n: _run(
            ["cohort", *map(str, clinical), "-o", str(folder / f"results{n}")], warm
        ),
    }
    runs: dict[str, list[Run]] = {name: [] for name in variants}
    for number in range(repeats):
        for name, variant in variants.items():
            runs[name].append(variant(number))
    first_lines = {name: [_first_line(command, warm) for _ in range(repeats)] for name, command in _commands(folder)}
    lines = [
        "## Start",
        "",
        f"{processor_name()}, {threads} threads, load average {os.getloadavg()[0]:.1f}; medians of {repeats}.",
        "",
        "| | first line, s | whole, s | processor seconds |",
        "|---|---|---|---|",
    ]
    for name, found in runs.items():
        first, whole, processor = (
            statistics.median(values)
            for values in zip(*((r.first_line, r.seconds, r.processor_seconds) for r in found), strict=True)
        )
        lines.append(f"| {name} | {first:.2f} | {whole:.1f} | {processor:.1f} |")
    lines += ["", "| first line of | s | processor seconds |", "|---|---|---|"]
    for name, found in first_lines.items():
        seconds, processor = (statistics.median(values) for values in zip(*found, strict=True))
        lines.append(f"| `vastus {name}` | {seconds:.2f} | {processor:.2f} |")
    return "\n".join([*lines, ""])


def _commands(folder: Path) -> list[tuple[str, list[str]]]:
    """Commands with what they need to begin."""
    labels, scans = str(folder / "out" / "labels.nii.gz"), folder / "scans"
    scans.mkdir()
    shutil.copy(SAMPLE, scans)
    cohort = [str(folder / "cohort" / name) for name in ("volumes.csv", "clinical.csv")]
    return [
        ("--help", ["--help"]),
        ("segment", ["segment", str(SAMPLE), "-o", str(folder / "a")]),
        ("batch", ["batch", str(scans), "-o", str(folder / "b")]),
        ("measure", ["measure", str(SAMPLE), labels, "-o", str(folder / "c")]),
        ("preview", ["preview", str(SAMPLE), labels, "-o", str(folder / "d.png")]),
        ("evaluate", ["evaluate", labels, labels, "-o", str(folder / "e")]),
        ("cohort", ["cohort", *cohort, "-o", str(folder / "f")]),
        ("annotate", ["annotate", str(scans), "--port", "0"]),
        ("app", ["app", "--folder", str(folder / "g"), "--port", "0", "--no-browser"]),
        ("check-labels", ["check-labels", str(scans)]),
        ("pseudo-label", ["pseudo-label", str(SAMPLE), "-o", str(folder / "h")]),
        ("doctor", ["doctor"]),
    ]


def _started(arguments: Sequence[str], extra: Mapping[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "vastus", *arguments],
        env=os.environ | dict(extra),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def _first_line(arguments: Sequence[str], extra: Mapping[str, str]) -> tuple[float, float]:
    """Seconds to the first line of a command, by the clock and of all processors; then it is ended."""
    start = time.perf_counter()
    process = _started(arguments, extra)
    assert process.stdout is not None
    os.read(process.stdout.fileno(), 1)
    seconds = time.perf_counter() - start
    process.kill()
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    process.stdout.close()
    return seconds, usage.ru_utime + usage.ru_stime


def _folders(folder: Path) -> dict[str, str]:
    """Environment with caches of its own."""
    loops, networks = folder / "loops", folder / "networks"
    for path in (loops, networks):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return {"NUMBA_CACHE_DIR": str(loops), "VASTUS_CACHE_DIR": str(networks)}


def _write_cohort(folder: Path) -> tuple[Path, Path]:
    """A simulated cohort of as many people as wanted, in the proportions of the paper's."""
    from vastus.cohort.example import PAPER_COUNTS, simulate_cohort

    folder.mkdir()
    whole = sum(PAPER_COUNTS.values())
    counts = {cell: max(1, round(n * COHORT_PEOPLE / whole)) for cell, n in PAPER_COUNTS.items()}
    cohort = simulate_cohort(0, counts=counts)
    paths = folder / "volumes.csv", folder / "clinical.csv"
    for path, frame in zip(paths, (cohort.volumes, cohort.clinical), strict=True):
        frame.to_csv(path, index=False)
    return paths


def _run(arguments: Sequence[str], extra: Mapping[str, str]) -> Run:
    start = time.perf_counter()
    process = _started(arguments, extra)
    assert process.stdout is not None
    first: float | None = None
    with selectors.DefaultSelector() as waiting:
        waiting.register(process.stdout, selectors.EVENT_READ)
        while True:
            waiting.select()
            some = os.read(process.stdout.fileno(), 1 << 16)
            if not some:
                break
            if first is None:
                first = time.perf_counter() - start
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    if status:
        raise SystemExit(f"failed: vastus {' '.join(arguments)}")
    return Run(first or 0.0, time.perf_counter() - start, usage.ru_utime + usage.ru_stime)


if __name__ == "__main__":
    main()
