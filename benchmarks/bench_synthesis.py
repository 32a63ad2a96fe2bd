"""Time the synthesis: a body, a whole scan of 512 x 512 x 604 voxels, and training patches a second.

    python benchmarks/bench_synthesis.py --atlas ATLAS_FOLDER [--threads 2] [--device cuda]

Without ``--atlas`` a person of ellipsoids stands in, whose bodies are simpler and faster: the times are then no measure
of the real ones, and the report says so. Patches are of 96 voxels a side at 2 mm, and of thick slices, which are
painted in halves.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

SHAPE, SPACING_MM = (512, 512, 604), (0.8, 0.8, 0.8)
WINDOWS = {
    "96 x 96 x 96 at 2 x 2 x 2 mm": ((96, 96, 96), (2.0, 2.0, 2.0)),
    "96 x 96 x 64 at 2 x 2 x 4 mm": ((96, 96, 64), (2.0, 2.0, 4.0)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--atlas", type=Path, help="folder of atlas files; default: ellipsoids")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", help="render patches on this torch device too: cpu, cuda")
    parser.add_argument("--bodies", type=int, default=4)
    parser.add_argument("--patches", type=int, default=60)
    parser.add_argument("--scans", type=int, default=1)
    options, _ = parser.parse_known_args()  # the other benchmarks have options of their own
    # Before anything compiled is loaded.
    os.environ["NUMBA_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(options.threads)
    print(report(options))


def report(options: argparse.Namespace) -> str:
    """All tables, as Markdown."""
    from vastus.inference.processor import processor_name
    from vastus.synthesis.atlas import PersonName, load_atlas
    from vastus.synthesis.atlas_building import build_atlas
    from vastus.synthesis.store import fill_pool
    from vastus.synthesis.subject import Variety, build_body, sample_plan

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.atlas:
            atlases = [load_atlas(path) for path in sorted(options.atlas.glob("*.npz"))]
        else:
            atlases = [build_atlas(_ellipsoid_pack(folder), PersonName.FEMALE)]
        lines = [
            "## Synthesis",
            "",
            f"{processor_name()}, {options.threads} threads, load average at start {os.getloadavg()[0]:.1f}, "
            + ("real atlas." if options.atlas else "**ellipsoids instead of the real atlas: no measure of it.**"),
            "",
            "| what | wall s, median | CPU s, median | runs |",
            "|---|---|---|---|",
        ]
        fill_pool(folder / "pool", atlases, 1, first_seed=10)  # compiles
        seeds = iter(range(20, 20 + options.bodies))
        lines.append(
            _row(
                "a body into the pool",
                options.bodies,
                lambda: fill_pool(folder / "pool", atlases, 1, first_seed=next(seeds)),
            )
        )
        plan = sample_plan(30, atlases, Variety.CLINICAL)
        body = build_body(plan, atlases[plan.atlas_index])
        lines.append(_row("a body for a scan (finer)", 1, lambda: build_body(plan, atlases[plan.atlas_index])))
        lines.append(_row("a scan of a body, 512 x 512 x 604 at 0.8 mm", options.scans, lambda: _scan(body)))
        columns = ["patches a second", "numpy, 1 process", *([f"torch, {options.device}"] if options.device else [])]
        lines += ["", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
        lines += [_patches(name, window, folder / "pool", options) for name, window in WINDOWS.items()]
    return "\n".join([*lines, ""])


def _row(name: str, count: int, run: Callable[[], object]) -> str:
    wall, cpu = [], []
    for _ in range(count):
        start, busy = time.perf_counter(), time.process_time()
        run()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - busy)
    return f"| {name} | {statistics.median(wall):.1f} | {statistics.median(cpu):.1f} | {count} |"


def _scan(body: object) -> None:
    from vastus.synthesis.scan import Coverage, ScanSpec, make_scan
    from vastus.synthesis.subject import Body

    assert isinstance(body, Body)
    # The body's own height is stretched or cut to the wanted number of slices by the share that is shown.
    spec = ScanSpec(SPACING_MM, SHAPE[:2], Coverage.HIP_TO_KNEE)
    low, high = (share * body.length_mm for share in spec.coverage.value)
    scale = SHAPE[2] * SPACING_MM[2] / (min(high, body.high_mm[2]) - max(low, body.low_mm[2]))
    scan = make_scan(body, replace(spec, spacing_mm=(*SPACING_MM[:2], SPACING_MM[2] / scale)), 1)
    assert abs(scan.ct.shape[2] - SHAPE[2]) <= 2


def _patches(
    name: str, window: tuple[tuple[int, int, int], tuple[float, float, float]], pool: Path, options: argparse.Namespace
) -> str:
    from vastus.synthesis.render import open_pool

    numpy_pool = open_pool(pool)
    cells = [_rate(lambda i: numpy_pool.patch(1, i, *window), options.patches, lambda: None)]
    if options.device:
        import torch

        from vastus.synthesis.torch_patches import TorchPool

        torch.set_num_threads(options.threads)
        torch_pool = TorchPool(pool, options.device)
        wait = torch.cuda.synchronize if options.device.startswith("cuda") else (lambda: None)
        cells.append(_rate(lambda i: torch_pool.patch(1, i, *window), options.patches, wait))
    return f"| {name} | " + " | ".join(f"{rate:.1f}" for rate in cells) + " |"


def _rate(make: Callable[[int], object], count: int, wait: Callable[[], object]) -> float:
    for index in range(5):
        make(index)
    wait()
    start = time.perf_counter()
    for index in range(count):
        make(index)
    wait()
    return count / (time.perf_counter() - start)


def _ellipsoid_pack(folder: Path) -> Path:
    """The mesh pack of ellipsoids of the tests."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from synthesis.conftest import write_mesh_pack

    (folder / "pack").mkdir()
    write_mesh_pack(folder / "pack")
    return folder / "pack"


if __name__ == "__main__":
    main()
