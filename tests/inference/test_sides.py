from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from vastus.anatomy import BY_KEY, MUSCLES, SIDES, Side
from vastus.inference.landmarks import BUILT_IN_SIGNPOSTS
from vastus.inference.sides import SidedLabels, side_rules, tell_sides
from vastus.io.own_structures import own_table
from vastus.synthesis.phantom import make_phantom
from vastus.volume import Volume, to_ras

SPACING = (4.0, 4.0, 5.0)
FEMUR, HIP = BUILT_IN_SIGNPOSTS.femur, BUILT_IN_SIGNPOSTS.hip


def _labels(sides: tuple[Side, ...] = SIDES, z: tuple[float, float] = (-20.0, 610.0)) -> Volume:
    return make_phantom(SPACING, sides=sides, z_range_mm=z, noise_hu=0).labels


def _sided(truth: Volume) -> SidedLabels:
    upright = to_ras(truth)
    return tell_sides(np.asfortranarray(upright.array % 100), upright.affine)


def _swapped(found: np.ndarray, truth: np.ndarray) -> float:
    """Share of the labelled voxels with another side than the truth (or none)."""
    return float((found != truth)[truth > 0].mean())


def _turned(volume: Volume, degrees: float, axis: int) -> Volume:
    """The patient turned in the scanner about a world axis: content moves, the axes stay upright."""
    from scipy.ndimage import affine_transform

    a, b = [w for w in range(3) if w != axis]
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.eye(3)
    turn[a, a] = turn[b, b] = c
    turn[a, b], turn[b, a] = -s, s
    spacing = np.array(volume.spacing_mm)
    size = np.array(volume.shape) * spacing
    span = np.abs(turn) @ size
    shape = np.ceil(span / spacing).astype(int)
    index = np.diag(1 / spacing) @ turn.T @ np.diag(spacing)
    offset = (np.array(volume.shape) - 1) / 2 - index @ (shape - 1) / 2
    moved = affine_transform(volume.array, index, offset=offset, output_shape=tuple(shape), order=0)
    return Volume(np.asfortranarray(moved), np.diag([*spacing, 1.0]))


def test_both_legs_are_told_apart_everywhere() -> None:
    truth = _labels()
    result = _sided(truth)
    np.testing.assert_array_equal(result.labels, truth.array)
    assert result.warnings == ()


@pytest.mark.parametrize("z", [(-20, 150), (60, 220), (250, 420), (380, 520), (440, 610), (520, 610)])
def test_any_stretch_of_the_body_will_do(z: tuple[float, float]) -> None:
    truth = _labels(z=z)
    assert _swapped(_sided(truth).labels, truth.array) == 0.0


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("degrees", [-35, -15, 15, 35])
def test_a_patient_lying_skew_or_rolled(axis: int, degrees: float) -> None:
    truth = _turned(_labels(), degrees, axis)
    assert _swapped(_sided(truth).labels, truth.array) < 0.004


@pytest.mark.parametrize("degrees", [-25, 25])
def test_an_oblique_grid(degrees: float) -> None:
    straight = _labels()
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    moved = _turned(straight, degrees, 2)  # array content turned by hand ...
    affine = moved.affine.copy()
    affine[:3, :3] = turn.T @ affine[:3, :3]  # ... on a grid that is turned back and tilted
    truth = Volume(moved.array, affine)
    assert _swapped(_sided(truth).labels, to_ras(truth).array) < 0.004


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("z", [(-20, 610), (60, 300), (350, 610)])
def test_one_leg_only_is_recognised_by_its_muscles(side: Side, z: tuple[float, float]) -> None:
    truth = _labels((side,), z)
    result = _sided(truth)
    np.testing.assert_array_equal(result.labels, truth.array)
    assert any(side.value in warning for warning in result.warnings)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("degrees", [-40, 40])
def test_one_leg_rolled_over(side: Side, degrees: float) -> None:
    truth = _turned(_labels((side,)), degrees, 2)
    assert _swapped(_sided(truth).labels, truth.array) == 0.0


@pytest.mark.parametrize("side", SIDES)
def test_a_sliver_of_the_other_leg_is_not_swallowed(side: Side) -> None:
    both = _labels(z=(-20, 330))
    x = both.affine[0, 3] + np.arange(both.shape[0]) * SPACING[0]
    keep = x > -48 if side is Side.RIGHT else x < 48  # the other leg's gracilis and little else
    truth = both.with_array(np.asfortranarray(both.array * keep[:, None, None].astype(np.uint8)))
    other = BY_KEY["gracilis"].label_value(side.opposite)
    assert (truth.array == other).sum() > 50
    found = _sided(truth).labels
    assert _swapped(found, truth.array) < 0.02
    assert (found[truth.array == other] == other).all()


