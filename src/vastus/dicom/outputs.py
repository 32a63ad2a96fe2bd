"""The DICOM results of one scan, chosen by name and written to a folder."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from vastus.dicom.formats import DICOM_FORMATS
from vastus.dicom.objects import Algorithm
from vastus.dicom.seg import SegKind, write_seg
from vastus.dicom.source import LabelledSeries, labelled_series
from vastus.errors import OutputError
from vastus.io.atomic import atomic_folder
from vastus.io.csv_tables import VolumeRow
from vastus.io.output_format import OutputFormat, choose_formats
from vastus.io.scan_types import Scan
from vastus.volume import Volume

if TYPE_CHECKING:
    from pydicom import Dataset

    from vastus.pipeline import SegmentedScan

DICOM_FOLDER: Final = "dicom"
_SEG_FILE: Final = "seg.dcm"
_OUR_FILES: Final = frozenset({_SEG_FILE, "sr.dcm", "rtstruct.dcm", "report.dcm"})
DicomFormat: TypeAlias = "OutputFormat[DicomDraft]"


@dataclass(frozen=True, slots=True, eq=False)
class DicomContent:
    """What the results are made of.

    Attributes:
        scan: as read, from DICOM.
        labels: uint8 label values on the grid of the scan.
        rows: the rows of ``volumes.csv``.
        algorithm: what made the labels.
    """

    scan: Scan
    labels: Volume
    rows: tuple[VolumeRow, ...]
    algorithm: Algorithm


class DicomDraft:
    """The results of one scan while they are being written; what several of them need is made once."""

    def __init__(self, content: DicomContent, series: LabelledSeries, folder: Path) -> None:
        """Take what the results are made of, and the folder that they are written to."""
        self.content, self.series = content, series
        self._folder = folder
        self._seg: Dataset | None = None

    def segment(self, kind: SegKind) -> str:
        """Write the segmentation; returns the name of its file."""
        self._seg = write_seg(self.series, self.content.algorithm, self._folder / _SEG_FILE, kind)
        return _SEG_FILE

    @property
    def segmentation(self) -> Dataset:
        """The segmentation that a report refers to; a BINARY one is written where none was asked for."""
        if self._seg is None:
            self.segment(SegKind.BINARY)
        assert self._seg is not None
        return self._seg

    def save(self, name: str, dataset: Dataset) -> tuple[str, ...]:
        """Write one object; returns the name of its file."""
        dataset.save_as(self._folder / name, enforce_file_format=True)
        return (name,)

    def names(self, formats: Sequence[DicomFormat]) -> tuple[str, ...]:
        """Write formats in the order of the table; returns the names of all files, the segmentation first."""
        made = [name for entry in DICOM_FORMATS if entry in formats for name in entry.write(self)]
        first = [] if self._seg is None else [_SEG_FILE]
        return tuple(dict.fromkeys([*first, *made]))


def parse_formats(text: str) -> tuple[DicomFormat, ...]:
    """Read a list of DICOM formats such as ``dicom-seg,sr``; see ``output_format.choose_formats``.

    Raises:
        SettingsError: an unknown name, or both kinds of segmentation.
        MissingExtraError: a library is not installed.
    """
    return choose_formats(text, DICOM_FORMATS)


def write_dicom(content: DicomContent, formats: Sequence[DicomFormat], folder: Path) -> tuple[Path, ...]:
    """Write the chosen objects as ``folder/dicom/seg.dcm``, ``sr.dcm``, ``rtstruct.dcm``, ``report.dcm``.

    A report refers to a segmentation: with ``sr`` alone, a BINARY one is written too. Older DICOM results in the
    folder are replaced as a whole.

    Raises:
        UnsupportedScanError, GeometryError, LabelError: as ``labelled_series``.
        OutputError: the folder can't be written to, or holds something else than DICOM results of Vastus.
    """
    import warnings

    target = folder / DICOM_FOLDER
    _refuse_what_is_not_ours(target)
    series = labelled_series(content.scan.source, content.labels)
    shutil.rmtree(target, ignore_errors=True)
    with atomic_folder(target) as staging, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of highdicom quote the patient's name
        names = DicomDraft(content, series, staging).names(formats)
    return tuple(target / name for name in names)


def _refuse_what_is_not_ours(target: Path) -> None:
    """Refuse to replace a folder that holds more than our results: that of the scan itself may be called ``dicom``."""
    others = sorted({path.name for path in target.iterdir()} - _OUR_FILES) if target.is_dir() else []
    if others:
        raise OutputError(
            f"The folder for the DICOM results holds something else, such as {others[0]}.",
            path=target,
            remedy="Choose another output folder with -o.",
        )


def write_dicom_of(done: SegmentedScan, formats: Sequence[DicomFormat]) -> tuple[Path, ...]:
    """Write the DICOM results of a segmented scan beside its other results; see ``write_dicom``."""
    weights = done.record["weights"]
    algorithm = Algorithm(f"{weights['name']} ({weights['sha256'][:12]})")
    return write_dicom(DicomContent(done.scan, done.segmentation.labels, done.rows, algorithm), formats, done.folder)
