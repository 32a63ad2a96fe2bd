"""Grey values, noise and fat of real CT and of the engine's images, side by side: one row a kind, in Markdown.

    python tools/real_against_synthetic.py --ct CT_FOLDER --pool POOL_FOLDER --patches 60

CT_FOLDER holds ``sts_thigh`` (GE) and ``pelvic_reference`` (Philips). Of the first only scans of the train split of
``datasets/real-thigh/index.csv`` are read: no setting of the engine may be chosen with the others. Real scans are
measured in their own voxels and on the network's grid, patches of the pool on the network's grid; with ``--scans``, a
data set of `vastus synth` in its own voxels, too.

No labels are needed. **Muscle** is what lies, smoothed, between 20 and 85 HU, 4 mm or more from anything else. **Fat**
likewise, between -130 and -65 HU. **Noise** is the difference of neighbours along an axis (robust SD over root two).
**Fine** is the share of the noise power along an axis above a quarter of a cycle per voxel, of runs of eight voxels in
muscle. **Fat in muscle** is the share of voxels below 0 HU within the muscles' envelope (gaps of up to 8 mm closed).
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vastus.io.labels import read_labels
from vastus.io.scans import read_scan
from vastus.resampling import resample_box
from vastus.synthesis.protocols import Kernel, ScanProtocol
from vastus.synthesis.render import NO_IMAGE_HU, Pool
from vastus.volume import shape_for_spacing, to_ras

GRID_MM = (2.0, 2.0, 4.0)
WINDOW = (96, 96, 64)
PHILIPS = ("Pelvic-Ref-003", "Pelvic-Ref-005")
_SMOOTH_MM, _AWAY_MM, _TUMOUR_MM, _GAP_MM = 2.5, 4.0, 15.0, 8.0
_MUSCLE_HU, _FAT_HU = (20.0, 85.0), (-130.0, -65.0)
_RUN, _LEAST = 8, 2000
Spacing = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Measures:
    """One image; HU, shares, and one value an axis (across, to the front, along)."""

    muscle: float
    muscle_sd: float
    fat: float
    fat_sd: float
    noise_x: float
    noise_y: float
    noise_z: float
    fine_x: float
    fine_y: float
    fine_z: float
    fat_in_muscle: float
    mixed: float


def measure(hu: NDArray[np.float32], spacing_mm: Spacing, apart: NDArray[np.bool_]) -> Measures | None:
    """Measure an image; None where it shows too little muscle or fat.

    Args:
        hu: in RAS order.
        spacing_mm: of it.
        apart: what is left out (a tumour, the outside of the scan).
    """
    smooth = ndimage.gaussian_filter(hu, [_SMOOTH_MM / s for s in spacing_mm])
    clear = ~apart
    muscle = _inner(_within(smooth, _MUSCLE_HU) & clear, spacing_mm)
    fat = _inner(_within(smooth, _FAT_HU) & clear, spacing_mm)
    if muscle.sum() < _LEAST or fat.sum() < _LEAST:
        return None
    noise = [_noise(hu, muscle, axis) for axis in range(3)]
    fine = [_fine(hu, muscle, axis) for axis in range(3)]
    envelope = _envelope((smooth > -10) & (smooth < 120) & clear, spacing_mm) & clear & (smooth < 120)
    return Measures(
        float(np.median(hu[muscle])),
        _spread(hu[muscle]),
        float(np.median(hu[fat])),
        _spread(hu[fat]),
        *noise,
        *fine,
        float((hu[envelope] < 0).mean()),
        float(_within(hu[envelope], (-60.0, 0.0)).mean()),
    )


def _within(values: NDArray[np.float32], limits: tuple[float, float]) -> NDArray[np.bool_]:
    return (values > limits[0]) & (values < limits[1])


def _inner(mask: NDArray[np.bool_], spacing_mm: Spacing) -> NDArray[np.bool_]:
    """What lies away from everything else, slice by slice."""
    found = np.zeros_like(mask)
    for k in np.flatnonzero(mask.any(axis=(0, 1))):
        found[..., k] = ndimage.distance_transform_edt(mask[..., k], sampling=spacing_mm[:2]) > _AWAY_MM
    return found


def _envelope(mask: NDArray[np.bool_], spacing_mm: Spacing) -> NDArray[np.bool_]:
    """Large pieces of muscle with the gaps between them closed, slice by slice."""
    found = np.zeros_like(mask)
    for k in np.flatnonzero(mask.any(axis=(0, 1))):
        opened = ndimage.distance_transform_edt(mask[..., k], sampling=spacing_mm[:2]) > 2.0
        grown = ndimage.distance_transform_edt(~opened, sampling=spacing_mm[:2]) <= _GAP_MM
        found[..., k] = ndimage.distance_transform_edt(grown, sampling=spacing_mm[:2]) > _GAP_MM - 2.0
    return found


def _spread(values: NDArray[np.float32]) -> float:
    """Robust SD."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def _noise(hu: NDArray[np.float32], mask: NDArray[np.bool_], axis: int) -> float:
    count = hu.shape[axis]
    both = np.take(mask, range(count - 1), axis) & np.take(mask, range(1, count), axis)
    return _spread(np.diff(hu, axis=axis)[both]) / float(np.sqrt(2))


