"""Every metric of 29 structures x 2 sides at 512 x 512 x 450, beside MONAI, MedPy and DeepMind's surface-distance.

    python benchmarks/bench_evaluation.py --peer-python PEER_ENVIRONMENT/bin/python

The peers need an environment of their own (their pins clash with each other's and with ours):

    python -m venv PEER_ENVIRONMENT
    PEER_ENVIRONMENT/bin/pip install torch monai medpy
    PEER_ENVIRONMENT/bin/pip install --no-deps surface-distance

Ours scores the whole pair of label maps; the peers, which would take many minutes for all, score the masks of a few
structures, cropped to their common box with a margin (a kindness: their users seldom do). Peers' seconds for all 58 are
extrapolated by border voxels and marked so. Medians are printed: the machine may have other work.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

SHAPE = (512, 512, 450)
EXTENT_MM = (380.0, 260.0, 630.0)
SPACING_MM = tuple(e / n for e, n in zip(EXTENT_MM, SHAPE, strict=True))
PEER_VALUES = (101, 114, 118, 128)  # sartorius, gluteus maximus, piriformis, femur; right
PEERS = ("monai", "medpy", "surface-distance")
REPEATS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", type=Path, help="interpreter of the peers' environment")
    parser.add_argument("--amplitude", type=float, default=4.0, help="deformation of the prediction, in voxels")
    parser.add_argument("--as-peer", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--as-ours", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.as_peer:
        run_peers(arguments.as_peer)
    elif arguments.as_ours:
        run_ours(arguments.as_ours)
    else:
        compare(arguments.peer_python, arguments.amplitude)


def compare(peer_python: Path | None, amplitude: float) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_maps(folder, amplitude)
        ours = call(sys.executable, "--as-ours", folder)
        print(
            f"vastus: all metrics of {ours['labels']} structures and sides at {SHAPE}: "
            f"median {ours['median_s']:.2f} s, fastest {ours['fastest_s']:.2f} s, first call {ours['first_s']:.2f} s, "
            f"peak memory {ours['peak_gb']:.2f} GB; "
            f"mean Dice {ours['dice']:.3f}, mean ASSD {ours['assd_mm']:.3f} mm"
        )
        peers = call(str(peer_python), "--as-peer", folder) if peer_python else {}
        print("\n| structure | tool | seconds | ASSD mm | HD mm | HD95 mm | surface Dice 2 mm |")
        print("|---|---|---|---|---|---|---|")
        for value, row in ours["structures"].items():
            for tool, cells in {"vastus": row, **peers.get("structures", {}).get(value, {})}.items():
                numbers = " | ".join(f"{v:.4f}" for v in cells["values"])
                print(f"| {value} | {tool} | {cells['seconds']:.2f} | {numbers} |")
        for tool in PEERS if peers else ():
            known = [peers["structures"][str(v)][tool]["seconds"] for v in PEER_VALUES]
            share = sum(ours["structures"][str(v)]["border"] for v in PEER_VALUES) / ours["border"]
            print(
                f"{tool}: {sum(known):.1f} s for {len(known)} structures; "
                f"about {sum(known) / share:.0f} s for all (extrapolated)"
            )


def call(python: str, flag: str, folder: Path) -> dict:
    done = subprocess.run([python, __file__, flag, str(folder)], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def make_maps(folder: Path, amplitude: float) -> None:
    from vastus.synthesis.phantom import make_phantom

    reference = make_phantom(SPACING_MM, noise_hu=0.0).labels.array
    assert reference.shape == SHAPE
    prediction = np.zeros_like(reference)
    i, j = np.meshgrid(np.arange(SHAPE[0]), np.arange(SHAPE[1]), indexing="ij")
    for k in range(SHAPE[2]):
        # A smooth wave, not a shift: distances differ from place to place.
        di = np.rint(amplitude * np.sin(j / 40 + k / 30)).astype(int)
        dj = np.rint(amplitude * np.sin(i / 35 - k / 25)).astype(int)
        source = min(max(k + round(amplitude / 2 * np.sin(k / 20)), 0), SHAPE[2] - 1)
        rows, columns = np.clip(i + di, 0, SHAPE[0] - 1), np.clip(j + dj, 0, SHAPE[1] - 1)
        prediction[:, :, k] = reference[:, :, source][rows, columns]
    np.save(folder / "reference.npy", reference)
    np.save(folder / "prediction.npy", prediction)


def load(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    return np.load(folder / "prediction.npy"), np.load(folder / "reference.npy")


def masks(folder: Path, value: int) -> tuple[np.ndarray, np.ndarray]:
    pair = [array == value for array in load(folder)]
    either = pair[0] | pair[1]
    window = []
    for axis in range(3):
        hit = np.flatnonzero(either.any(axis=tuple(a for a in range(3) if a != axis)))
        window.append(slice(max(hit[0] - 2, 0), hit[-1] + 3))
    return np.ascontiguousarray(pair[0][tuple(window)]), np.ascontiguousarray(pair[1][tuple(window)])


def run_ours(folder: Path) -> None:
    from vastus.evaluation.pair import evaluate_pair
    from vastus.evaluation.surface import surface_distances
    from vastus.volume import Volume

    affine = np.diag([*SPACING_MM, 1.0])
    prediction, reference = (Volume(array, affine) for array in load(folder))
    seconds = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        table = evaluate_pair(prediction, reference)
        seconds.append(time.perf_counter() - start)
    peak_gb = peak_memory_gb()
    result = {
        "labels": int((table["presence"] == "both").sum()),
        "first_s": seconds[0],
        "median_s": median(seconds[1:]),
        "fastest_s": min(seconds),
        "peak_gb": peak_gb,
        "dice": table["dice"].mean(),
        "assd_mm": table["assd_mm"].mean(),
        "border": 0,
        "structures": {},
    }
    from vastus.evaluation.scan import borders, paired_maps

    maps = paired_maps(prediction.array, reference.array, SPACING_MM)
    every = [borders(maps.prediction), borders(maps.reference)]
    result["border"] = sum(len(b.index) for b in every)
    for value in PEER_VALUES:
        pair = masks(folder, value)
        times = []
        for _ in range(3):
            start = time.perf_counter()
            found = surface_distances(*pair, SPACING_MM)
            values = [found.assd_mm, found.hausdorff_mm, found.hd95_mm, found.surface_dice(2.0)]
            times.append(time.perf_counter() - start)
        border = sum(len(b.of(value)) for b in every)
        result["structures"][value] = {"seconds": median(times), "values": values, "border": border}
    print(json.dumps(result))


def peak_memory_gb() -> float:
    # Not getrusage: its maximum is inherited from the process that made the phantom.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1e6


def run_peers(folder: Path) -> None:
    tools = {"monai": by_monai, "medpy": by_medpy, "surface-distance": by_surface_distance}
    result: dict = {"structures": {}}
    small = np.zeros((2, 9, 9, 9), bool)
    small[0, 2:6, 2:6, 2:6] = small[1, 3:7, 2:6, 2:6] = True
    for tool in tools.values():
        tool(*small)  # imports are not timed
    for value in PEER_VALUES:
        pair = masks(folder, value)
        result["structures"][value] = {}
        for name, tool in tools.items():
            start = time.perf_counter()
            values = [float(v) for v in tool(*pair)]
            result["structures"][value][name] = {"seconds": time.perf_counter() - start, "values": values}
    print(json.dumps(result))


def by_monai(prediction: np.ndarray, reference: np.ndarray) -> list:
    import torch
    from monai import metrics

    p, r = (torch.from_numpy(mask[None, None].astype(np.float32)) for mask in (prediction, reference))
    common = {"include_background": True, "spacing": SPACING_MM}
    return [
        metrics.compute_average_surface_distance(p, r, symmetric=True, **common),
        metrics.compute_hausdorff_distance(p, r, **common),
        metrics.compute_hausdorff_distance(p, r, percentile=95, **common),
        metrics.compute_surface_dice(p, r, class_thresholds=[2.0], **common),
    ]


def by_medpy(prediction: np.ndarray, reference: np.ndarray) -> list:
    from medpy.metric import binary

    arguments = (prediction, reference, SPACING_MM)
    return [binary.assd(*arguments), binary.hd(*arguments), binary.hd95(*arguments), float("nan")]


def by_surface_distance(prediction: np.ndarray, reference: np.ndarray) -> list:
    import surface_distance as sd

    found = sd.compute_surface_distances(reference, prediction, SPACING_MM)
    return [
        np.mean(sd.compute_average_surface_distance(found)),
        sd.compute_robust_hausdorff(found, 100),
        sd.compute_robust_hausdorff(found, 95),
        sd.compute_surface_dice_at_tolerance(found, 2.0),
    ]


if __name__ == "__main__":
    main()
