"""Coded concepts of measurements; those of structures and sides stand in ``vastus.terminology``."""

from __future__ import annotations

from typing import Final

from vastus.anatomy import Code
from vastus.terminology import SCHEME

COMPUTED_TOMOGRAPHY: Final = Code("SCT", "77477000", "Computed tomography")
VOLUME: Final = Code("SCT", "118565006", "Volume")
AREA: Final = Code("SCT", "42798000", "Area")
ATTENUATION: Final = Code("DCM", "112031", "Attenuation Coefficient")
MEAN: Final = Code("SCT", "373098007", "Mean")
MAXIMUM: Final = Code("SCT", "56851009", "Maximum")
LARGEST_SLICE: Final = Code(SCHEME, "largest_slice_area", "Largest cross-section among the slices")
CUT_BY_SCAN: Final = Code(SCHEME, "cut_by_scan", "Cut by the edge of the scan")
FRAGMENT: Final = Code(SCHEME, "fragment", "Fragment, too small to be the structure")
LIKELY_WRONG: Final = Code(SCHEME, "likely_wrong", "Likely wrong, do not use the numbers")
YES: Final = Code("SCT", "373066001", "Yes")
NO: Final = Code("SCT", "373067005", "No")
ARTIFICIAL_INTELLIGENCE: Final = Code("DCM", "113239", "Artificial Intelligence")

CUBIC_MILLIMETRE: Final = Code("UCUM", "mm3", "cubic millimeter")
SQUARE_MILLIMETRE: Final = Code("UCUM", "mm2", "square millimeter")
HOUNSFIELD_UNIT: Final = Code("UCUM", "[hnsf'U]", "Hounsfield unit")
