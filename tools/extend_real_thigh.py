"""Add newly drawn slices to ``datasets/real-thigh``, from strokes in the product's own format.

Draws the mask of each new slice from its strokes, adds it to the labels, copies the strokes, and writes index and data
card anew. A slice that is in the set already stays as it is. Scans of the test split are refused.

    python tools/extend_real_thigh.py STROKES --images CT [CT ...] --reader "vision model D" --set datasets/real-thigh

``STROKES`` holds ``SCAN/kNNN.json`` as ``vastus.refinement.outline_files.write_outline`` writes them. Where several
readers drew into one folder, give each reader's list instead of ``--reader``: ``--drawn "vision model A2" a.csv --drawn
"vision model C2" c.csv``. A list is a csv with the columns ``scan`` and ``slice``. Slices in no list are left out.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pack_real_thigh import card_text, find_image, read_scan_values

from vastus.anatomy import BY_ID, UNLABELLED
from vastus.datasets.layout import (
    INDEX_FILE,
    DrawnSlice,
    OpenSet,
    index_text,
    labels_folder,
    read_open_set,
    strokes_file,
    strokes_folder,
)
from vastus.datasets.split import Split
from vastus.errors import VastusError
from vastus.evaluation.thigh_level import levels_of
from vastus.io.atomic import ensure_folder, write_text
from vastus.io.labels import read_labels, write_labels
from vastus.io.scans import read_scan
from vastus.refinement.outline import Outline
from vastus.refinement.outline_files import read_outline, write_outline
from vastus.refinement.outlining import Outliner
from vastus.volume import from_ras, to_ras


@dataclass(frozen=True, slots=True)
class Added:
    """What came of one scan: the rows of its new slices, and what a person should read."""

    rows: tuple[DrawnSlice, ...]
    notes: tuple[str, ...]


ReaderOf = Callable[[str, int], str | None]
"""Who drew a slice of a scan; None: nobody says so."""


def readers_of(lists: Iterable[tuple[str, Path]]) -> ReaderOf:
    """Who drew which slice, from lists of slices.

    Args:
        lists: a reader's name, and a csv with the columns ``scan`` and ``slice``.

    Raises:
        SystemExit: a list has no such columns, or two readers claim a slice.
    """
    found: dict[tuple[str, int], str] = {}
    for name, path in lists:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                try:
                    place = (row["scan"], int(row["slice"]))
                except (KeyError, TypeError, ValueError):
                    raise SystemExit(f"{path.name}: each row needs a scan and the number of a slice.") from None
                if found.setdefault(place, name) != name:
                    raise SystemExit(f"{place[0]} {place[1]}: both {found[place]} and {name} say that they drew it.")
    return lambda scan, index: found.get((scan, index))


def side_of(usual: str, outline: Outline, labels: NDArray[np.uint8]) -> str:
    """On which side the structures of a slice lie.

    Args:
        usual: the side of the scan, for a slice with one leg.
        outline: has ``middle`` where both legs are in the slice.
        labels: (I, J) mask of the slice, i to the patient's right.
    """
    if outline.middle is None:
        return usual
    drawn = np.flatnonzero(np.isin(labels, list(BY_ID)).any(axis=1))
    right, left = bool((drawn > outline.middle).any()), bool((drawn <= outline.middle).any())
    return "both" if right and left else "right" if right else "left" if left else usual


def row_of(pattern: DrawnSlice, index: int, outline: Outline, labels: NDArray[np.uint8], reader: str) -> DrawnSlice:
    """The row of a new slice.

    Args:
        pattern: a row of the same scan, for side and split.
        index: number of the slice, from the feet.
        outline: what was drawn; its confidence below 3 means unsure.
        labels: (I, J) mask that came of it.
        reader: who drew.
    """
    keys = tuple(BY_ID[int(v)].key for v in np.unique(labels) if int(v) in BY_ID)
    sure = {s.key: s.confidence for s in outline.strokes}
    unsure = tuple((key, sure[key]) for key in keys if sure.get(key, 3) < 3)
    start = outline.start or "blank"
    return replace(
        pattern,
        slice=index,
        side=side_of(pattern.side, outline, labels),
        structures=keys,
        unsure=unsure,
        reader=reader,
        reading=1,
        start=start,
    )


def extend(source: OpenSet, strokes: Path, images: list[Path], reader_of: ReaderOf) -> Added:
    """Add the new slices of one scan.

    Args:
        source: the open set.
        strokes: folder of one scan.
        images: folders with CTs and tumour masks.
        reader_of: who drew a slice; a slice of nobody is left out.

    Raises:
        SystemExit: the scan is not in the set, or is a test scan.
    """
    scan = strokes.name
    known = [row for row in source.slices if row.scan == scan and row.reading == 1]
    if not known:
        raise SystemExit(f"{scan} is not in the set.")
    if known[0].split is Split.TEST:
        raise SystemExit(f"{scan} is a test scan: nothing is added to it.")
    file, tumour_file = find_image(scan, images)
    ct = read_scan(file).volume
    upright = to_ras(ct).array
    tumour = None if tumour_file is None else to_ras(read_scan_values(tumour_file)).array > 0
    target = source.labels(scan)
    labels = to_ras(read_labels(target, partly=True)).array.copy()
    drawn = {row.slice for row in known}
    rows, notes = [], []
    for path in sorted(strokes.glob("k*.json")):
        index = int(path.stem[1:])
        if index in drawn:
            notes.append(f"{scan} {path.stem}: drawn already, stays as it is")
            continue
        reader = reader_of(scan, index)
        if reader is None:
            notes.append(f"{scan} {path.stem}: in no reader's list, left out")
            continue
        copy = source.folder / strokes_folder(1) / scan / strokes_file(index)
        try:
            outline = read_outline(path)
            write_outline(outline, copy)
            # From the written file: what a user gets must give the mask.
            planes = None if tumour is None else tumour[:, :, index]
            mask = Outliner(upright, index, planes).outline(read_outline(copy)).labels
        except (VastusError, ValueError) as error:
            copy.unlink(missing_ok=True)
            notes.append(f"{scan} {path.stem}: LEFT OUT, can't be used: {error}")
            continue
        if (mask == UNLABELLED).all():
            copy.unlink()
            notes.append(f"{scan} {path.stem}: holds no verdict, left out")
            continue
        row = row_of(known[0], index, outline, mask, reader)
        if not row.structures:
            notes.append(f"{scan} {path.stem}: holds none of the structures, kept as such")
        labels[:, :, index] = mask
        rows.append(row)
    if rows:
        write_labels(ct.with_array(from_ras(labels, ct).array), target, like=file, partly=True)
    return Added(tuple(rows), tuple(notes))


def with_levels(rows: list[DrawnSlice]) -> list[DrawnSlice]:
    """The rows with the level of each new slice, from all slices of its scan; rows of before keep theirs."""
    found = []
    for scan in sorted({row.scan for row in rows}):
        own = sorted((r for r in rows if r.scan == scan), key=lambda r: r.slice)
        usual = levels_of([r.structures for r in own])
        found += [replace(row, level=level) for row, level in zip(own, usual, strict=True)]
    return found


def write_tables(folder: Path, rows: list[DrawnSlice]) -> None:
    """Write index and data card."""
    write_text(folder / INDEX_FILE, index_text(rows))
    write_text(folder / "README.md", card_text(folder, rows))


def main() -> int:
    """Extend the set, and say what was left out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("strokes", type=Path, help="folder with SCAN/kNNN.json")
    parser.add_argument("--images", type=Path, nargs="+", required=True, help="folders with the CTs and tumour masks")
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--reader", help="who drew all of it, for the index")
    who.add_argument(
        "--drawn",
        nargs=2,
        action="append",
        metavar=("READER", "CSV"),
        help="who drew the slices of a list (columns scan and slice); may be given again",
    )
    parser.add_argument("--set", type=Path, required=True, dest="folder", help="the open set; it is changed")
    given = parser.parse_args()
    source = read_open_set(given.folder)
    lists = [(name, Path(file)) for name, file in given.drawn or ()]
    reader_of = readers_of(lists) if lists else lambda scan, index: str(given.reader)
    added = []
    for scan in sorted(p for p in given.strokes.iterdir() if p.is_dir()):
        ensure_folder(source.folder / strokes_folder(1) / scan.name)
        added.append(extend(source, scan, given.images, reader_of))
    new = [row for each in added for row in each.rows]
    fresh = {(row.scan, row.slice) for row in new}
    first = [row for row in source.slices if row.reading == 1]
    levelled = [r for r in with_levels([*first, *new]) if (r.scan, r.slice) in fresh]
    rows = sorted([*source.slices, *levelled], key=lambda r: (r.reading, r.scan, r.slice))
    write_tables(given.folder, rows)
    for note in (note for each in added for note in each.notes):
        print(note)
    print(json.dumps({"slices_added": len(new), "slices": len(rows), "labels": str(labels_folder(1))}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
