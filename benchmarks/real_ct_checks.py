"""What can be asked of a network on real CT without any labels: bones, repeatability, islands, volumes.

    python benchmarks/real_ct_checks.py --scans FOLDER [--weights BUNDLE] [--only STS_013 ...] --out RESULTS

FOLDER holds the CTs (``STS_013_CT.nii.gz``, ...). Each scan is segmented as it is, mirrored, on a grid shifted by a
few mm, and resampled to other spacings; so five times in all. Measured:

- **bone**: the bone mask is HU > 200, closed and filled slice by slice. ``bone_inside``: share of the voxels labelled
  femur or hip bone that lie in it (one voxel of tolerance). ``shaft_dice``: Dice of the femur label and the mask
  around femoral shafts, found by shape alone: one ring of cortex of plausible area around marrow, uncut. In a calf the
  tibia passes for a shaft: look at scans of the thigh.
- **soft_tissue_named**: share of the soft tissue in layers of at least 6 mm that carries any label, more than 1 cm from
  the tumour (``STS_013_GTV_mask.nii.gz`` beside the CT, if there is one). Vessels, nerves, the calf and organs carry
  none, so it can't be 1; a fall tells of muscle, or the rim of muscles, that is left out.
- **mirrored**, **shifted**, **spacing_...**: mean Dice with the labels of the scan as it is, over the structures that
  have at least 5 mL in one of the two; sides swapped back after mirroring.
- **islands**: parts apart from the largest part of their label, per label; and their share of all labelled voxels.
- **volume_too_large**: labels whose volume exceeds what the published regression on height and mass (the table the
  synthesis uses) gives for a person of 2.05 m and 150 kg. The scans are crops, so nothing can be too small.

Written: ``real_ct_checks.csv`` (one row a scan and check) and ``real_ct_checks.md``.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from real_ct_points import Segment, segmenter
from vastus.anatomy import BY_KEY, BY_VALUE, LABELS, MUSCLES, SIDES, Side
from vastus.inference.islands import find_parts
from vastus.io.atomic import write_text
from vastus.io.labels import read_labels
from vastus.io.scans import read_scan
from vastus.muscle_volumes import largest_volume_mm3
from vastus.volume import Volume, axis_order, centred_affine, resample_like, shape_for_spacing, to_ras

BONE_HU = 200
SHAFT_AREA_MM2 = (300.0, 1300.0)
MARROW_SHARE = 0.02
"""A shaft's ring holds at least this share of marrow; metal, and bowel full of contrast, hold none."""
CORTEX_HU = 700.0
LEAST_ML = 5.0
SHIFT_MM = (2.3, -1.7, 3.1)
SPACINGS_MM = ((0.8, 0.8, 5.0), (1.5, 1.5, 1.5))
AIR_HU = -1000.0
SOFT_TISSUE_HU = (-20.0, 150.0)
SOFT_LAYER_MM = 6.0
LESION_MARGIN_MM = 10.0

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Finding:
    """One number of one scan; NaN where there was nothing to measure."""

    scan: str
    check: str
    value: float


def bone_mask(ct: Volume) -> Mask:
    """Bone with its marrow: dense voxels, closed and filled in every slice. Axes of ``to_ras``."""
    from scipy.ndimage import binary_closing, binary_fill_holes

    dense = ct.array > BONE_HU
    disc = np.hypot(*np.ogrid[-2:3, -2:3]) <= 2.3
    filled = np.zeros(dense.shape, bool)
    for k in range(dense.shape[2]):
        if dense[:, :, k].any():
            # Closing eats into the margin of a slice unless there is room around it.
            closed = binary_closing(np.pad(dense[:, :, k], 3), disc)[3:-3, 3:-3]
            filled[:, :, k] = binary_fill_holes(closed)
    return filled


def shafts(ct: Volume, mask: Mask) -> Mask:
    """The parts of a bone mask that are femoral shafts by their shape."""
    from scipy.ndimage import find_objects, label

    found = np.zeros(mask.shape, bool)
    pixel_mm2 = ct.spacing_mm[0] * ct.spacing_mm[1]
    for k in range(mask.shape[2]):
        parts, _ = label(mask[:, :, k])
        for number, box in enumerate(find_objects(parts), start=1):
            own = parts[box] == number
            cut = any(s.start == 0 or s.stop == n for s, n in zip(box, parts.shape, strict=True))
            if not cut and SHAFT_AREA_MM2[0] <= own.sum() * pixel_mm2 <= SHAFT_AREA_MM2[1]:
                hu = ct.array[(*box, k)][own]
                marrow = (hu < BONE_HU).mean()
                if marrow >= MARROW_SHARE and hu[hu >= BONE_HU].mean() >= CORTEX_HU and own.mean() >= 0.6:
                    found[(*box, k)] |= own
    return found


