"""The processor that segments: a scan to labels, volumes and, on request, further measures and a page."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vastus.anatomy import BUILT_IN, StructureTable
from vastus.batch.archive import header_line, rows_as_text, stored_rows
from vastus.batch.review import STOP_PREFIX
from vastus.batch.summary import THUMBNAIL_FILE
from vastus.batch.task import Processor, Product, Task, Work
from vastus.errors import MissingInputError, UnreadableScanError, UnsupportedScanError
from vastus.inference.choices import RuntimeOptions
from vastus.io.atomic import write_text
from vastus.io.folders import is_there
from vastus.io.tables import (
    ALARMS,
    ALL,
    BOTH_SIDES,
    CONFIDENCE,
    CONFIDENCE_COLUMNS,
    CONFIDENCE_FILE,
    LABELS_FILE,
    MEASURE_COLUMNS,
    MEASURES_FILE,
    PAGE_FILE,
    RECORD_FILE,
    VOLUME_COLUMNS,
    VOLUMES_FILE,
)
from vastus.morphometry.settings import MeasureSettings

if TYPE_CHECKING:
    from vastus.inference.bundle import Bundle
    from vastus.inference.confidence import Confidence
    from vastus.inference.predictor import Predictor
    from vastus.volume import Volume

_THUMBNAIL_PX = 220


@dataclass(frozen=True, slots=True)
class Extras:
    """What is made beside labels and volumes.

    Attributes:
        pages: a page for every scan.
        measures: a table of the archive also for density, areas, fat, asymmetry; every scan has its own in any case.
        settings: of these measures.
    """

    pages: bool = False
    measures: bool = False
    settings: MeasureSettings = field(default_factory=MeasureSettings)


@dataclass(frozen=True, slots=True)
class SegmentFactory:
    """Opens ``SegmentProcessor``.

    Attributes:
        weights_folder: of the bundle; every worker loads it from there.
        digest: of the bundle, which a worker checks.
        name: of the bundle.
        options: device, runtime, precision; threads are the worker's.
        overlap: of windows; None: the bundle's.
        extras: what else is made.
    """

    weights_folder: Path
    digest: str
    name: str
    options: RuntimeOptions = field(default_factory=RuntimeOptions)
    overlap: float | None = None
    extras: Extras = field(default_factory=Extras)

    @classmethod
    def of(
        cls, bundle: Bundle, options: RuntimeOptions, overlap: float | None = None, extras: Extras | None = None
    ) -> SegmentFactory:
        """For an opened bundle."""
        return cls(bundle.folder.absolute(), bundle.digest, bundle.info.name, options, overlap, extras or Extras())

    @property
    def labels_key(self) -> str:
        """Weights and what changes labels; not the device or the threads."""
        return _digest({"weights": self.digest, "overlap": self.overlap, "precision": self.options.precision.value})

    @property
    def measures_key(self) -> str:
        """What else is made, and how."""
        extras = self.extras
        return _digest({"pages": extras.pages, "measures": extras.measures, "settings": extras.settings.to_dict()})

    @property
    def weights(self) -> str:
        """Name and digest."""
        return f"{self.name} ({self.digest[:12]})"

    @property
    def tables(self) -> Mapping[str, tuple[str, ...]]:
        """The tables of the archive."""
        tables: dict[str, tuple[str, ...]] = {VOLUMES_FILE: VOLUME_COLUMNS, CONFIDENCE_FILE: CONFIDENCE_COLUMNS}
        if self.extras.measures:
            tables[MEASURES_FILE] = MEASURE_COLUMNS
        return tables

    def open(self, threads: int) -> Processor:
        """Load the network.

        Raises:
            BundleError: the weights are not there or not the ones that the command saw.
            DeviceError: the device or runtime is not there.
        """
        from vastus.errors import BundleError
        from vastus.inference.bundle import load_bundle
        from vastus.inference.predictor import Predictor

        bundle = load_bundle(self.weights_folder)
        if bundle.digest != self.digest:
            raise BundleError("These are not the weights the batch was started with.", path=self.weights_folder)
        return SegmentProcessor(
            Predictor(bundle, replace(self.options, threads=threads), overlap=self.overlap), self.extras
        )


class SegmentProcessor:
    """A loaded network and what to make of its labels."""

    def __init__(self, predictor: Predictor, extras: Extras) -> None:
        from vastus.batch.pacs_inputs import StudyFetcher

        self._predictor, self._extras = predictor, extras
        self._fetcher = StudyFetcher()

    def process(self, task: Task) -> Product:
        """Segment a scan, or measure it from labels that are there; a study in a PACS is fetched first."""
        from vastus.batch.pacs_inputs import in_pacs

        if not in_pacs(task.path):
            return self._process(task)
        with self._fetcher.fetched_study(task.path) as folder:
            return self._process(replace(task, path=folder))

    def _process(self, task: Task) -> Product:
        if not is_there(task.path):
            raise MissingInputError("There is no such file or folder.", path=task.path)
        if not os.access(task.path, os.R_OK):
            raise UnreadableScanError("There is no right to read this.", path=task.path)
        if (
            task.work is Work.MEASURE
            and (task.folder / LABELS_FILE).is_file()
            and (task.folder / RECORD_FILE).is_file()
        ):
            return self._measure(task)
        return self._segment(task)

    def _segment(self, task: Task) -> Product:
        from vastus.pipeline import ScanRequest, segment_to_folder

        extras = self._extras
        request = ScanRequest(
            task.path, task.folder, task.name, task.series, page=extras.pages, settings=extras.settings
        )
        done = segment_to_folder(self._predictor, request)
        ct, labels, table = done.scan.volume, done.segmentation.labels, done.segmentation.table
        write_confidence(task.folder / CONFIDENCE_FILE, task.name, done.record, table)
        write_thumbnail(task.folder / THUMBNAIL_FILE, ct, labels, table)
        return self._product(task, marked_warnings(done.record), ct)

    def _measure(self, task: Task) -> Product:
        """From stored labels. Nothing is segmented, and the labels stay as they are."""
        from vastus.io.labels import read_label_map
        from vastus.io.scans import read_scan
        from vastus.measuring import MeasureRequest, measure_to_folder
        from vastus.pipeline import write_scan_page

        scan = read_scan(task.path, series=task.series)
        found = read_label_map(task.folder / LABELS_FILE, table=None)
        labels, table = found.volume, found.table
        if not scan.volume.same_grid(labels):
            raise UnsupportedScanError(
                f"The stored labels do not fit this scan: {scan.volume.difference_to(labels)}.",
                path=task.folder / LABELS_FILE,
            )
        from vastus.quality import agreement_of_record

        record = json.loads((task.folder / RECORD_FILE).read_text(encoding="utf-8"))
        measured = measure_to_folder(
            MeasureRequest(
                scan.volume,
                labels,
                task.name,
                task.folder,
                settings=self._extras.settings,
                confidence=recorded_confidence(record, table),
                agreement=agreement_of_record(record),
                table=table,
            )
        )
        write_confidence(task.folder / CONFIDENCE_FILE, task.name, record, table)
        if self._extras.pages:
            write_scan_page(task.folder / PAGE_FILE, scan.volume, labels, measured, record)
        return self._product(task, marked_warnings(record), scan.volume)

    def _product(self, task: Task, warnings: tuple[str, ...], ct: Volume) -> Product:
        names = [VOLUMES_FILE, CONFIDENCE_FILE, *([MEASURES_FILE] if self._extras.measures else [])]
        tables = {name: stored_rows(task.folder / name) for name in names}
        return Product(tables, warnings, int(ct.array.size))


def marked_warnings(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Warnings of a run; those that stop a reader are marked."""
    stops = set(record.get(ALARMS, ()))
    return tuple(f"{STOP_PREFIX}{text}" if text in stops else text for text in record["warnings"])


