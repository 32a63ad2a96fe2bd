"""What a network's grid costs before any network runs: true labels onto the grid and back, scored against themselves.

``python benchmarks/grid_ceiling.py DATA -o OUT [--grids 2x2x4,1.5x1.5x3] [--in-plane]``

DATA is a data set in the layout of nnU-Net; its labels may be drawn in some slices only. Each label becomes a share of
the voxels of the grid (area mean), comes back by linear interpolation, and the largest share wins: what a network would
write that knew every share exactly. ``--in-plane`` keeps the slices of the scan, for labels drawn in single slices. OUT
gets a folder a grid with label maps and the tables of ``vastus evaluate``, and ``grid_ceiling.csv``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vastus.anatomy import UNLABELLED
from vastus.evaluation.files import write_evaluation
from vastus.evaluation.runner import Rater, RunSettings, evaluate
from vastus.evaluation.table import ScoreSettings
from vastus.io.labels import read_label_map, write_labels
from vastus.resampling import resample_box
from vastus.training.dataset import read_dataset
from vastus.volume import Volume


def there_and_back(
    labels: NDArray[np.integer], spacing_mm: NDArray[np.float64], grid_mm: tuple[float, float, float]
) -> NDArray[np.int16]:
    """Labels (I, J, K) brought onto a grid of this spacing and back by shares; unlabelled becomes background."""
    shape = [max(1, round(n * s / g)) for n, s, g in zip(labels.shape, spacing_mm, grid_mm, strict=True)]
    best = np.zeros(labels.shape, np.float32)
    result = np.zeros(labels.shape, np.int16)
    for value in np.unique(labels):
        if value == UNLABELLED:
            continue
        coarse = resample_box((labels == value).astype(np.float32), tuple(shape), antialias=True)
        share = resample_box(coarse, labels.shape, antialias=False)
        wins = share > best
        best[wins] = share[wins]
        result[wins] = value
    return result


def main() -> None:
    """Score every grid, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--grids", default="1.5x1.5x2,1.5x1.5x3,2x2x4,3x3x4", help="spacings in mm")
    parser.add_argument("--in-plane", action="store_true")
    options = parser.parse_args()
    cases = read_dataset(options.data).cases
    rows = []
    for name in options.grids.split(","):
        grid = tuple(float(part) for part in name.split("x"))
        predictions = options.output / name / "labels"
        predictions.mkdir(parents=True, exist_ok=True)
        for case in cases:
            print(name, case.name, flush=True)
            restored(case.labels, grid, in_plane=options.in_plane, target=predictions / f"{case.name}.nii.gz")
        result = evaluate(
            (Rater(name, predictions),), options.data / "labelsTr", RunSettings(ScoreSettings(merge_sides=True))
        )
        write_evaluation(result, options.output / name, figures=False)
        rows.append(result.summary.assign(grid_mm=name))
    pd.concat(rows).to_csv(options.output / "grid_ceiling.csv", index=False)


def restored(source: Path, grid_mm: tuple[float, ...], *, in_plane: bool, target: Path) -> None:
    """Write the labels of a file as the grid would give them back."""
    found = read_label_map(source, partly=True).volume
    spacing = np.asarray(found.spacing_mm)
    x, y, z = grid_mm
    wanted = (x, y, float(spacing[2]) if in_plane else z)
    write_labels(Volume(there_and_back(found.array, spacing, wanted), found.affine), target)


if __name__ == "__main__":
    main()
