import numpy as np
import pytest

from vastus.anatomy import BY_KEY, SIDES, Side
from vastus.errors import GeometryError, MissingInputError
from vastus.synthesis.atlas import Atlas, Field, Landmarks, PersonName, part_from_mask
from vastus.synthesis.drawn import Drawn, DrawnName, drawn_person, find_landmarks
from vastus.synthesis.kernels import VOXEL_MM
from vastus.volume import Volume

HEAD_MM = {Side.RIGHT: (80.0, 5.0, 300.0), Side.LEFT: (-80.0, 5.0, 300.0)}


def grid_mm(low, shape, spacing):
    return np.meshgrid(*(a + s * np.arange(n) for a, n, s in zip(low, shape, spacing, strict=True)), indexing="ij")


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def slanted(x, y, z):
    """A cylinder that goes 1 mm aside for each mm upwards: 3 mm steps from slice to slice."""
    return np.hypot(x - (z - 45), y) < 12


def test_steps_between_slices_are_smoothed():
    low, shape, spacing = (-80.0, -30.0, 0.0), (160, 60, 31), (1.0, 1.0, 3.0)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = low
    labels = slanted(*grid_mm(low, shape, spacing)).astype(np.uint8)
    drawn = drawn_person(Volume(labels, affine), [DrawnName(1, ("gracilis",))])
    x, y, z = grid_mm(drawn.origin_mm, drawn.labels.shape, (VOXEL_MM,) * 3)
    middle = (z > 10) & (z < 80)
    true = slanted(x, y, z) & middle
    steps = slanted(x, y, 3 * np.round(z / 3)) & middle
    found = (drawn.labels == 1) & middle
    assert dice(found, true) > 0.975
    assert 1 - dice(found, true) < 0.6 * (1 - dice(steps, true))


def test_neighbours_stay_neighbours():
    """No gap opens where one structure takes over from another between two slices."""
    labels = np.zeros((40, 40, 6), np.uint8)
    for k in range(6):
        labels[5:35, 5 : 12 + 3 * k, k], labels[5:35, 12 + 3 * k : 35, k] = 1, 2
    names = [DrawnName(1, ("gracilis",)), DrawnName(2, ("sartorius",))]
    drawn = drawn_person(Volume(labels, np.diag([1.0, 1.0, 4.0, 1.0])), names)
    assert (drawn.labels[6:20, 6:20, 1:-1] > 0).all()


@pytest.mark.parametrize("axes", [(-1, -1, 1), (1, -1, -1)])
def test_axes_are_turned_to_the_patients(axes):
    labels = np.zeros((30, 30, 10), np.uint8)
    labels[3:9, 12:18, 2:5] = 7
    affine = np.diag([*axes, 1.0]).astype(float)
    drawn = drawn_person(Volume(labels, affine), [DrawnName(7, ("femur",))])
    centre = drawn.origin_mm + VOXEL_MM * np.argwhere(drawn.labels == 7).mean(axis=0)
    assert centre[:2] == pytest.approx(np.array([5.5, 14.5]) * axes[:2], abs=0.8)


def test_names_that_may_mean_the_same_belong_together():
    names = tuple(
        DrawnName(n, parts)
        for n, parts in enumerate([("iliacus", "iliopsoas"), ("femur",), ("psoas", "iliopsoas"), ("gracilis",)], 1)
    )
    drawn = Drawn(np.zeros((1, 1, 1), np.uint8), np.zeros(3), names)
    assert {tuple(sorted(n.value for n in group)) for group in drawn.groups()} == {(1, 3), (2,), (4,)}


def test_an_oblique_grid_and_an_empty_one_are_refused():
    turned = np.eye(4)
    turned[:2, :2] = [[0.94, -0.34], [0.34, 0.94]]
    ones = np.ones((4, 4, 4), np.uint8)
    with pytest.raises(GeometryError, match="oblique"):
        drawn_person(Volume(ones, turned), [DrawnName(1, ("femur",))])
    with pytest.raises(MissingInputError, match="No value"):
        drawn_person(Volume(ones, np.eye(4)), [DrawnName(2, ("femur",))])


