"""Label maps in one file (NIfTI, NRRD, ``.seg.nrrd``, MetaImage) and folders with one mask a structure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vastus.errors import GeometryError, LabelError
from vastus.importing.source_labels import SEVERAL, SourceLabels, add_part, no_parts
from vastus.io.label_names import names_beside
from vastus.io.labels import LABEL_SUFFIXES, read_named_image
from vastus.volume import AnyArray, Volume, place_on


def read_label_file(path: Path, names: Mapping[int, str]) -> SourceLabels:
    """Read a label map.

    Args:
        path: of the file.
        names: by value, from a table; they count before those in the header and those of a ``dataset.json`` or colour
            table beside the file.

    Raises:
        LabelError: values that are no whole numbers of 0..65534, or no names at all.
        UnreadableScanError, UnsupportedScanError, GeometryError: as for scans.
    """
    image = read_named_image(path)
    array = whole_numbers(image.volume.array, path)
    said = dict(names or image.names or names_beside(path))
    if not said:
        raise LabelError(
            "Nobody says what the values of this label map mean.",
            path=path,
            remedy="Give a table with --names: a CSV with the columns value and name, or the name of a shipped table.",
        )
    return SourceLabels(image.volume.with_array(array), said, image.warnings)


def read_mask_folder(folder: Path, scan: Volume) -> SourceLabels:
    """Read a folder with one mask a structure; the files' names are those of the structures.

    Args:
        folder: with files such as ``femur_left.nii.gz``.
        scan: whose grid the masks lie on; a cropped or flipped mask finds its place there.

    Raises:
        GeometryError: a mask lies elsewhere; names the file.
        LabelError, UnreadableScanError, UnsupportedScanError: a mask can't be read.
    """
    numbers = no_parts(scan.shape)
    names = {}
    warnings: list[str] = []
    for number, (name, path) in enumerate(sorted(mask_files(folder).items()), start=1):
        image = read_named_image(path)
        mask = image.volume.with_array(image.volume.array > 0)
        placed = place_on(mask, scan)
        if placed is None:
            raise GeometryError(f"The mask does not lie on its scan: {scan.difference_to(mask)}.", path=path)
        add_part(numbers, placed.array, number)
        names[number] = name
        warnings += [f"{path.name}: {warning}" for warning in image.warnings]
    return SourceLabels(scan.with_array(numbers), names, tuple(warnings))


def mask_files(folder: Path) -> dict[str, Path]:
    """The files of a folder that may be masks, by the structure's name."""
    found = {}
    for path in sorted(folder.iterdir()):
        if (name := label_stem(path)) and path.is_file():
            found[name] = path
    return found


def label_stem(path: Path) -> str:
    """Name of a file without the suffix of a label map (and without 3D Slicer's ``.seg``); empty for other files."""
    for suffix in LABEL_SUFFIXES:
        if path.name.lower().endswith(suffix) and not path.name.startswith("."):
            stem = path.name[: -len(suffix)]
            return stem[:-4] if stem.lower().endswith(".seg") else stem
    return ""


def whole_numbers(array: AnyArray, path: Path) -> AnyArray:
    """A label map's values as uint16.

    Raises:
        LabelError: some are no whole numbers, or out of range.
    """
    low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    whole = array.dtype.kind in "iu" or bool((np.rint(array) == array).all())
    if not whole or not (low >= 0 and high < SEVERAL):
        raise LabelError(f"Label values must be whole numbers of 0..{SEVERAL - 1}.", path=path)
    return array.astype(np.uint16)
