"""Volume, density, area, fat and landmarks of one labelled scan."""

from vastus.morphometry.landmarks import ISCHIAL_TUBEROSITY, LESSER_TROCHANTER, MID_THIGH, Leg, Level
from vastus.morphometry.limits import fragment_warnings, not_measured, too_large, wrong_density
from vastus.morphometry.rows import confidence_rows, measure_rows, write_level_rows, write_measure_rows
from vastus.morphometry.scan import ScanMeasures, measure_scan, measure_volumes
from vastus.morphometry.settings import MeasureSettings, load_measure_settings
from vastus.morphometry.structures import StructureMeasures

__all__ = [
    "ISCHIAL_TUBEROSITY",
    "LESSER_TROCHANTER",
    "MID_THIGH",
    "Leg",
    "Level",
    "MeasureSettings",
    "ScanMeasures",
    "StructureMeasures",
    "confidence_rows",
    "fragment_warnings",
    "load_measure_settings",
    "measure_rows",
    "measure_scan",
    "measure_volumes",
    "not_measured",
    "too_large",
    "write_level_rows",
    "write_measure_rows",
    "wrong_density",
]
