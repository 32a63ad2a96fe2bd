"""The sandbox in which the commands of the documentation run: small synthetic files under the names that pages use."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from own_scan import write_own_data_set
from vastus.anatomy import LABELS, SIDES
from vastus.cohort.example import write_example
from vastus.io.csv_tables import VolumeRow, write_volume_rows
from vastus.io.labels import write_labels
from vastus.synthesis.phantom import LabelledScan, make_phantom
from vastus.volume import Volume


@pytest.fixture(scope="session")
def sandbox_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything a page may name, made once.

    - ``scan.nii.gz``, ``labels.nii.gz``: a phantom from hip to knee and its labels; ``dicom_folder/``: the same scan
    - ``scans/first.nii.gz``, ``scans/second.nii.gz``: two scans in one folder, of the lower half of the thighs
    - ``first/``, ``second/``: ``scan.nii.gz``, ``labels.nii.gz``, ``volumes.csv`` of each
    - ``reference.nii.gz``, ``prediction.nii.gz``: label maps to compare, the predicted one a voxel off
    - ``references/``, ``predictions/``, ``unetr/``, ``unet/``: the same for three scans, ``unet/`` two voxels off
    - ``anna/``, ``bert/``, ``cleo/``, ``dora/``: the same of four readers
    - ``volumes.csv``, ``clinical.csv``: a simulated cohort
    - ``hipdata/``: a labelled data set with structures of a lab's own
    """
    folder = tmp_path_factory.mktemp("sandbox")
    first = make_phantom((3.0, 3.0, 5.0))
    _save_ct(first.ct, folder / "scan.nii.gz")
    write_labels(first.labels, folder / "labels.nii.gz")
    _save_dicom(first.ct, folder / "dicom_folder")
    (folder / "scans").mkdir()
    for name, height in {"first": 610.0, "second": 520.0}.items():
        scan = make_phantom((4.0, 4.0, 6.0), z_range_mm=(-20.0, height))
        (folder / name).mkdir()
        _save_ct(scan.ct, folder / name / "scan.nii.gz")
        write_labels(scan.labels, folder / name / "labels.nii.gz")
        write_volume_rows(_measure(name, scan), folder / name / "volumes.csv")
        # Pages segment these again and again: thighs without hips take less time.
        _save_ct(
            make_phantom((4.0, 4.0, 6.0), z_range_mm=(-20.0, 0.4 * height)).ct, folder / "scans" / f"{name}.nii.gz"
        )
    _save_label_maps_to_compare(folder)
    write_example(folder)
    write_own_data_set(folder / "hipdata", table=False)
    return folder


@pytest.fixture(scope="session")
def sandbox(sandbox_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a page: a copy of the files, kept from block to block."""
    folders: dict[str, Path] = {}

    def of_page(name: str) -> Path:
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp("page") / "work"
            shutil.copytree(sandbox_files, folders[name])
        return folders[name]

    return of_page


def _save_ct(volume: Volume, path: Path) -> None:
    import nibabel as nib

    image = nib.Nifti1Image(volume.array, volume.affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


def _measure(subject: str, scan: LabelledScan) -> list[VolumeRow]:
    rows = []
    for label in LABELS:
        inside = scan.labels.array == label.value
        if label.side in SIDES:
            found = bool(inside.any())
            volume = float(inside.sum() * scan.labels.voxel_volume_mm3) if found else None
            mean = float(scan.ct.array[inside].mean()) if found else None
            cut = bool(inside[:, :, [0, -1]].any())
            rows.append(VolumeRow(subject, label.structure.key, label.structure.group, label.side, volume, mean, cut))
    return rows


_VOXELS_OFF = {
    "references": 0,
    "predictions": 1,
    "unetr": 1,
    "unet": 2,
    "anna": 0,
    "bert": 1,
    "cleo": 1,
    "dora": 2,
}
"""Folder -> voxels by which its label maps are moved."""


def _save_label_maps_to_compare(folder: Path) -> None:
    for number, height in enumerate((480.0, 540.0, 610.0), start=1):
        reference = make_phantom((5.0, 5.0, 10.0), z_range_mm=(-20.0, height)).labels
        for name, voxels in _VOXELS_OFF.items():
            (folder / name).mkdir(exist_ok=True)
            moved = reference.with_array(np.roll(reference.array, voxels, axis=1))
            write_labels(moved, folder / name / f"case{number}.nii.gz")
    shutil.copy(folder / "references" / "case1.nii.gz", folder / "reference.nii.gz")
    shutil.copy(folder / "predictions" / "case1.nii.gz", folder / "prediction.nii.gz")


def _save_dicom(volume: Volume, folder: Path) -> None:
    """A head-first supine series: rows to the back, columns to the patient's left."""
    folder.mkdir()
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    spacing = volume.spacing_mm
    shape = volume.shape
    for k in range(shape[2]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        slice_ = Dataset()
        slice_.file_meta = meta
        slice_.SOPClassUID, slice_.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        slice_.StudyInstanceUID, slice_.SeriesInstanceUID, slice_.FrameOfReferenceUID = study, series, frame
        slice_.PatientID, slice_.PatientName, slice_.StudyID = "phantom", "Phantom", "1"
        slice_.Modality, slice_.PatientPosition, slice_.ImageType = "CT", "HFS", ["ORIGINAL", "PRIMARY", "AXIAL"]
        slice_.SeriesNumber, slice_.InstanceNumber = 1, k + 1
        corner = volume.affine @ [shape[0] - 1, shape[1] - 1, k, 1]
        slice_.ImagePositionPatient = [float(-corner[0]), float(-corner[1]), float(corner[2])]
        slice_.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        slice_.PixelSpacing, slice_.SliceThickness = [spacing[1], spacing[0]], spacing[2]
        slice_.Rows, slice_.Columns, slice_.SamplesPerPixel = shape[1], shape[0], 1
        slice_.PhotometricInterpretation = "MONOCHROME2"
        slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit, slice_.PixelRepresentation = 16, 16, 15, 1
        slice_.RescaleSlope, slice_.RescaleIntercept, slice_.RescaleType = 1, 0, "HU"
        slice_.PixelData = np.ascontiguousarray(volume.array[::-1, ::-1, k].T).astype("<i2").tobytes()
        slice_.save_as(folder / f"slice{k:04d}.dcm", enforce_file_format=True)
