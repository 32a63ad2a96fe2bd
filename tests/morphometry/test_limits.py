from __future__ import annotations

import pytest

from vastus.anatomy import BY_KEY, Side
from vastus.morphometry.limits import fragment_warnings, too_large
from vastus.morphometry.structures import StructureMeasures
from vastus.muscle_volumes import largest_volume_mm3


def measured(key: str, volume_mm3: float | None, side: Side = Side.LEFT) -> StructureMeasures:
    return StructureMeasures(BY_KEY[key], side, volume_mm3, truncated=False)


def test_only_what_exceeds_the_largest_person_is_said() -> None:
    limit = largest_volume_mm3("adductor_brevis")
    assert limit == pytest.approx(218_365)
    (warning,) = too_large(
        [
            measured("adductor_brevis", limit + 1000),
            measured("adductor_brevis", limit, Side.RIGHT),
            measured("gracilis", None),
            measured("multifidus", 5e6),
            measured("femur", 5e6),
            measured("psoas", 5e6, Side.UNKNOWN),
        ]
    )
    assert warning.startswith("Adductor brevis, left: 219 mL") and "218 mL" in warning


def test_nothing_is_said_of_a_healthy_leg() -> None:
    assert too_large([]) == ()
    assert too_large([measured("vastus_lateralis", 870_000.0)]) == ()


def test_a_fragment_is_said_with_its_reason() -> None:
    (warning,) = fragment_warnings(
        [
            measured("biceps_femoris", 12.0, Side.RIGHT),
            measured("biceps_femoris", 350_000.0),
            measured("femur", None),
        ]
    )
    assert warning == (
        "Biceps femoris, right: 0.0 mL are labelled, a fragment: less than 5% of the other side (17.5 mL). It counts "
        "in no difference, sum or index. The label is wrong, or the structure is not there."
    )
    assert fragment_warnings([measured("biceps_femoris", 350_000.0)]) == ()
