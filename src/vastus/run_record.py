"""What ``run.json`` says of a segmented scan, but for its times. No header value of a patient is in it."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING, Any, Final

from vastus.anatomy import StructureTable
from vastus.inference.predictor import Predictor, Segmentation
from vastus.io.csv_tables import VolumeRow
from vastus.io.own_structures import table_digest
from vastus.io.scans import Scan
from vastus.io.tables import AGREEMENT, ALARMS, MISSING, SIDE, STRUCTURE, STRUCTURE_TABLE_FILE
from vastus.version import __version__

if TYPE_CHECKING:
    from vastus.quality import Agreement, Missing

RECORD_VERSION: Final = 1
STRUCTURE_TABLE: Final = "structure_table"
HU_WINDOW: Final = "network_hu_window"
_LIBRARIES: Final = ("numpy", "numba", "openvino", "onnxruntime", "torch", "SimpleITK", "pydicom")


@dataclass(frozen=True, slots=True, eq=False)
class Expected:
    """What is expected of the labels of a scan.

    Attributes:
        agreement: expected Dice by label value.
        missing: structures that should be in the scan, and were not found.
    """

    agreement: Mapping[int, Agreement]
    missing: tuple[Missing, ...] = ()


def record_of(predictor: Predictor, scan: Scan, segmentation: Segmentation, subject: str) -> dict[str, Any]:
    """Make the run record without times. No header value of a patient is in it."""
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
        **_structures(segmentation.table),
        "weights": {"name": info.name, "sha256": predictor.bundle.digest, "trained_on": info.trained_on},
        "network_spacing_mm": list(info.preprocessing.spacing_mm),
        HU_WINDOW: list(info.preprocessing.hu_window),
        "overlap": predictor.overlap,
        "windows": segmentation.windows,
        "device": segmentation.device,
        "warnings": [*scan.source.warnings, *segmentation.warnings],
        "versions": versions(),
        "research_only": "Not a medical device.",
    }


def _structures(table: StructureTable) -> dict[str, Any]:
    """Entry of the record that names a table of structures, where it is not the built-in one."""
    if table.is_built_in:
        return {}
    named = {"file": STRUCTURE_TABLE_FILE, "count": len(table.rows), "sha256": table_digest(table)}
    return {STRUCTURE_TABLE: named}


def judged(segmentation: Segmentation, expected: Expected, volumes: Iterable[VolumeRow]) -> dict[str, Any]:
    """Make the entries of the record that judge: the expected agreement, what must stop a reader, what was missed.

    Args:
        segmentation: of the scan.
        expected: of its labels.
        volumes: that were measured.
    """
    from vastus.quality import agreement_record, likely_wrong, load_model

    agreement = expected.agreement
    by_key = segmentation.table.by_key
    # A fragment has no number that could mislead: it must not push others out of the list.
    fragments = {by_key[row.structure].label_value(row.side) for row in volumes if row.fragment}
    doubted = {value: one for value, one in agreement.items() if value not in fragments}
    record = agreement_record(agreement, load_model().digest if agreement else "")
    lost = [{STRUCTURE: m.structure.key, SIDE: m.side.value, "absent_mm": round(m.absent_mm)} for m in expected.missing]
    return {AGREEMENT: record, ALARMS: [*segmentation.alarms, *likely_wrong(doubted)], MISSING: lost}


def versions() -> dict[str, str]:
    """Return the versions of Vastus, Python and the libraries that shape a result."""
    found = {"vastus": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = installed_version(name)
        except PackageNotFoundError:
            continue
    return found