def _fine(hu: NDArray[np.float32], mask: NDArray[np.bool_], axis: int) -> float:
    """Share of the power above a quarter of a cycle per voxel."""
    lines, inside = np.moveaxis(hu, axis, -1), np.moveaxis(mask, axis, -1)
    total = np.zeros(_RUN // 2 + 1)
    for start in range(0, lines.shape[-1] - _RUN + 1, _RUN // 2):
        whole = inside[..., start : start + _RUN].all(axis=-1)
        runs = lines[..., start : start + _RUN][whole].astype(np.float64)
        if len(runs):
            runs = (runs - runs.mean(axis=1, keepdims=True)) * np.hanning(_RUN + 2)[1:-1]
            total += (np.abs(np.fft.rfft(runs, axis=1)) ** 2).sum(axis=0)
    return float(total[_RUN // 4 + 1 :].sum() / total[1:].sum()) if total.any() else np.nan


Piece = tuple[NDArray[np.float32], Spacing, NDArray[np.bool_]]


def on_grid(piece: Piece) -> Piece:
    """The same image on the network's grid."""
    hu, spacing, apart = piece
    shape = shape_for_spacing(hu.shape, spacing, GRID_MM)
    small = resample_box(hu, shape, antialias=True)
    covered = resample_box(apart.astype(np.uint8), shape, antialias=True) > 0.01
    return small, GRID_MM, covered


def scan(path: Path) -> Piece:
    """A real scan in its own voxels; a tumour marked beside it, with its surroundings, is left out."""
    volume = to_ras(read_scan(path).volume)
    spacing = (float(volume.spacing_mm[0]), float(volume.spacing_mm[1]), float(volume.spacing_mm[2]))
    hu = np.ascontiguousarray(volume.array, np.float32)
    apart = np.zeros(hu.shape, bool)
    mask = path.with_name(path.name.replace("_CT.", "_GTV_mask."))
    if mask != path and mask.is_file():
        tumour = to_ras(read_labels(mask)).array > 0
        apart = ndimage.distance_transform_edt(~tumour, sampling=spacing) <= _TUMOUR_MM
    return hu, spacing, np.asarray(apart)


def training_scans(ct: Path, index: Path) -> tuple[list[Path], list[Path]]:
    """Files of GE and of Philips, without those of the test split."""
    with index.open(newline="", encoding="utf-8") as file:
        train = sorted({row["scan"] for row in csv.DictReader(file) if row["split"] == "train"})
    ge = [path for name in train if (path := ct / "sts_thigh" / f"{name}_CT.nii.gz").is_file()]
    return ge, [ct / "pelvic_reference" / f"{name}_ct.nii.gz" for name in PHILIPS]


LIKE = {
    "like GE": ScanProtocol(Kernel.GE_SOFT, 3.27, 140, 15.5, 1.15, 7.0),
    "like Philips": ScanProtocol(Kernel.PHILIPS_SOFT, 3.0, 120, 8.5, 0.8, 7.0),
}
"""The two scanners of the training patients, as the engine sets them; dose and streaks to fit their noise."""


def patches(folder: Path, count: int, protocol: ScanProtocol | None = None) -> Iterator[Piece]:
    """Patches of a pool."""
    pool = Pool(folder, protocol=protocol)
    for index in range(count):
        hu, _ = pool.patch(90, index, WINDOW, GRID_MM)
        yield hu, GRID_MM, hu <= NO_IMAGE_HU


def row(name: str, pieces: Iterable[Piece]) -> str:
    """Median and range (tenth to ninetieth per cent) of every measure over the images."""
    found = [m for m in (measure(*piece) for piece in pieces) if m is not None]
    cells = [name, str(len(found))]
    for field in fields(Measures):
        values = np.array([getattr(m, field.name) for m in found])
        low, middle, high = np.nanquantile(values, [0.1, 0.5, 0.9]) if len(values) else [np.nan] * 3
        digits = 1 if abs(middle) < 100 and field.name.startswith(("noise", "muscle_sd", "fat_sd")) else 0
        digits = 2 if field.name.startswith(("fine", "fat_in", "mixed")) else digits
        cells.append(f"{middle:.{digits}f} ({low:.{digits}f}..{high:.{digits}f})")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ct", type=Path)
    parser.add_argument("--index", type=Path, default=Path("datasets/real-thigh/index.csv"))
    parser.add_argument("--pool", type=Path)
    parser.add_argument("--patches", type=int, default=60)
    parser.add_argument("--scans", type=Path, help="data set of `vastus synth`")
    options = parser.parse_args()
    columns = ["median (10%..90%)", "n", *(f.name.replace("_", " ") for f in fields(Measures))]
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|", flush=True)
    if options.ct:
        for name, files in zip(("GE", "Philips"), training_scans(options.ct, options.index), strict=True):
            print(row(f"{name}, own voxels", map(scan, files)), flush=True)
            print(row(f"{name}, 2 x 2 x 4 mm", (on_grid(scan(f)) for f in files)), flush=True)
    if options.scans:
        files = sorted((options.scans / "imagesTr").glob("*_0000.nii.gz"))
        print(row("scans, own voxels", map(scan, files)), flush=True)
        print(row("scans, 2 x 2 x 4 mm", (on_grid(scan(f)) for f in files)), flush=True)
    if options.pool:
        for name, protocol in LIKE.items():
            print(row(f"patches {name}", patches(options.pool, options.patches, protocol)), flush=True)
        print(row("patches", patches(options.pool, options.patches)), flush=True)


if __name__ == "__main__":
    main()