def test_hands_are_no_part_of_the_outline():
    labels, skin = np.zeros((80, 60, 4), np.uint8), np.zeros((80, 60, 4), np.uint8)
    labels[20:30, 20:30], skin[10:40, 10:40], skin[60:70, 20:30] = 1, 1, 1
    drawn = drawn_person(Volume(labels, np.eye(4)), [DrawnName(1, ("femur",))], Volume(skin, np.eye(4)))
    columns = drawn.origin_mm[0] + VOXEL_MM * np.flatnonzero(drawn.skin.any(axis=(1, 2)))
    assert columns[0] == pytest.approx(10, abs=2)
    assert columns[-1] == pytest.approx(39, abs=2)


def hips(lowest_mm, lean=0.0, size=1.0):
    """Labels of two femora with round heads in the sockets of two hip bones; femur 1, hip bone 2."""
    low, shape = (-150.0 * size, -60.0 * size, lowest_mm), (int(300 * size / 1.5), 100, int((420 - lowest_mm) / 1.5))
    x, y, z = grid_mm(low, shape, (VOXEL_MM,) * 3)
    labels = np.zeros(shape, np.uint8)
    for side in SIDES:
        hx, hy, hz = size * np.array(HEAD_MM[side])
        sign = np.sign(hx)
        way = np.linalg.norm([x - hx, y - hy, z - hz], axis=0)
        shaft_x, shaft_y = hx + sign * 30 * size, hy + lean * (hz - z)
        shaft = (np.hypot(x - shaft_x, y - shaft_y) < 14) & (z < hz) & (z > 0)
        labels[shaft | (way < 24 * size)] = 1
        socket = (way > 26 * size) & (way < 34 * size) & (sign * (x - hx) < 0)
        labels[socket] = 2
        labels[(np.abs(x - hx) < 20 * size) & (np.abs(y - hy) < 20) & (z > hz + 34 * size) & (z < hz + 90 * size)] = 2
    names = (DrawnName(1, ("femur",)), DrawnName(2, ("hip_bone",)))
    return Drawn(labels, np.array(low), names)


@pytest.fixture(scope="module")
def whole():
    drawn = hips(-60.0)
    parts = []
    for value, key in ((1, "femur"), (2, "hip_bone")):
        for side in SIDES:
            mask = drawn.labels == value
            half = mask.shape[0] // 2
            mask[: half if side is Side.RIGHT else 0] = False
            if side is Side.LEFT:
                mask[half:] = False
            tissue = BY_KEY[key].class_id
            parts.append(part_from_mask(key, tissue, side, mask, drawn.origin_mm, procedural=False))
    knees = {side: (np.sign(h[0]) * 110.0, 5.0, 10.0) for side, h in HEAD_MM.items()}
    field = Field(np.zeros((2, 2, 2), np.float32), np.zeros(3), 3.0)
    return Atlas(PersonName.MALE, tuple(parts), Landmarks(HEAD_MM, knees, 389.0, 0.0), field, field)


def test_landmarks_of_a_whole_femur(whole):
    marks = find_landmarks(hips(-60.0), whole)
    for side in SIDES:
        assert marks.head_mm[side] == pytest.approx(HEAD_MM[side], abs=1.0)
        assert marks.knee_mm[side] == pytest.approx(whole.landmarks.knee_mm[side], abs=2.0)
    assert marks.crest_z_mm == pytest.approx(389, abs=2)
    assert marks.midline_x_mm == pytest.approx(0, abs=0.5)


@pytest.mark.parametrize("lean", [0.0, 0.25])
def test_a_knee_that_is_not_drawn_lies_where_the_shaft_points(whole, lean):
    marks = find_landmarks(hips(180.0, lean), whole)
    for side in SIDES:
        x, y, z = whole.landmarks.knee_mm[side]
        expected = (x, y + lean * 290, z)
        assert marks.knee_mm[side] == pytest.approx(expected, abs=6.0)


def test_a_smaller_person_has_shorter_legs(whole):
    marks = find_landmarks(hips(180.0, size=0.85), whole)
    assert marks.leg_mm == pytest.approx(0.85 * whole.landmarks.leg_mm, rel=0.03)


@pytest.mark.parametrize("missing", [1, 2])
def test_without_hips_there_is_no_body(whole, missing):
    drawn = hips(180.0)
    drawn.labels[drawn.labels == missing] = 0
    with pytest.raises(MissingInputError, match="no femur, or no hip bone"):
        find_landmarks(drawn, whole)
