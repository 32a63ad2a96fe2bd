"""Play an annotator: correct, retrain, be told what comes next; uncertainty ranking and diversity against random order.

    python benchmarks/annotation_loop.py DATA -o OUT [--pictures docs/images]

DATA is a labelled set in nnU-Net layout with true labels of at least 18 people (`vastus synth` makes one). From it 30
small scans are cut: one thigh each, 4 x 4 x 5 mm. 24 of them (both legs of 12 people) go to a folder that
`vastus annotate` serves; 6 (one leg each of 6 others) are held out. A small network starts from random weights on three
scans. Then, four times over: the server ranks the scans that are not corrected yet, three of them are "corrected" (the
true labels are saved as final), and the server trains on, from its last weights. After each training the held-out
scans are sent to the server to be segmented. Everything goes through the HTTP protocol.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import requests

from vastus.anatomy import BY_KEY, Side
from vastus.curation.label_noise import LabelledCase, find_cases
from vastus.io.atomic import ensure_folder, write_text
from vastus.io.labels import read_labels, write_labels
from vastus.io.nifti import read_nifti
from vastus.io.scans import read_scan
from vastus.resampling import resample_box
from vastus.synthesis.dataset import write_image
from vastus.volume import Volume, centred_affine, crop, to_ras

SPACING_MM = (4.0, 4.0, 5.0)
LEG_MM = 85.0
HEIGHTS = (0.12, 0.72)
POOL_PEOPLE, HELD_OUT_PEOPLE = 12, 6
ROUNDS, A_ROUND = 5, 3
LEAST_MM3 = 2000.0
COLOURS = {"uncertainty": "#c2410c", "diversity": "#0f766e", "combined": "#7c3aed"}
NETWORK = {
    "network": "resunet",
    "network_arguments": {"channels": [16, 32, 48], "encoder_blocks": [1, 1, 1], "head_channels": 8},
    "preprocessing": {
        "hu_window": [-150.0, 250.0],
        "gamma": 1.0,
        "spacing_mm": list(SPACING_MM),
        "window_size": [48, 48, 32],
        "antialias": True,
    },
    "batch_size": 2,
    "bf16": False,
    "ema_decay": 0.9,
    "validation_patches": 1,
    "validation_steps": 10_000,
    "learning_rate": 0.02,
    "log_steps": 20,
}


@dataclass(frozen=True)
class Leg:
    name: str
    scan: Path
    truth: Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("annotation-loop"))
    parser.add_argument("--steps", type=int, default=60, help="steps of each training")
    parser.add_argument("--first-steps", type=int, default=120, help="steps of the first training")
    parser.add_argument("--orders", default="uncertainty,diversity", help="strategies besides random")
    parser.add_argument("--seeds", type=int, default=2, help="how many random orders")
    parser.add_argument("--pictures", type=Path, help="folder for the curve; default: OUT")
    arguments = parser.parse_args()
    out = ensure_folder(arguments.output)
    pool, held_out = make_legs(arguments.data, out)
    print(f"{len(pool)} scans to correct, {len(held_out)} held out", flush=True)
    begun = out / "begun"
    first = json.loads((out / "first.json").read_text()) if (out / "first.json").is_file() else None
    if first is None:
        shutil.rmtree(begun, ignore_errors=True)
        ensure_folder(begun)
        for leg in pool:
            shutil.copy(leg.scan, begun / leg.scan.name)
        with server(begun, out) as address:
            start = sorted(leg.name for leg in pool)[:: len(pool) // A_ROUND][:A_ROUND]
            first = [Annotator(address, pool, held_out).round(start, arguments.first_steps, fresh=True)]
        write_text(out / "first.json", json.dumps(first))
    runs = {
        name: go_on((name, 0), out, (pool, held_out), arguments.steps, first) for name in arguments.orders.split(",")
    }
    for seed in range(1, arguments.seeds + 1):
        runs[f"random {seed}"] = go_on(("random", seed), out, (pool, held_out), arguments.steps, first)
    write_results(runs, arguments.pictures or out)


def make_legs(data: Path, out: Path) -> tuple[list[Leg], list[Leg]]:
    cases = find_cases(data)
    if len(cases) < POOL_PEOPLE + HELD_OUT_PEOPLE:
        sys.exit(f"{POOL_PEOPLE + HELD_OUT_PEOPLE} people are needed, {len(cases)} are there.")
    pool, held_out = [], []
    for number, case in enumerate(cases[: POOL_PEOPLE + HELD_OUT_PEOPLE]):
        sides = (Side.RIGHT, Side.LEFT) if number < POOL_PEOPLE else ((Side.RIGHT, Side.LEFT)[number % 2],)
        missing = [s for s in sides if not (out / "truth" / f"{case.name}_{s.value}.nii.gz").is_file()]
        if missing:
            cut_legs(case, tuple(missing), out)
        legs = [
            Leg(n, out / "scans" / f"{n}.nii.gz", out / "truth" / f"{n}.nii.gz")
            for n in (f"{case.name}_{s.value}" for s in sides)
        ]
        (pool if number < POOL_PEOPLE else held_out).extend(legs)
    return pool, held_out


def cut_legs(case: LabelledCase, sides: tuple[Side, ...], out: Path) -> None:
    """One thigh each: around the femur, from a little above the knee to a little below the hip."""
    ensure_folder(out / "scans"), ensure_folder(out / "truth")
    ct, labels = to_ras(read_scan(case.scan_path).volume), to_ras(read_labels(case.labels_path))
    for side in sides:
        bone = np.argwhere(labels.array[::2, ::2] == BY_KEY["femur"].label_value(side)) * [2, 2, 1]
        low, high = bone[:, 2].min(), bone[:, 2].max()
        z = [int(low + share * (high - low)) for share in HEIGHTS]
        middle = float(np.median(bone[(bone[:, 2] > z[0]) & (bone[:, 2] < z[1]), 0]))
        reach = LEG_MM / ct.spacing_mm[0]
        start = (max(0, int(middle - reach)), 0, z[0])
        stop = (min(ct.shape[0], int(middle + reach)), ct.shape[1], z[1])
        box, true = crop(ct, start, stop), crop(labels, start, stop)
        shape = tuple(round(n * s / mm) for n, s, mm in zip(box.shape, box.spacing_mm, SPACING_MM, strict=True))
        affine = centred_affine(box.affine, box.shape, shape)
        coarse = np.round(resample_box(box.array, shape, antialias=True)).astype(np.int16)
        at = np.ix_(*(((np.arange(m) + 0.5) * n / m).astype(int) for m, n in zip(shape, box.shape, strict=True)))
        name = f"{case.name}_{side.value}"
        write_image(Volume(coarse, affine), out / "scans" / f"{name}.nii.gz")
        write_labels(Volume(true.array[at], affine), out / "truth" / f"{name}.nii.gz")


@contextmanager
def server(folder: Path, out: Path):
    """`vastus annotate` on a folder, on any free port."""
    config = out / "network.json"
    write_text(config, json.dumps(NETWORK | {"steps": 1}))
    command = [sys.executable, "-m", "vastus", "annotate", str(folder), "--port", "0", "--train-config", str(config)]
    process = subprocess.Popen(
        [*command, "--threads", "1", "--workers", "0", "--device", "cpu"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        assert process.stderr is not None
        line = next(line for line in process.stderr if "http" in line)
        address = line.split()[-1].strip()
        yield address
    finally:
        process.terminate()
        process.wait(60)


class Annotator:
    """A patient one: knows the truth, and speaks MONAI Label."""

    def __init__(self, address: str, pool: list[Leg], held_out: list[Leg]) -> None:
        self.http = requests.Session()
        self.address = address
        self.truth = {leg.name: leg.truth for leg in pool}
        self.held_out = held_out

    def ask(self, method: str, path: str, **what) -> requests.Response:
        answer = self.http.request(method, self.address + path, timeout=1800, **what)
        answer.raise_for_status()
        return answer

    def choose(self, strategy: str, seed: int) -> list[str]:
        """The next scans: the server's ranking, waited for until every scan is in it."""
        while True:
            answer = self.ask("GET", f"/api/ranking?strategy={strategy}&seed={seed}")
            if int(answer.headers.get("x-vastus-pending", "0")) == 0:
                return [row["id"] for row in answer.json()][:A_ROUND]
            time.sleep(1.0)

    def correct(self, name: str) -> None:
        with self.truth[name].open("rb") as file:
            self.ask(
                "PUT",
                f"/datastore/label?image={name}&tag=final",
                files={"label": (f"{name}.nii.gz", file)},
                data={"params": "{}"},
            )

    def train(self, steps: int, *, fresh: bool) -> None:
        self.ask("POST", "/train/vastus", json={"steps": steps, "fresh": fresh})
        while (state := self.ask("GET", "/train/").json())["status"] == "RUNNING":
            time.sleep(1.0)
        if state["status"] != "DONE":
            sys.exit("\n".join(state["details"]))

    def dice(self, model: str | None = None) -> float:
        """Mean Dice over the structures of the held-out scans, mean over scans; by default of the newest model."""
        model = model or next(iter(self.ask("GET", "/info/").json()["models"]))
        scores = []
        for leg in self.held_out:
            with leg.scan.open("rb") as file:
                answer = self.ask("POST", f"/infer/{model}?output=image", files={"file": ("scan.nii.gz", file)})
            with tempfile.NamedTemporaryFile(suffix=".nii.gz") as found:
                found.write(answer.content)
                found.flush()
                scores.append(mean_dice(read_nifti(Path(found.name)), read_labels(leg.truth)))
        return float(np.mean(scores))

    def round(self, names: list[str], steps: int, *, fresh: bool = False) -> dict:
        for name in names:
            self.correct(name)
        self.train(steps, fresh=fresh)
        corrected = int(self.ask("GET", "/info/").json()["datastore"]["completed"])
        result = {"corrected": corrected, "chosen": names, "dice": self.dice()}
        print(result, flush=True)
        return result


