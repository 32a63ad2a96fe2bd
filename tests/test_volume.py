from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation

from vastus.anatomy import Side
from vastus.errors import GeometryError
from vastus.resampling import resample_box
from vastus.volume import (
    Volume,
    axis_order,
    centred_affine,
    crop,
    from_ras,
    paste,
    place_on,
    resample_like,
    shape_for_spacing,
    to_ras,
)

ORIENTATIONS = [(order, flips) for order in permutations(range(3)) for flips in product((False, True), repeat=3)]
OBLIQUE = [(12.0, -7.0, 20.0), (-35.0, 10.0, 3.0), (1.5, -2.5, 44.0), (20.0, 25.0, -30.0)]
SPACING = (3.0, 2.0, 4.0)
HALF_MM = np.array([60.0, 40.0, 50.0])
CENTRE_MM = np.array([15.0, -20.0, 900.0])

assert len(ORIENTATIONS) == 48
STRAIGHT_AND_OBLIQUE = [(orientation, (0.0, 0.0, 0.0)) for orientation in ORIENTATIONS] + [
    (orientation, OBLIQUE[number % len(OBLIQUE)]) for number, orientation in enumerate(ORIENTATIONS)
]


def turned(volume: Volume, orientation: tuple[tuple[int, ...], tuple[bool, ...]]) -> Volume:
    """The same voxels at the same places, stored in another axis order."""
    order, flips = orientation
    array, affine = volume.array.transpose(order), volume.affine.copy()
    affine[:, :3] = volume.affine[:, list(order)]
    for axis in range(3):
        if flips[axis]:
            array = np.flip(array, axis)
            affine[:, 3] += affine[:, axis] * (array.shape[axis] - 1)
            affine[:, axis] *= -1
    return Volume(array, affine)


