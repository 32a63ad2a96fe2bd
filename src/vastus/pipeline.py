"""One scan's whole walk: a path in, a folder with labels, table, page and run record out.

The command line, the node and batch runs all go through ``segment_to_folder``.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from vastus.anatomy import StructureTable
from vastus.errors import OutputError
from vastus.garbage import no_collecting
from vastus.inference.predictor import OnProgress, Predictor, Progress, Segmentation, SegmentStage, compute_threads
from vastus.inference.septa import shows_septa
from vastus.io.atomic import cleaned_up, ensure_folder, hidden_path, put_in_place, remove_old
from vastus.io.csv_tables import VolumeRow
from vastus.io.folders import is_there
from vastus.io.labels import write_labels
from vastus.io.prefetch import Prefetch
from vastus.io.scans import Scan, ScanFormat, read_scan
from vastus.io.structure_tables import write_table_beside
from vastus.io.tables import (
    ALARMS,
    CONFIDENCE,
    FURTHER_FILES,
    LABELS_FILE,
    LEVELS_FILE,
    MEASURES_FILE,
    MISSING,
    PAGE_FILE,
    RECORD_FILE,
    SIDE,
    STRUCTURE,
    STRUCTURE_TABLE_FILE,
    VOLUMES_FILE,
)
from vastus.preprocessing import Preprocessed
from vastus.run_record import HU_WINDOW, Expected, judged, record_of
from vastus.volume import Volume, to_ras

if TYPE_CHECKING:
    from vastus.measuring import MeasuredScan
    from vastus.morphometry.settings import MeasureSettings
    from vastus.quality import Agreement
    from vastus.report.page import PagePictures
    from vastus.sarcopenia import ClinicalFacts

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class SegmentedScan:
    """The results of one scan, and the data they were made from.

    Attributes:
        folder: holds labels, table, page and record.
        scan: as read.
        segmentation: labels on the grid of the scan, warnings, times.
        rows: the rows of ``volumes.csv``.
        record: contents of ``run.json``.
        measured: the measures from which the tables were made.
    """

    folder: Path
    scan: Scan
    segmentation: Segmentation
    rows: tuple[VolumeRow, ...]
    record: Mapping[str, Any]
    measured: MeasuredScan


@dataclass(frozen=True, slots=True)
class ScanRequest:
    """One scan to segment, with its options.

    Attributes:
        path: file, folder or zip.
        folder: where the results go; made if needed, older results in it are replaced.
        subject: name in the tables; None: taken from the path.
        series: DICOM series to take.
        page: draw the page too.
        facts: sex, age and size of the person, if known; the measures are then compared with published values.
        settings: how to measure; None: the default thresholds and levels.
    """

    path: Path
    folder: Path
    subject: str | None = None
    series: str | None = None
    page: bool = True
    facts: ClinicalFacts | None = None
    settings: MeasureSettings | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Begun:
    """What is under way before a scan is segmented; nothing, by default.

    Attributes:
        read: gives the scan of the request where it is being read already (``vastus.io.prefetch``).
        seen: gives it as ``preprocess`` makes it for the weights, where that was begun already.
        helper: compiles loops beside this process (``vastus.rehearsal.begin``).
    """

    read: Callable[[], Scan] | None = None
    seen: Callable[[], Preprocessed] | None = None
    helper: subprocess.Popen[bytes] | None = None


def segment(scan: Volume | Scan | Path | str, *, predictor: Predictor | None = None) -> Segmentation:
    """Label every muscle and bone of one scan, in memory.

    Args:
        scan: a file, DICOM folder or zip; or a ``Scan`` of ``read_scan``; or a ``Volume`` in HU.
        predictor: loaded weights, for many scans; ``None``: the default weights, which are loaded once and kept.

    Returns:
        Labels on the grid of the scan (values of ``vastus.LABELS`` and 0), confidence, warnings, times.

    Raises:
        InputError: the scan can't be used.
    """
    given = read_scan(Path(scan)) if isinstance(scan, str | Path) else scan
    if not isinstance(given, Scan):
        return (predictor or _default_predictor()).segment(given)
    return (predictor or _default_predictor()).segment(given.volume, told=given.source.told)


@cache
def _default_predictor() -> Predictor:
    from vastus.inference.bundle import default_bundle

    return Predictor(default_bundle())


def segment_to_folder(
    predictor: Predictor,
    request: ScanRequest,
    *,
    on_scan: Callable[[Scan], None] | None = None,
    on_progress: OnProgress | None = None,
    begun: Begun | None = None,
) -> SegmentedScan:
    """Read, segment, measure and write one scan.

    All files are finished in a hidden folder first and then moved into place, the record last: where there is a
    ``run.json``, the other files belong to it.

    Args:
        predictor: loaded once for all scans.
        request: which scan, and where to.
        on_scan: called when the scan has been read.
        on_progress: called on every step of the segmentation.
        begun: what is under way already.

    Raises:
        InputError: the scan can't be used.
        OutputError: the results can't be written.
    """
    start = time.perf_counter()
    begun = begun or Begun()
    with _staging(request.folder) as staging:
        scan = begun.read() if begun.read else read_scan(request.path, series=request.series)
        seconds = {"read": time.perf_counter() - start}
        if on_scan:
            on_scan(scan)
        with _Beside(predictor, scan, staging, page=request.page) as beside:
            segmentation = _label(predictor, scan, begun, beside, on_progress)
            seconds |= segmentation.seconds
            measured, details = _measure_and_judge(predictor, request, scan, segmentation, staging, seconds)
            if request.page:
                pictures, seconds["pictures"] = beside.pictures()
                so_far = details | {"seconds": _rounded(seconds)}
                page, labels = staging / PAGE_FILE, segmentation.labels
                _, seconds["page"] = _timed(write_scan_page, page, scan.volume, labels, measured, so_far, pictures)
            seconds["write"] = beside.written()
        record = details | {"seconds": _rounded(seconds | {"total": time.perf_counter() - start})}
        (staging / RECORD_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        _move(staging, request.folder)
        return SegmentedScan(request.folder, scan, segmentation, measured.volumes, record, measured)


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """Give a hidden folder for unfinished files; whatever happens, nothing half-written is left.

    Raises:
        OutputError: the results can't be written.
    """
    was_there = is_there(folder)
    ensure_folder(folder)
    staging = hidden_path(folder)

    def leave_nothing_half_written() -> None:
        shutil.rmtree(staging, ignore_errors=True)
        if not was_there and folder.exists() and not any(folder.iterdir()):
            folder.rmdir()

    with cleaned_up(leave_nothing_half_written), _named_errors(folder):
        staging.mkdir(mode=0o700)
        yield staging


def _label(
    predictor: Predictor, scan: Scan, begun: Begun, beside: _Beside, on_progress: OnProgress | None
) -> Segmentation:
    """Segment a scan; what comes after is loaded while the network runs, and begun when the labels are final."""
    loading = partial(_load_later, begun.helper, page=beside.page, septa=shows_septa(to_ras(scan.volume).spacing_mm))
    later = _Later(loading, aside=predictor.threads > 1)

    def on_labels(labels: Volume, doubt: Volume) -> None:
        later.wait()
        beside.begin(labels, doubt)

    def on_step(progress: Progress) -> None:
        if progress.stage is SegmentStage.NETWORK:
            later.begin()
        if on_progress:
            on_progress(progress)

    return predictor.segment(scan.volume, on_step, scan.source.told, seen=begun.seen, on_labels=on_labels)


def _measure_and_judge(
    predictor: Predictor,
    request: ScanRequest,
    scan: Scan,
    segmentation: Segmentation,
    staging: Path,
    seconds: dict[str, float],
) -> tuple[MeasuredScan, dict[str, Any]]:
    """Measure and judge a labelled scan.

    Args:
        predictor: that labelled it.
        request: for it.
        scan: as read.
        segmentation: its labels.
        staging: the folder of the tables.
        seconds: of the stages, which get those of these two.

    Returns:
        The measures, and the run record but for its seconds.
    """
    subject = request.subject or scan.source.subject
    write_table_beside(segmentation.table, staging)
    expected, seconds["agreement"] = _timed(_expected, predictor, segmentation, scan)
    with compute_threads(predictor.threads):
        measured, seconds["measure"] = _timed(
            _measure, scan, segmentation, subject, staging, expected.agreement, request
        )
    present = measured.found.present
    details = record_of(predictor, scan, segmentation, subject)
    details[CONFIDENCE] = segmentation.confidence.limited_to(present).to_dict()
    there = {value: one for value, one in expected.agreement.items() if value in present}
    details |= judged(segmentation, replace(expected, agreement=there), measured.volumes)
    details["warnings"] += [*(one.text for one in expected.missing), *measured.warnings]
    return measured, details


@contextmanager
def _named_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"The results can't be written ({error.strerror}).", path=folder) from error


class _Later:
    """What comes after the network is loaded while it runs, not before: then the interpreter has little else to do."""

    def __init__(self, load: Callable[[], None], *, aside: bool) -> None:
        self._load, self._aside = load, aside
        self._loading: Prefetch[None] | None = None

    def begin(self) -> None:
        """Begin to load, once."""
        self._loading = self._loading or Prefetch(self._load, aside=self._aside)

    def wait(self) -> None:
        """Wait until all is loaded."""
        if self._loading is not None:
            self._loading.result()


def _load_later(helper: subprocess.Popen[bytes] | None, *, page: bool, septa: bool) -> None:
    """Load what comes after the network while it runs: its threads leave the interpreter free."""
    with no_collecting():
        import vastus.measuring  # noqa: F401
        from vastus.rehearsal import load_loops

        if page:
            from vastus.report.page import load_ahead

            load_ahead()
        load_loops(helper, shows_septa=septa)


class _AtOnce(Executor):
    """Does its work where it is asked for it: of one thread nothing can be done beside."""

    def submit(self, call: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Call, and keep the result or the error."""
        future: Future[T] = Future()
        try:
            future.set_result(call(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class _Beside:
    """What needs the labels alone: it is begun as soon as they are final, beside judging and measuring the scan."""

    def __init__(self, predictor: Predictor, scan: Scan, staging: Path, *, page: bool) -> None:
        self._scan, self._table, self._staging, self.page = scan, predictor.bundle.info.table, staging, page
        self._pool: Executor = ThreadPoolExecutor(2) if predictor.threads > 1 else _AtOnce()
        self._drawing: Future[tuple[PagePictures, float]] | None = None
        self._writing: Future[tuple[None, float]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Wait until nothing is written any more."""
        self._pool.shutdown()

    def begin(self, labels: Volume, doubt: Volume) -> None:
        """Begin to draw the pictures of the page, if one is wanted, and to compress the labels."""
        source, target = self._scan.source, self._staging / LABELS_FILE
        like = source.path if source.kind is ScanFormat.NIFTI else None
        if self.page:
            self._drawing = self._pool.submit(_timed, _draw, self._scan, labels, self._table, doubt)
        self._writing = self._pool.submit(_timed, write_labels, labels, target, like=like, table=self._table)

    def pictures(self) -> tuple[PagePictures, float]:
        """Return the pictures, and how many seconds they took."""
        assert self._drawing is not None
        return self._drawing.result()

    def written(self) -> float:
        """Return, when the labels are written, how many seconds that took."""
        assert self._writing is not None
        return self._writing.result()[1]


def _draw(scan: Scan, labels: Volume, table: StructureTable, doubt: Volume) -> PagePictures:
    from vastus.report.page import draw_pictures

    return draw_pictures(scan.volume, labels, table, doubt)


def _expected(predictor: Predictor, segmentation: Segmentation, scan: Scan) -> Expected:
    """What agreement is expected, and what was missed; of a scan that stops a reader nothing is said to be missed."""
    from vastus.quality import expect_agreement, find_missing, load_model

    agreement = expect_agreement(segmentation.evidence, predictor.bundle)
    if segmentation.alarms:
        return Expected(agreement)
    return Expected(agreement, find_missing(segmentation.evidence, scan.volume, load_model().population))


def _measure(
    scan: Scan,
    segmentation: Segmentation,
    subject: str,
    folder: Path,
    agreement: Mapping[int, Agreement],
    request: ScanRequest,
) -> MeasuredScan:
    """Measure into a folder."""
    from vastus.measuring import MeasureRequest, measure_to_folder
    from vastus.morphometry.settings import MeasureSettings

    return measure_to_folder(
        MeasureRequest(
            scan.volume,
            segmentation.labels,
            subject,
            folder,
            settings=request.settings or MeasureSettings(),
            confidence=segmentation.confidence,
            agreement=agreement,
            facts=request.facts,
            table=segmentation.table,
        )
    )


def write_scan_page(
    path: Path,
    ct: Volume,
    labels: Volume,
    measured: MeasuredScan,
    record: Mapping[str, Any],
    pictures: PagePictures | None = None,
) -> None:
    """Write the page of a scan that was measured.

    Args:
        path: of the page.
        ct: in HU.
        labels: label values on the grid of ``ct``.
        measured: what ``measure_to_folder`` gave for these.
        record: what ``run.json`` says of the segmentation, its seconds so far included.
        pictures: of the page, where they are drawn already.

    Raises:
        OutputError: the page can't be written.
    """
    from vastus.report.page import PageRecord, write_page

    weights = record["weights"]
    about = PageRecord(
        subject=record["subject"],
        weights=f"{weights['name']} ({weights['sha256'][:12]})",
        trained_on=weights["trained_on"],
        device=record["device"],
        spacing_mm=ct.spacing_mm,
        seconds=record["seconds"],
        versions=record["versions"],
        warnings=tuple(record["warnings"]),
        alarms=tuple(record.get(ALARMS, ())),
        missing=frozenset((one[STRUCTURE], one[SIDE]) for one in record.get(MISSING, ())),
        context=measured.context,
        network_hu=tuple(record[HU_WINDOW]) if HU_WINDOW in record else None,  # records of older runs lack it
        table=measured.found.table,
    )
    write_page(path, ct, labels, measured.volumes, about, measured.rows, pictures=pictures)


_MOVED: Final = (
    LABELS_FILE,
    STRUCTURE_TABLE_FILE,
    VOLUMES_FILE,
    MEASURES_FILE,
    LEVELS_FILE,
    PAGE_FILE,
    RECORD_FILE,
)


def _move(staging: Path, folder: Path) -> None:
    """Put finished files in place; an older record goes first, so that no mixture ever carries one."""
    for name in (RECORD_FILE, *FURTHER_FILES):
        remove_old(folder / name)
    for name in _MOVED:
        if (staging / name).exists():
            put_in_place(staging / name, folder / name)
        else:  # an older run's page would not belong to these labels
            remove_old(folder / name)


def _timed(call: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, float]:
    start = time.perf_counter()
    result = call(*args, **kwargs)
    return result, time.perf_counter() - start


def _rounded(seconds: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in seconds.items()}
