"""One scan's whole walk: a path in, a folder with labels, table, page and run record out.

The command line, the node and batch runs all go through ``segment_to_folder``.
"""

from __future__ import annotations

import json
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vastus import __version__
from vastus.errors import OutputError
from vastus.inference.predictor import OnProgress, Predictor, Segmentation, compute_threads
from vastus.io.atomic import cleaned_up, ensure_folder, hidden_path
from vastus.io.csv_tables import VolumeRow, write_volume_rows
from vastus.io.labels import write_labels
from vastus.io.prefetch import Prefetch
from vastus.io.scans import Scan, ScanFormat, read_scan
from vastus.io.tables import (
    AGREEMENT,
    CONFIDENCE,
    LABELS_FILE,
    LEVELS_FILE,
    MEASURES_FILE,
    PAGE_FILE,
    RECORD_FILE,
    VOLUMES_FILE,
)
from vastus.volume import Volume

if TYPE_CHECKING:
    from vastus.sarcopenia import ClinicalFacts

RECORD_VERSION: Final = 1
_LIBRARIES: Final = ("numpy", "numba", "openvino", "onnxruntime", "torch", "SimpleITK", "pydicom")


@dataclass(frozen=True, slots=True, eq=False)
class SegmentedScan:
    """What was written for one scan, and what it was made of.

    Attributes:
        folder: holds labels, table, page and record.
        scan: as read.
        segmentation: labels on the grid of the scan, warnings, times.
        rows: the rows of ``volumes.csv``.
        record: what ``run.json`` says.
    """

    folder: Path
    scan: Scan
    segmentation: Segmentation
    rows: tuple[VolumeRow, ...]
    record: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ScanRequest:
    """What to segment.

    Attributes:
        path: file, folder or zip.
        folder: where the results go; made if needed, older results in it are replaced.
        subject: name in the tables; None: taken from the path.
        series: DICOM series to take.
        page: draw the page too.
        facts: what is known of the person: then published values of that sex, age and size stand beside the measures.
    """

    path: Path
    folder: Path
    subject: str | None = None
    series: str | None = None
    page: bool = True
    facts: ClinicalFacts | None = None


def segment(scan: Volume | Scan | Path | str, *, predictor: Predictor | None = None) -> Segmentation:
    """Label every muscle and bone of one scan, in memory.

    Args:
        scan: a file, DICOM folder or zip; or what ``read_scan`` gave; or a ``Volume`` in HU.
        predictor: loaded weights, to use for many scans; ``None``: the default weights, loaded once and kept.

    Returns:
        Labels on the grid of the scan (values of ``vastus.LABELS`` and 0), confidence, warnings, times.

    Raises:
        InputError: the scan can't be used.
    """
    given = read_scan(Path(scan)) if isinstance(scan, str | Path) else scan
    volume = given.volume if isinstance(given, Scan) else given
    return (predictor or _default_predictor()).segment(volume)


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
    read: Callable[[], Scan] | None = None,
) -> SegmentedScan:
    """Read, segment, measure and write one scan.

    All files are finished in a hidden folder first and then moved into place, the record last: where there is a
    ``run.json``, the other files belong to it.

    Args:
        predictor: loaded once for all scans.
        request: which scan, and where to.
        on_scan: called when the scan has been read.
        on_progress: called on every step of the segmentation.
        read: gives the scan of the request where it is being read already (``vastus.io.prefetch``).

    Raises:
        InputError: the scan can't be used.
        OutputError: the results can't be written.
    """
    start = time.perf_counter()
    was_there = request.folder.exists()
    ensure_folder(request.folder)
    staging = hidden_path(request.folder)

    def leave_nothing_half_written() -> None:
        shutil.rmtree(staging, ignore_errors=True)
        if not was_there and request.folder.exists() and not any(request.folder.iterdir()):
            request.folder.rmdir()

    with cleaned_up(leave_nothing_half_written), _named_errors(request.folder):
        staging.mkdir(mode=0o700)
        scan = read() if read else read_scan(request.path, series=request.series)
        seconds = {"read": time.perf_counter() - start}
        if on_scan:
            on_scan(scan)
        later = Prefetch(lambda: _load_later(page=request.page))
        segmentation = predictor.segment(scan.volume, on_progress)
        later.result()
        seconds |= segmentation.seconds
        subject = request.subject or scan.source.subject
        with ThreadPoolExecutor(1) as writer:
            # Compressing the labels is one thread's work outside the interpreter: it runs beside measuring and page.
            like = scan.source.path if scan.source.kind is ScanFormat.NIFTI else None
            written = writer.submit(_timed, write_labels, segmentation.labels, staging / LABELS_FILE, like=like)
            agreement, seconds["agreement"] = _timed(_agreement, predictor, segmentation)
            with compute_threads(predictor.threads):
                (rows, measures, notes), seconds["measure"] = _timed(
                    _measure, scan, segmentation, subject, (staging, agreement), request.facts
                )
            details = _details(predictor, scan, segmentation, subject) | {AGREEMENT: agreement.record}
            details["warnings"] += notes.doubts
            details["alarms"] = list(agreement.alarms)
            if request.page:
                content = (scan, segmentation, rows, measures, notes.context)
                _, seconds["page"] = _timed(_write_page, staging / PAGE_FILE, content, details, seconds)
            _, seconds["write"] = written.result()
        record = details | {"seconds": _rounded(seconds | {"total": time.perf_counter() - start})}
        (staging / RECORD_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        _move(staging, request.folder)
        return SegmentedScan(request.folder, scan, segmentation, rows, record)


@contextmanager
def _named_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"The results can't be written ({error.strerror}).", path=folder) from error


