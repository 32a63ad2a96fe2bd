import numpy as np
import pytest

from vastus.anatomy import BY_KEY, Side
from vastus.curation.facts import ROW_OF, VALUES
from vastus.curation.outliers import (
    HU_FALL,
    HU_LEVEL,
    MOST_Z,
    TOGETHER,
    UNSIGNED,
    Quantity,
    boundary_excess,
    robust_z,
    two_way_z,
)
from vastus.curation.shapes import missing_slices, without_usual_islands, worst_jump
from vastus.curation.suspicion import FindingKind, Suspicion

RIGHT = ROW_OF[BY_KEY["sartorius"].label_value(Side.RIGHT)]
LEFT = ROW_OF[BY_KEY["sartorius"].label_value(Side.LEFT)]
PLAIN = Quantity(FindingKind.VOLUME, "", 0.1)


def table(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 1.0, (20, len(VALUES)))


def test_robust_z_of_known_numbers() -> None:
    z = robust_z(np.array([1.0, 2.0, 3.0, 4.0, 5.0, 100.0, np.nan]), 0.1)
    assert z[3] == pytest.approx((4 - 3.5) / (1.4826 * 1.5))
    assert np.isnan(z[6])


def test_the_floor_keeps_a_uniform_folder_quiet() -> None:
    assert np.abs(robust_z(np.array([1.0, 1.0, 1.0, 1.0, 1.0, 1.05]), 0.1)).max() == pytest.approx(0.5)


def test_few_samples_say_nothing() -> None:
    assert np.isnan(robust_z(np.arange(5.0), 0.1)).all()


def test_one_side_off_stands_out_and_the_other_side_does_not() -> None:
    values = table()
    values[3, RIGHT] += 12.0
    z = two_way_z(values, PLAIN)
    assert z[3, RIGHT] > 6.0
    assert z[3, LEFT] < 3.0


def test_a_scan_that_is_off_as_a_whole_does_not() -> None:
    values = table()
    values[3] += 12.0
    assert np.nanmax(two_way_z(values, PLAIN)[3]) < 6.0
    unadjusted = Quantity(FindingKind.VOLUME, "", 0.1, by_case=False)
    assert two_way_z(values[:, [*range(len(VALUES))]], unadjusted)[3, RIGHT] >= 0.0


def test_the_sign_counts_where_it_is_asked_for() -> None:
    values = table()
    values[3, RIGHT] -= 12.0
    assert two_way_z(values, Quantity(FindingKind.EDGE, "", 0.1, sign=1))[3, RIGHT] == 0.0
    assert two_way_z(values, Quantity(FindingKind.EDGE, "", 0.1, sign=-1))[3, RIGHT] > 6.0


def test_gaps_are_found_between_filled_slices_only() -> None:
    areas = np.array([0, 0, 300, 310, 0, 0, 305, 300, 20, 0, 15, 0.0])
    assert missing_slices(areas) == (4, 5)


def test_a_jump_is_where_two_slices_do_not_overlap() -> None:
    areas = np.full(20, 400.0)
    shared = np.full(20, 380.0)
    shared[9] = 40.0
    found = worst_jump(areas, shared)
    assert found is not None and found[0] == 9
    assert found[1] == pytest.approx(0.95 - 0.1)


def island(case: str, value: int) -> Suspicion:
    return Suspicion(case, value, FindingKind.ISLAND, 2.0, "")


def test_islands_on_both_sides_or_in_many_scans_are_usual() -> None:
    lonely, other_kind = island("a", 101), Suspicion("a", 129, FindingKind.SIDES, 2.0, "")
    both = [island("b", 107), island("b", 207)]
    often = [island(case, 129) for case in "abcdef"]
    assert without_usual_islands([lonely, other_kind, *both, *often], 10) == [lonely, other_kind]
    assert without_usual_islands(often[:3], 10) == often[:3]


@pytest.mark.parametrize(("off_z", "share"), [(0.0, 0.0), (1.0, 0.5), (2.0, 1.0), (9.0, 1.0)])
def test_where_a_model_agrees_an_odd_image_says_nothing(off_z: float, share: float) -> None:
    strengths = {q: np.zeros((2, len(VALUES))) for q in TOGETHER}
    strengths[HU_LEVEL][:, RIGHT] = 30.0
    strengths[HU_FALL][:, RIGHT] = 5.0
    strengths[UNSIGNED][:, RIGHT] = off_z
    with_model, alone = boundary_excess(strengths, np.array([True, False]))[:, :, RIGHT].T
    level, fall = TOGETHER.index(HU_LEVEL), TOGETHER.index(HU_FALL)
    assert alone[[level, fall]].tolist() == [MOST_Z - 1.0, 4.0]
    assert with_model[[level, fall]].tolist() == [share * (MOST_Z - 1.0), share * 4.0]
