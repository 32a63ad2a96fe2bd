"""Make ``datasets/real-thigh`` from the files of the readers.

Reads short specs (``SPECS/SCAN/kNNN.json``), writes them with full structure keys, draws every mask again with the
product's outliner, compares it with the reader's own mask (``LABELS/SCAN/kNNN.npy``), and writes labels, strokes,
index, splits, checksums and the data card.

    python tools/pack_real_thigh.py --first SPECS LABELS [--second SPECS LABELS] --images CT [CT ...] \
        --sides INDEX.tsv [--readers readers.csv] -o datasets/real-thigh
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vastus.anatomy import BACKGROUND_ID, BY_ID, BY_KEY, STRUCTURES, UNLABELLED, ThighLevel
from vastus.datasets.layout import (
    CHECKSUMS_FILE,
    INDEX_FILE,
    SPLITS_FILE,
    DrawnSlice,
    ImageRecord,
    checksums_text,
    image_checksum,
    index_text,
    labels_folder,
    splits_text,
    strokes_file,
    strokes_folder,
)
from vastus.datasets.split import Split
from vastus.errors import VastusError
from vastus.evaluation.thigh_level import levels_of
from vastus.io.atomic import write_text
from vastus.io.labels import write_labels
from vastus.io.scans import read_scan
from vastus.refinement.outline import Outline, OutlineSettings, Polygon, Polyline, Strokes
from vastus.refinement.outline_files import read_outline, write_outline
from vastus.refinement.outlining import Outliner
from vastus.volume import from_ras, to_ras

TEST_SCANS = frozenset(
    f"STS_{number}" for number in ("004", "013", "016", "022", "027", "030", "033", "039", "042", "050", "040")
)
COLLECTIONS = {"STS": "TCIA Soft-tissue-Sarcoma, IBSI copy", "Pelvic": "TCIA Pelvic-Reference-Data"}
CARD = Path(__file__).with_name("real_thigh_card.md")
SHORT = {
    "sa": "sartorius",
    "rf": "rectus_femoris",
    "vl": "vastus_lateralis",
    "vi": "vastus_intermedius",
    "vm": "vastus_medialis",
    "am": "adductor_magnus",
    "ab": "adductor_brevis",
    "al": "adductor_longus",
    "gr": "gracilis",
    "pe": "pectineus",
    "st": "semitendinosus",
    "sm": "semimembranosus",
    "bf": "biceps_femoris",
    "gx": "gluteus_maximus",
    "gd": "gluteus_medius",
    "gn": "gluteus_minimus",
    "tf": "tensor_fasciae_latae",
    "pi": "piriformis",
    "oi": "obturator_internus",
    "oe": "obturator_externus",
    "qf": "quadratus_femoris",
    "il": "iliacus",
    "ip": "iliopsoas",
    "ps": "psoas",
    "ob": "abdominal_oblique",
    "ra": "rectus_abdominis",
    "mu": "multifidus",
    "fe": "femur",
    "hb": "hip_bone",
}
_VERDICTS = {"bg": BACKGROUND_ID, "ig": UNLABELLED}
_SETTINGS = {
    "zw": "neighbour_weight",
    "sig": "edge_sigma_voxels",
    "d0": "edge_scale_hu",
    "sm": "mask_sigma_voxels",
    "thr": "mask_hu",
    "bone": "bone_hu",
    "skin": "skin_voxels",
    "op": "opening_voxels",
    "igr": "undecided_radius_voxels",
}
_START_NAMES = {
    "blind": "blind",
    "blank": "blind",
    "network": "strokes from a network's labels",
    "seen": "a network's labels were seen",
    "own": "own strokes of a neighbouring slice",
    "own strokes": "own strokes of a neighbouring slice",
    "neighbour": "strokes of a drawn neighbouring slice, moved and corrected",
}
_WHOLE_SETTINGS = frozenset({"skin", "op"})


def lines_of(text: str) -> tuple[Polyline, ...]:
    """``"1,2 3,4; 5,6"`` -> two lines."""
    return tuple(
        tuple((float(i), float(j)) for i, j in (point.split(",") for point in line.split()))
        for line in text.split(";")
        if line.strip()
    )


def outline_of(spec: dict[str, Any]) -> Outline:
    """A reader's short spec as an outline."""
    sure, opening = spec.get("conf", {}), spec.get("open", {})
    strokes = tuple(
        Strokes(SHORT[key], lines_of(text), int(sure.get(key, 3)), opening.get(key))
        for key, text in spec["S"].items()
        if text.strip()
    )
    polygons = tuple(
        Polygon(_VERDICTS[key] if key in _VERDICTS else BY_KEY[SHORT[key]].class_id, points)
        for key, text in spec.get("poly", [])
        for points in lines_of(text)
    )
    settings = {_SETTINGS[k]: int(spec[k]) if k in _WHOLE_SETTINGS else float(spec[k]) for k in _SETTINGS if k in spec}
    pairs = (pair.split("-") for pair in spec.get("igpair", "").split())
    return Outline(
        strokes,
        lines_of(spec.get("bg", "")),
        lines_of(spec.get("cuts", "")),
        tuple((SHORT[one], SHORT[other]) for one, other in pairs),
        polygons,
        tuple(SHORT[key] for key in spec.get("drop", "").split()),
        tuple(spec["crop"]) if "crop" in spec else None,
        OutlineSettings(fill_bones=not spec.get("nofill"), **settings),
        spec.get("start", ""),
    )


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading: its number, and the folders of specs and of the readers' masks."""

    number: int
    specs: Path
    labels: Path


