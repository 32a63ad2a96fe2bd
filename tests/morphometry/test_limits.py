from __future__ import annotations

import pytest

from vastus.anatomy import BY_KEY, Side
from vastus.morphometry.limits import too_large
from vastus.morphometry.structures import StructureMeasures
from vastus.muscle_volumes import largest_volume_mm3


def measured(key: str, volume_mm3: float | None, side: Side = Side.LEFT) -> StructureMeasures:
    return StructureMeasures(BY_KEY[key], side, volume_mm3, truncated=False)


def test_only_what_exceeds_the_largest_person_is_said() -> None:
    limit = largest_volume_mm3("adductor_brevis")
    assert limit == pytest.approx(218_365)
    (warning,) = too_large([
        measured("adductor_brevis", limit + 1000), measured("adductor_brevis", limit, Side.RIGHT),
        measured("gracilis", None), measured("multifidus", 5e6), measured("femur", 5e6),
        measured("psoas", 5e6, Side.UNKNOWN),
    ])  # fmt: skip
    assert warning.startswith("Adductor brevis, left: 219 mL") and "218 mL" in warning


def test_nothing_is_said_of_a_healthy_leg() -> None:
    assert too_large([]) == ()
    assert too_large([measured("vastus_lateralis", 870_000.0)]) == ()