def bone_findings(ct: Volume, labels: Volume) -> Iterator[tuple[str, float]]:
    """``bone_inside`` and ``shaft_dice``; both volumes with the axes of ``to_ras``."""
    from scipy.ndimage import binary_dilation

    mask = bone_mask(ct)
    classes = labels.array % 100
    bones = np.isin(classes, [BY_KEY["femur"].class_id, BY_KEY["hip_bone"].class_id])
    cross = np.zeros((3, 3, 3), bool)
    cross[:, 1, 1] = cross[1, :, 1] = True
    inside = bones & binary_dilation(mask, cross)
    yield "bone_inside", inside.sum() / bones.sum() if bones.any() else float("nan")
    shaft = shafts(ct, mask)
    near = binary_dilation(shaft, cross, iterations=max(1, round(10.0 / ct.spacing_mm[0])))
    femur = (classes == BY_KEY["femur"].class_id) & near
    yield "shaft_dice", dice(femur, shaft) if shaft.any() else float("nan")


def soft_tissue_findings(ct: Volume, labels: Volume, lesion: Volume | None) -> Iterator[tuple[str, float]]:
    """``soft_tissue_named``; all volumes with the axes of ``to_ras``."""
    from scipy.ndimage import binary_opening, distance_transform_edt, gaussian_filter

    smooth = gaussian_filter(ct.array.astype(np.float32), (0.7, 0.7, 0.0))
    soft = (smooth > SOFT_TISSUE_HU[0]) & (smooth < SOFT_TISSUE_HU[1])
    reach = [max(1, round(SOFT_LAYER_MM / 2 / mm)) for mm in ct.spacing_mm[:2]]
    x, y = np.ogrid[-reach[0] : reach[0] + 1, -reach[1] : reach[1] + 1]
    disc = np.hypot(x * ct.spacing_mm[0], y * ct.spacing_mm[1]) <= SOFT_LAYER_MM / 2 + 0.01
    thick = binary_opening(soft, disc[:, :, None])
    if lesion is not None and lesion.array.any():
        thick &= distance_transform_edt(lesion.array == 0, sampling=ct.spacing_mm) > LESION_MARGIN_MM
    named = thick & (labels.array > 0)
    yield "soft_tissue_named", named.sum() / thick.sum() if thick.any() else float("nan")


def dice(first: Mask, second: Mask) -> float:
    """Dice of two masks, NaN if both are empty."""
    total = int(first.sum()) + int(second.sum())
    return 2.0 * int((first & second).sum()) / total if total else float("nan")


def agreement(first: Volume, second: Volume) -> float:
    """Mean Dice over the labels with at least ``LEAST_ML`` in one of two maps on one grid; NaN if there is none."""
    voxel_ml = first.voxel_volume_mm3 / 1000
    counts = [np.bincount(v.array.ravel(), minlength=256) * voxel_ml for v in (first, second)]
    large = [x.value for x in LABELS if max(counts[0][x.value], counts[1][x.value]) >= LEAST_ML]
    if not large:
        return float("nan")
    return float(np.mean([dice(first.array == value, second.array == value) for value in large]))


def mirrored(volume: Volume) -> Volume:
    """Left and right exchanged in the array, the affine kept: the scan of the person in a mirror."""
    return volume.with_array(np.flip(volume.array, axis_order(volume.affine).source[0]))


def swap_sides(labels: Volume) -> Volume:
    """Right labels made left and the reverse; those without a side stay."""
    table = np.arange(256, dtype=np.uint8)
    for value, name in BY_VALUE.items():
        if name.side is not Side.UNKNOWN:
            table[value] = name.structure.label_value(name.side.opposite)
    return labels.with_array(table[labels.array])


def shifted_grid(scan: Volume) -> Volume:
    """The scan sampled on its own grid moved by ``SHIFT_MM``: other partial volumes, other windows."""
    affine = scan.affine.copy()
    affine[:3, 3] += SHIFT_MM
    hu = scan.with_array(scan.array.astype(np.float32))
    return resample_like(hu, Volume(scan.array, affine), order=1, outside=AIR_HU)


def other_spacing(scan: Volume, spacing_mm: tuple[float, float, float]) -> Volume:
    """The same box with other voxels, averaged over the larger ones."""
    from vastus.resampling import resample_box

    upright = to_ras(scan)
    shape = shape_for_spacing(upright.shape, upright.spacing_mm, spacing_mm)
    array = resample_box(upright.array, shape, antialias=True)
    return Volume(array, centred_affine(upright.affine, upright.shape, shape))


