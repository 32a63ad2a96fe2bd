"""Mark points in muscles on real CT by eye, twice, and keep those that were named alike both times.

    python tools/mark_real_ct.py slices FOLDER OUT [--scan STS_013 --k 5 100]
    python tools/mark_real_ct.py dots FOLDER OUT --first FIRST.csv
    python tools/mark_real_ct.py join FOLDER POINTS.csv --first FIRST.csv --second SECOND.csv --key OUT/key.csv

FOLDER holds ``*_CT.nii.gz`` and ``*_GTV_mask.nii.gz``. No network has a part in any step.

``slices`` draws enlarged axial slices with voxel indices on the margins; by default those clear of the tumour, a few
centimetres apart. Look at them and write FIRST.csv: ``scan,k,level,side,structure,i,j``. ``dots`` draws the same slices
with the points as numbers, without names, on pages in shuffled order; the key of the shuffle goes to ``key.csv``, not
to be opened. Name each number again: SECOND.csv: ``page,number,structure`` (a ``?`` where in doubt). ``join`` keeps the
points whose two names agree, checks their neighbourhood (HU of muscle, no tumour in the slice), and writes the table
that ``benchmarks/real_ct_points.py`` reads.
"""

from __future__ import annotations

import argparse
import csv
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from vastus.anatomy import BY_KEY
from vastus.io.nifti import read_nifti
from vastus.volume import Volume, axis_order

WINDOW_LEVEL_HU, WINDOW_WIDTH_HU = 25.0, 230.0
"""Narrower than the usual 40/350: the thin fat between neighbouring bellies is all there is to go by."""
SMOOTHING_VOXELS = 0.7
MUSCLE_HU = (-20.0, 110.0)
CLEAR_SLICES = 2
"""A slice counts as free of tumour when the mask has no voxel in it nor in this many slices above and below."""
SHUFFLE_SEED = 20
MARGIN_PX = 34
COLUMNS = ("scan", "side", "level", "structure", "i", "j", "k", "x_mm", "y_mm", "z_mm", "hu", "agreed")


@dataclass(frozen=True, slots=True)
class Scan:
    """A CT and where its tumour is; both as stored."""

    name: str
    ct: Volume
    tumour: NDArray[np.bool_]

    def clear(self, k: int) -> bool:
        """Whether slice k is free of tumour and clear of it."""
        near = self.tumour[:, :, max(0, k - CLEAR_SLICES) : k + CLEAR_SLICES + 1]
        return not near.any()


@dataclass(frozen=True, slots=True)
class Point:
    """A marked voxel."""

    scan: str
    k: int
    level: str
    side: str
    structure: str
    i: int
    j: int


def read_marked_scan(folder: Path, name: str) -> Scan:
    """Read a CT with its tumour mask; its third axis must run along the body."""
    ct = read_nifti(folder / f"{name}_CT.nii.gz")
    tumour = read_nifti(folder / f"{name}_GTV_mask.nii.gz")
    if not ct.same_grid(tumour) or axis_order(ct.affine).source != (0, 1, 2):
        raise SystemExit(f"{name}: the mask lies on another grid, or the slices are not axial.")
    return Scan(name, ct, tumour.array > 0)


def scan_names(folder: Path) -> list[str]:
    """The scans of a folder, sorted."""
    return sorted(path.name.removesuffix("_CT.nii.gz") for path in folder.glob("*_CT.nii.gz"))


def default_slices(scan: Scan, gap: int = 9) -> list[int]:
    """Slices clear of the tumour and of the ends of the scan, at least ``gap`` apart."""
    chosen: list[int] = []
    for k in range(2, scan.ct.shape[2] - 2):
        if scan.clear(k) and (not chosen or k - chosen[-1] >= gap):
            chosen.append(k)
    return chosen


