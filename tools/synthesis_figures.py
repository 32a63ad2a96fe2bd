"""Pictures for the documentation of the synthesis: a contact sheet of scans, and grey values and noise beside real CT.

    python tools/synthesis_figures.py DATASET REAL_CT_FOLDER OUT

DATASET is what ``vastus synth`` wrote; REAL_CT_FOLDER holds real thigh CTs (``*_CT.nii.gz``). Of them only training
patients of ``datasets/real-thigh`` are looked at.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vastus.anatomy import BY_VALUE, Side
from vastus.io.labels import read_labels
from vastus.io.scans import read_scan
from vastus.resampling import resample_box
from vastus.volume import Volume, shape_for_spacing, to_ras

Image_ = NDArray[np.uint8]
GRID_MM = (2.0, 2.0, 4.0)
HEIGHT = 150
INDEX = Path(__file__).parents[1] / "datasets" / "real-thigh" / "index.csv"


def tile(hu: NDArray[np.int16], labels: NDArray[np.uint8], pixel_mm: tuple[float, float]) -> Image_:
    """One plane, grey with translucent labels, at 1.5 mm a pixel and at most HEIGHT high."""
    grey = np.clip((hu.astype(np.float32) + 160) / 400, 0, 1)[..., None] * 255
    colours = np.zeros((256, 3), np.float32)
    for value, label in BY_VALUE.items():
        colours[value] = label.structure.colour
    mixed = np.where(labels[..., None] > 0, 0.6 * grey + 0.4 * colours[labels], grey).astype(np.uint8)
    picture = Image.fromarray(np.ascontiguousarray(mixed.transpose(1, 0, 2)[::-1]))
    size = (hu.shape[0] * pixel_mm[0], hu.shape[1] * pixel_mm[1])
    scale = HEIGHT / size[1]
    return np.asarray(picture.resize((max(1, round(size[0] * scale)), HEIGHT)))


def row(ct: Volume, labels: Volume) -> Image_:
    """Two axial planes, the coronal and the sagittal plane through a femur. The patient's right is on the left."""
    ct, labels = to_ras(ct), to_ras(labels)
    hu, values = ct.array[::-1], labels.array[::-1]
    dx, dy, dz = ct.spacing_mm
    femur = np.argwhere(values[::2, ::2, ::2] == 128) * 2
    centre = np.median(femur, axis=0).astype(int) if len(femur) else np.array(values.shape) // 2
    tiles = [tile(hu[:, :, k], values[:, :, k], (dx, dy)) for k in (int(0.3 * hu.shape[2]), int(0.72 * hu.shape[2]))]
    tiles.append(tile(hu[:, centre[1], :], values[:, centre[1], :], (dx, dz)))
    tiles.append(tile(hu[centre[0]], values[centre[0]], (dy, dz)))
    return np.concatenate(tiles, axis=1)


def contact_sheet(dataset: Path, columns: int = 4) -> Image.Image:
    """All scans of a data set, one row of planes each."""
    rows = []
    for path in sorted((dataset / "imagesTr").glob("*_0000.nii.gz")):
        labels = read_labels(dataset / "labelsTr" / path.name.replace("_0000", ""))
        rows.append(row(read_scan(path).volume, labels))
    width = max(r.shape[1] for r in rows)
    padded = [np.pad(r, ((0, 4), (0, width - r.shape[1] + 10), (0, 0))) for r in rows]
    padded += [np.zeros_like(padded[0])] * (-len(padded) % columns)
    lines = [np.concatenate(padded[i : i + columns], axis=1) for i in range(0, len(padded), columns)]
    return Image.fromarray(np.concatenate(lines, axis=0))


def thigh(volume: Volume, labels: Volume | None) -> NDArray[np.float32]:
    """A scan on the network's grid, a synthetic one cut to its right mid-thigh as the real ones are."""
    upright = to_ras(volume)
    array = upright.array
    if labels is not None:
        where = np.argwhere(to_ras(labels).array[::2, ::2, ::2] == 128) * 2
        low, high = where[:, 2].min(), where[:, 2].max()
        reach = round(90 / upright.spacing_mm[0])
        x, y = np.median(where[:, 0]), np.median(where[:, 1])
        window = [slice(max(0, int(c - reach)), int(c + reach)) for c in (x, y)]
        array = array[window[0], window[1], int(low + 0.2 * (high - low)) : int(low + 0.75 * (high - low))]
    shape = shape_for_spacing(array.shape, upright.spacing_mm, GRID_MM)
    return resample_box(np.ascontiguousarray(array), shape, antialias=True)