def _load_later(*, page: bool) -> None:
    """Load what measuring and the page need while the network runs: its threads leave the interpreter free."""
    import vastus.morphometry
    from vastus.quality import load_model

    load_model()
    if page:
        import vastus.report.page  # noqa: F401


@dataclass(frozen=True, slots=True)
class _Agreement:
    """What agreement is expected of each label value, for the record, and what must stop a reader."""

    found: Mapping[int, Any]
    record: Mapping[str, Any]
    alarms: tuple[str, ...]


def _agreement(predictor: Predictor, segmentation: Segmentation) -> _Agreement:
    from vastus.quality import agreement_record, expect_agreement, likely_wrong, load_model

    found = expect_agreement(segmentation.evidence, predictor.bundle)
    return _Agreement(found, agreement_record(found, load_model().digest if found else ""), likely_wrong(found))


@dataclass(frozen=True, slots=True)
class _Notes:
    """What measuring has to say: warnings, and published values beside the person's (only for the page)."""

    doubts: tuple[str, ...]
    context: tuple[str, ...]


def _measure(
    scan: Scan,
    segmentation: Segmentation,
    subject: str,
    target: tuple[Path, _Agreement],
    facts: ClinicalFacts | None,
) -> tuple[tuple[VolumeRow, ...], Sequence[Any], _Notes]:
    """Measure and write the three tables; returns the rows of two of them for the page, and notes."""
    from vastus.morphometry import (
        confidence_rows,
        fragment_warnings,
        measure_rows,
        measure_scan,
        too_large,
        write_level_rows,
        write_measure_rows,
    )
    from vastus.quality import agreement_rows

    folder, agreement = target
    found = measure_scan(scan.volume, segmentation.labels, subject)
    rows = tuple(found.volume_rows())
    sure = segmentation.confidence
    measures = [*measure_rows(found), *confidence_rows(subject, sure.labels, sure.scan)]
    measures += agreement_rows(subject, agreement.found)
    context: tuple[str, ...] = ()
    if facts is not None:
        from vastus.sarcopenia.reference_values import reference_rows, reference_sentences

        measures += reference_rows(found, facts)
        context = reference_sentences(found.thigh_muscle_to_femur(), facts)
    write_volume_rows(rows, folder / VOLUMES_FILE)
    write_measure_rows(measures, folder / MEASURES_FILE)
    write_level_rows(subject, found.areas, folder / LEVELS_FILE)
    doubts = (*too_large(found.structures), *fragment_warnings(found.structures))
    return rows, measures, _Notes(doubts, context)


def _write_page(
    path: Path,
    content: tuple[Scan, Segmentation, tuple[VolumeRow, ...], Sequence[Any], tuple[str, ...]],
    details: Mapping[str, Any],
    seconds: Mapping[str, float],
) -> None:
    from vastus.report.page import PageRecord, write_page

    scan, segmentation, rows, measures, context = content
    weights = details["weights"]
    record = PageRecord(
        subject=details["subject"],
        weights=f"{weights['name']} ({weights['sha256'][:12]})",
        trained_on=weights["trained_on"],
        device=details["device"],
        spacing_mm=scan.volume.spacing_mm,
        seconds=_rounded(seconds),
        versions=details["versions"],
        warnings=tuple(details["warnings"]),
        alarms=tuple(details["alarms"]),
        context=context,
    )
    write_page(path, scan.volume, segmentation.labels, rows, record, measures)


def _details(predictor: Predictor, scan: Scan, segmentation: Segmentation, subject: str) -> dict[str, Any]:
    """The run record without times. No header value of a patient is in it."""
    info = predictor.bundle.info
    return {
        "record_version": RECORD_VERSION,
        "subject": subject,
        "input": {
            "format": scan.source.kind.value,
            "shape": list(scan.volume.shape),
            "spacing_mm": [round(s, 4) for s in scan.volume.spacing_mm],
            "chosen_because": scan.source.chosen_because,
        },
        "weights": {"name": info.name, "sha256": predictor.bundle.digest, "trained_on": info.trained_on},
        "network_spacing_mm": list(info.preprocessing.spacing_mm),
        "overlap": predictor.overlap,
        "windows": segmentation.windows,
        CONFIDENCE: segmentation.confidence.to_dict(),
        "device": segmentation.device,
        "warnings": [*scan.source.warnings, *segmentation.warnings],
        "versions": versions(),
        "research_only": "Not a medical device.",
    }


def versions() -> dict[str, str]:
    """Versions of Vastus, Python and the libraries that shape a result."""
    found = {"vastus": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = installed_version(name)
        except PackageNotFoundError:
            continue
    return found


def _move(staging: Path, folder: Path) -> None:
    """Put finished files in place; an older record goes first, so that no mixture ever carries one."""
    (folder / RECORD_FILE).unlink(missing_ok=True)
    for name in (LABELS_FILE, VOLUMES_FILE, MEASURES_FILE, LEVELS_FILE, PAGE_FILE, RECORD_FILE):
        if (staging / name).exists():
            (staging / name).replace(folder / name)
        else:  # an older run's page would not belong to these labels
            (folder / name).unlink(missing_ok=True)


def _timed(call: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, float]:
    start = time.perf_counter()
    result = call(*args, **kwargs)
    return result, time.perf_counter() - start


def _rounded(seconds: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in seconds.items()}
