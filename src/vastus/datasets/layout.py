"""The files of an open set of drawn slices, and its tables.

    labels/SCAN.nii.gz            class ids, 255 where nothing was drawn; grid and affine of the CT
    labels_2/SCAN.nii.gz          a second reading, where there is one
    strokes/SCAN/kNNN.json        what was drawn in slice NNN (``vastus.refinement.outline_files``)
    strokes_2/SCAN/kNNN.json
    index.csv                     one row a drawn slice and reading
    splits.json                   split -> scans
    checksums.csv                 SHA-256 of each CT's voxels

Slices are counted from the patient's feet, i to the patient's right, j to the front (RAS), whatever the axes of the
file.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from vastus.anatomy import BY_KEY, ThighLevel
from vastus.datasets.split import Split
from vastus.errors import MissingInputError, SettingsError
from vastus.volume import Volume, to_ras

INDEX_FILE: Final = "index.csv"
SPLITS_FILE: Final = "splits.json"
CHECKSUMS_FILE: Final = "checksums.csv"
INDEX_COLUMNS: Final = (
    "scan",
    "slice",
    "level",
    "side",
    "structures",
    "unsure",
    "split",
    "reader",
    "pass",
    "start",
)
CHECKSUM_COLUMNS: Final = ("scan", "collection", "file", "shape", "sha256")
HU_RANGE: Final = (-1024, 3071)
"""Copies of a collection differ in how they store what lies outside; the checksum is of the HU inside."""


@dataclass(frozen=True, slots=True)
class DrawnSlice:
    """One row of the index.

    Attributes:
        scan, slice: which slice, counted from the feet.
        level: see ``ThighLevel``.
        side: of the leg: "right", "left", "both" or "unknown".
        structures: keys of what was drawn, in the order of the anatomy table.
        unsure: key and confidence (1 or 2) of the sections of which the reader was not sure.
        split: of the scan.
        reader: who read.
        reading: 1, or 2 for the second reading with the first closed.
        start: "blank", or what the reader started from.
    """

    scan: str
    slice: int
    level: ThighLevel
    side: str
    structures: tuple[str, ...]
    unsure: tuple[tuple[str, int], ...]
    split: Split
    reader: str
    reading: int
    start: str


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """Which CT a label map belongs to.

    Attributes:
        scan: its name in the set.
        collection: where it comes from.
        file: what it was called there.
        shape: voxels along the axes of the label map.
        sha256: ``image_checksum`` of the part that the label map covers.
    """

    scan: str
    collection: str
    file: str
    shape: tuple[int, int, int]
    sha256: str


@dataclass(frozen=True, slots=True)
class OpenSet:
    """A set as its tables say."""

    folder: Path
    slices: tuple[DrawnSlice, ...]
    images: Mapping[str, ImageRecord]

    def scans(self, split: Split | None = None) -> tuple[str, ...]:
        """Names of the scans (of one split), sorted."""
        return tuple(sorted({s.scan for s in self.slices if split is None or s.split is split}))

    def labels(self, scan: str, reading: int = 1) -> Path:
        """The label map of a scan."""
        return self.folder / labels_folder(reading) / f"{scan}.nii.gz"

    def strokes(self, drawn: DrawnSlice) -> Path:
        """What was drawn in a slice."""
        return self.folder / strokes_folder(drawn.reading) / drawn.scan / strokes_file(drawn.slice)


def labels_folder(reading: int) -> str:
    """Folder of the label maps of a reading."""
    return "labels" if reading == 1 else f"labels_{reading}"


def strokes_folder(reading: int) -> str:
    """Folder of the strokes of a reading."""
    return "strokes" if reading == 1 else f"strokes_{reading}"


def strokes_file(index: int) -> str:
    """Name of the file of a slice."""
    return f"k{index:03d}.json"


def image_checksum(ct: Volume) -> str:
    """SHA-256 of a CT: shape and HU (rounded, within ``HU_RANGE``, int16, little endian), axes in RAS order."""
    array = to_ras(ct).array
    hu = np.clip(np.rint(array) if array.dtype.kind == "f" else array, *HU_RANGE)
    head = " ".join(map(str, array.shape)).encode()
    return hashlib.sha256(head + np.ascontiguousarray(hu, dtype="<i2").tobytes()).hexdigest()


def index_text(slices: Iterable[DrawnSlice]) -> str:
    """The text of ``index.csv``."""
    rows = [
        [
            s.scan,
            s.slice,
            s.level.value,
            s.side,
            " ".join(s.structures),
            " ".join(f"{k}={c}" for k, c in s.unsure),
            s.split.value,
            s.reader,
            s.reading,
            s.start,
        ]
        for s in slices
    ]
    return _csv(INDEX_COLUMNS, rows)


def checksums_text(images: Iterable[ImageRecord]) -> str:
    """The text of ``checksums.csv``."""
    rows = [[i.scan, i.collection, i.file, "x".join(map(str, i.shape)), i.sha256] for i in images]
    return _csv(CHECKSUM_COLUMNS, rows)


def splits_text(slices: Iterable[DrawnSlice]) -> str:
    """The text of ``splits.json``."""
    known = tuple(slices)
    table = {split.value: sorted({s.scan for s in known if s.split is split}) for split in Split}
    return json.dumps(table, indent=1) + "\n"


def read_open_set(folder: Path) -> OpenSet:
    """Read the tables of a set; they must agree with each other.

    Raises:
        MissingInputError: no such folder, or a table is missing.
        SettingsError: a table is malformed, or two of them disagree.
    """
    slices = tuple(_parsed(folder / INDEX_FILE, INDEX_COLUMNS, _slice_of))
    images = tuple(_parsed(folder / CHECKSUMS_FILE, CHECKSUM_COLUMNS, _image_of))
    known = {image.scan: image for image in images}
    without = sorted({s.scan for s in slices} - known.keys())
    if without:
        raise SettingsError(f"Scans without a checksum: {', '.join(without)}.", path=folder / CHECKSUMS_FILE)
    path = folder / SPLITS_FILE
    try:
        splits = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingInputError(f"There is no {SPLITS_FILE} here.", path=folder) from error
    except ValueError as error:
        raise SettingsError("The table of splits is not JSON.", path=path) from error
    if splits != json.loads(splits_text(slices)):
        raise SettingsError(f"{SPLITS_FILE} and {INDEX_FILE} disagree.", path=folder)
    return OpenSet(folder, slices, known)


def _parsed(path: Path, columns: tuple[str, ...], parse):  # type: ignore[no-untyped-def]
    if not path.is_file():
        raise MissingInputError(f"There is no {path.name} here: this is no open set.", path=path.parent)
    try:
        reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""))
    except UnicodeDecodeError as error:
        raise SettingsError("The table is not UTF-8 text.", path=path) from error
    missing = [c for c in columns if c not in (reader.fieldnames or ())]
    if missing:
        raise SettingsError(f"Columns are missing: {', '.join(missing)}.", path=path)
    found = []
    for line, row in enumerate(reader, start=2):
        try:
            found.append(parse({c: (row[c] or "").strip() for c in columns}))
        except (KeyError, ValueError) as error:
            raise SettingsError(f"Line {line}: {error} is not valid here.", path=path) from error
    return found


def _slice_of(row: dict[str, str]) -> DrawnSlice:
    structures = tuple(row["structures"].split())
    unsure = tuple((key, int(sure)) for key, _, sure in (item.partition("=") for item in row["unsure"].split()))
    for key in (*structures, *(key for key, _ in unsure)):
        BY_KEY[key]
    if row["side"] not in ("right", "left", "both", "unknown"):
        raise ValueError(row["side"])
    return DrawnSlice(
        _name(row["scan"]),
        int(row["slice"]),
        ThighLevel(row["level"]),
        row["side"],
        structures,
        unsure,
        Split(row["split"]),
        row["reader"],
        int(row["pass"]),
        row["start"],
    )


def _image_of(row: dict[str, str]) -> ImageRecord:
    i, j, k = (int(n) for n in row["shape"].split("x"))
    if len(bytes.fromhex(row["sha256"])) != 32:
        raise ValueError(row["sha256"])
    return ImageRecord(_name(row["scan"]), row["collection"], row["file"], (i, j, k), row["sha256"])


def _name(scan: str) -> str:
    """A scan's name becomes a file's: nothing that leads elsewhere."""
    if not scan or not all(c.isalnum() or c in "._-" for c in scan) or scan.startswith("."):
        raise ValueError(repr(scan))
    return scan


def _csv(columns: tuple[str, ...], rows: Iterable[Iterable[object]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return stream.getvalue()