def mean_dice(found: Volume, truth: Volume) -> float:
    """Over the structures of at least 2 cm3; sides as one, for a scan of one leg may be called either."""
    one, other = (np.where(v.array > 0, v.array % 100, 0).astype(np.uint8) for v in (found, truth))
    size = np.bincount(other.ravel(), minlength=100) * truth.voxel_volume_mm3
    values = [v for v in np.flatnonzero(size >= LEAST_MM3) if v]
    return float(
        np.mean([2 * ((one == v) & (other == v)).sum() / ((one == v).sum() + (other == v).sum()) for v in values])
    )


def go_on(
    order: tuple[str, int], out: Path, legs: tuple[list[Leg], list[Leg]], steps: int, first: list[dict]
) -> list[dict]:
    """Rounds two to five, from a copy of the project after round one; a stopped run goes on where it was."""
    strategy, seed = order
    kept, folder = out / f"{strategy}-{seed}.json", out / f"{strategy}-{seed}"
    if not kept.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(out / "begun", folder)
        write_text(kept, json.dumps(first))
    results: list[dict] = json.loads(kept.read_text())
    if len(results) < ROUNDS:
        with server(folder, out) as address:
            annotator = Annotator(address, *legs)
            for number in range(len(results), ROUNDS):
                names = annotator.choose(strategy, 100 * seed + number)
                results.append(annotator.round(names, steps))
                write_text(kept, json.dumps(results, indent=2))
    return results


def write_results(runs: dict[str, list[dict]], folder: Path) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    ensure_folder(folder)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["order", "corrected_scans", "mean_dice", "chosen"])
    figure, axes = pyplot.subplots(figsize=(6.4, 4.0), dpi=120)
    for name, results in runs.items():
        writer.writerows([name, r["corrected"], f"{r['dice']:.4f}", " ".join(r["chosen"])] for r in results)
        x, y = [r["corrected"] for r in results], [r["dice"] for r in results]
        if name in COLOURS:
            axes.plot(x, y, "o-", color=COLOURS[name], lw=2, label=f"by {name}", zorder=3)
        else:
            axes.plot(x, y, "s--", color="#64748b", lw=1.2, label="random order" if name == "random 1" else None)
    axes.set_xlabel("corrected scans")
    axes.set_ylabel("mean Dice on 6 held-out scans")
    axes.set_xticks(sorted({r["corrected"] for results in runs.values() for r in results}))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(folder / "annotation-loop.png")
    write_text(folder / "annotation-loop.csv", stream.getvalue())
    print(stream.getvalue())


if __name__ == "__main__":
    main()
