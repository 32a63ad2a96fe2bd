"""Which cases a folder of foreign labels holds, and which CT belongs to each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Final

from vastus.errors import MissingInputError, SettingsError
from vastus.importing.label_maps import label_stem, mask_files
from vastus.importing.name_tables import meaning_of, shipped_names, table_names
from vastus.io.dicom_files import is_dicom
from vastus.io.itk_images import META_IMAGE_SUFFIXES, NRRD_SUFFIXES
from vastus.io.label_names import split_side
from vastus.io.nifti import NIFTI_SUFFIXES
from vastus.io.nnunet_layout import DATASET_FILE, IMAGES, LABELS, case_of
from vastus.io.scans import subject_name

_LABEL_ENDING: Final = re.compile(r"[ _.-](seg|segmentations?|labels?|dseg|masks?|rtstruct|rtss)$", re.IGNORECASE)
_IMAGE_ENDINGS: Final = ("", "_ct", "-ct", "_image", "_scan")
_INSIDE: Final = ("ct", "scan", "image")
_MASKS: Final = "segmentations"
_SCAN_SUFFIXES: Final = (*NIFTI_SUFFIXES, *NRRD_SUFFIXES, *META_IMAGE_SUFFIXES, ".zip")
_HEAD_BYTES: Final = 4096


class Kind(Enum):
    """How the labels of a case are stored."""

    MASKS = "one mask a structure"
    LABEL_MAP = "one label map"
    DICOM = "DICOM SEG or RTSTRUCT"


@dataclass(frozen=True, slots=True)
class ForeignCase:
    """One case: its name, its labels, and its CT; ``image`` is None where none was found."""

    name: str
    labels: Path
    kind: Kind
    image: Path | None


def find_cases(sources: Sequence[Path], images: Path | None) -> tuple[ForeignCase, ...]:
    """Find the cases.

    Args:
        sources: label maps, SEG or RTSTRUCT files, folders of them, folders of masks, folders of such folders, or
            nnU-Net data sets.
        images: the CT, or a folder of CTs that are called like the labels; None: they lie beside the masks, or in
            ``imagesTr``.

    Raises:
        MissingInputError: a source is not there, or holds no labels.
        SettingsError: two cases have one name, or one CT is given for several cases.
    """
    found: list[tuple[Path, Kind]] = []
    for source in sources:
        if not source.exists():
            raise MissingInputError("There is no such file or folder of labels.", path=source)
        here = _labels_in(source)
        if not here:
            raise MissingInputError(
                "There are no labels here.",
                path=source,
                remedy="Give label maps, SEG or RTSTRUCT files, folders with one mask a structure, or a data set.",
            )
        found += here
    if images is not None and not images.exists():
        raise MissingInputError("There is no such CT or folder of CTs.", path=images)
    single = len(found) == 1 and images is not None and (images.is_file() or not _named(images))
    cases = [
        ForeignCase(case_name(path), path, kind, images if single else _image_of(path, images)) for path, kind in found
    ]
    taken = {case.image for case in cases} & {case.labels for case in cases}
    cases = [case for case in cases if case.labels not in taken]
    if images is not None and images.is_file() and len(cases) > 1:
        raise SettingsError(
            "One CT is given, and labels of several.", path=images, remedy="Give the folder of the CTs."
        )
    names = [case.name for case in cases]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SettingsError(f"Several cases have one name: {', '.join(twice)}.", remedy="Rename their files.")
    return tuple(cases)


def case_name(labels: Path) -> str:
    """Name of a case: that of its labels without endings such as ``_seg`` and ``_labels``."""
    absolute = labels.absolute()
    if absolute.is_dir():
        return absolute.parent.name if absolute.name == _MASKS else absolute.name
    stem = label_stem(absolute) or subject_name(absolute)
    return _LABEL_ENDING.sub("", stem) or stem


def _labels_in(source: Path) -> list[tuple[Path, Kind]]:
    if source.is_file():
        kind = _kind_of_file(source)
        return [] if kind is None else [(source, kind)]
    if (source / DATASET_FILE).is_file() and (source / LABELS).is_dir():
        return _files_in(source / LABELS)
    own = _mask_folder(source)
    if own is not None:
        return [(own, Kind.MASKS)]
    below = [_mask_folder(path) for path in sorted(source.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    return [(path, Kind.MASKS) for path in below if path is not None] + _files_in(source)


def _files_in(folder: Path) -> list[tuple[Path, Kind]]:
    kinds = ((path, _kind_of_file(path)) for path in sorted(folder.iterdir()) if path.is_file())
    return [(path, kind) for path, kind in kinds if kind is not None]


def _kind_of_file(path: Path) -> Kind | None:
    if path.name.startswith("."):
        return None
    if label_stem(path):
        return Kind.LABEL_MAP
    with path.open("rb") as file:
        return Kind.DICOM if is_dicom(file.read(_HEAD_BYTES)) else None


def _mask_folder(folder: Path) -> Path | None:
    """The folder that holds the masks: itself or ``segmentations`` in it; None where half of the names are unknown."""
    for here in (folder / _MASKS, folder):
        if here.is_dir():
            names = list(mask_files(here))
            known = sum(_is_structure(name) for name in names)
            if names and 2 * known >= len(names):
                return here
    return None


def _is_structure(name: str) -> bool:
    return split_side(name)[0] in _foreign_names() or meaning_of(name) is not None


@lru_cache(maxsize=1)
def _foreign_names() -> frozenset[str]:
    return frozenset(split_side(name)[0] for table in table_names() for name in shipped_names(table).values())


def _image_of(labels: Path, images: Path | None) -> Path | None:
    folders = [images] if images is not None else [labels.parent.parent / IMAGES, labels.parent]
    if images is None and labels.is_dir():
        inside = _image_inside(labels.parent if labels.name == _MASKS else labels)
        if inside is not None:
            return inside
    stem = labels.name if labels.is_dir() else label_stem(labels) or subject_name(labels)
    for name in dict.fromkeys((case_name(labels), stem)):
        for folder in folders:
            named = _named(folder) if folder.is_dir() else {}
            for ending in _IMAGE_ENDINGS:
                path = named.get(f"{name}{ending}".lower())
                if path is not None and path != labels:
                    return (_image_inside(path) or path) if path.is_dir() else path
    return None


def _named(folder: Path) -> dict[str, Path]:
    """The scans of a folder by name, in small letters and without the channel."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        scan = path.is_dir() or path.name.lower().endswith(_SCAN_SUFFIXES)
        if scan and not path.name.startswith("."):
            found.setdefault(case_of(subject_name(path)).lower(), path)
    return found


def _image_inside(folder: Path) -> Path | None:
    return next((path for name, path in _named(folder).items() if name in _INSIDE and path.is_file()), None)
