"""Volume, density, area, fat and landmarks of one labelled scan."""

from vastus.morphometry.landmarks import ISCHIAL_TUBEROSITY, LESSER_TROCHANTER, MID_THIGH, Leg, Level
from vastus.morphometry.scan import ScanMeasures, measure_scan, measure_volumes
from vastus.morphometry.settings import MeasureSettings
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
    "measure_scan",
    "measure_volumes",
]
