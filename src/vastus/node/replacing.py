"""Results of a later revision say that they replace those of an earlier one, which somebody may have read already."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vastus.io.atomic import atomic_path

if TYPE_CHECKING:
    from pydicom import Dataset

_REPORTS: Final = "1.2.840.10008.5.1.4.1.1.88."
_LONGEST_DESCRIPTION: Final = 64


def mark_as_replacing(results: Sequence[Path], older: Sequence[Path], images: int, images_before: int) -> None:
    """Write into results how many images they are made of, and what they replace; a second time changes nothing.

    Args:
        results: DICOM files, rewritten in place.
        older: those of the earlier revision, as far as they are still there; reports refer to its reports.
        images: of the series now.
        images_before: of the earlier revision; 0: not known any more.

    Raises:
        OutputError: a file can't be written.
        Exception: what pydicom raises for a file that is no DICOM.
    """
    from pydicom import dcmread

    note = f"({images} images, replaces {images_before or 'earlier'})"
    predecessors = [item for path in older if (item := _reference(path)) is not None]
    for path in results:
        dataset = dcmread(path)
        description = str(dataset.get("SeriesDescription") or "")
        if description.endswith(note):
            continue
        dataset.SeriesDescription = f"{description[: _LONGEST_DESCRIPTION - len(note) - 1]} {note}".strip()
        if predecessors and _is_report(dataset):
            dataset.PredecessorDocumentsSequence = predecessors
        with atomic_path(path) as temporary:
            dataset.save_as(temporary, enforce_file_format=True)


def _is_report(dataset: Dataset) -> bool:
    return str(dataset.get("SOPClassUID", "")).startswith(_REPORTS)


def _reference(path: Path) -> Any:
    """A reference to a report; ``None`` for everything else."""
    from pydicom import Dataset, dcmread

    with suppress(Exception):  # without it the newer report only says less
        found = dcmread(path, stop_before_pixels=True)
        if _is_report(found):
            instance, series, study = Dataset(), Dataset(), Dataset()
            instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID = found.SOPClassUID, found.SOPInstanceUID
            series.SeriesInstanceUID, series.ReferencedSOPSequence = found.SeriesInstanceUID, [instance]
            study.StudyInstanceUID, study.ReferencedSeriesSequence = found.StudyInstanceUID, [series]
            return study
    return None
