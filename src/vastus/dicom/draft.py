"""The DICOM results of one scan while they are made: what they are made of, and what several of them share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vastus.anatomy import BUILT_IN, StructureTable
from vastus.dicom.objects import Algorithm
from vastus.dicom.seg import SegKind, write_seg
from vastus.dicom.source import LabelledSeries
from vastus.io.csv_tables import VolumeRow
from vastus.io.scan_types import Scan
from vastus.io.stops import NO_STOPS, Stops
from vastus.io.tables import SEG_FILE
from vastus.volume import Volume

if TYPE_CHECKING:
    from pydicom import Dataset


@dataclass(frozen=True, slots=True, eq=False)
class DicomContent:
    """What the results are made of.

    Attributes:
        scan: as read, from DICOM.
        labels: uint8 label values on the grid of the scan.
        rows: the rows of ``volumes.csv``.
        algorithm: what made the labels.
        table: of the structures.
        stops: what must stop a reader.
    """

    scan: Scan
    labels: Volume
    rows: tuple[VolumeRow, ...]
    algorithm: Algorithm
    table: StructureTable = BUILT_IN
    stops: Stops = NO_STOPS


class DicomDraft:
    """The results of one scan while they are being written; what several of them need is made once."""

    def __init__(self, content: DicomContent, series: LabelledSeries, folder: Path) -> None:
        """Take what the results are made of, and the folder that they are written to."""
        self.content, self.series = content, series
        self._folder = folder
        self._seg: Dataset | None = None

    def segment(self, kind: SegKind) -> None:
        """Write the segmentation."""
        self._seg = write_seg(self.series, self.content.algorithm, self._folder / SEG_FILE, kind)

    @property
    def segmentation(self) -> Dataset:
        """The segmentation that a report refers to; a BINARY one is written where none was asked for."""
        if self._seg is None:
            self.segment(SegKind.BINARY)
        assert self._seg is not None
        return self._seg

    def save(self, name: str, dataset: Dataset) -> None:
        """Write one object."""
        dataset.save_as(self._folder / name, enforce_file_format=True)