@dataclass(frozen=True, slots=True)
class Job:
    """One scan of one reading; ``side`` is empty where both legs are in it."""

    scan: str
    reading: Reading
    ct: Path
    tumour: Path | None
    output: Path
    side: str
    reader: str


@dataclass(frozen=True, slots=True)
class Packed:
    """What came of a job."""

    rows: tuple[DrawnSlice, ...]
    image: ImageRecord | None
    compared: int
    different: int
    notes: tuple[str, ...]


def pack(job: Job) -> Packed:
    """Write strokes and labels of one scan; compare each mask with the reader's."""
    ct = read_scan(job.ct).volume
    upright = to_ras(ct)
    tumour = None if job.tumour is None else to_ras(read_scan_values(job.tumour)).array > 0
    labels = np.full(upright.shape, UNLABELLED, np.uint8)
    rows, notes, compared, different = [], [], 0, 0
    for path in sorted((job.reading.specs / job.scan).glob("k*.json")):
        index, where = int(path.stem[1:]), f"{job.scan} {path.stem} reading {job.reading.number}"
        try:
            spec = json.loads(path.read_text(encoding="utf-8"))
            if spec.get("draft"):
                notes.append(f"{where}: a draft, left out")
                continue
            file = job.output / strokes_folder(job.reading.number) / job.scan / strokes_file(index)
            file.parent.mkdir(parents=True, exist_ok=True)
            write_outline(outline_of(spec), file)
            # From the written file: what a user gets must give the mask.
            drawn = Outliner(upright.array, index, None if tumour is None else tumour[:, :, index]).outline(
                read_outline(file)
            )
        except (VastusError, ValueError, KeyError, TypeError) as error:
            notes.append(f"{where}: LEFT OUT, can't be used: {error!r}")
            continue
        mask = drawn.labels
        kept = job.reading.labels / job.scan / f"{path.stem}.npy"
        if kept.is_file():
            other = np.load(kept)
            same_shape = other.shape == mask.shape
            count = int((other != mask).sum()) if same_shape else mask.size
            compared, different = compared + mask.size, different + count
            if count:
                notes.append(
                    f"{where}: {count} voxels differ from the reader's mask (spec changed after it was drawn?)"
                )
        else:
            notes.append(f"{where}: the reader's mask is missing, not compared")
        labels[:, :, index] = mask
        rows.append((index, spec, mask))
    if not rows:
        return Packed((), None, compared, different, tuple(notes))
    folder = job.output / labels_folder(job.reading.number)
    folder.mkdir(parents=True, exist_ok=True)
    write_labels(ct.with_array(from_ras(labels, ct).array), folder / f"{job.scan}.nii.gz", like=job.ct, partly=True)
    image = ImageRecord(
        job.scan,
        next(v for k, v in COLLECTIONS.items() if job.scan.startswith(k)),
        job.ct.name,
        ct.shape,
        image_checksum(ct),
    )
    return Packed(_index_rows(job, rows), image, compared, different, tuple(notes))


