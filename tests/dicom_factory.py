"""Synthetic DICOM series, written slice by slice, with everything that can be wrong in one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, generate_uid

CT = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
MR = "1.2.840.10008.5.1.4.1.1.4"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"

HEAD_FIRST_SUPINE = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
PRONE = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)


@dataclass(frozen=True)
class SeriesSpec:
    """How a series is written. ``hu`` has shape (slices, rows, columns); positions are LPS mm of the first voxel."""

    hu: np.ndarray
    positions: list[tuple[float, float, float]]
    orientation: tuple[float, ...] = HEAD_FIRST_SUPINE
    pixel_spacing: tuple[float, float] = (2.0, 2.0)
    slopes: tuple[float, ...] = (1.0,)
    intercept: float = -1024.0
    series_uid: str = field(default_factory=generate_uid)
    study_uid: str = "1.2.3.4"
    patient: str = "P1"
    frame_of_reference: str = "1.2.3.5"
    modality: str = "CT"
    sop_class: str = CT
    image_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "AXIAL")
    description: str = "thigh"
    kernel: str = "B30f"
    compressed: bool = False
    signed: bool = False
    extra: dict[str, Any] = field(default_factory=dict)

    def but(self, **changes: Any) -> SeriesSpec:
        return replace(self, **changes)


def ct_values(shape: tuple[int, int, int] = (8, 12, 10), seed: int = 0) -> np.ndarray:
    """Plausible HU, every voxel different from its neighbours: air around, fat and muscle inside."""
    rng = np.random.default_rng(seed)
    hu = rng.integers(-120, 90, size=shape)
    hu[:, :2, :] = -1000
    hu[:, :, :2] = -1000
    return hu.astype(np.int16)


def series(count: int = 8, *, step: float = 3.0, **changes: Any) -> SeriesSpec:
    """An ordinary axial series of ``count`` slices, first slice lowest."""
    hu = changes.pop("hu", None)
    hu = ct_values((count, 12, 10)) if hu is None else hu
    positions = [(-9.0, -11.0, 100.0 + step * k) for k in range(count)]
    return SeriesSpec(hu, positions).but(**changes)


def write_series(folder: Path, spec: SeriesSpec, *, prefix: str = "s", seed: int = 1) -> list[Path]:
    """Write a series with shuffled file names and meaningless instance numbers; paths come back in slice order."""
    folder.mkdir(parents=True, exist_ok=True)
    names = np.random.default_rng(seed).permutation(len(spec.positions))
    paths = []
    for k, position in enumerate(spec.positions):
        path = folder / f"{prefix}{names[k]:03d}.dcm"
        _slice(path, spec, k, position, int(names[k])).save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def write_enhanced(path: Path, spec: SeriesSpec) -> None:
    """The same slices as the frames of one Enhanced CT, in reverse order."""
    dataset = _common(path, spec, ENHANCED_CT)
    order = list(range(len(spec.positions)))[::-1]
    shared = Dataset()
    shared.PixelMeasuresSequence = [_item(PixelSpacing=list(spec.pixel_spacing))]
    shared.PlaneOrientationSequence = [_item(ImageOrientationPatient=list(spec.orientation))]
    shared.PixelValueTransformationSequence = [
        _item(RescaleSlope=1.0, RescaleIntercept=spec.intercept, RescaleType="HU")
    ]
    frames = []
    for k in order:
        frame = Dataset()
        frame.PlanePositionSequence = [_item(ImagePositionPatient=list(spec.positions[k]))]
        frames.append(frame)
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    dataset.NumberOfFrames = len(order)
    dataset.PixelData = (spec.hu[order].astype(np.int32) - int(spec.intercept)).astype("<u2").tobytes()
    dataset.save_as(path, enforce_file_format=True)


def recompress(path: Path, compressor: str) -> None:
    """Replace the pixels of a slice by the same ones compressed by GDCM: JPEG (lossless) or JPEG2000 (lossless)."""
    import pydicom
    import SimpleITK as sitk

    dataset = pydicom.dcmread(path)
    image = sitk.GetImageFromArray(dataset.pixel_array)
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    compressed = path.with_suffix(".compressed")
    writer.SetFileName(str(compressed))
    writer.UseCompressionOn()
    writer.SetCompressor(compressor)
    writer.Execute(image)
    other = pydicom.dcmread(compressed)
    compressed.unlink()
    dataset.PixelData = other.PixelData
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.file_meta.TransferSyntaxUID = other.file_meta.TransferSyntaxUID
    dataset.save_as(path, enforce_file_format=True)


def _item(**values: Any) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def _common(path: Path, spec: SeriesSpec, sop_class: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    dataset.PatientID, dataset.PatientName = spec.patient, "Secret^Name"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = spec.study_uid, spec.series_uid
    dataset.FrameOfReferenceUID = spec.frame_of_reference
    dataset.Modality, dataset.ImageType = spec.modality, list(spec.image_type)
    dataset.SeriesDescription, dataset.ConvolutionKernel = spec.description, spec.kernel
    dataset.Rows, dataset.Columns = spec.hu.shape[1:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, int(spec.signed)
    return dataset


def _slice(path: Path, spec: SeriesSpec, k: int, position: tuple[float, ...], number: int) -> FileDataset:
    dataset = _common(path, spec, spec.sop_class)
    slope = spec.slopes[k % len(spec.slopes)]
    dataset.InstanceNumber = number
    dataset.ImagePositionPatient = [round(v, 6) for v in position]
    dataset.ImageOrientationPatient = [round(v, 8) for v in spec.orientation]
    dataset.PixelSpacing = list(spec.pixel_spacing)
    dataset.RescaleSlope, dataset.RescaleIntercept = slope, spec.intercept
    stored = np.round((spec.hu[k].astype(np.float64) - spec.intercept) / slope)
    dataset.PixelData = stored.astype("<i2" if spec.signed else "<u2").tobytes()
    for keyword, value in spec.extra.items():
        setattr(dataset, keyword, value)
    if spec.compressed:
        dataset.compress(RLELossless, generate_instance_uid=False)
    return dataset
