"""Muscle where there is none: volume of muscle labels away from all that an expert drew.

    python benchmarks/false_muscle.py REFERENCE.nii.gz PREDICTED.nii.gz [PREDICTED.nii.gz ...]

REFERENCE is any label map that holds all muscles and bones in view (both sides may share a value), for example
``Pelvic-Ref-005_labels.nii.gz``. PREDICTED are label maps of ``vastus segment`` of the same scan. What the
reference leaves undrawn (quadratus femoris, multifidus) counts nowhere.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vastus.anatomy import MUSCLES
from vastus.io.nifti import read_nifti
from vastus.volume import to_ras

NOT_DRAWN = ("quadratus_femoris", "multifidus")
FAR_MM = 5.0
"""Nearer to a drawn structure, a voxel is a border that lies elsewhere, not a muscle that isn't there."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class FalseMuscle:
    """Muscle far from the reference.

    Attributes:
        outside_ml: outside the wall of muscles: genitals, fat, arms.
        inside_ml: within it: bowel, bladder, vessels of the pelvis.
        structures_ml: both together, of each structure that has any.
    """

    outside_ml: float
    inside_ml: float
    structures_ml: dict[str, float]


def enclosed(drawn: Mask) -> Mask:
    """Fill what the drawn structures enclose in each axial slice; the last axis runs along the body."""
    return np.stack([ndimage.binary_fill_holes(drawn[..., k]) for k in range(drawn.shape[2])], axis=2)


def false_muscle(
    predicted: NDArray[np.integer], reference: NDArray[np.integer], spacing_mm: tuple[float, float, float]
) -> FalseMuscle:
    """Measure the muscle that lies more than 5 mm from all that was drawn.

    Args:
        predicted: label values; the hundreds are the side. Axes: right, anterior, superior.
        reference: 0 where nothing was drawn, same shape.
        spacing_mm: of both.
    """
    drawn = reference != 0
    far = ndimage.distance_transform_edt(~drawn, sampling=spacing_mm) > FAR_MM
    # The wall has gaps (vessels, groin): closed by the same 5 mm, or the pelvis would count as outside.
    inside = enclosed(~far)
    classes = predicted % 100
    counted = [s.class_id for s in MUSCLES if s.key not in NOT_DRAWN]
    wrong = far & np.isin(classes, counted)
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    names = {s.class_id: s.key for s in MUSCLES}
    counts = Counter(
        {names[int(k)]: n * voxel_ml for k, n in zip(*np.unique(classes[wrong], return_counts=True), strict=True)}
    )
    return FalseMuscle(
        outside_ml=float(np.count_nonzero(wrong & ~inside)) * voxel_ml,
        inside_ml=float(np.count_nonzero(wrong & inside)) * voxel_ml,
        structures_ml=dict(counts.most_common()),
    )


def main() -> None:
    """Print one row a label map."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", type=Path)
    parser.add_argument("predicted", type=Path, nargs="+")
    arguments = parser.parse_args()
    reference = to_ras(read_nifti(arguments.reference))
    for path in arguments.predicted:
        predicted = to_ras(read_nifti(path))
        if predicted.array.shape != reference.array.shape:
            raise SystemExit(f"{path} has another grid than {arguments.reference}. Segment the same scan.")
        found = false_muscle(predicted.array.astype(int), reference.array.astype(int), predicted.spacing_mm)
        largest = ", ".join(f"{key} {ml:.1f}" for key, ml in list(found.structures_ml.items())[:4])
        print(f"{path}: outside {found.outside_ml:.1f} mL, inside {found.inside_ml:.1f} mL ({largest})")


if __name__ == "__main__":
    main()