def test_one_femur_and_both_hip_bones() -> None:
    """A hip prosthesis or an amputated leg: one femur is missing."""
    truth = _labels()
    array = truth.array.copy(order="F")
    array[array == BY_KEY["femur"].label_value(Side.LEFT)] = 0
    truth = truth.with_array(array)
    assert _swapped(_sided(truth).labels, truth.array) < 0.004


def test_a_femur_broken_in_two_is_one_leg() -> None:
    truth = _labels((Side.RIGHT,))
    array = truth.array.copy(order="F")
    z = truth.affine[2, 3] + np.arange(truth.shape[2]) * SPACING[2]
    femur = array == BY_KEY["femur"].label_value(Side.RIGHT)
    array[femur & ((z > 180) & (z < 215))[None, None]] = 0
    truth = truth.with_array(array)
    np.testing.assert_array_equal(_sided(truth).labels, truth.array)


def test_hip_bones_joined_in_front_are_cut_in_the_middle() -> None:
    truth = _labels(z=(380, 610))
    array = truth.array.copy(order="F")
    x = truth.affine[0, 3] + np.arange(truth.shape[0]) * SPACING[0]
    z = truth.affine[2, 3] + np.arange(truth.shape[2]) * SPACING[2]
    bridge = (np.abs(x) < 90)[:, None] & (np.abs(z - 420) < 12)[None, :]
    array[:, array.shape[1] // 2, :][bridge] = 1  # marked, then sided by x
    marked = array == 1
    array[marked] = np.where(np.broadcast_to((x >= 0)[:, None, None], array.shape)[marked], 100 + HIP, 200 + HIP)
    array[array % 100 == FEMUR] = 0
    truth = truth.with_array(array)
    assert _swapped(_sided(truth).labels, truth.array) < 0.01


def test_muscles_that_touch_across_the_midline_are_cut_there() -> None:
    truth = _labels(z=(380, 610))
    array = truth.array.copy(order="F")
    x = np.broadcast_to((truth.affine[0, 3] + np.arange(truth.shape[0]) * SPACING[0])[:, None, None], array.shape)
    y = np.broadcast_to((truth.affine[1, 3] + np.arange(truth.shape[1]) * SPACING[1])[None, :, None], array.shape)
    multifidus = BY_KEY["multifidus"]
    bridge = (np.abs(x) < 24) & (np.abs(y + 70) < 12) & (array == 0)
    array[bridge] = np.where(x[bridge] >= 0, multifidus.label_value(Side.RIGHT), multifidus.label_value(Side.LEFT))
    truth = truth.with_array(array)
    assert _swapped(_sided(truth).labels, truth.array) < 0.003


def _with_multifidi_moved(truth: Volume, voxels: int, *, joined: bool) -> Volume:
    """Both multifidi moved to the right of the bones' middle, as in a pelvis that is not symmetrical."""
    muscle = BY_KEY["multifidus"]
    array = truth.array.copy(order="F")
    both = array % 100 == muscle.class_id
    x = np.flatnonzero(both.any(axis=(1, 2)))
    if joined:
        both[x[0] : x[-1] + 1] |= both.any(axis=0)[None]
    array[array % 100 == muscle.class_id] = 0
    moved = np.roll(both, voxels, axis=0)
    middle = (x[0] + x[-1]) / 2 + voxels
    to_the_right = (np.arange(array.shape[0]) >= middle)[:, None, None]
    values = np.where(to_the_right, muscle.label_value(Side.RIGHT), muscle.label_value(Side.LEFT))
    return truth.with_array(np.where(moved, values, array).astype(np.uint8, order="F"))


@pytest.mark.parametrize("voxels", [-5, 0, 5])
@pytest.mark.parametrize("joined", [False, True])
def test_multifidi_beside_the_middle_of_the_bones_keep_their_sides(voxels: int, joined: bool) -> None:
    truth = _with_multifidi_moved(_labels(z=(380, 610)), voxels, joined=joined)
    own = truth.array % 100 == BY_KEY["multifidus"].class_id
    assert own.sum() > 200
    found = _sided(truth).labels
    assert ((found == truth.array) & own).sum() >= 0.97 * own.sum()
    assert _swapped(np.where(own, truth.array, found), truth.array) == 0.0


@pytest.mark.parametrize("side", SIDES)
def test_one_multifidus_is_one_side(side: Side) -> None:
    truth = _labels(z=(380, 610))
    array = truth.array.copy(order="F")
    array[array == BY_KEY["multifidus"].label_value(side.opposite)] = 0
    truth = truth.with_array(array)
    np.testing.assert_array_equal(_sided(truth).labels, truth.array)


def test_what_can_not_be_told_is_said() -> None:
    classes = np.zeros((30, 30, 30), np.uint8, order="F")
    classes[10:20, 10:20, 5:25] = FEMUR
    result = tell_sides(classes, np.diag([4.0, 4.0, 4.0, 1.0]))
    assert set(np.unique(result.labels)) == {0, FEMUR}
    assert "can't be told apart" in result.warnings[0]


def test_an_empty_map_stays_empty_without_a_warning() -> None:
    result = tell_sides(np.zeros((4, 4, 4), np.uint8, order="F"), np.eye(4))
    assert not result.labels.any() and result.warnings == ()


@pytest.mark.parametrize("flips", list(product([False, True], repeat=2)))
def test_header_against_muscles(flips: tuple[bool, bool]) -> None:
    """Front and back turned round in the file: the header counts, and a warning says so."""
    truth = _labels()
    array = truth.array[:: -1 if flips[0] else 1, :: -1 if flips[1] else 1]
    found = tell_sides(np.asfortranarray(array % 100), truth.affine)
    right = found.labels[truth.shape[0] // 2 + 2 :]
    assert set(np.unique(right // 100)) <= {0, 1}
    assert bool(found.warnings) == flips[1]


def test_medial_and_lateral_muscles_are_what_they_are_called() -> None:
    assert not set(BUILT_IN_SIGNPOSTS.medial) & set(BUILT_IN_SIGNPOSTS.lateral)
    assert set(BUILT_IN_SIGNPOSTS.medial) | set(BUILT_IN_SIGNPOSTS.lateral) <= {m.class_id for m in MUSCLES}


@pytest.mark.parametrize("side", SIDES)
def test_one_leg_with_hip_bones_joined_in_front(side: Side) -> None:
    """The field of view ends beyond the middle: of the other leg it shows the pubis and the innermost muscles."""
    both = _labels(z=(200, 410))
    array = both.array.copy(order="F")
    x = both.affine[0, 3] + np.arange(both.shape[0]) * SPACING[0]
    z = both.affine[2, 3] + np.arange(both.shape[2]) * SPACING[2]
    outward = x if side is Side.RIGHT else -x
    array[array % 100 == HIP] = 0
    y = array.shape[1] // 2
    pubis = np.ix_((outward > -64) & (outward < 54), range(y - 2, y + 3), np.abs(z - 385) < 15)
    array[pubis] = 100 + HIP if side is Side.RIGHT else 200 + HIP  # can't be cut, and goes with the leg
    array[outward < -64] = 0
    truth = both.with_array(array)
    assert (truth.array // 100 == (2 if side is Side.RIGHT else 1)).sum() > 300
    result = _sided(truth)
    np.testing.assert_array_equal(result.labels, truth.array)
    assert any(side.value in warning for warning in result.warnings)


@pytest.mark.parametrize("side", SIDES)
def test_the_bones_of_one_leg_count_more_than_its_muscles(side: Side) -> None:
    """A tumour whose surroundings are given the wrong names: medial and lateral ones are confused."""
    truth = _labels((side,), (300, 520))
    names = {
        "vastus_lateralis": "vastus_medialis",
        "vastus_medialis": "vastus_lateralis",
        "gracilis": "gluteus_medius",
        "biceps_femoris": "semimembranosus",
        "semimembranosus": "biceps_femoris",
        "gluteus_medius": "gracilis",
        "adductor_magnus": "gluteus_minimus",
        "adductor_longus": "gluteus_minimus",
    }
    taken = np.arange(256, dtype=np.uint8)
    for true, said in names.items():
        taken[BY_KEY[true].label_value(side)] = BY_KEY[said].label_value(side)
    truth = truth.with_array(np.asfortranarray(taken[truth.array]))
    np.testing.assert_array_equal(_sided(truth).labels, truth.array)


OWN = own_table([{"name": "thigh"}, {"name": "sacrum", "paired": "no"}, {"name": "hip_bone"}, {"name": "femur"}])


def _own_classes(*, with_femora: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Class ids of ``OWN`` and label values, of a phantom; the sacrum is a block between the legs."""
    labels = to_ras(_labels()).array
    built_in = labels % 100
    own = np.zeros(labels.shape, np.uint8)
    own[(built_in > 0) & (built_in < FEMUR)] = 1
    own[built_in == HIP] = 3
    own[built_in == FEMUR] = 4 if with_femora else 0
    middle = labels.shape[0] // 2
    own[middle - 4 : middle + 4, :6, 60:70] = 2
    sided = np.where((own > 0) & (own != 2), own + 100 * (labels // 100), own)
    return np.asfortranarray(own), sided


@pytest.mark.parametrize("with_femora", [True, False])
def test_structures_of_a_labs_own_get_their_sides_by_bones_or_by_pairs(with_femora: bool) -> None:
    classes, expected = _own_classes(with_femora=with_femora)
    found = tell_sides(classes, to_ras(_labels()).affine, side_rules(OWN))
    assert not found.warnings
    np.testing.assert_array_equal(found.labels, expected)


def test_what_lies_in_the_midline_has_no_side_and_helps_to_find_none() -> None:
    classes, _ = _own_classes()
    alone = np.asfortranarray(np.where(classes == 2, classes, 0))
    found = tell_sides(alone, to_ras(_labels()).affine, side_rules(OWN))
    np.testing.assert_array_equal(found.labels, alone)
