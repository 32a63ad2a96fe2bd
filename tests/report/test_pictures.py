from __future__ import annotations

import io
from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
from PIL import Image

from vastus.anatomy import BY_KEY, STRUCTURES, Side
from vastus.report.pictures import (
    Picture,
    blend,
    colour_table,
    encode_grey,
    encode_overlay,
    narrower,
    outlines,
    take_picture,
)
from vastus.report.planes import Plane, View, axial_planes, coronal_planes, make_scene, sagittal_planes
from vastus.volume import Volume, axis_order, to_ras

ORIENTATIONS = [(axes, flips) for axes in permutations(range(3)) for flips in product((False, True), repeat=3)]


def reoriented(volume: Volume, axes: tuple[int, ...], flips: tuple[bool, ...]) -> Volume:
    """The same scan stored with permuted and reversed axes."""
    affine = volume.affine[:, [*axes, 3]].copy()
    array = volume.array.transpose(axes)
    for axis in range(3):
        if flips[axis]:
            array = np.flip(array, axis)
            affine[:, 3] += affine[:, axis] * (array.shape[axis] - 1)
            affine[:, axis] *= -1
    return Volume(array, affine)


def all_pictures(ct: Volume, labels: Volume) -> list[Picture]:
    scene = make_scene(ct, labels)
    planes = (*axial_planes(scene, 3), *coronal_planes(scene), *sagittal_planes(scene))
    return [take_picture(scene, plane, longest_px=60) for plane in planes]


def test_every_orientation_gives_the_same_pictures(phantom):
    expected = all_pictures(phantom.ct, phantom.labels)
    for axes, flips in ORIENTATIONS:
        ct = reoriented(phantom.ct, axes, flips)
        assert axis_order(to_ras(ct).affine).source == (0, 1, 2)
        pictures = all_pictures(ct, reoriented(phantom.labels, axes, flips))
        assert [p.plane for p in pictures] == [p.plane for p in expected]
        for got, want in zip(pictures, expected, strict=True):
            assert np.array_equal(got.grey, want.grey)
            assert np.array_equal(got.classes, want.classes)


@pytest.mark.parametrize("view", [View.AXIAL, View.CORONAL])
def test_right_is_on_the_left_of_the_picture(phantom, view):
    only_right = phantom.labels.with_array(np.where(phantom.labels.array < 200, phantom.labels.array, 0))
    # Framed by both legs, so that the middle of the picture is the midline.
    scene = replace(make_scene(phantom.ct, phantom.labels), labels=only_right)
    plane = (axial_planes(scene) if view is View.AXIAL else coronal_planes(scene))[0]
    picture = take_picture(scene, plane, longest_px=200)
    columns = np.nonzero(picture.classes.any(axis=0))[0]
    assert columns.size
    assert columns.max() <= picture.classes.shape[1] / 2
    assert picture.marks == ("R", "L")


def test_front_is_up_on_axial_and_left_on_sagittal(phantom):
    scene = make_scene(phantom.ct, phantom.labels)
    middle = axial_planes(scene)[7]
    axial = take_picture(scene, middle, longest_px=300)
    rectus, biceps = BY_KEY["rectus_femoris"].class_id, BY_KEY["biceps_femoris"].class_id
    assert np.nonzero(axial.classes == rectus)[0].max() < np.nonzero(axial.classes == biceps)[0].min()
    sagittal = take_picture(scene, sagittal_planes(scene)[0], longest_px=300)
    maximus = BY_KEY["gluteus_maximus"].class_id
    rows, columns = np.nonzero(sagittal.classes == maximus)
    femur_rows, femur_columns = np.nonzero(sagittal.classes == BY_KEY["femur"].class_id)
    assert columns.mean() > femur_columns.mean()
    assert rows.mean() < femur_rows.mean()
    assert sagittal.marks == ("A", "P")


def test_pixels_are_square_millimetres():
    # A ball of 60 mm in voxels of 2 x 3 x 7 mm has to look round in every view.
    spacing = np.array([2.0, 3.0, 7.0])
    shape = np.array([60, 40, 20])
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1) * spacing
    inside = ((grid - grid[-1, -1, -1] / 2) ** 2).sum(-1) < 30.0**2
    ct = Volume(np.where(inside, 50, -1000).astype(np.int16), np.diag([*spacing, 1.0]))
    labels = Volume(np.where(inside, 128, 0).astype(np.uint8), ct.affine)
    scene = make_scene(ct, labels)
    for plane in (axial_planes(scene, 1)[0], coronal_planes(scene)[0], sagittal_planes(scene)[0]):
        picture = take_picture(scene, plane, longest_px=200)
        height, width = (np.ptp(i) + 1 for i in np.nonzero(picture.classes))
        assert abs(height - width) * picture.pixel_mm <= 8.0
        assert abs(width * picture.pixel_mm - 60) <= 8.0


