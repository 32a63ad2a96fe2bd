"""The scans of a project: found in its folder, read once, served as NIfTI in HU.

A case's id is made of its file's or folder's name. The first time that voxels are needed, the scan is read by
``vastus.io`` and written as ``image.nii.gz``; from then on this file is the case: labels lie on its grid, the network
sees it, and so does every client, whatever format the scan came in.
"""

from __future__ import annotations

import hashlib
import json
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np

from vastus.annotation.names import name_from
from vastus.annotation.project.layout import CASE_FILE, DATASET_FOLDER, IMAGE_FILE, STATE_FOLDER, Layout
from vastus.annotation.refusals import AlreadyThereError, BadNameError, UnknownCaseError
from vastus.errors import MissingInputError, VastusError
from vastus.io.atomic import atomic_path, write_text
from vastus.io.dicom_files import HEAD_BYTES, is_dicom
from vastus.io.itk_images import META_IMAGE_SUFFIXES, NRRD_SUFFIXES
from vastus.io.nifti import NIFTI_SUFFIXES
from vastus.io.scan_types import VoxelGrid
from vastus.io.scans import read_scan
from vastus.volume import Volume

_FILE_SUFFIXES: Final = (*NIFTI_SUFFIXES, *NRRD_SUFFIXES, *META_IMAGE_SUFFIXES, ".zip")
_FILES_LOOKED_AT: Final = 20
_OWN_FOLDERS: Final = frozenset({STATE_FOLDER, DATASET_FOLDER})


@dataclass(frozen=True, slots=True)
class Case:
    """A scan of the project."""

    id: str
    source: Path


