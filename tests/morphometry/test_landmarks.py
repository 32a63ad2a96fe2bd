from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.signal import find_peaks

from vastus.anatomy import Side
from vastus.morphometry.field_of_view import find_field_of_view, find_truncations
from vastus.morphometry.landmarks import (
    ISCHIAL_TUBEROSITY,
    LESSER_TROCHANTER,
    MID_THIGH,
    Leg,
    find_leg,
    most_prominent_peak,
)
from vastus.morphometry.settings import MeasureSettings
from vastus.morphometry.voxels import tally_labels
from vastus.synthesis.phantom import make_phantom
from vastus.volume import Volume, to_ras

FEMUR = {Side.RIGHT: 128, Side.LEFT: 228}


def leg_of(labels: Volume, side: Side, settings: MeasureSettings | None = None) -> Leg | None:
    upright = to_ras(labels)
    tally = tally_labels(upright.array, None)
    cut = find_truncations(upright, tally, find_field_of_view(upright.shape, None))
    return find_leg(upright, tally, side, cut, settings or MeasureSettings())


def femur_shape(
    side: Side, *, tilt_degrees: float = 0.0, trochanter: bool = True, spacing_mm: float = 3.0, top_mm: float = 430.0
) -> Volume:
    """Shaft of radius 14 mm, condyles 35, head 24 mm set off by 40 mm, and a bump 82 mm below the top."""
    shape = (70, 140, 160)
    affine = np.diag([spacing_mm] * 3 + [1.0])
    affine[:3, 3] = [-105, -210, -20]
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    world = index * spacing_mm + affine[:3, 3]
    angle = np.radians(tilt_degrees)
    axis = np.array([0.0, np.sin(angle), np.cos(angle)])
    start = np.array([0.0, -top_mm / 2 * np.sin(angle), 0.0])
    inwards = -1.0 if side is Side.RIGHT else 1.0
    back = np.array([0.0, -np.cos(angle), np.sin(angle)])

    def ball(height: float, inward_mm: float, back_mm: float, radius: float) -> np.ndarray:
        centre = start + height * axis + np.array([inwards * inward_mm, 0, 0]) + back_mm * back
        return ((world - centre) ** 2).sum(-1) < radius**2

    along = (world - start) @ axis
    from_axis = np.linalg.norm(world - start - along[..., None] * axis, axis=-1)
    bone = (from_axis < 14) & (along > 10) & (along < top_mm - 40)
    bone |= ball(35, 0, 0, 35) | ball(top_mm - 24, 40, 0, 24) | ball(top_mm - 50, 20, 0, 18)
    if trochanter:
        bone |= ball(top_mm - 82, 14, 14, 10)
    return Volume(np.asfortranarray(np.where(bone, FEMUR[side], 0).astype(np.uint8)), affine)


@pytest.mark.parametrize("side", [Side.RIGHT, Side.LEFT])
@pytest.mark.parametrize("tilt", [0.0, 12.0, 30.0])
def test_length_axis_and_trochanter_of_a_modelled_femur(side: Side, tilt: float) -> None:
    leg = leg_of(femur_shape(side, tilt_degrees=tilt), side)
    assert leg is not None
    assert leg.length_mm == pytest.approx(430, abs=4)
    assert leg.tilt_degrees == pytest.approx(tilt, abs=1.5)
    trochanter = leg.level(LESSER_TROCHANTER)
    assert trochanter is not None
    assert trochanter.method.startswith("postero-medial")
    assert trochanter.position_mm == pytest.approx(430 - 82, abs=4)
    middle = leg.level(MID_THIGH)
    assert middle is not None
    assert middle.position_mm == pytest.approx(leg.length_mm / 2)


def test_without_a_bump_the_share_is_taken_and_said() -> None:
    leg = leg_of(femur_shape(Side.LEFT, trochanter=False), Side.LEFT)
    assert leg is not None and leg.length_mm is not None
    level = leg.level(LESSER_TROCHANTER)
    assert level is not None
    assert level.position_mm == pytest.approx(0.83 * leg.length_mm)
    assert level.method.startswith("17%")


def test_a_cut_femur_has_no_length_and_no_percentages_but_keeps_its_axis() -> None:
    whole = femur_shape(Side.RIGHT, tilt_degrees=12)
    upper = Volume(whole.array[:, :, 67:], whole.affine + np.array([[0] * 4, [0] * 4, [0, 0, 0, 201.0], [0] * 4]))
    leg = leg_of(upper, Side.RIGHT)
    assert leg is not None
    assert leg.truncation.below and not leg.truncation.above
    assert leg.length_mm is None
    assert leg.tilt_degrees == pytest.approx(12, abs=2)
    assert [level.name for level in leg.levels] == [LESSER_TROCHANTER]
    assert leg.levels[0].percent is None
    expected = 430 - 82
    start = np.array([0.0, -215 * np.sin(np.radians(12)), 0.0])
    axis = np.array([0.0, np.sin(np.radians(12)), np.cos(np.radians(12))])
    assert (np.array(leg.levels[0].point_mm) - start) @ axis == pytest.approx(expected, abs=5)


def test_tuberosity_is_the_lowest_point_of_the_hip_bone() -> None:
    labels = make_phantom((4, 4, 3)).labels
    leg = leg_of(labels, Side.LEFT)
    assert leg is not None
    level = leg.level(ISCHIAL_TUBEROSITY)
    assert level is not None
    assert level.point_mm[2] == pytest.approx(460 - 85, abs=4)
    assert leg.origin_mm[2] == pytest.approx(200 - 215, abs=6)


def test_percentages_are_settings() -> None:
    leg = leg_of(femur_shape(Side.LEFT), Side.LEFT, MeasureSettings(levels_percent=(25.0, 33.3)))
    assert leg is not None
    named = {level.name: level.percent for level in leg.levels}
    assert named["femur_25_percent"] == pytest.approx(25)
    assert named["femur_33.3_percent"] == pytest.approx(33.3)
    assert named[MID_THIGH] == pytest.approx(50)


def test_a_single_voxel_of_femur_is_no_leg() -> None:
    array = np.zeros((6, 6, 6), np.uint8)
    array[2, 3, 4] = FEMUR[Side.LEFT]
    assert leg_of(Volume(array, np.diag([2.0, 2.0, 4.0, 1.0])), Side.LEFT) is None


def test_no_femur_no_leg_and_a_broken_one_keeps_its_parts() -> None:
    labels = femur_shape(Side.RIGHT)
    assert leg_of(labels, Side.LEFT) is None
    broken = labels.array.copy()
    broken[:, :, 117:120] = 0
    broken[2:4, 2:4, 2:4] = FEMUR[Side.RIGHT]  # an island far away does not lengthen it
    leg = leg_of(labels.with_array(broken), Side.RIGHT)
    assert leg is not None
    assert leg.length_mm == pytest.approx(430, abs=4)


@given(arrays(np.float64, st.integers(3, 40), elements=st.integers(0, 6).map(float)), st.sampled_from([1.0, 2.5, 4.0]))
def test_the_most_prominent_peak_is_scipys(curve: np.ndarray, least: float) -> None:
    peaks, properties = find_peaks(curve, prominence=least)
    expected = int(peaks[np.argmax(properties["prominences"])]) if len(peaks) else None
    assert most_prominent_peak(curve, least) == expected
