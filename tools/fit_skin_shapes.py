"""Make the table of outlines of ``synthesis/skin_shapes.py`` from body masks of Pelvic-Reference-Data.

    python tools/fit_skin_shapes.py FOLDER_OF_MASKS

Eight of the thirteen men lay on their backs, five on their bellies (001, 009, 011, 012 and 015: the front of the thighs
is flat, the belly hangs into a hole of the table); only the eight are used. No bone is in a mask: the lowest slice in
which the middle of the body is mostly filled lies 37 mm below the ischium (36 and 39 mm where bones were drawn, 004 and
005). Genitals are cut off: the engine has its own. Every man counts as his mirror image, too.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vastus.io.atomic import write_text
from vastus.io.labels import read_labels
from vastus.synthesis import skin_shapes
from vastus.synthesis.skin_shapes import ANGLES, GENITALS_BELOW_MM, LEVELS_MM, without_genitals
from vastus.volume import to_ras

ON_THEIR_BACKS = ("004", "005", "006", "007", "008", "010", "013", "014")
_ISCHIUM_ABOVE_MM = 37.0
_FILLED = 0.55
_MODES = 5


def radii(mask: NDArray[np.bool_], spacing_mm: tuple[float, float]) -> NDArray[np.float64]:
    """Distance from the middle of a slice to its skin over the mean, by angle."""
    i, j = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    centre = (i[0] + i[-1]) / 2, (j[0] + j[-1]) / 2
    away = np.arange(0, 330.0, 1.0)
    angle = 2 * np.pi * np.arange(ANGLES) / ANGLES
    at = [c + np.outer(d, away) / s for c, d, s in zip(centre, (np.sin(angle), np.cos(angle)), spacing_mm, strict=True)]
    inside = ndimage.map_coordinates(mask.astype(np.float32), at, order=1) > 0.5
    found = away[away.size - 1 - np.argmax(inside[:, ::-1], axis=1)]
    return np.asarray(found / found.mean())


def shape_of(path: Path) -> NDArray[np.float64]:
    """Ratios of one man (levels, angles)."""
    volume = to_ras(read_labels(path))
    mask = volume.array > 0
    dx, dy, dz = (float(s) for s in volume.spacing_mm)
    mask = np.stack([ndimage.binary_fill_holes(mask[..., k]) for k in range(mask.shape[2])], axis=2)
    x = np.flatnonzero(mask.any(axis=(1, 2)))
    centre = (x[0] + x[-1]) // 2
    middle = mask[centre - 4 : centre + 5].all(axis=0).sum(axis=0)
    deep = mask.any(axis=0).sum(axis=0)
    low = int(np.flatnonzero(middle > _FILLED * np.maximum(deep, 1))[0]) + _ISCHIUM_ABOVE_MM / dz
    rows = []
    for level in LEVELS_MM:
        k = int(np.clip(round(low + level / dz), 0, mask.shape[2] - 1))
        row = radii(mask[..., k], (dx, dy))
        rows.append(without_genitals(row) if level < GENITALS_BELOW_MM else row)
    return ndimage.gaussian_filter(np.array(rows), (0.6, 0.7), mode=("nearest", "wrap"))


def main() -> None:
    """Fit and write the table."""
    folder = Path(sys.argv[1])
    shapes = [shape_of(folder / f"Pelvic-Ref-{name}_skin.nii.gz") for name in ON_THEIR_BACKS]
    both = np.array([s for one in shapes for s in (one, np.roll(one[:, ::-1], 1, axis=1))])
    mean = both.mean(axis=0)
    _, spread, modes = np.linalg.svd((both - mean).reshape(len(both), -1), full_matrices=False)
    share = spread**2 / (spread**2).sum()
    print(f"{len(shapes)} men; share of the variance by mode: {np.round(share[: _MODES + 2], 2).tolist()}")
    scaled = modes[:_MODES] * spread[:_MODES, None] / np.sqrt(len(both) - 1)
    table = np.rint(1000 * np.vstack([mean.reshape(1, -1), scaled])).astype(int)
    table = table.reshape(-1, ANGLES)
    target = Path(skin_shapes.__file__).with_name("skin_shapes.csv")
    write_text(target, "".join(",".join(map(str, row)) + "\n" for row in table))
    print(f"written: {target}")


if __name__ == "__main__":
    main()