def _index_rows(job: Job, rows: list[tuple[int, dict[str, Any], np.ndarray]]) -> tuple[DrawnSlice, ...]:
    keys = [[BY_ID[int(v)].key for v in np.unique(mask) if int(v) in BY_ID] for _, _, mask in rows]
    split = Split.TEST if job.scan in TEST_SCANS else Split.TRAIN
    found = []
    for (index, spec, mask), own, usual in zip(rows, keys, levels_of(keys), strict=True):
        sure = {SHORT[key]: int(value) for key, value in spec.get("conf", {}).items()}
        unsure = tuple((key, sure[key]) for key in own if sure.get(key, 3) < 3)
        level = ThighLevel(spec["level"]) if "level" in spec else usual
        side = job.side or side_of(mask)
        reader = spec.get("reader", job.reader)
        start = spec.get("start") or "blank"
        found.append(
            DrawnSlice(job.scan, index, level, side, tuple(own), unsure, split, reader, job.reading.number, start)
        )
    return tuple(found)


def side_of(mask: np.ndarray) -> str:
    """Which half of a scan of both legs was drawn: i runs to the patient's right."""
    drawn = np.flatnonzero((mask != UNLABELLED).any(axis=1)) / max(len(mask) - 1, 1)
    if drawn.min() > 0.4:
        return "right"
    return "left" if drawn.max() < 0.6 else "both"


def read_scan_values(path: Path):  # type: ignore[no-untyped-def]
    """A mask as it is stored: it holds no HU."""
    from vastus.io.nifti import read_nifti

    return read_nifti(path)


def find_image(scan: str, folders: Iterable[Path]) -> tuple[Path, Path | None]:
    """The CT of a scan and its tumour mask."""
    for folder in folders:
        for name in (f"{scan}_CT.nii.gz", f"{scan}_ct.nii.gz"):
            if (folder / name).is_file():
                tumour = folder / f"{scan}_GTV_mask.nii.gz"
                return folder / name, tumour if tumour.is_file() else None
    raise SystemExit(f"No CT of {scan} in {', '.join(map(str, folders))}")


def sides_of(table: Path) -> dict[str, str]:
    """First word of the second column of a tab-separated table: L, R, or a question mark behind it."""
    sides = {}
    for line in table.read_text(encoding="utf-8").splitlines()[1:]:
        scan, region, *_ = line.split("\t")
        sides[scan] = {"L": "left", "R": "right"}.get(region[:1] if region[1:2] in (" ", "?") else "", "")
    return sides


def by_level_table(rows: Iterable[DrawnSlice]) -> str:
    """Drawn slices and sections (muscles, bones) by split and level, as Markdown."""
    known = [row for row in rows if row.reading == 1]
    lines = ["| split | level | patients | slices | muscle sections | bone sections |", "|---|---|---:|---:|---:|---:|"]
    for split in Split:
        for level in (*reversed(ThighLevel), None):
            own = [r for r in known if r.split is split and (level is None or r.level is level)]
            muscles = sum(BY_KEY[key].is_muscle for r in own for key in r.structures)
            bones = sum(len(r.structures) for r in own) - muscles
            name = "**all**" if level is None else level.value
            lines.append(
                f"| {split.value} | {name} | {len({r.scan for r in own})} | {len(own)} | {muscles} | {bones} |"
            )
    return "\n".join(lines)


def by_structure_table(rows: Iterable[DrawnSlice]) -> str:
    """Sections of each structure by split and confidence, as Markdown."""
    known = [row for row in rows if row.reading == 1]
    lines = ["| structure | train | test | of these unsure |", "|---|---:|---:|---:|"]
    for structure in STRUCTURES:
        own = [r for r in known if structure.key in r.structures]
        unsure = sum(structure.key in dict(r.unsure) for r in own)
        counts = [sum(r.split is split for r in own) for split in Split]
        lines.append(f"| {structure.english} | {counts[0]} | {counts[1]} | {unsure} |")
    return "\n".join(lines)