def picture(scan: Scan, k: int, zoom: int, *, indices: bool = True) -> Image.Image:
    """One slice, enlarged, first axis to the right and second axis down, letters of the patient's directions around."""
    hu = gaussian_filter(scan.ct.array[:, :, k].astype(np.float32), SMOOTHING_VOXELS)
    grey = np.clip((hu - WINDOW_LEVEL_HU) / WINDOW_WIDTH_HU + 0.5, 0, 1) * 255
    image = Image.fromarray(grey.T.astype(np.uint8)).resize(
        (hu.shape[0] * zoom, hu.shape[1] * zoom), Image.Resampling.BICUBIC
    )
    page = Image.new("RGB", (image.width + 2 * MARGIN_PX, image.height + 2 * MARGIN_PX))
    page.paste(image.convert("RGB"), (MARGIN_PX, MARGIN_PX))
    draw = ImageDraw.Draw(page, "RGBA")
    _outline(draw, scan.tumour[:, :, k], zoom)
    font = ImageFont.load_default(13)
    if indices:
        _grid(draw, hu.shape, zoom, font)
    flipped = axis_order(scan.ct.affine).flipped
    left, right = ("R", "L") if flipped[0] else ("L", "R")
    top, bottom = ("A", "P") if flipped[1] else ("P", "A")
    big = ImageFont.load_default(20)
    w, h = page.size
    for text, x, y in (
        (left, 8, h // 2 + 14),
        (right, w - 20, h // 2 + 14),
        (top, w // 2 + 14, 4),
        (bottom, w // 2, h - 26),
    ):
        draw.text((x, y), text, fill=(255, 220, 0, 255), font=big)
    return page


def _grid(
    draw: ImageDraw.ImageDraw, shape: tuple[int, ...], zoom: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> None:
    for axis, count in enumerate(shape[:2]):
        for index in range(0, count, 10):
            at = MARGIN_PX + index * zoom + zoom // 2
            far = MARGIN_PX + shape[1 - axis] * zoom
            line = (at, MARGIN_PX, at, far) if axis == 0 else (MARGIN_PX, at, far, at)
            draw.line(line, fill=(90, 200, 255, 80 if index % 20 == 0 else 36))
            if index % 20 == 0:
                for edge in (4, far + 4):
                    where = (at - 10, edge + 10 if edge == 4 else edge) if axis == 0 else (edge, at - 8)
                    draw.text(where, str(index), fill=(150, 220, 255, 255), font=font)


def _outline(draw: ImageDraw.ImageDraw, mask: NDArray[np.bool_], zoom: int) -> None:
    for i, j in np.argwhere(mask):
        x, y = MARGIN_PX + int(i) * zoom, MARGIN_PX + int(j) * zoom
        sides = (
            (-1, 0, (x, y, x, y + zoom)),
            (1, 0, (x + zoom, y, x + zoom, y + zoom)),
            (0, -1, (x, y, x + zoom, y)),
            (0, 1, (x, y + zoom, x + zoom, y + zoom)),
        )
        for di, dj, line in sides:
            a, b = i + di, j + dj
            if not (0 <= a < mask.shape[0] and 0 <= b < mask.shape[1] and mask[a, b]):
                draw.line(line, fill=(255, 60, 60, 255))


def zoom_for(shape: Sequence[int]) -> int:
    """Enlargement that brings a slice to about 1100 pixels."""
    return max(2, 1150 // max(shape[:2]))


def draw_slices(folder: Path, out: Path, names: Sequence[str], slices: Sequence[int]) -> None:
    """Pictures for the first look."""
    for name in names or scan_names(folder):
        scan = read_marked_scan(folder, name)
        for k in slices or default_slices(scan):
            picture(scan, k, zoom_for(scan.ct.shape)).save(out / f"{name}_k{k:03d}.png")


def read_first(path: Path) -> list[Point]:
    """The first reading; an unknown structure is an error."""
    points = []
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["structure"] not in BY_KEY:
                raise SystemExit(f"{path}: no structure {row['structure']!r}.")
            points.append(
                Point(
                    row["scan"],
                    int(row["k"]),
                    row["level"],
                    row["side"],
                    row["structure"],
                    int(row["i"]),
                    int(row["j"]),
                )
            )
    return points


def draw_dots(folder: Path, out: Path, points: Iterable[Point]) -> None:
    """Pictures for the second look, and the key to their shuffled order."""
    pages: dict[tuple[str, int], list[Point]] = {}
    for point in points:
        pages.setdefault((point.scan, point.k), []).append(point)
    shuffled = random.Random(SHUFFLE_SEED)
    order = sorted(pages)
    shuffled.shuffle(order)
    font = ImageFont.load_default(17)
    with (out / "key.csv").open("w", newline="") as file:
        key = csv.writer(file, lineterminator="\n")
        key.writerow(("page", "number", "scan", "i", "j", "k"))
        for number, (name, k) in enumerate(order, start=1):
            scan = read_marked_scan(folder, name)
            zoom = zoom_for(scan.ct.shape)
            page = picture(scan, k, zoom, indices=False)
            draw = ImageDraw.Draw(page)
            dots = pages[name, k]
            shuffled.shuffle(dots)
            for index, dot in enumerate(dots, start=1):
                x, y = (MARGIN_PX + v * zoom + zoom // 2 for v in (dot.i, dot.j))
                draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=(255, 40, 40))
                draw.text(
                    (x + 5, y - 18), str(index), fill=(255, 240, 0), font=font, stroke_width=2, stroke_fill=(0, 0, 0)
                )
                key.writerow((number, index, name, dot.i, dot.j, k))
            page.save(out / f"page_{number:03d}.png")


def join(folder: Path, first: list[Point], second: Path, key: Path) -> tuple[list[tuple[object, ...]], list[str]]:
    """Rows of the final table, and a line for each point that was dropped."""
    with key.open(newline="") as file:
        where = {
            (r["page"], r["number"]): (r["scan"], int(r["i"]), int(r["j"]), int(r["k"])) for r in csv.DictReader(file)
        }
    with second.open(newline="") as file:
        renamed = {where[r["page"], r["number"]]: r["structure"] for r in csv.DictReader(file)}
    rows: list[tuple[object, ...]] = []
    dropped: list[str] = []
    scans: dict[str, Scan] = {}
    for p in sorted(first, key=lambda p: (p.scan, p.k, p.side, p.structure, p.i, p.j)):
        if p.scan not in scans:
            scans[p.scan] = read_marked_scan(folder, p.scan)
        scan = scans[p.scan]
        again = renamed.get((p.scan, p.i, p.j, p.k), "not seen")
        patch = scan.ct.array[p.i - 1 : p.i + 2, p.j - 1 : p.j + 2, p.k]
        hu = float(patch.mean())
        if again != p.structure:
            dropped.append(f"names: {p} / {again}")
        elif not MUSCLE_HU[0] <= hu <= MUSCLE_HU[1]:
            dropped.append(f"{hu:.0f} HU: {p}")
        elif not scan.clear(p.k):
            dropped.append(f"tumour: {p}")
        else:
            x, y, z = (scan.ct.affine @ (p.i, p.j, p.k, 1.0))[:3]
            place = (f"{x:.1f}", f"{y:.1f}", f"{z:.1f}", f"{hu:.0f}", "yes")
            rows.append((p.scan, p.side, p.level, p.structure, p.i, p.j, p.k, *place))
    return rows, dropped


def main() -> None:
    """Run one of the three steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("slices", "dots", "join"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path, help="a folder for pictures; for join the table")
    parser.add_argument("--scan", nargs="*", default=[])
    parser.add_argument("--k", nargs="*", type=int, default=[])
    for name in ("first", "second", "key"):
        parser.add_argument(f"--{name}", type=Path)
    options = parser.parse_args()
    if options.step != "join":
        options.out.mkdir(parents=True, exist_ok=True)
    if options.step == "slices":
        draw_slices(options.folder, options.out, options.scan, options.k)
    elif options.step == "dots":
        draw_dots(options.folder, options.out, read_first(options.first))
    else:
        rows, dropped = join(options.folder, read_first(options.first), options.second, options.key)
        with options.out.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(rows)
        print(*dropped, f"{len(rows)} kept, {len(dropped)} dropped", sep="\n")


if __name__ == "__main__":
    main()
