"""Pixels of DICOM slices in Hounsfield units.

Uncompressed 16-bit data is viewed in place. Compressed files (JPEG lossless, JPEG-LS, JPEG 2000, RLE) are decoded by
GDCM inside SimpleITK, which needs no further package; what it can't decode pydicom tries.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vastus.errors import InputError, UnreadableScanError, UnsupportedScanError
from vastus.io.dicom_headers import SliceHeader
from vastus.io.dicom_store import DicomStore
from vastus.io.hounsfield import AIR_HU

if TYPE_CHECKING:
    from pydicom import Dataset

_PLAIN_SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99")
_INT16 = np.iinfo(np.int16)
_MAX_PIXELS = 8192 * 8192
_TISSUE_HU = (-500.0, 3000.0)
"""A padding value whose HU lies in here is a mistake of the header: real tissue has it too."""


class PixelReader:
    """Reads slices of one store; keeps the frames of the last file, so that a multi-frame file is decoded once."""

    def __init__(self, store: DicomStore) -> None:
        self._store = store
        self._path: Path | None = None
        self._frames: NDArray[Any] = np.empty((0, 0, 0))

    def hounsfield(self, header: SliceHeader) -> NDArray[Any]:
        """One slice, shape (rows, columns): int16 where slope and intercept are whole numbers, else float32.

        Raises:
            UnreadableScanError: truncated, damaged, or compressed in a way that can't be decoded.
            UnsupportedScanError: inverted or of another size than its header says.
        """
        if header.rows * header.columns > _MAX_PIXELS:
            raise UnsupportedScanError(
                f"The header announces {header.columns} x {header.rows} pixels, far more than any CT.", path=header.path
            )
        if header.path != self._path:
            self._frames = self._decode_safely(header.path)
            self._path = header.path
        if header.frame >= len(self._frames) or self._frames.shape[1:] != (header.rows, header.columns):
            raise UnreadableScanError("The pixels do not have the size that the header announces.", path=header.path)
        return _rescaled(self._frames[header.frame], header)

    def _decode_safely(self, path: Path) -> NDArray[Any]:
        try:
            return self._decode(path)
        except InputError:
            raise
        except Exception as error:  # attributes of a damaged header can be of any kind, or missing
            raise UnreadableScanError(
                f"The file is damaged ({type(error).__name__}).", path=path, remedy="Export the series again."
            ) from error

    def _decode(self, path: Path) -> NDArray[Any]:
        from pydicom import dcmread

        try:
            with self._store.open(path) as file:
                dataset = dcmread(file, force=True)
        except UnreadableScanError:
            raise
        except Exception as error:  # a damaged file makes pydicom raise nearly anything
            raise UnreadableScanError(
                f"The file is damaged ({type(error).__name__}).", path=path, remedy="Export the series again."
            ) from error
        if "PixelData" not in dataset or not dataset.PixelData:
            raise UnreadableScanError(
                "The slice holds no pixels; the file may be truncated.", path=path, remedy="Export the series again."
            )
        if dataset.get("PhotometricInterpretation", "MONOCHROME2") != "MONOCHROME2":
            raise UnsupportedScanError(
                f"The pixels are {dataset.PhotometricInterpretation}, not MONOCHROME2.", path=path
            )
        syntax = str(dataset.file_meta.get("TransferSyntaxUID", "")) if hasattr(dataset, "file_meta") else ""
        if syntax in ("", *_PLAIN_SYNTAXES) and dataset.get("BitsAllocated") == 16:
            return _view(dataset, path)
        return self._decompress(dataset, path)

    def _decompress(self, dataset: Dataset, path: Path) -> NDArray[Any]:
        single = int(dataset.get("NumberOfFrames") or 1) == 1
        try:
            decoded = (
                self._by_gdcm(path, dataset) if single and dataset.file_meta.TransferSyntaxUID.is_compressed else None
            )
            frames = np.asarray(dataset.pixel_array if decoded is None else decoded)
        except Exception as error:  # decoders raise nearly anything
            name = dataset.file_meta.TransferSyntaxUID.name
            raise UnreadableScanError(
                f"The pixels can't be decoded ({name}); the file may be truncated.", path=path,
                remedy="Export the series uncompressed.",
            ) from error  # fmt: skip
        return frames if frames.ndim == 3 else frames[None]

    def _by_gdcm(self, path: Path, dataset: Dataset) -> NDArray[Any] | None:
        """Stored values, or None where GDCM can't. Always from a copy without rescaling, which GDCM would apply."""
        import SimpleITK as sitk
        from pydicom import Dataset

        copy = Dataset(dataset)
        copy.file_meta = dataset.file_meta
        for keyword in ("RescaleSlope", "RescaleIntercept"):
            copy.pop(keyword, None)
        with tempfile.TemporaryDirectory(prefix="vastus-") as folder:
            file = Path(folder) / "slice.dcm"
            copy.save_as(file, enforce_file_format=True)
            try:
                image = sitk.ReadImage(str(file), imageIO="GDCMImageIO")
            except RuntimeError:
                return None
        array: NDArray[Any] = sitk.GetArrayFromImage(image)
        expected = np.int16 if int(dataset.PixelRepresentation) else np.uint16
        return array if array.dtype == expected else array.astype(np.int32)


def _view(dataset: Dataset, path: Path) -> NDArray[Any]:
    frames, rows, columns = int(dataset.get("NumberOfFrames") or 1), int(dataset.Rows), int(dataset.Columns)
    dtype = np.dtype("<i2" if int(dataset.PixelRepresentation) else "<u2")
    count = frames * rows * columns
    if len(dataset.PixelData) < count * dtype.itemsize:
        raise UnreadableScanError(
            f"The slice is truncated: {len(dataset.PixelData)} bytes of pixels where {count * 2} are announced.",
            path=path, remedy="Export the series again.",
        )  # fmt: skip
    stored = np.frombuffer(dataset.PixelData, dtype, count).reshape(frames, rows, columns)
    unused = 16 - int(dataset.get("BitsStored") or 16)
    # Bits above BitsStored mean nothing and may hold old overlays; shifting up and down clears them and keeps the sign.
    return (stored << unused) >> unused if unused else stored


def _rescaled(stored: NDArray[Any], header: SliceHeader) -> NDArray[Any]:
    slope, intercept = header.slope, header.intercept
    hu: NDArray[Any]
    if slope.is_integer() and intercept.is_integer():
        hu = stored.astype(np.int32) * int(slope) + int(intercept)
        # Metal may lie above what 16 bits hold; it is metal all the same.
        hu = np.clip(hu, _INT16.min, _INT16.max).astype(np.int16)
    else:
        hu = stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    if header.padding is not None:
        padded_hu = header.padding * slope + intercept
        if not _TISSUE_HU[0] < padded_hu < _TISSUE_HU[1]:
            hu[stored == header.padding] = AIR_HU
    return hu
