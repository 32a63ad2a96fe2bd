from __future__ import annotations

import numpy as np
import pytest

from vastus.anatomy import BY_KEY, SIDES, Side
from vastus.errors import GeometryError
from vastus.report.planes import View, axial_planes, coronal_planes, make_scene, sagittal_planes
from vastus.synthesis.phantom import make_phantom
from vastus.volume import Volume, crop


def test_labels_on_another_grid_are_refused(phantom):
    moved = phantom.labels.affine.copy()
    moved[0, 3] += 5.0
    with pytest.raises(GeometryError, match="grid"):
        make_scene(phantom.ct, Volume(phantom.labels.array, moved))


def test_levels_of_a_whole_femur_are_even_tenths_of_it():
    # The phantom's femur runs from -15 to 415 mm; the scan ends a little above it.
    scan = make_phantom((4.0, 4.0, 2.0), z_range_mm=(-20.0, 420.0))
    planes = axial_planes(make_scene(scan.ct, scan.labels))
    heights = np.array([(scan.ct.affine @ [0, 0, p.index, 1])[2] for p in planes])
    assert [p.title for p in planes] == [f"{n} %" for n in range(95, 0, -10)]
    assert np.abs(np.diff(heights) + 43.0).max() <= 3.0
    assert abs(heights[0] - (-15 + 0.95 * 430)) < 12.0


def test_a_femur_that_leaves_the_picture_does_not_move_the_levels():
    scan = make_phantom((4.0, 4.0, 2.0), z_range_mm=(-20.0, 420.0))
    whole = axial_planes(make_scene(scan.ct, scan.labels))
    array = scan.labels.array.copy()
    half = array.shape[2] // 2
    upper = array[:, :, half:]
    upper[upper == BY_KEY["femur"].label_value(Side.LEFT)] = 0
    cut = axial_planes(make_scene(scan.ct, scan.labels.with_array(array)))
    assert [(p.title, p.index) for p in cut] == [(p.title, p.index) for p in whole]


def test_levels_go_on_above_the_hip_and_stay_few(phantom):
    planes = axial_planes(make_scene(phantom.ct, phantom.labels))
    assert 10 <= len(planes) <= 13
    assert planes[0].index > planes[-1].index
    assert float(planes[0].title.rstrip("% ")) > 120


def test_a_count_is_kept(phantom):
    assert len(axial_planes(make_scene(phantom.ct, phantom.labels), 6)) == 6


def test_few_slices_give_no_level_twice(phantom):
    three = crop(phantom.ct, (0, 0, 20), (*phantom.ct.shape[:2], 23))
    labels = crop(phantom.labels, (0, 0, 20), (*phantom.ct.shape[:2], 23))
    indices = [p.index for p in axial_planes(make_scene(three, labels))]
    assert len(indices) == len(set(indices)) <= 3
    assert all(0 <= i < 3 for i in indices)


def test_without_a_femur_levels_are_named_by_height_alone(phantom):
    array = phantom.labels.array.copy()
    array[np.isin(array, [BY_KEY["femur"].label_value(s) for s in (*SIDES, Side.UNKNOWN)])] = 0
    scene = make_scene(phantom.ct, phantom.labels.with_array(array))
    planes = axial_planes(scene)
    assert len(planes) == 12
    assert all(p.title.startswith("z ") for p in planes)
    assert sagittal_planes(scene)[0].title.startswith("Right leg")


def test_coronal_plane_goes_through_the_femora(phantom):
    scene = make_scene(phantom.ct, phantom.labels)
    first = coronal_planes(scene)[0]
    assert first.view is View.CORONAL
    y = (phantom.ct.affine @ [0, first.index, 0, 1])[1]
    assert abs(y - 5.0) <= 6.0
    assert {101 + 27, 201 + 27} <= set(np.unique(scene.labels.array[:, first.index]))


def test_femora_at_different_depths_get_a_plane_each(phantom):
    array = phantom.labels.array.copy()
    left = array == BY_KEY["femur"].label_value(Side.LEFT)
    array[left] = 0
    array[np.roll(left, 8, axis=1)] = BY_KEY["femur"].label_value(Side.LEFT)
    titles = [p.title for p in coronal_planes(make_scene(phantom.ct, phantom.labels.with_array(array)))]
    assert titles[:2] == ["Through the right femur", "Through the left femur"]


def test_one_leg_gives_one_sagittal_plane_through_it(right_leg):
    scene = make_scene(right_leg.ct, right_leg.labels)
    (plane,) = sagittal_planes(scene)
    assert plane.title == "Right leg, through the femur"
    assert abs((right_leg.ct.affine @ [plane.index, 0, 0, 1])[0] - 105) <= 6


def test_side_unknown_is_shown_too(right_leg):
    bare = right_leg.labels.with_array(np.where(right_leg.labels.array > 0, right_leg.labels.array - 100, 0))
    (plane,) = sagittal_planes(make_scene(right_leg.ct, bare))
    assert plane.title == "through the femur".capitalize()


@pytest.mark.parametrize("labelled", [True, False])
def test_empty_label_map_or_none_shows_the_body(phantom, labelled):
    labels = phantom.labels.with_array(np.zeros_like(phantom.labels.array)) if labelled else None
    scene = make_scene(phantom.ct, labels)
    body = np.argwhere(phantom.ct.array > -300)
    assert np.all(np.array(scene.frame.start) <= body.min(0))
    assert np.all(np.array(scene.frame.stop) > body.max(0))
    assert len(axial_planes(scene)) == 12
    assert len(coronal_planes(scene)) == len(sagittal_planes(scene)) == 1


def test_air_only_still_has_a_frame():
    ct = Volume(np.full((10, 11, 12), -1000, np.int16), np.eye(4))
    assert make_scene(ct, None).frame.stop == (10, 11, 12)
