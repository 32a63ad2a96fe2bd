"""A small folder of phantoms, alike but not equal, with true labels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from vastus.curation.label_noise import LabelledCase
from vastus.io.labels import write_labels
from vastus.synthesis.dataset import write_image
from vastus.synthesis.phantom import make_phantom
from vastus.volume import Volume

COUNT = 8
SPACING_MM = (4.0, 4.0, 6.0)


@dataclass(frozen=True)
class Case:
    name: str
    ct: Volume
    labels: Volume


@cache
def phantoms() -> tuple[Case, ...]:
    """Eight people of different size: the grid is the same, its voxels are not."""
    rng = np.random.default_rng(0)
    cases = []
    for n in range(COUNT):
        scan = make_phantom(SPACING_MM, seed=n)
        size = np.diag([*(rng.uniform(0.9, 1.1) * rng.uniform(0.97, 1.03, 3)), 1.0])
        smooth = gaussian_filter(scan.ct.array.astype(np.float32), 0.6)
        ct = Volume(np.asfortranarray(smooth.astype(np.int16)), size @ scan.ct.affine)
        cases.append(Case(f"case{n}", ct, Volume(scan.labels.array, ct.affine)))
    return tuple(cases)


def write_case(folder: Path, case: Case, labels: np.ndarray | None = None) -> LabelledCase:
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    scan, path = folder / "images" / f"{case.name}_0000.nii.gz", folder / "labels" / f"{case.name}.nii.gz"
    write_image(case.ct, scan)
    write_labels(case.labels if labels is None else case.labels.with_array(labels), path, partly=True)
    return LabelledCase(case.name, scan, path)