def agreement_table(output: Path) -> str:
    """First reading against the second, by structure and by level, as Markdown; a word where there is no second."""
    import pandas as pd

    from vastus.evaluation.runner import Rater, RunSettings, evaluate

    second = output / labels_folder(2)
    if not second.is_dir():
        return "No second reading yet."
    result = evaluate((Rater("first", output / labels_folder(1)),), second, RunSettings())
    lines = [
        "| structure | sections | in one reading only | Dice | surface Dice (2 mm) | absolute area error (%) |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    rows = result.section_summary
    of_levels = rows[(rows["level"] != "all") & (rows["structure"] == "all")]
    for _, row in pd.concat([rows[rows["level"] == "all"], of_levels]).iterrows():
        name = BY_KEY[row["structure"]].english if row["structure"] != "all" else f"**{row['level']}**"
        alone = row["missed"] + row["invented"]
        lines.append(
            f"| {name} | {row['sections']} | {alone} | {row['dice_mean']:.3f} | {row['surface_dice_mean']:.3f} | "
            f"{row['area_absolute_percent_mean']:.1f} |"
        )
    slices = sum(map(len, result.drawn_slices.values()))
    return f"{slices} slices of {len(result.drawn_slices)} scans were drawn twice.\n\n" + "\n".join(lines)


def by_start_table(rows: Iterable[DrawnSlice]) -> str:
    """What the training slices of the first reading started from, as Markdown."""
    starts = Counter(_START_NAMES.get(r.start, r.start) for r in rows if r.reading == 1 and r.split is Split.TRAIN)
    lines = [f"| {name} | {count} |" for name, count in sorted(starts.items(), key=lambda item: (-item[1], item[0]))]
    return "\n".join(["| start | training slices |", "|---|---:|", *lines])


def card_text(folder: Path, rows: Iterable[DrawnSlice]) -> str:
    """The data card of a set, with the tables that follow from its rows and its labels."""
    known = tuple(rows)
    text = CARD.read_text(encoding="utf-8")
    for mark, table in (
        ("LEVELS", by_level_table(known)),
        ("STRUCTURES", by_structure_table(known)),
        ("AGREEMENT", agreement_table(folder)),
        ("STARTS", by_start_table(known)),
    ):
        text = text.replace(f"{{{{{mark}}}}}", table)
    return text


def main() -> int:
    """Pack, and say what differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=Path, nargs=2, required=True, metavar=("SPECS", "LABELS"))
    parser.add_argument("--second", type=Path, nargs=2, metavar=("SPECS", "LABELS"))
    parser.add_argument("--images", type=Path, nargs="+", required=True, help="folders with the CTs and tumour masks")
    parser.add_argument("--sides", type=Path, required=True, help="tab-separated: scan, region beginning with L or R")
    parser.add_argument("--readers", type=Path, help="csv: scan, reader")
    parser.add_argument("--reader", default="vision model", help="reader of the scans that --readers does not name")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    readings = [Reading(1, *given.first)] + ([Reading(2, *given.second)] if given.second else [])
    sides = sides_of(given.sides)
    readers = dict(list(csv.reader(given.readers.open(encoding="utf-8")))[1:]) if given.readers else {}
    given.output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given.output.parent, prefix=".packing-") as temporary:
        target = Path(temporary)
        jobs = []
        for reading in readings:
            for folder in sorted(p for p in reading.specs.iterdir() if p.is_dir() and any(p.glob("k*.json"))):
                ct, tumour = find_image(folder.name, given.images)
                side = sides.get(folder.name) or ("" if folder.name.startswith("Pelvic") else "unknown")
                reader = readers.get(folder.name, given.reader)
                jobs.append(Job(folder.name, reading, ct, tumour, target, side, reader))
        with multiprocessing.get_context("spawn").Pool(given.workers) as pool:
            results = pool.map(pack, jobs, chunksize=1)
        rows = sorted((r for p in results for r in p.rows), key=lambda r: (r.reading, r.scan, r.slice))
        images = {p.image.scan: p.image for p in results if p.image is not None}
        write_text(target / INDEX_FILE, index_text(rows))
        write_text(target / SPLITS_FILE, splits_text(rows))
        write_text(target / CHECKSUMS_FILE, checksums_text(images[scan] for scan in sorted(images)))
        write_text(target / "README.md", card_text(target, rows))
        _replace(target, given.output)
    for note in (note for p in results for note in p.notes):
        print(note)
    compared, different = sum(p.compared for p in results), sum(p.different for p in results)
    print(
        f"{len(rows)} slices of {len(images)} scans; {different} of {compared} voxels differ from the readers' masks."
    )
    unsided = sorted({job.scan for job in jobs if not sides.get(job.scan) and not job.scan.startswith("Pelvic")})
    if unsided:
        print(f"Side not in the table: {', '.join(unsided)}")
    return 0


def _replace(target: Path, output: Path) -> None:
    """Put what was packed into the place of an earlier pack; other files there (pictures) stay."""
    output.mkdir(exist_ok=True)
    for reading in (1, 2):
        for name in (labels_folder(reading), strokes_folder(reading)):
            shutil.rmtree(output / name, ignore_errors=True)
    for path in sorted(target.iterdir()):
        path.replace(output / path.name)


if __name__ == "__main__":
    sys.exit(main())
