"""Count what synthetic bodies promise: volumes at their targets, one piece a structure and side, none in air.

    python tools/check_bodies.py ATLAS_FOLDER --clinical 30 --wide 20

Volumes are counted on a grid other than the one they were fitted on. Prints one line a body and a summary in Markdown.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BY_KEY, SIDES, STRUCTURES
from vastus.synthesis.atlas import load_atlas
from vastus.synthesis.growth import Grid
from vastus.synthesis.subject import Body, TissueMap, Variety, build_body, sample_plan
from vastus.synthesis.tissues import Tissue

COUNT_MM = {Variety.CLINICAL: (1.5, 1.5, 1.5), Variety.WIDE: (2.0, 2.0, 2.0)}


@dataclass(frozen=True, slots=True)
class Check:
    """One body: relative error of each volume, pieces of each structure and side, voxels where no body is."""

    misses: dict[str, float]
    pieces: dict[str, int]
    outside: int
    build_s: float
    map_s: float


def check(body: Body, build_s: float) -> Check:
    """Count a body."""
    spacing = COUNT_MM[body.plan.variety]
    low, high = body.skin_box_mm((float(body.low_mm[2]), float(body.high_mm[2])))
    n_x, n_y, n_z = (int(n) for n in (high - low) / spacing)
    start = time.process_time()
    # A third of a voxel aside, so that no line of voxels coincides with one of the fit.
    tissue_map = body.tissue_map(Grid(low + np.array(spacing) / 3, spacing, (n_x, n_y, n_z)))
    map_s = time.process_time() - start
    labels = body.label_values()[tissue_map.part]
    counts = np.bincount(labels.ravel(), minlength=256) * float(np.prod(spacing))
    misses = {
        f"{key} {side.value}": float(counts[BY_KEY[key].label_value(side)] / target - 1)
        for (key, side), target in body.plan.target_mm3.items()
    }
    return Check(misses, pieces_of(labels), stray(labels, tissue_map), build_s, map_s)


def pieces_of(labels: NDArray[np.uint8]) -> dict[str, int]:
    """Pieces (26 neighbours) of every structure and side; nothing is too small to count."""
    import cc3d

    numbers, count = cc3d.connected_components(np.ascontiguousarray(labels), connectivity=26, return_N=True)
    owner = np.zeros(count + 1, np.uint8)
    owner[numbers.ravel()] = labels.ravel()
    found = np.bincount(owner[1:], minlength=256)
    return {f"{s.key} {side.value}": int(found[s.label_value(side)]) for s in STRUCTURES for side in SIDES}


def stray(labels: NDArray[np.uint8], tissue_map: TissueMap) -> int:
    """Labelled voxels that are air."""
    return int(((labels > 0) & (tissue_map.tissue == Tissue.AIR)).sum())


def summary(name: str, checks: list[Check]) -> str:
    """A row of the table."""
    worst = np.array([max(map(abs, c.misses.values())) for c in checks])
    every = np.concatenate([np.abs(list(c.misses.values())) for c in checks])
    pieces = np.array([n for c in checks for n in c.pieces.values()])
    seconds = [np.median([getattr(c, field) for c in checks]) for field in ("build_s", "map_s")]
    return (
        f"| {name} | {len(checks)} | {np.median(every):.2%} | {np.quantile(every, 0.99):.2%} | {every.max():.2%} | "
        f"{(worst < 0.03).sum()} | {(pieces == 1).mean():.2%} | {(pieces > 1).sum()} | {(pieces == 0).sum()} | "
        f"{sum(c.outside for c in checks)} | {seconds[0]:.1f} |"
    )


def main() -> None:
    """Check bodies of both varieties."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("atlas", type=Path, help="folder with atlas files")
    parser.add_argument("--clinical", type=int, default=30)
    parser.add_argument("--wide", type=int, default=20)
    parser.add_argument("--seed", type=int, default=70000)
    options = parser.parse_args()
    atlases = [load_atlas(path) for path in sorted(options.atlas.glob("*.npz"))]
    rows = []
    for variety, count in ((Variety.CLINICAL, options.clinical), (Variety.WIDE, options.wide)):
        checks = []
        for seed in range(options.seed, options.seed + count):
            plan = sample_plan(seed, atlases, variety)
            start = time.process_time()
            body = build_body(plan, atlases[plan.atlas_index])
            checks.append(check(body, time.process_time() - start))
            worst = max(checks[-1].misses.items(), key=lambda item: abs(item[1]))
            split = {name: n for name, n in checks[-1].pieces.items() if n != 1}
            print(
                f"{variety.value} {seed}: worst {worst[0]} {worst[1]:+.2%}; not one piece: {split or 'none'}",
                flush=True,
            )
        if checks:
            rows.append(summary(variety.value, checks))
    head = [
        "bodies",
        "number",
        "median error",
        "99% below",
        "largest",
        "bodies below 3%",
        "one piece",
        "split",
        "missing",
        "labelled air",
        "CPU s a body",
    ]
    print("\n".join(["", f"| {' | '.join(head)} |", "|---" * len(head) + "|", *rows]))


if __name__ == "__main__":
    main()