def grid(angles: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Volume:
    """A box of SPACING, turned by angles (degrees) about its own centre, index zero everywhere."""
    shape = tuple(np.round(2 * HALF_MM / SPACING).astype(int))
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * SPACING
    affine[:3, 3] = CENTRE_MM - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Volume(np.zeros(shape), affine)


def world(volume: Volume) -> np.ndarray:
    """Place of each voxel relative to CENTRE_MM, shape (I, J, K, 3)."""
    index = np.moveaxis(np.indices(volume.shape), 0, -1)
    return index @ volume.affine[:3, :3].T + volume.affine[:3, 3] - CENTRE_MM


def two_balls(volume: Volume) -> Volume:
    """A larger ball on the patient's right (x > 0 in RAS), a smaller one on the left, in front and above."""
    place = world(volume)
    labels = np.zeros(volume.shape, np.uint8)
    labels[np.linalg.norm(place - [25.0, -5.0, -10.0], axis=-1) < 22.0] = Side.RIGHT.offset + 28
    labels[np.linalg.norm(place - [-25.0, 6.0, 12.0], axis=-1) < 17.0] = Side.LEFT.offset + 28
    return volume.with_array(labels)


BALLS_MM3 = {128: 4 / 3 * np.pi * 22.0**3, 228: 4 / 3 * np.pi * 17.0**3}


def volumes_mm3(volume: Volume) -> dict[int, float]:
    values, counts = np.unique(volume.array, return_counts=True)
    return {int(v): float(n) * volume.voxel_volume_mm3 for v, n in zip(values, counts, strict=True) if v}


def centre_of(volume: Volume, value: int) -> np.ndarray:
    return world(volume)[volume.array == value].mean(axis=0)


@pytest.mark.parametrize(("orientation", "angles"), STRAIGHT_AND_OBLIQUE)
class TestAllOrientations:
    def test_to_ras_and_back_is_exact(self, orientation, angles):
        original = turned(two_balls(grid(angles)), orientation)
        upright = to_ras(original)
        cosines = upright.affine[:3, :3] / upright.spacing_mm
        assert (np.diag(cosines) > 0.5).all()
        assert np.shares_memory(upright.array, original.array)
        back = from_ras(upright.array, original)
        np.testing.assert_array_equal(back.array, original.array)
        np.testing.assert_array_equal(back.affine, original.affine)

    def test_upright_volume_is_the_same_whatever_the_storage(self, orientation, angles):
        straight = two_balls(grid(angles))
        upright = to_ras(turned(straight, orientation))
        assert upright.same_grid(to_ras(straight))
        np.testing.assert_array_equal(upright.array, to_ras(straight).array)

    def test_volumes_and_sides_stay(self, orientation, angles):
        labels = turned(two_balls(grid(angles)), orientation)
        upright = to_ras(labels)
        assert volumes_mm3(upright) == pytest.approx(volumes_mm3(two_balls(grid(angles))), rel=1e-9)
        assert volumes_mm3(upright) == pytest.approx(BALLS_MM3, rel=0.04)  # voxels of 24 mm3 are coarse
        np.testing.assert_allclose(centre_of(upright, 128), [25, -5, -10], atol=0.3)
        np.testing.assert_allclose(centre_of(upright, 228), [-25, 6, 12], atol=0.3)

    def test_crop_and_paste_keep_the_place(self, orientation, angles):
        labels = turned(two_balls(grid(angles)), orientation)
        inside = np.argwhere(labels.array)
        start, stop = tuple(inside.min(axis=0)), tuple(inside.max(axis=0) + 1)
        box = crop(labels, start, stop)
        assert volumes_mm3(box) == pytest.approx(volumes_mm3(labels))
        np.testing.assert_allclose(centre_of(box, 128), centre_of(labels, 128), atol=1e-9)
        np.testing.assert_array_equal(paste(box.array, labels.shape, start), labels.array)

    def test_resample_box_follows_a_linear_field(self, orientation, angles):
        gradient = np.array([0.7, -1.1, 0.4])
        empty = turned(grid(angles), orientation)
        field = empty.with_array(np.asarray(world(empty) @ gradient, np.float32))
        shape = shape_for_spacing(field.shape, field.spacing_mm, (5.0, 6.0, 4.5))
        result = Volume(
            resample_box(field.array, shape, antialias=False), centred_affine(field.affine, field.shape, shape)
        )
        inner = (slice(1, -1),) * 3
        np.testing.assert_allclose(result.array[inner], (world(result) @ gradient)[inner], atol=1e-3)
        np.testing.assert_allclose(
            result.voxel_volume_mm3 * result.array.size, field.voxel_volume_mm3 * field.array.size, rtol=1e-12
        )


@pytest.mark.parametrize("angles", OBLIQUE)
@pytest.mark.parametrize("orientation", ORIENTATIONS[::7])
def test_resample_like_onto_any_grid_keeps_volumes_and_sides(orientation, angles):
    fine = Volume(np.zeros((96, 96, 96)), centred_affine(grid().affine, grid().shape, (96, 96, 96)))
    fine = two_balls(fine)
    axes = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * 1.1
    affine = np.eye(4)
    affine[:3, :3] = axes
    affine[:3, 3] = CENTRE_MM - axes @ np.full(3, 59.5)
    target = turned(Volume(np.zeros((120, 120, 120), np.uint8), affine), orientation)
    moved = resample_like(fine, target, order=0)
    assert moved.same_grid(target)
    assert volumes_mm3(moved) == pytest.approx(volumes_mm3(fine), rel=0.005)
    assert volumes_mm3(moved) == pytest.approx(BALLS_MM3, rel=0.005)
    np.testing.assert_allclose(centre_of(moved, 128), [25, -5, -10], atol=0.1)
    np.testing.assert_allclose(centre_of(moved, 228), [-25, 6, 12], atol=0.1)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("order", [0, 1])
def test_resample_like_to_another_storage_of_the_same_grid_loses_no_voxel(orientation, order: int):
    labels = two_balls(grid((12.0, -7.0, 20.0)))
    labels.array[...] = np.maximum(labels.array, 1)
    back = resample_like(turned(labels, orientation), labels, order=order)
    np.testing.assert_array_equal(back.array, labels.array)


def test_resample_like_gives_outside_where_there_is_nothing():
    small = Volume(np.full((3, 3, 3), 7, np.int16), np.eye(4))
    far = np.eye(4)
    far[:3, 3] = [2.0, 0.0, 0.0]
    shifted = resample_like(small, Volume(np.zeros((3, 3, 3)), far), order=0, outside=-1024)
    assert (shifted.array[0] == 7).all() and (shifted.array[1:] == -1024).all()
    assert shifted.array.dtype == np.int16


def test_resample_like_interpolates_linearly():
    ramp = Volume(np.arange(4, dtype=np.float32)[:, None, None] * np.ones((1, 3, 3), np.float32), np.eye(4))
    half = np.eye(4)
    half[0, 3] = 0.5
    result = resample_like(ramp, Volume(np.zeros((3, 3, 3)), half), order=1)
    np.testing.assert_allclose(result.array[:, 1, 1], [0.5, 1.5, 2.5])


@given(st.tuples(*[st.floats(-180, 180)] * 3), st.tuples(*[st.floats(0.3, 6)] * 3))
def test_axis_order_is_a_proper_assignment_for_any_rotation(angles, spacing):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * spacing
    order = axis_order(affine)
    assert sorted(order.source) == [0, 1, 2]
    upright = to_ras(Volume(np.zeros((2, 3, 4)), affine))
    cosines = upright.affine[:3, :3] / upright.spacing_mm
    assert (np.diag(cosines) > -1e-9).all()
    best = max(sum(abs(cosines[w, p[w]]) for w in range(3)) for p in permutations(range(3)))
    assert np.trace(cosines) == pytest.approx(best)


@given(
    hnp.arrays(np.int16, st.tuples(*[st.integers(1, 5)] * 3)),
    st.tuples(*[st.floats(-180, 180)] * 3),
)
def test_round_trip_of_any_array_at_any_angle(array, angles):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    original = Volume(array, affine)
    np.testing.assert_array_equal(from_ras(to_ras(original).array, original).array, array)
    np.testing.assert_allclose(volume_corner_sum(to_ras(original)), volume_corner_sum(original), atol=1e-6)


def volume_corner_sum(volume: Volume) -> np.ndarray:
    """Sum of the places of the eight corner voxels: the same whatever the storage."""
    corners = np.array(list(product(*[(0, n - 1) for n in volume.shape])))
    return (corners @ volume.affine[:3, :3].T + volume.affine[:3, 3]).sum(axis=0)


@given(st.tuples(*[st.integers(1, 40)] * 3), st.tuples(*[st.integers(1, 40)] * 3))
def test_centred_affine_keeps_the_outer_faces(shape, new_shape):
    affine = grid((10.0, 20.0, 30.0)).affine
    new = centred_affine(affine, shape, new_shape)
    for corner in product((0, 1), repeat=3):
        before = affine @ [*(np.array(corner) * shape - 0.5), 1.0]
        after = new @ [*(np.array(corner) * new_shape - 0.5), 1.0]
        np.testing.assert_allclose(before, after, atol=1e-8)


def test_spacing_and_voxel_volume_of_a_sheared_grid():
    affine = np.array([[2.0, 0, 0, 0], [0, 3.0, 4.0, 0], [0, 0, 3.0, 0], [0, 0, 0, 1]])
    volume = Volume(np.zeros((2, 2, 2)), affine)
    assert volume.spacing_mm == (2.0, 3.0, 5.0)
    assert volume.voxel_volume_mm3 == pytest.approx(18.0)


@pytest.mark.parametrize(
    ("array", "affine", "says"),
    [
        (np.zeros((2, 2)), np.eye(4), "three dimensions"),
        (np.zeros((2, 2, 2, 2)), np.eye(4), "three dimensions"),
        (np.zeros((2, 2, 2)), np.eye(3), "4x4"),
        (np.zeros((2, 2, 2)), np.full((4, 4), np.nan), "finite"),
        (np.zeros((2, 2, 2)), np.diag([1.0, 1.0, 0.0, 1.0]), "singular"),
    ],
)
def test_impossible_volumes_are_refused(array, affine, says):
    with pytest.raises(GeometryError, match=says):
        Volume(array, affine)


@pytest.mark.parametrize(("start", "stop"), [((-1, 0, 0), (2, 2, 2)), ((0, 0, 0), (2, 2, 9)), ((1, 1, 1), (1, 2, 2))])
def test_impossible_boxes_are_refused(start, stop):
    with pytest.raises(GeometryError, match="does not lie inside"):
        crop(Volume(np.zeros((4, 4, 4)), np.eye(4)), start, stop)


def test_arrays_of_another_shape_do_not_fit():
    with pytest.raises(GeometryError, match="does not fit"):
        Volume(np.zeros((4, 4, 4)), np.eye(4)).with_array(np.zeros((4, 4, 5)))


def test_same_grid_is_about_place_not_content():
    volume = grid()
    near, far = volume.affine.copy(), volume.affine.copy()
    near[0, 3] += 0.005
    far[0, 0] *= 1.02
    assert volume.same_grid(Volume(volume.array + 1, near))
    assert not volume.same_grid(Volume(volume.array, far))
    assert not volume.same_grid(Volume(volume.array[1:], volume.affine))


@given(st.integers(1, 600), st.floats(0.3, 6), st.floats(0.3, 6))
def test_shape_for_spacing_comes_closest(n, old, new):
    (m, _, _) = shape_for_spacing((n, n, n), (old, old, old), (new, new, new))
    wanted = n * old / new
    assert m >= 1
    assert abs(m - wanted) <= 0.5 + 1e-9 or m == 1


class TestRounding:
    @pytest.mark.parametrize("shape", [(20, 20, 20), (512, 512, 400)])
    def test_rounded_sizes_and_directions_are_one_grid(self, shape: tuple[int, int, int]):
        affine = np.diag([0.9765625, 0.9765625, 1.25, 1.0])
        affine[:3, 3] = [-250.0, -140.0, 900.0]
        volume = Volume(np.broadcast_to(np.uint8(0), shape), affine)
        for rounded in (np.round(affine, 4), affine @ np.diag([1.0001, 1.0001, 1.0001, 1.0])):
            assert volume.same_grid(Volume(volume.array, rounded))
            assert volume.difference_to(Volume(volume.array, rounded)) == ""

    @pytest.mark.parametrize("voxels", [0.5, 1.0, 30.0])
    def test_a_shift_of_half_a_voxel_is_another_grid(self, voxels: float):
        volume = grid()
        moved = volume.affine.copy()
        moved[:3, 3] += moved[:3, 0] * voxels
        assert not volume.same_grid(Volume(volume.array, moved))

    def test_the_difference_says_what_and_how_much(self):
        volume = grid()
        moved, larger, turned = (volume.affine.copy() for _ in range(3))
        moved[2, 3] += 12.5
        larger[:3, :3] *= 1.25
        turned[:3, :3] = turned[:3, :3] @ np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
        assert "12.50 mm away" in volume.difference_to(Volume(volume.array, moved))
        assert "3 x 2 x 4 mm against 3.75 x 2.5 x 5 mm" in volume.difference_to(Volume(volume.array, larger))
        assert "degrees apart" in volume.difference_to(Volume(volume.array, turned)) or "voxels of" in (
            volume.difference_to(Volume(volume.array, turned))
        )
        assert "voxels against 40 x 40 x 24" in volume.difference_to(Volume(volume.array[:, :, 1:], volume.affine))


class TestPlaceOn:
    def labelled(self) -> Volume:
        array = np.zeros((9, 10, 11), np.uint8)
        array[2:6, 3:7, 4:9] = np.random.default_rng(0).integers(0, 5, size=(4, 4, 5))
        return Volume(array, np.diag([1.5, 2.0, 3.0, 1.0]))

    def test_cropped_flipped_transposed_and_padded_labels_find_their_place(self):
        whole = self.labelled()
        cropped = crop(whole, (2, 3, 4), (6, 7, 9))
        flipped_affine = cropped.affine.copy()
        flipped_affine[:, 3] += flipped_affine[:, 0] * 3
        flipped_affine[:, 0] *= -1
        flipped = Volume(cropped.array[::-1], flipped_affine)
        transposed = Volume(flipped.array.transpose(2, 0, 1), flipped.affine[:, [2, 0, 1, 3]])
        padded_affine = whole.affine.copy()
        padded_affine[:3, 3] -= whole.affine[:3, :3] @ [2, 2, 2]
        padded = Volume(np.pad(whole.array, 2), padded_affine)
        for moved in (whole, cropped, flipped, transposed, padded, to_ras(transposed)):
            placed = place_on(moved, whole)
            assert placed is not None and np.array_equal(placed.array, whole.array)
            np.testing.assert_array_equal(placed.affine, whole.affine)

    def test_labels_outside_or_between_voxels_have_no_place(self):
        whole = self.labelled()
        outside = whole.affine.copy()
        outside[:3, 3] += whole.affine[:3, :3] @ [5, 0, 0]
        between = whole.affine.copy()
        between[0, 3] += 0.75
        finer = whole.affine.copy()
        finer[:3, :3] /= 2
        for affine in (outside, between, finer):
            assert place_on(Volume(whole.array, affine), whole) is None