class Cases:
    """The scans of one project. Safe to use from several threads."""

    def __init__(self, layout: Layout) -> None:
        if not layout.root.is_dir():
            raise MissingInputError("There is no such folder of scans.", path=layout.root)
        self.layout = layout
        self.readable_by_others = layout.make()
        self._found: dict[str, Case] = {}
        self._problems: dict[str, str] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()
        self._adding = threading.Lock()
        self.rescan()

    def rescan(self) -> None:
        """Look into the folder again: scans may be added while the server runs."""
        with self._guard:
            sources = [p for p in sorted(self.layout.root.iterdir()) if _may_be_scan(p)]
            if self.layout.uploaded.is_dir():
                sources += [p for p in sorted(self.layout.uploaded.iterdir()) if _may_be_scan(p)]
            known = self._known_ids()
            ids = dict(known)
            for source in sources:
                relative = source.relative_to(self.layout.root).as_posix()
                if relative not in ids:
                    ids[relative] = _unused_id(source.name, set(ids.values()))
            if ids != known:
                write_text(self.layout.known_cases, json.dumps(ids, indent=2) + "\n")
            found = [Case(ids[p.relative_to(self.layout.root).as_posix()], p) for p in sources]
            self._found = {case.id: case for case in found}

    def _known_ids(self) -> dict[str, str]:
        """Ids given out so far. A scan keeps its own for good: its labels lie under it."""
        try:
            return dict(json.loads(self.layout.known_cases.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return {}

    def all(self) -> tuple[Case, ...]:
        """All scans, by id."""
        with self._guard:
            found = dict(self._found)
        return tuple(found[name] for name in sorted(found))

    def get(self, case_id: str) -> Case:
        """One scan.

        Raises:
            UnknownCaseError: no such scan.
        """
        with self._guard:
            case = self._found.get(case_id)
        if case is None:
            self.rescan()
            with self._guard:
                case = self._found.get(case_id)
        if case is None:
            raise UnknownCaseError("There is no such case.", remedy="GET /api/cases lists them.")
        return case

    def problem(self, case_id: str) -> str | None:
        """Why the scan could not be read, if it was tried."""
        return self._problems.get(case_id)

    def grid(self, case_id: str) -> VoxelGrid | None:
        """Shape and affine, without reading voxels; ``None`` for a scan that must be read to know it (DICOM)."""
        case = self.get(case_id)
        described = self.layout.case(case_id) / CASE_FILE
        if described.is_file():
            values = json.loads(described.read_text(encoding="utf-8"))
            shape = (int(values["shape"][0]), int(values["shape"][1]), int(values["shape"][2]))
            return VoxelGrid(shape, np.array(values["affine"], dtype=np.float64))
        return _header_grid(case.source, case.source.stat().st_mtime_ns)

    def image_path(self, case_id: str) -> Path:
        """The scan as NIfTI in HU; made if it is not there yet.

        Raises:
            UnknownCaseError: no such scan.
            InputError: the scan can't be read; the reason is kept for the list of cases.
        """
        case = self.get(case_id)
        folder = self.layout.case(case_id)
        path = folder / IMAGE_FILE
        if (folder / CASE_FILE).is_file():
            return path
        with self._guard:
            lock = self._locks.setdefault(case_id, threading.Lock())
        with lock:
            if not (folder / CASE_FILE).is_file():
                self._prepare(case, folder)
        return path

    def image(self, case_id: str) -> Volume:
        """The voxels of a scan, in HU."""
        from vastus.io.nifti import read_nifti

        return read_nifti(self.image_path(case_id))

    def add(self, case_id: str, scan: Volume) -> Case:
        """Take in a scan that came over the network.

        Raises:
            AlreadyThereError: a scan of that id exists, or did.
        """
        self.layout.uploaded.mkdir(parents=True, exist_ok=True)
        path = self.layout.uploaded / f"{case_id}.nii.gz"
        with self._adding:
            if case_id in self._known_ids().values():
                raise AlreadyThereError("A case of that name exists.", remedy="Choose another name.")
            write_image(scan, path)
            self.rescan()
        return self.get(case_id)

    def _prepare(self, case: Case, folder: Path) -> None:
        try:
            scan = read_scan(case.source)
        except VastusError as error:
            self._problems[case.id] = error.problem
            raise
        self._problems.pop(case.id, None)
        folder.mkdir(parents=True, exist_ok=True)
        write_image(scan.volume, folder / IMAGE_FILE)
        described: dict[str, Any] = {
            "shape": list(scan.volume.shape),
            "affine": scan.volume.affine.tolist(),
            "warnings": scan.source.warnings,
        }
        # Last: where it lies, the image is whole.
        write_text(folder / CASE_FILE, json.dumps(described, indent=2) + "\n")


def write_image(volume: Volume, path: Path) -> None:
    """Write an image as compressed NIfTI: uint8, int16 or float32, nothing in the header but the grid."""
    import nibabel

    array = volume.array
    if array.dtype not in (np.int16, np.uint8):
        low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
        whole = array.dtype.kind in "iu" and np.iinfo(np.int16).min <= low and high <= np.iinfo(np.int16).max
        array = array.astype(np.int16 if whole else np.float32)
    image = nibabel.Nifti1Image(np.asfortranarray(array), volume.affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(volume.affine, code=1)
    image.set_sform(volume.affine, code=1)
    with atomic_path(path) as temporary:
        nibabel.save(image, temporary)


def _may_be_scan(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    if path.is_dir():
        with suppress(OSError):  # a folder that went away, or that nobody may read
            return path.name not in _OWN_FOLDERS and _holds_dicom(path, path.stat().st_mtime_ns)
        return False
    return path.name.lower().endswith(_FILE_SUFFIXES)


@lru_cache(maxsize=4096)
def _holds_dicom(folder: Path, _mtime_ns: int) -> bool:
    """Whether one of the first files of a folder (or of its subfolders) is DICOM; a file nobody may read is none."""
    files = (p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    for path in islice(files, _FILES_LOOKED_AT):
        with suppress(OSError), path.open("rb") as file:
            if is_dicom(file.read(HEAD_BYTES)):
                return True
    return False


def _unused_id(name: str, taken: set[str]) -> str:
    try:
        base_id = name_from(name, "scan")
    except BadNameError:
        # Without any usable character: told apart by a hash.
        base_id = "scan_" + hashlib.sha256(name.encode()).hexdigest()[:8]
    case_id, number = base_id, 1
    folded = {other.casefold() for other in taken}  # on some disks case makes no other folder
    while case_id.casefold() in folded:
        number += 1
        case_id = f"{base_id}_{number}"
    return case_id


@lru_cache(maxsize=4096)
def _header_grid(source: Path, _mtime_ns: int) -> VoxelGrid | None:
    name = source.name.lower()
    try:
        if name.endswith(NIFTI_SUFFIXES):
            import nibabel

            image: Any = nibabel.load(source)
            shape = tuple(int(n) for n in image.shape)
            while len(shape) > 3 and shape[-1] == 1:
                shape = shape[:-1]
            return VoxelGrid(shape[:3], np.asarray(image.affine)) if len(shape) == 3 else None
        if source.is_file() and name.endswith((*NRRD_SUFFIXES, *META_IMAGE_SUFFIXES)):
            return _itk_grid(source)
    except Exception:
        # Only a preview of the list: reading the scan gives the reason by name.
        return None
    return None


def _itk_grid(source: Path) -> VoxelGrid | None:
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(source))
    reader.ReadImageInformation()
    if reader.GetDimension() != 3:
        return None
    affine = np.eye(4)
    affine[:3, :3] = np.array(reader.GetDirection()).reshape(3, 3) * np.array(reader.GetSpacing())
    affine[:3, 3] = reader.GetOrigin()
    size = reader.GetSize()
    lps = np.diag([-1.0, -1.0, 1.0, 1.0])
    return VoxelGrid((int(size[0]), int(size[1]), int(size[2])), lps @ affine)
