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
from vastus.io.dicom_files import read_dataset
from vastus.io.dicom_headers import CT_IMAGE, SliceHeader
from vastus.io.dicom_store import DicomStore
from vastus.io.padding import AIR_HU

if TYPE_CHECKING:
    from pydicom import Dataset

_PLAIN_SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
_INT16 = np.iinfo(np.int16)
_MAX_PIXELS = 8192 * 8192
_PIXEL_KEYWORDS = (
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)
_LARGEST_RESCALE = 30_000
_TISSUE_HU = (-500.0, 3000.0)
"""A padding value whose HU lies in here is a mistake of the header: real tissue has it too."""


class PixelReader:
    """Reads slices of one store; keeps the frames of the last file, so that a multi-frame file is decoded once."""

    def __init__(self, store: DicomStore) -> None:
        self._store = store
        self._path: Path | None = None
        self._frames: NDArray[Any] = np.empty((0, 0, 0))

    def hounsfield(self, header: SliceHeader) -> NDArray[Any]:
        """Compute the HU of one slice (rows, columns): int16 if slope and intercept are whole numbers, else float32.

        int32 where 16 bits do not hold it: whether that is metal, padding or a mistake is judged with all slices.

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
        try:
            with self._store.open(path) as file:
                dataset = read_dataset(file, force=True)
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
        try:
            decoded = self._by_gdcm(dataset) if dataset.file_meta.TransferSyntaxUID.is_compressed else None
            frames = np.asarray(dataset.pixel_array if decoded is None else decoded)
        except Exception as error:  # decoders raise nearly anything
            name = dataset.file_meta.TransferSyntaxUID.name
            raise UnreadableScanError(
                f"The pixels can't be decoded ({name}); the file may be truncated.",
                path=path,
                remedy="Export the series uncompressed.",
            ) from error
        return frames if frames.ndim == 3 else frames[None]

    def _by_gdcm(self, dataset: Dataset) -> NDArray[Any] | None:
        """Decode the stored values of all frames with GDCM, or return None if GDCM can't.

        Frame by frame, each as a single-frame CT without rescaling: of an Enhanced CT, GDCM would apply it.
        """
        from pydicom.encaps import generate_frames

        count = int(dataset.get("NumberOfFrames") or 1)
        frames = []
        for content in generate_frames(dataset.PixelData, number_of_frames=count):
            frame = self._one_by_gdcm(dataset, content)
            if frame is None:
                return None
            frames.append(frame)
        return np.concatenate(frames) if len(frames) == count else None

    def _one_by_gdcm(self, dataset: Dataset, content: bytes) -> NDArray[Any] | None:
        import SimpleITK as sitk
        from pydicom import Dataset
        from pydicom.dataset import FileMetaDataset
        from pydicom.encaps import encapsulate

        meta: Any = FileMetaDataset()
        copy: Any = Dataset()
        for keyword in _PIXEL_KEYWORDS:
            if keyword in dataset:
                copy[keyword] = dataset[keyword]
        copy.SOPClassUID = meta.MediaStorageSOPClassUID = CT_IMAGE
        copy.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = "2.25.1"
        copy.ImagePositionPatient, copy.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
        copy.PixelSpacing = [1, 1]
        copy.PixelData = encapsulate([content])
        copy["PixelData"].VR, copy["PixelData"].is_undefined_length = "OB", True
        meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
        copy.file_meta = meta
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
    order = ">" if dataset.original_encoding[1] is False else "<"
    dtype = np.dtype(order + ("i2" if int(dataset.PixelRepresentation) else "u2"))
    count = frames * rows * columns
    if len(dataset.PixelData) < count * dtype.itemsize:
        raise UnreadableScanError(
            f"The slice is truncated: {len(dataset.PixelData)} bytes of pixels where {count * 2} are announced.",
            path=path,
            remedy="Export the series again.",
        )
    over = len(dataset.PixelData) - count * dtype.itemsize
    if over >= columns * dtype.itemsize:
        raise UnreadableScanError(
            f"The slice holds {over} bytes of pixels more than its header announces ({columns} x {rows}), so that its"
            " size is not the one it says.",
            path=path,
            remedy="Export the series again.",
        )
    stored = np.frombuffer(dataset.PixelData, dtype, count).reshape(frames, rows, columns)
    bits = int(dataset.get("BitsStored") or 16)
    high = int(dataset.get("HighBit", bits - 1))
    if not 1 <= bits <= 16 or not bits - 1 <= high <= 15:
        raise UnsupportedScanError(f"BitsStored {bits} and HighBit {high} do not fit 16 bits.", path=path)
    # Bits outside mean nothing and may hold old overlays; shifting up and down clears them and keeps the sign.
    above, unused = 15 - high, 16 - bits
    return (stored << above) >> unused if unused else stored


def _rescaled(stored: NDArray[Any], header: SliceHeader) -> NDArray[Any]:
    slope, intercept = header.slope, header.intercept
    hu: NDArray[Any]
    if slope.is_integer() and intercept.is_integer() and max(abs(slope), abs(intercept)) < _LARGEST_RESCALE:
        hu = stored.astype(np.int32) * int(slope) + int(intercept)
        if hu.size and _INT16.min <= hu.min() and hu.max() <= _INT16.max:
            hu = hu.astype(np.int16)
    else:
        hu = stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    for first, last in header.padding:
        if not any(_TISSUE_HU[0] < value * slope + intercept < _TISSUE_HU[1] for value in (first, last)):
            hu[(stored >= first) & (stored <= last)] = AIR_HU
    return hu