def noise(array: NDArray[np.float32]) -> tuple[float, float, float]:
    """SD of differences of neighbours inside muscle (20..90 HU) over root two, along x, y, z."""
    muscle = (array > 20) & (array < 90)
    found = []
    for axis in range(3):
        first, second = (np.take(muscle, range(*s), axis) for s in ((0, array.shape[axis] - 1), (1, array.shape[axis])))
        found.append(float(np.diff(array, axis=axis)[first & second].std() / np.sqrt(2)))
    return found[0], found[1], found[2]


def spectrum(array: NDArray[np.float32]) -> NDArray[np.float64]:
    """Share of the noise power in eight bands of in-plane frequency, from 24 mm squares inside muscle."""
    size, total = 12, np.zeros(8)
    for k in range(0, array.shape[2], 3):
        for i in range(0, array.shape[0] - size, size):
            for j in range(0, array.shape[1] - size, size):
                square = array[i : i + size, j : j + size, k]
                if ((square > 20) & (square < 90)).mean() > 0.97:
                    power = np.abs(np.fft.fft2(square - square.mean())) ** 2
                    f = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
                    total += np.bincount(np.minimum((f * 16).astype(int), 7).ravel(), power.ravel(), minlength=8)
    return np.asarray(total / max(total.sum(), 1e-9))


def training_patients() -> list[str]:
    """Names of the real thighs with which settings may be chosen."""
    with INDEX.open(newline="", encoding="utf-8") as file:
        names = {row["scan"] for row in csv.DictReader(file) if row["split"] == "train"}
    return sorted(name for name in names if name.startswith("STS_"))


def compare(dataset: Path, real: Path, out: Path) -> None:
    """Histogram, noise and its spectrum of real and synthetic thighs: a figure and the numbers."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    kinds = {
        "real": [thigh(read_scan(real / f"{name}_CT.nii.gz").volume, None) for name in training_patients()],
        "synthetic": [
            thigh(read_scan(p).volume, read_labels(dataset / "labelsTr" / p.name.replace("_0000", "")))
            for p in sorted((dataset / "imagesTr").glob("*_0000.nii.gz"))
        ],
    }
    bins = np.arange(-200, 201, 5)
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.6), layout="constrained")
    for (kind, arrays), colour in zip(kinds.items(), ("black", "tab:red"), strict=True):
        shares = [np.histogram(a[(a > -200) & (a < 200)], bins, density=True)[0] for a in arrays]
        for share in shares:
            axes[0].plot(bins[:-1], share, color=colour, alpha=0.15, lw=0.8)
        axes[0].plot(bins[:-1], np.mean(shares, 0), color=colour, label=f"{kind} (n = {len(arrays)})")
        levels = np.array([noise(a) for a in arrays])
        # A fatty thigh may have no square of muscle alone, and then no spectrum.
        spectra = [found for found in map(spectrum, arrays) if found.any()]
        axes[1].boxplot(
            levels,
            positions=np.arange(3) + (0.2 if kind == "real" else 0.6),
            widths=0.3,
            patch_artist=True,
            boxprops={"facecolor": colour, "alpha": 0.4},
            medianprops={"color": colour},
        )
        axes[2].plot((np.arange(8) + 0.5) / 16 / 2.0, np.mean(spectra, 0), "o-", color=colour, label=kind)
        body = [a[(a > -200) & (a < 200)] for a in arrays]
        print(
            f"{kind}: n={len(arrays)} noise SD x,y,z {np.median(levels, 0).round(1)}"
            f" range {levels.min(0).round(1)}..{levels.max(0).round(1)};"
            f" between -60 and 0 HU {np.mean([((b > -60) & (b < 0)).mean() for b in body]):.3f};"
            f" muscle mode {np.median([bins[16:][np.histogram(b, bins[16:])[0].argmax()] for b in body]):.0f};"
            f" spectrum {np.mean(spectra, 0).round(3)}"
        )
    axes[0].set(xlabel="HU at 2x2x4 mm", ylabel="density", title="Grey values of the thigh")
    axes[1].set(xticks=np.arange(3) + 0.4, ylabel="HU", title="Noise in muscle")
    axes[1].set_xticklabels(["across (x)", "front (y)", "along (z)"])
    axes[2].set(xlabel="cycles per mm", title="Share of noise power")
    axes[0].legend()
    figure.savefig(out, dpi=90)


def main() -> None:
    """Draw both pictures."""
    dataset, real, out = (Path(argument) for argument in sys.argv[1:4])
    out.mkdir(parents=True, exist_ok=True)
    contact_sheet(dataset).save(out / "synthetic-contact-sheet.jpg", quality=80)
    compare(dataset, real, out / "synthetic-grey-values.png")


if __name__ == "__main__":
    assert Side.RIGHT.offset + 28 == 128  # the right femur, on which the planes are placed
    main()
