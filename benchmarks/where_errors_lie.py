"""Say what the wrong area of predicted label maps is, on slices drawn by hand: its kind, and its way to a border.

``python benchmarks/where_errors_lie.py PREDICTIONS REFERENCES SCANS``

Three folders with files of the same names: label maps of ``vastus segment``, drawn ones (``vastus dataset build``) and
the CTs. Only drawn voxels count, both sides together. Distances are to the nearest drawn border in the plane.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vastus.anatomy import BONES, STRUCTURES, UNLABELLED
from vastus.io.labels import read_label_map
from vastus.io.scans import read_scan
from vastus.volume import Volume, to_ras

FAT_HU, SMOOTHING_PIXELS = -30.0, 0.7
NEAR_MM, FAR_MM = 2.0, 5.0
KINDS = ("another muscle", "lean tissue called a muscle", "a muscle missed", "fat")
PLACES = (f"within {NEAR_MM:.0f} mm of a border", f"to {FAR_MM:.0f} mm", "farther away")
Plane = NDArray[np.int64]
Mask = NDArray[np.bool_]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("predictions", "references", "scans"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    kinds: Counter[str] = Counter()
    places: Counter[str] = Counter()
    confused: Counter[tuple[int, int]] = Counter()
    for path in sorted(options.references.glob("*.nii.gz")):
        maps = [read_label_map(folder / path.name, partly=True).volume for folder in (options.predictions, path.parent)]
        predicted, drawn, ct = (to_ras(v) for v in (*maps, read_scan(options.scans / path.name).volume))
        count_scan(predicted, drawn, ct, (kinds, places, confused))
    for title, names, counted in (("The wrong area is", KINDS, kinds), ("It lies", PLACES, places)):
        print(title)
        for name in names:
            print(f"  {name}: {counted[name] / 100:.0f} cm², {counted[name] / max(counted.total(), 1e-9):.0%}")
    print("Most often, drawn and found:")
    names_of = {structure.class_id: structure.english for structure in STRUCTURES}
    for (first, second), area in confused.most_common(8):
        print(f"  {names_of[first]}, {names_of[second]}: {area / 100:.0f} cm²")


def count_scan(
    predicted: Volume,
    drawn: Volume,
    ct: Volume,
    counters: tuple[Counter[str], Counter[str], Counter[tuple[int, int]]],
) -> None:
    """Add the wrong areas (mm²) of the drawn slices of one scan."""
    dx, dy, _ = ct.spacing_mm
    for k in np.flatnonzero((drawn.array != UNLABELLED).any(axis=(0, 1))):
        known = drawn.array[:, :, k] != UNLABELLED
        truth = np.where(known, drawn.array[:, :, k] % 100, 0).astype(np.int64)
        found = np.where(known, predicted.array[:, :, k] % 100, 0).astype(np.int64)
        fat = ndimage.gaussian_filter(ct.array[:, :, k].astype(np.float64), SMOOTHING_PIXELS) < FAT_HU
        kinds, places, confused = counters
        for counter, names, masks in (
            (kinds, KINDS, kinds_of_error(found, truth, fat)),
            (places, PLACES, places_of_error(found, truth, (dx, dy))),
        ):
            for name, mask in zip(names, masks, strict=True):
                counter[name] += float(mask.sum()) * dx * dy
        other = masks_of_muscles(found, truth)
        for pair in zip(truth[other], found[other], strict=True):
            confused[int(pair[0]), int(pair[1])] += dx * dy


def is_muscle(plane: Plane) -> Mask:
    """Tell which pixels are a muscle, and no bone."""
    return (plane > 0) & ~np.isin(plane, [bone.class_id for bone in BONES])


def masks_of_muscles(found: Plane, truth: Plane) -> Mask:
    """Find the pixels of a muscle that are called another one."""
    return is_muscle(found) & is_muscle(truth) & (found != truth)


def kinds_of_error(found: Plane, truth: Plane, fat: Mask) -> tuple[Mask, Mask, Mask, Mask]:
    """Find the wrong pixels of muscles, by ``KINDS``."""
    over, under = is_muscle(found) & ~is_muscle(truth), ~is_muscle(found) & is_muscle(truth)
    return masks_of_muscles(found, truth), over & ~fat, under & ~fat, (over | under) & fat


def places_of_error(found: Plane, truth: Plane, pixel_mm: tuple[float, float]) -> tuple[Mask, Mask, Mask]:
    """Find all wrong pixels, bones included, by ``PLACES``."""
    border = np.zeros(truth.shape, np.bool_)
    border[1:] |= truth[1:] != truth[:-1]
    border[:-1] |= truth[1:] != truth[:-1]
    border[:, 1:] |= truth[:, 1:] != truth[:, :-1]
    border[:, :-1] |= truth[:, 1:] != truth[:, :-1]
    away_mm = ndimage.distance_transform_edt(~border, sampling=pixel_mm)
    wrong = found != truth
    near, far = away_mm <= NEAR_MM, away_mm > FAR_MM
    return wrong & near, wrong & ~near & ~far, wrong & far


if __name__ == "__main__":
    main()