def repeat_findings(scan: Volume, labels: Volume, segment: Segment) -> Iterator[tuple[str, float]]:
    """Agreement of the labels with those of the changed scans."""
    yield "mirrored", agreement(labels, swap_sides(mirrored(segment(mirrored(scan)))))
    changed = [("shifted", shifted_grid(scan))]
    changed += [("spacing_" + "x".join(f"{mm:g}" for mm in s), other_spacing(scan, s)) for s in SPACINGS_MM]
    for name, other in changed:
        yield name, agreement(labels, resample_like(segment(other), labels, order=0))


def island_findings(labels: Volume) -> Iterator[tuple[str, float]]:
    """Parts beside the largest one of each label."""
    parts = find_parts(labels.array)
    present = np.unique(parts.value[1:])
    if not len(present):
        yield from (("islands_per_label", float("nan")), ("island_share", float("nan")))
        return
    largest = sum(int(parts.size[parts.value == value].max()) for value in present)
    yield "islands_per_label", (len(parts.size) - 1 - len(present)) / len(present)
    yield "island_share", 1.0 - largest / int(parts.size.sum())


def volume_findings(labels: Volume) -> Iterator[tuple[str, float]]:
    """Number of muscles of a side that are larger than any person's."""
    ml = np.bincount(labels.array.ravel(), minlength=256) * labels.voxel_volume_mm3 / 1000
    sided = [(ml[m.label_value(side)], largest_volume_mm3(m.key)) for m in MUSCLES for side in (*SIDES, Side.UNKNOWN)]
    yield "volume_too_large", float(sum(limit is not None and volume > limit / 1000 for volume, limit in sided))
    yield "labelled_ml", float(ml[[label.value for label in LABELS]].sum())


def check(name: str, scan: Volume, segment: Segment, lesion: Volume | None = None) -> list[Finding]:
    """All findings of one scan."""
    labels = segment(scan)
    upright = to_ras(scan), to_ras(labels)
    found = [
        *bone_findings(*upright),
        *soft_tissue_findings(*upright, None if lesion is None else to_ras(lesion)),
        *repeat_findings(scan, labels, segment),
        *island_findings(labels),
        *volume_findings(labels),
    ]
    return [Finding(name, what, float(value)) for what, value in found]


def report(findings: Sequence[Finding], title: str) -> str:
    """The Markdown page: one row a scan, medians and worst below."""
    checks = list(dict.fromkeys(f.check for f in findings))
    table: dict[str, dict[str, float]] = {}
    for f in findings:
        table.setdefault(f.scan, {})[f.check] = f.value
    lines = [f"# Checks on real CT without labels: {title}", "", f"| scan | {' | '.join(checks)} |"]
    lines.append("|---" * (len(checks) + 1) + "|")
    lines += [f"| {scan} | {' | '.join(_cell(row[c]) for c in checks)} |" for scan, row in table.items()]
    columns = {c: [row[c] for row in table.values() if np.isfinite(row[c])] for c in checks}
    for name, summary in (("median", median), ("smallest", min), ("largest", max)):
        cells = [_cell(summary(v)) if v else "-" for v in columns.values()]
        lines.append(f"| **{name}** | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(value: float) -> str:
    if not np.isfinite(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3f}"


def write_results(findings: Iterable[Finding], out: Path, title: str) -> None:
    """The rows, and the page."""
    rows = list(findings)
    out.mkdir(parents=True, exist_ok=True)
    with (out / "real_ct_checks.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("scan", "check", "value"))
        writer.writerows((f.scan, f.check, f"{f.value:.4f}") for f in rows)
    write_text(out / "real_ct_checks.md", report(rows, title))


def main() -> None:
    """Check all scans of a folder, or some; results are written after every scan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=Path, required=True, help="folder of the CTs")
    parser.add_argument("--weights", type=Path, help="bundle; default: the shipped one")
    parser.add_argument("--only", nargs="*", default=[], help="only these scans")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    names = options.only or sorted(p.name.removesuffix("_CT.nii.gz") for p in options.scans.glob("*_CT.nii.gz"))
    if not names:
        raise SystemExit(f"No *_CT.nii.gz in {options.scans}.")
    segment = segmenter(options.weights)
    title = options.weights.name if options.weights else "shipped weights"
    findings: list[Finding] = []
    for name in names:
        mask = options.scans / f"{name}_GTV_mask.nii.gz"
        lesion = read_labels(mask) if mask.is_file() else None
        findings += check(name, read_scan(options.scans / f"{name}_CT.nii.gz").volume, segment, lesion)
        print(f"{name} done", file=sys.stderr, flush=True)
        write_results(findings, options.out, title)
    print(report(findings, title))


if __name__ == "__main__":
    main()
