"""How much fat lies where two muscles touch.

Real muscles are not all told apart alike: sartorius and gracilis lie in fat, the vasti grow into each other. The table
holds what `benchmarks/muscle_boundary_visibility.py` measured on 31 real CT scans of thighs, pair by pair: by how much
the darkest place within 3 mm of a border is darker than that around a place deep inside a muscle, the median of the
patients. Pairs seen in fewer than eight patients get the median of their kind: of one group, or of two.
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
_SAME_GROUP_HU, _OTHER_GROUP_HU = 21.0, 43.0
_TO_ANYTHING_ELSE: Final = 0.3
"""Towards fat, bone and vessels, where nothing was measured: as bright as edges of these bodies have been."""

_FALL_HU: Final[tuple[tuple[str, str, int], ...]] = (
    ("sartorius", "rectus_femoris", 47),
    ("sartorius", "vastus_medialis", 47),
    ("sartorius", "adductor_magnus", 35),
    ("sartorius", "adductor_longus", 42),
    ("sartorius", "gracilis", 82),
    ("rectus_femoris", "vastus_lateralis", 19),
    ("rectus_femoris", "vastus_intermedius", 8),
    ("rectus_femoris", "vastus_medialis", 13),
    ("rectus_femoris", "tensor_fasciae_latae", 67),
    ("rectus_femoris", "iliopsoas", 62),
    ("vastus_lateralis", "vastus_intermedius", -1),
    ("vastus_lateralis", "vastus_medialis", 22),
    ("vastus_lateralis", "adductor_magnus", 65),
    ("vastus_lateralis", "biceps_femoris", 30),
    ("vastus_lateralis", "gluteus_maximus", 65),
    ("vastus_lateralis", "tensor_fasciae_latae", 56),
    ("vastus_intermedius", "vastus_medialis", -9),
    ("vastus_intermedius", "adductor_magnus", 36),
    ("vastus_intermedius", "biceps_femoris", 3),
    ("vastus_intermedius", "iliopsoas", 11),
    ("vastus_medialis", "adductor_magnus", 22),
    ("vastus_medialis", "adductor_brevis", 43),
    ("vastus_medialis", "adductor_longus", 24),
    ("adductor_magnus", "adductor_brevis", 18),
    ("adductor_magnus", "adductor_longus", 21),
    ("adductor_magnus", "gracilis", 37),
    ("adductor_magnus", "semitendinosus", 44),
    ("adductor_magnus", "semimembranosus", 21),
    ("adductor_magnus", "biceps_femoris", 65),
    ("adductor_magnus", "gluteus_maximus", 70),
    ("adductor_magnus", "obturator_externus", 21),
    ("adductor_magnus", "quadratus_femoris", 12),
    ("adductor_brevis", "adductor_longus", 17),
    ("adductor_brevis", "pectineus", 15),
    ("adductor_brevis", "obturator_externus", 20),
    ("adductor_longus", "gracilis", 69),
    ("adductor_longus", "pectineus", 21),
    ("gracilis", "semimembranosus", 52),
    ("pectineus", "obturator_externus", 51),
    ("pectineus", "iliopsoas", 38),
    ("semitendinosus", "semimembranosus", 8),
    ("semitendinosus", "biceps_femoris", 18),
    ("semitendinosus", "gluteus_maximus", 62),
    ("semimembranosus", "biceps_femoris", 97),
    ("biceps_femoris", "gluteus_maximus", 59),
    ("gluteus_maximus", "quadratus_femoris", 59),
    ("gluteus_medius", "gluteus_minimus", 25),
    ("gluteus_minimus", "tensor_fasciae_latae", 46),
    ("obturator_internus", "obturator_externus", 36),
    ("obturator_externus", "quadratus_femoris", 13),
    ("obturator_externus", "iliopsoas", 39),
)


def _table() -> NDArray[np.float32]:
    table = np.full((TISSUE_COUNT, TISSUE_COUNT), _TO_ANYTHING_ELSE, np.float32)
    muscles = [(m.class_id, m.group) for m in MUSCLES] + [
        (int(Tissue.OTHER_MUSCLE), None),
        (int(Tissue.CALF_MUSCLE), None),
    ]
    for one, group in muscles:
        for other, others in muscles:
            table[one, other] = (_SAME_GROUP_HU if group is others else _OTHER_GROUP_HU) / _WIDEST_HU
    for one_key, other_key, fall_hu in _FALL_HU:
        a, b = BY_KEY[one_key].class_id, BY_KEY[other_key].class_id
        table[a, b] = table[b, a] = min(max(fall_hu / _WIDEST_HU, 0.0), 1.0)
    return table


SEAMS: Final = _table()
"""Share of the body's own share of fat at an edge, by tissue and neighbouring tissue; column ``FAT``: no neighbour."""
