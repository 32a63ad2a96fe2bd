"""How much fat lies where two muscles touch.

Real muscles are not all told apart alike: sartorius and gracilis lie in fat, the vasti grow into each other. The table
holds what `benchmarks/muscle_boundary_visibility.py` measured on the drawn slices of training patients (`datasets/
real-thigh`), pair by pair: by how much the darkest place within 3 mm of a border is darker than that around a place
deep inside a muscle, the median of the patients. The fewer patients, the more a pair is drawn to the median of its
kind: of one group, or of two.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BY_KEY, MUSCLES
from vastus.synthesis.tissues import TISSUE_COUNT, Tissue

REACH_MM: Final = 3.0
"""A neighbour farther away than this does not shape an edge."""
_WIDEST_HU: Final = 60.0
"""A fall by so much is the full share of fat that a body has between its muscles."""
_SAME_GROUP_HU, _OTHER_GROUP_HU = 26.0, 52.0
_KIND_COUNTS: Final = 2
"""The median of a kind weighs as much as so many patients."""
_CORRECTION: Final = 0.7
"""Share of a difference between the engine and real CT that is made up for."""
_TO_ANYTHING_ELSE: Final = 0.3
"""Towards fat, bone and vessels, where nothing was measured: as bright as edges of these bodies have been."""

_FALL_HU: Final[tuple[tuple[str, str, int, int, int | None], ...]] = (
    ("adductor_brevis", "adductor_longus", 2, 27, 7),
    ("adductor_brevis", "gracilis", 1, 38, 16),
    ("adductor_brevis", "pectineus", 1, 7, 5),
    ("adductor_longus", "gracilis", 6, 55, 22),
    ("adductor_magnus", "adductor_brevis", 2, 11, 4),
    ("adductor_magnus", "adductor_longus", 8, 13, 4),
    ("adductor_magnus", "biceps_femoris", 12, 58, 51),
    ("adductor_magnus", "gluteus_maximus", 4, 67, 41),
    ("adductor_magnus", "gracilis", 14, 41, 18),
    ("adductor_magnus", "pectineus", 1, 11, None),
    ("adductor_magnus", "semimembranosus", 12, 31, 20),
    ("adductor_magnus", "semitendinosus", 11, 40, 17),
    ("biceps_femoris", "gluteus_maximus", 3, 54, None),
    ("gluteus_maximus", "gluteus_medius", 2, 53, 55),
    ("gluteus_maximus", "gluteus_minimus", 1, 32, None),
    ("gluteus_maximus", "obturator_internus", 2, 70, None),
    ("gluteus_maximus", "piriformis", 1, 51, None),
    ("gluteus_maximus", "quadratus_femoris", 4, 61, 23),
    ("gluteus_medius", "gluteus_minimus", 1, 57, 12),
    ("gluteus_minimus", "iliopsoas", 1, 45, None),
    ("gluteus_minimus", "piriformis", 2, 11, None),
    ("gluteus_minimus", "tensor_fasciae_latae", 1, 2, None),
    ("gracilis", "semimembranosus", 6, 50, 75),
    ("iliacus", "abdominal_oblique", 1, 41, None),
    ("iliacus", "psoas", 1, 48, None),
    ("obturator_externus", "iliopsoas", 2, 49, None),
    ("obturator_externus", "quadratus_femoris", 2, 29, 48),
    ("obturator_internus", "obturator_externus", 2, 47, 2),
    ("pectineus", "iliopsoas", 5, 75, 60),
    ("pectineus", "obturator_externus", 5, 64, 42),
    ("pectineus", "obturator_internus", 1, 20, None),
    ("rectus_femoris", "iliopsoas", 7, 70, 47),
    ("rectus_femoris", "tensor_fasciae_latae", 7, 55, 57),
    ("rectus_femoris", "vastus_intermedius", 9, 15, 12),
    ("rectus_femoris", "vastus_lateralis", 7, 44, 33),
    ("rectus_femoris", "vastus_medialis", 11, 27, 20),
    ("sartorius", "adductor_longus", 7, 52, 20),
    ("sartorius", "adductor_magnus", 6, 53, None),
    ("sartorius", "gracilis", 2, 64, None),
    ("sartorius", "iliopsoas", 2, 21, None),
    ("sartorius", "rectus_femoris", 10, 40, 60),
    ("sartorius", "tensor_fasciae_latae", 1, 64, None),
    ("sartorius", "vastus_intermedius", 1, -1, None),
    ("sartorius", "vastus_medialis", 14, 57, 59),
    ("semimembranosus", "biceps_femoris", 2, 31, 59),
    ("semitendinosus", "biceps_femoris", 11, 25, 32),
    ("semitendinosus", "gluteus_maximus", 2, 29, 17),
    ("semitendinosus", "semimembranosus", 12, 21, 19),
    ("vastus_intermedius", "adductor_magnus", 4, 33, 49),
    ("vastus_intermedius", "biceps_femoris", 3, 17, 64),
    ("vastus_intermedius", "iliopsoas", 1, 30, None),
    ("vastus_intermedius", "pectineus", 1, 49, None),
    ("vastus_intermedius", "quadratus_femoris", 1, 20, None),
    ("vastus_intermedius", "vastus_medialis", 9, -8, 12),
    ("vastus_lateralis", "adductor_magnus", 9, 42, 46),
    ("vastus_lateralis", "biceps_femoris", 11, 41, 64),
    ("vastus_lateralis", "gluteus_maximus", 5, 70, 59),
    ("vastus_lateralis", "iliopsoas", 2, 58, 48),
    ("vastus_lateralis", "tensor_fasciae_latae", 4, 69, 54),
    ("vastus_lateralis", "vastus_intermedius", 8, 10, 8),
    ("vastus_lateralis", "vastus_medialis", 1, -12, None),
    ("vastus_medialis", "adductor_brevis", 1, 68, 17),
    ("vastus_medialis", "adductor_longus", 5, 30, 17),
    ("vastus_medialis", "adductor_magnus", 12, 41, 27),
    ("vastus_medialis", "biceps_femoris", 2, 36, None),
)
"""Pair, number of patients, median fall, and the fall that the engine showed without correction (None: rarely seen):
the gaps and the touching surfaces of its bodies show, too."""


def _table() -> NDArray[np.float32]:
    table = np.full((TISSUE_COUNT, TISSUE_COUNT), _TO_ANYTHING_ELSE, np.float32)
    muscles = [(m.class_id, m.group) for m in MUSCLES] + [
        (int(Tissue.OTHER_MUSCLE), None),
        (int(Tissue.CALF_MUSCLE), None),
    ]
    for one, group in muscles:
        for other, others in muscles:
            table[one, other] = (_SAME_GROUP_HU if group is others else _OTHER_GROUP_HU) / _WIDEST_HU
    for one_key, other_key, patients, fall_hu, engine_hu in _FALL_HU:
        a, b = BY_KEY[one_key].class_id, BY_KEY[other_key].class_id
        shrunk = (patients * fall_hu + _KIND_COUNTS * _WIDEST_HU * float(table[a, b])) / (patients + _KIND_COUNTS)
        wanted = shrunk if engine_hu is None else shrunk + _CORRECTION * (shrunk - engine_hu)
        table[a, b] = table[b, a] = min(max(wanted / _WIDEST_HU, 0.0), 1.0)
    return table


SEAMS: Final = _table()
"""Share of the body's own share of fat at an edge, by tissue and neighbouring tissue; column ``FAT``: no neighbour."""
