"""What each kind of surrounding tissue costs given weights: the same synthetic hips with it and without it.

    python benchmarks/synthetic_ingredients.py --atlas ATLAS -o OUT --weights before=BUNDLE_A,now=BUNDLE_B [--bodies 4]

Every body is imaged once whole, and once for each ingredient without it; what it covered shows again. Everything
else, noise and grey values too, stays the same. The difference in Dice and in muscle where there is none
(``false_muscle.py``) says what the ingredient costs. Weights that were trained without an ingredient pay more for it.
OUT gets the scans, the label maps, ``ingredients.csv`` with a row for each body, and the table of the means.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from false_muscle import false_muscle
from vastus.cli.synth import load_people
from vastus.io.labels import read_labels, write_labels
from vastus.synthesis.dataset import subject_name, write_image
from vastus.synthesis.overlay import Overlay
from vastus.synthesis.scan import Coverage, ScanSpec, make_scan
from vastus.synthesis.subject import Body, Variety, build_body, sample_plan
from vastus.volume import to_ras

INGREDIENTS: dict[str, frozenset[str]] = {
    "genitals": frozenset(
        [
            "crus",
            "bulb",
            "penis",
            "testis",
            "hydrocele",
            "spermatic_cord",
            "scrotum",
            "vagina",
            "vulva",
            "labium",
            "anal_canal",
        ]
    ),
    "organs and bowel": frozenset(
        [
            "bladder",
            "bladder_wall",
            "rectal_gas",
            "rectal_wall",
            "stool",
            "prostate",
            "seminal_vesicle",
            "uterus",
            "ovary",
            "gas",
            "bowel_fluid",
            "bowel_contrast",
            "bowel_wall",
        ]
    ),
    "pelvic floor": frozenset(("levator",)),
    "lymph nodes": frozenset(("lymph_node",)),
    "natal cleft": frozenset(("natal_cleft",)),
    "calcium, oedema, haematoma": frozenset(("calcium", "oedema", "haematoma")),
}
"""Names of overlays by ingredient."""
WHOLE, BARE = "everything", "without all of them"
FIRST_SEED = 79_000
_SPEC = ScanSpec(spacing_mm=(1.5, 1.5, 3.0), coverage=Coverage.HIP)


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to image a body: what is left out of it."""

    name: str
    left_out: frozenset[str]


VARIANTS = (
    Variant(WHOLE, frozenset()),
    *(Variant(name, names) for name, names in INGREDIENTS.items()),
    Variant(BARE, frozenset().union(*INGREDIENTS.values())),
)


def without(body: Body, names: frozenset[str]) -> Body:
    """The body with these overlays taking no place; all keep their numbers, so grey values stay the same."""
    return replace(body, overlays=overlays_without(body.overlays, names))


def overlays_without(overlays: tuple[Overlay, ...], names: frozenset[str]) -> tuple[Overlay, ...]:
    """The same overlays; those with these names cover nothing."""
    return tuple(replace(o, takes=()) if o.name in names else o for o in overlays)


def write_scans(atlas_folder: Path, people: list[str], bodies: int, folder: Path) -> Iterator[tuple[str, Variant]]:
    """Write every body in every variant that changes it, unless it is there."""
    atlases = load_people(atlas_folder, people)
    for seed in range(FIRST_SEED, FIRST_SEED + bodies):
        plan = sample_plan(seed, atlases, Variety.CLINICAL)
        body = build_body(plan, atlases[plan.atlas_index])
        present = {overlay.name for overlay in body.overlays}
        for number, variant in enumerate(VARIANTS):
            if variant.left_out and not variant.left_out & present:
                continue
            name = f"{subject_name(seed)}_{number}"
            if not (folder / f"{name}.nii.gz").is_file():
                scan = make_scan(without(body, variant.left_out), _SPEC, seed)
                write_labels(scan.labels, folder / f"{name}_true.nii.gz")
                write_image(scan.ct, folder / f"{name}.nii.gz")
            yield name, variant


def mean_dice(predicted: NDArray[np.integer], true: NDArray[np.integer]) -> float:
    """Mean Dice over the structures that are there; both sides are one."""
    counts = np.zeros((3, 100), np.int64)
    for row, values in enumerate((true % 100, predicted % 100, np.where(true % 100 == predicted % 100, true % 100, 0))):
        counts[row] = np.bincount(values.ravel(), minlength=100)[:100]
    there = np.flatnonzero(counts[0, 1:]) + 1
    return float(np.mean(2 * counts[2, there] / (counts[0, there] + counts[1, there])))


def main() -> None:
    """Make the scans, segment them with all weights, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--atlas", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--weights", required=True, help="NAME=BUNDLE, separated by commas")
    parser.add_argument("--person", action="append", default=None, help="people to take; default: all")
    parser.add_argument("--bodies", type=int, default=4)
    options = parser.parse_args()
    scans = options.output / "scans"
    scans.mkdir(parents=True, exist_ok=True)
    made = list(write_scans(options.atlas, options.person or [], options.bodies, scans))
    rows = []
    for named in options.weights.split(","):
        weights, bundle = named.split("=", 1)
        results = options.output / weights
        todo = [scans / f"{name}.nii.gz" for name, _ in made if not (results / name / "labels.nii.gz").is_file()]
        if todo:
            command = [sys.executable, "-m", "vastus", "segment", *todo, "-o", results, "--weights", bundle]
            subprocess.run([*map(str, command), "--threads", "1"], check=True)
        for name, variant in made:
            true = to_ras(read_labels(scans / f"{name}_true.nii.gz"))
            found = to_ras(read_labels(results / name / "labels.nii.gz"))
            wrong = false_muscle(found.array.astype(int), true.array.astype(int), true.spacing_mm)
            rows.append(
                {
                    "weights": weights,
                    "body": name.rsplit("_", 1)[0],
                    "left_out": variant.name,
                    "dice": mean_dice(found.array.astype(int), true.array.astype(int)),
                    "false_ml": wrong.outside_ml + wrong.inside_ml,
                }
            )
    table = pd.DataFrame(rows)
    table.to_csv(options.output / "ingredients.csv", index=False)
    print(table[table.left_out == WHOLE].groupby("weights", sort=False)[["dice", "false_ml"]].mean().to_string())
    print(costs(table).to_string(index=False))


def costs(table: pd.DataFrame) -> pd.DataFrame:
    """Mean cost of each ingredient: whole minus without, over the bodies that have it."""
    keys = ["weights", "body"]
    whole = table[table.left_out == WHOLE].set_index(keys)
    rows = []
    for (weights, left_out), part in table[table.left_out != WHOLE].groupby(["weights", "left_out"], sort=False):
        bare = part.set_index(keys)
        beside = whole.loc[bare.index]
        rows.append(
            {
                "weights": weights,
                "ingredient": left_out,
                "bodies": len(part),
                "dice_lost": (bare.dice - beside.dice).mean(),
                "false_ml_added": (beside.false_ml - bare.false_ml).mean(),
            }
        )
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main()
