"""A small CT series with a label map: boxes of known size, one with a hole, both sides, one side unknown."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import dicom_factory as factory
from vastus.dicom.draft import DicomContent
from vastus.dicom.objects import Algorithm
from vastus.io.scans import read_scan
from vastus.morphometry import measure_volumes

SHAPE = (9, 40, 36)  # slices, rows, columns
FULL_HEADER = {
    "PatientBirthDate": "19500101",
    "PatientSex": "F",
    "StudyDate": "20250102",
    "StudyTime": "101112",
    "StudyID": "1",
    "AccessionNumber": "A1",
    "ReferringPhysicianName": "",
    "StudyDescription": "CT thigh",
    "SeriesNumber": 3,
    "Manufacturer": "Test",
    "PositionReferenceIndicator": "",
    "SliceThickness": 3.0,
}


def ct_series() -> factory.SeriesSpec:
    return factory.series(SHAPE[0], hu=factory.ct_values(SHAPE), pixel_spacing=(1.5, 2.0), extra=FULL_HEADER)


def write_ct_folder(folder: Path) -> Path:
    factory.write_series(folder, ct_series())
    return folder


def label_values(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Shape (slices, rows, columns)."""
    values = np.zeros(shape, np.uint8)
    values[1:6, 5:15, 4:12] = 101  # sartorius right, 10 x 8 pixels
    values[2:5, 5:15, 20:30] = 201
    values[2:5, 8:11, 23:26] = 0  # a hole
    values[3:8, 20:30, 4:16] = 128  # femur right
    values[4, 22, 6] = 0  # a hole of one pixel
    values[0:2, 30:36, 20:30] = 215  # gluteus medius left, at the lowest slice
    values[6, 2, 2] = values[6, 3, 3] = 17  # two pixels that touch at a corner, side unknown
    return values


def content_of(folder: Path, values: np.ndarray) -> DicomContent:
    scan = read_scan(folder)
    labels = scan.volume.with_array(values.transpose(2, 1, 0))
    rows = tuple(measure_volumes(scan.volume, labels, "scan"))
    return DicomContent(scan, labels, rows, Algorithm("toy (0123456789ab)"))