def test_no_edge_is_longer_than_asked(phantom):
    for picture in all_pictures(phantom.ct, phantom.labels):
        assert max(picture.grey.shape) <= 60


def test_grey_window_ends_at_its_bounds():
    hu = np.array([-1000, -160, 40, 240, 3000], np.int16)
    ct = Volume(np.broadcast_to(hu[:, None, None], (5, 5, 5)).copy(), np.diag([100.0, 100.0, 100.0, 1.0]))
    scene = make_scene(ct, ct.with_array(np.full((5, 5, 5), 101, np.uint8)))
    picture = take_picture(scene, Plane(View.AXIAL, 2, "", ""), longest_px=5)
    assert picture.grey[0, ::-1].tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize(("hu", "shown"), [(-57.0, 0.0), (164.0, 1.0), (53.5, 0.5)])
def test_narrower_window_ends_at_its_bounds(hu, shown):
    stretch = narrower((-57.0, 164.0))
    grey = (hu + 160) / 400
    assert stretch.contrast * stretch.brightness * grey + (1 - stretch.contrast) / 2 == pytest.approx(shown)
    assert stretch.css == "brightness(0.9368) contrast(1.9321)"


def test_outlines_lie_inside_and_around():
    classes = np.zeros((7, 7), np.uint8)
    classes[1:6, 1:6] = 3
    edge = outlines(classes)
    assert edge.sum() == 16
    assert not edge[2:5, 2:5].any()


def three_by_three() -> Picture:
    grey = np.full((40, 30), 100, np.uint8)
    classes = np.zeros((40, 30), np.uint8)
    for n, structure in enumerate(STRUCTURES):
        classes[5 * (n // 5) : 5 * (n // 5) + 5, 5 * (n % 5) : 5 * (n % 5) + 5] = structure.class_id
    return Picture(Plane(View.AXIAL, 0, "", ""), grey, classes, 1.0)


def test_outlines_have_the_colours_of_the_anatomy():
    picture = three_by_three()
    rgb = blend(picture)
    edge = outlines(picture.classes)
    for structure in STRUCTURES:
        here = edge & (picture.classes == structure.class_id)
        assert here.any()
        assert np.all(rgb[here] == structure.colour)
    assert np.all(rgb[picture.classes == 0] == 100)


def test_areas_are_a_mixture_of_grey_and_colour():
    picture = three_by_three()
    rgb = blend(picture).astype(float)
    colour = np.array(STRUCTURES[0].colour)
    mixed = rgb[2, 2]
    share = (mixed - 100) / (colour - 100)
    assert share == pytest.approx([0.42] * 3, abs=0.02)


def test_overlay_png_has_the_same_colours_and_a_clear_background():
    picture = three_by_three()
    rgba = np.asarray(Image.open(io.BytesIO(encode_overlay(picture))).convert("RGBA"))
    assert np.all(rgba[..., 3][picture.classes == 0] == 0)
    labelled = picture.classes > 0
    assert np.array_equal(rgba[..., :3][labelled], colour_table()[picture.classes[labelled]])
    edge = outlines(picture.classes)
    assert np.all(rgba[..., 3][edge] == 255)
    assert np.all(rgba[..., 3][labelled & ~edge] == 107)


def test_jpeg_is_close_to_the_grey_values(phantom):
    picture = all_pictures(phantom.ct, phantom.labels)[0]
    back = np.asarray(Image.open(io.BytesIO(encode_grey(picture))))
    assert back.shape == picture.grey.shape
    assert np.abs(back.astype(int) - picture.grey).mean() < 6


def test_colour_table_is_that_of_the_anatomy():
    table = colour_table()
    assert table.shape == (len(STRUCTURES) + 1, 3)
    for key in ("sartorius", "femur"):
        assert tuple(table[BY_KEY[key].class_id]) == BY_KEY[key].colour


def test_oblique_scan_is_shown_on_its_nearest_axes(phantom):
    angle = np.deg2rad(20)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turned = all_pictures(
        Volume(phantom.ct.array, turn @ phantom.ct.affine), Volume(phantom.labels.array, turn @ phantom.labels.affine)
    )
    straight = all_pictures(phantom.ct, phantom.labels)
    assert all(np.array_equal(a.classes, b.classes) for a, b in zip(turned, straight, strict=True))


def test_bare_class_ids_are_drawn(right_leg):
    bare = right_leg.labels.with_array(np.where(right_leg.labels.array > 0, right_leg.labels.array - 100, 0))
    with_side, without = all_pictures(right_leg.ct, right_leg.labels), all_pictures(right_leg.ct, bare)
    assert all(np.array_equal(a.classes, b.classes) for a, b in zip(with_side, without, strict=True))
    assert Side.UNKNOWN in make_scene(right_leg.ct, bare).femora