def write_confidence(path: Path, name: str, record: Mapping[str, Any], table: StructureTable = BUILT_IN) -> None:
    """How sure the network was, from the record of a run; only a header where the record does not say."""
    from vastus.quality import agreement_of_record

    rows: list[tuple[str | float, ...]] = []
    sure = recorded_confidence(record, table)
    if sure is not None and sure.scan is not None:
        judged = agreement_of_record(record)
        rows = [(name, ALL, BOTH_SIDES, sure.scan, "", "")]
        for value, share in sure.labels.items():
            label, one = table.by_value[value], judged.get(value)
            told = ("", "") if one is None else (one.expected, one.wrong)
            rows.append((name, label.structure.key, label.side.value, share, *told))
    write_text(path, header_line(CONFIDENCE_COLUMNS) + rows_as_text(rows))


def recorded_confidence(record: Mapping[str, Any], table: StructureTable = BUILT_IN) -> Confidence | None:
    """Read how sure the network was from the record of a run; None where it does not say."""
    from vastus.inference.confidence import Confidence

    return Confidence.from_dict(record[CONFIDENCE], table) if CONFIDENCE in record else None


def write_thumbnail(path: Path, ct: Volume, labels: Volume, table: StructureTable = BUILT_IN) -> None:
    """A small coronal picture through the femora, the labels over the CT."""
    from PIL import Image

    from vastus.io.atomic import atomic_path
    from vastus.report.pictures import blend, take_picture
    from vastus.report.planes import coronal_planes, make_scene

    scene = make_scene(ct, labels, table)
    picture = take_picture(scene, coronal_planes(scene)[0], longest_px=_THUMBNAIL_PX)
    with atomic_path(path) as temporary:
        Image.fromarray(blend(picture, table)).save(temporary, "JPEG", quality=70)


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:16]
