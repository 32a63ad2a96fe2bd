"""How well borders between touching muscles show, pair by pair: on real CT, and on the engine's scans.

    python benchmarks/muscle_boundary_visibility.py --scans FOLDER --labels LABELS --out RESULTS

FOLDER holds CTs (``STS_001_CT.nii.gz`` with ``STS_001_GTV_mask.nii.gz`` beside it, or nnU-Net's ``case_0000.nii.gz``);
LABELS holds label maps named after the scans (slices that nobody drew hold 255), or what ``vastus segment`` wrote, one
folder a scan. The same measure on both says what the engine draws too faint or too clear;
``synthesis/muscle_boundaries.py`` holds what it said of real thighs.

Of every slice with enough muscles, smoothed a little, the **darkest place within 3 mm** is taken at every voxel. The
**fall** of a pair is its median deep inside muscles minus its median along their border; a border is **visible** where
it is darker than nine tenths of the inside. Tumours, with 15 mm around, are left out. Labels of a network that follows
seams make them look clearer than they are, and labels beside a seam fainter: compare, do not believe one value.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from vastus.anatomy import BY_ID
from vastus.evaluation.runner import label_files
from vastus.io.atomic import write_text
from vastus.io.labels import read_labels
from vastus.io.scans import read_scan
from vastus.volume import to_ras

REACH_MM = 3.0
_TOUCH_MM = 1.6
_DEEP_MM = 5.5
_TUMOUR_MARGIN_MM = 15.0
_SMOOTH_MM = 0.7
_SLICES = 14
_LEAST_MUSCLES, _LEAST_AREA_MM2, _LEAST_BORDER = 7, 150.0, 25
_LEAST_INSIDE = 200
_MUSCLE_IDS = range(1, 28)
Pair = tuple[int, int]
Plane = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Slice:
    """One axial slice: HU, label values, and where a tumour or its surroundings are."""

    hu: NDArray[np.float32]
    labels: NDArray[np.uint8]
    tumour: NDArray[np.bool_]


def borders(one: Slice, spacing_mm: Plane) -> tuple[NDArray[np.float32], dict[Pair, NDArray[np.float32]]]:
    """The darkest HU nearby, at every voxel deep inside a muscle and at those along the border of each pair."""
    steps = [int(np.ceil(REACH_MM / s)) for s in spacing_mm]
    i, j = np.ogrid[-steps[0] : steps[0] + 1, -steps[1] : steps[1] + 1]
    disk = (i * spacing_mm[0]) ** 2 + (j * spacing_mm[1]) ** 2 <= REACH_MM**2
    darkest = ndimage.minimum_filter(ndimage.gaussian_filter(one.hu, _SMOOTH_MM / spacing_mm[0]), footprint=disk)
    margin = ndimage.distance_transform_edt(~one.tumour, sampling=spacing_mm) > _TUMOUR_MARGIN_MM
    clear = margin if one.tumour.any() else np.ones_like(one.tumour)
    area_mm2 = spacing_mm[0] * spacing_mm[1]
    found = [v for v in np.unique(one.labels) if v % 100 in _MUSCLE_IDS]
    muscles = [int(v) for v in found if (one.labels == v).sum() * area_mm2 > _LEAST_AREA_MM2]
    away = {v: ndimage.distance_transform_edt(one.labels != v, sampling=spacing_mm) for v in muscles}
    inside = np.zeros(one.labels.shape, bool)
    for value in muscles:
        inside |= ndimage.distance_transform_edt(one.labels == value, sampling=spacing_mm) > _DEEP_MM
    pairs = {}
    for a, b in combinations(muscles, 2):
        border = (away[a] <= _TOUCH_MM) & (away[b] <= _TOUCH_MM) & clear
        if a // 100 == b // 100 and border.any():
            pairs[a % 100, b % 100] = darkest[border]
    return darkest[inside & clear], pairs


def measure(slices: Iterator[Slice], spacing_mm: Plane) -> pd.DataFrame:
    """Fall and visible share of every pair of one scan (both sides together); empty where too little is seen."""
    inside: list[NDArray[np.float32]] = []
    along: dict[Pair, list[NDArray[np.float32]]] = {}
    for one in slices:
        deep, pairs = borders(one, spacing_mm)
        inside.append(deep)
        for pair, values in pairs.items():
            along.setdefault(pair, []).append(values)
    if sum(map(len, inside)) < _LEAST_INSIDE:
        return pd.DataFrame()
    deep = np.concatenate(inside)
    usual, dark = float(np.median(deep)), float(np.quantile(deep, 0.1))
    joined = {pair: np.concatenate(values) for pair, values in along.items()}
    return pd.DataFrame(
        [
            {
                "one": BY_ID[a].key,
                "other": BY_ID[b].key,
                "fall_hu": usual - float(np.median(v)),
                "visible": float((v < dark).mean()),
            }
            for (a, b), v in sorted(joined.items())
            if len(v) >= _LEAST_BORDER
        ]
    )


def slices_of(scan: Path, labels: Path) -> tuple[Iterator[Slice], Plane]:
    """Slices with enough muscles, spread over a scan, and the spacing in them."""
    volume, marked = to_ras(read_scan(scan).volume), to_ras(read_labels(labels, partly=True)).array
    mask = scan.with_name(scan.name.replace("_CT.", "_GTV_mask."))
    tumour = to_ras(read_labels(mask)).array > 0 if mask != scan and mask.is_file() else np.zeros(marked.shape, bool)
    muscle = np.where((marked % 100 > 0) & (marked % 100 < 28), marked % 100, 0)
    rich = [k for k in range(marked.shape[2]) if len(np.unique(muscle[:, :, k])) > _LEAST_MUSCLES]
    chosen = rich[:: max(1, len(rich) // _SLICES)]
    hu = volume.array
    parts = (Slice(hu[:, :, k].astype(np.float32), marked[:, :, k], tumour[:, :, k]) for k in chosen)
    return parts, (float(volume.spacing_mm[0]), float(volume.spacing_mm[1]))


def scans_of(folder: Path) -> dict[str, Path]:
    """CT files by the name of their label map, as a data set or as `vastus segment` names it."""
    files = sorted([*folder.glob("*_CT.nii.gz"), *folder.glob("*_0000.nii.gz")])
    names = {f: f.name.removesuffix(".nii.gz") for f in files}
    return {n: f for f, name in names.items() for n in dict.fromkeys((name.removesuffix("_0000"), name))}


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Quartiles over scans, a row a pair."""
    grouped = table.groupby(["one", "other"])
    quarters = {"low": 0.25, "median": 0.5, "high": 0.75}
    columns = {
        f"{name}_{part}": grouped[name].quantile(q) for name in ("fall_hu", "visible") for part, q in quarters.items()
    }
    return pd.DataFrame({"scans": grouped.size(), **columns}).reset_index()


def main() -> None:
    """Measure all scans; write one row a pair and scan, and the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    maps = label_files(options.labels)
    tables = []
    for name, scan in scans_of(options.scans).items():
        if name in maps:
            tables.append(measure(*slices_of(scan, maps[name])).assign(scan=name))
            print(f"{name}: {len(tables[-1])} pairs", flush=True)
    table = pd.concat(tables)
    summary = summarise(table)
    options.out.mkdir(parents=True, exist_ok=True)
    write_text(options.out / "seams_by_scan.csv", table.to_csv(index=False))
    write_text(options.out / "seams.csv", summary.to_csv(index=False))
    print(summary[summary["scans"] >= 4].round(2).to_string(index=False))


if __name__ == "__main__":
    main()
