"""Vastus: every single thigh and hip muscle from a hip-to-knee CT.

The names below are the public Python interface. They are loaded when they are first used, so that ``import vastus``
stays fast. Everything else may change from version to version.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vastus.compiled import settle_cache_folder
from vastus.version import __version__

settle_cache_folder()

if TYPE_CHECKING:
    from vastus.anatomy import BONES, LABELS, MUSCLES, STRUCTURES, Group, Label, Side, Structure
    from vastus.errors import VastusError
    from vastus.evaluation.pair import evaluate_pair
    from vastus.inference.bundle import Bundle, default_bundle, load_bundle
    from vastus.inference.predictor import Predictor, Segmentation
    from vastus.io.labels import read_labels, write_labels
    from vastus.io.scans import Scan, read_scan
    from vastus.morphometry import MeasureSettings, ScanMeasures, measure_scan
    from vastus.pipeline import ScanRequest, SegmentedScan, segment, segment_to_folder
    from vastus.sarcopenia import ClinicalFacts, Criteria, Diagnosis, diagnose, load_criteria
    from vastus.volume import Volume

_PUBLIC: dict[str, tuple[str, ...]] = {
    "anatomy": ("BONES", "LABELS", "MUSCLES", "STRUCTURES", "Group", "Label", "Side", "Structure"),
    "errors": ("VastusError",),
    "evaluation.pair": ("evaluate_pair",),
    "inference.bundle": ("Bundle", "default_bundle", "load_bundle"),
    "inference.predictor": ("Predictor", "Segmentation"),
    "io.labels": ("read_labels", "write_labels"),
    "io.scans": ("Scan", "read_scan"),
    "morphometry": ("MeasureSettings", "ScanMeasures", "measure_scan"),
    "pipeline": ("ScanRequest", "SegmentedScan", "segment", "segment_to_folder"),
    "sarcopenia": ("ClinicalFacts", "Criteria", "Diagnosis", "diagnose", "load_criteria"),
    "volume": ("Volume",),
}
_ROOM_OF = {name: room for room, names in _PUBLIC.items() for name in names}

__all__ = [
    "BONES",
    "LABELS",
    "MUSCLES",
    "STRUCTURES",
    "Bundle",
    "ClinicalFacts",
    "Criteria",
    "Diagnosis",
    "Group",
    "Label",
    "MeasureSettings",
    "Predictor",
    "Scan",
    "ScanMeasures",
    "ScanRequest",
    "Segmentation",
    "SegmentedScan",
    "Side",
    "Structure",
    "VastusError",
    "Volume",
    "__version__",
    "default_bundle",
    "diagnose",
    "evaluate_pair",
    "load_bundle",
    "load_criteria",
    "measure_scan",
    "read_labels",
    "read_scan",
    "segment",
    "segment_to_folder",
    "write_labels",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its room when it is first asked for."""
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'vastus' has no attribute {name!r}")
    value = getattr(import_module(f"vastus.{_ROOM_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
