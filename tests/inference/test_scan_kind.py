"""What a scan shows: each kind that can't be meant is named, and an ordinary one is not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from vastus.anatomy import BY_KEY, Side
from vastus.inference.scan_kind import _centres, said_of_kind
from vastus.synthesis.phantom import make_phantom
from vastus.volume import Volume

SPACING = (3.0, 3.0, 6.0)
FEMUR = BY_KEY["femur"].class_id


def parts(z: tuple[float, float] = (-20.0, 610.0)) -> tuple[NDArray[np.uint8], NDArray[np.int16], NDArray[np.float64]]:
    """Label values, HU and affine of the phantom."""
    scan = make_phantom(SPACING, z_range_mm=z)
    return scan.labels.array.copy(), scan.ct.array.astype(np.int16), scan.ct.affine


def said(values: NDArray[np.uint8], hu: NDArray[np.int16], affine: NDArray[np.float64]) -> tuple[str, ...]:
    return tuple(remark.text for remark in said_of_kind(Volume(values, affine), Volume(hu, affine)))


def stops(values: NDArray[np.uint8], hu: NDArray[np.int16], affine: NDArray[np.float64]) -> tuple[bool, ...]:
    return tuple(remark.stops for remark in said_of_kind(Volume(values, affine), Volume(hu, affine)))


@pytest.mark.parametrize("z", [(-20.0, 610.0), (60.0, 300.0), (200.0, 610.0)])
def test_an_ordinary_body_is_silent(z: tuple[float, float]):
    assert said(*parts(z)) == ()


def test_an_mr_with_values_like_a_ct_is_named():
    values, hu, affine = parts()
    body = hu > -500
    hu[body] = np.where(hu[body] < 0, 900, 350)  # fat brightest, as in T1
    (warning,) = said(values, hu, affine)
    assert "MR" in warning and "as dense as bone" in warning


def test_a_phantom_without_bone_is_named():
    values, hu, affine = parts()
    (warning,) = said(np.zeros_like(values), np.minimum(hu, 60), affine)
    assert "phantom" in warning and "nothing in it is as dense as bone" in warning


def test_a_scan_in_which_nothing_is_found_is_named():
    values, hu, affine = parts()
    (warning,) = said(np.where(values % 100 == FEMUR, values, 0).astype(np.uint8), hu, affine)
    assert "Next to nothing of a hip or a thigh" in warning


def calf() -> tuple[NDArray[np.uint8], NDArray[np.int16], NDArray[np.float64]]:
    """Two bones and muscle in fat, which thins downwards; a few labels that a network gives by mistake."""
    shape = (60, 60, 50)
    x, y = np.mgrid[-90:90:3, -90:90:3]
    values, hu = np.zeros(shape, np.uint8), np.full(shape, -1000, np.int16)
    for k in range(shape[2]):
        hu[:, :, k][np.hypot(x, y) < 50 + 0.4 * k] = -100
        hu[:, :, k][np.hypot(x, y) < 40 + 0.4 * k] = 55
        hu[:, :, k][np.hypot(x, y - 15) < 12] = 600
        hu[:, :, k][np.hypot(x - 25, y) < 6] = 600
        values[:, :, k][np.hypot(x + 20, y) < 5] = BY_KEY["semimembranosus"].label_value(Side.RIGHT)
    return values, hu, np.diag([3.0, 3.0, 5.0, 1.0])


def test_a_calf_alone_is_told():
    (warning,) = said(*calf())
    assert "Next to nothing of a hip or a thigh" in warning and "calf" in warning
    assert stops(*calf()) == (True,)


def test_an_abdomen_is_named():
    values, hu, affine = parts((520.0, 700.0))
    trunk = [BY_KEY[key].class_id for key in ("psoas", "multifidus", "abdominal_oblique", "rectus_abdominis")]
    values[~np.isin(values % 100, trunk)] = 0
    warnings = said(values, hu, affine)
    assert any(w.startswith("No thigh is in the scan") and "abdominal oblique" in w for w in warnings)


def test_a_calf_below_the_thigh_is_told():
    values, hu, affine = parts()
    below = round(180 / SPACING[2])
    calf = np.repeat(hu[:, :, 20:21], below, axis=2)
    longer = np.concatenate([np.zeros((*values.shape[:2], below), np.uint8), values], axis=2)
    (warning,) = said(longer, np.concatenate([calf, hu], axis=2), affine)
    assert "below the labelled part" in warning and "calf" in warning


def test_a_child_is_asked_about():
    values, hu, affine = parts()
    small = affine.copy()
    small[:3, :3] *= 0.6
    assert any("a child?" in w for w in said(values, hu, small))


def test_a_femur_that_the_edge_of_the_image_cuts_is_no_child():
    values, hu, affine = parts((60.0, 300.0))
    at = np.flatnonzero((values % 100 == FEMUR).any(axis=(1, 2)))
    inside = slice(at[at > len(values) // 2].min() + 3, None)  # one leg, and of its femur the outer part
    assert said(values[inside], hu[inside], affine) == ()


def test_two_people_are_told():
    values, hu, affine = parts((60.0, 300.0))
    beside = np.concatenate([values, values]), np.concatenate([hu, hu])
    (warning,) = said(*beside, affine)
    assert warning.startswith("4 thigh bones")


@pytest.mark.parametrize("side", ["right", "left"])
def test_an_amputated_leg_is_told_with_its_side(side: str):
    values, hu, affine = parts()
    middle = values.shape[0] // 2
    half = slice(middle, None) if side == "right" else slice(0, middle)
    hu[half, :, :35], values[half, :, :35] = -1000, 0
    (warning,) = said(values, hu, affine)
    assert warning.startswith(f"The {side} leg ends")


def test_a_leg_that_the_field_of_view_cuts_is_no_amputation():
    values, hu, affine = parts()
    middle = values.shape[0] // 2
    values[middle:, :, :35] = 0  # not labelled, but there
    assert not any("amputation" in w for w in said(values, hu, affine))


def test_metal_is_told_on_one_side_and_on_both():
    values, hu, affine = parts()
    femur = values % 100 == FEMUR
    top = np.zeros_like(femur)
    top[:, :, 60:] = True
    right = (values > 100) & (values < 200)
    one = hu.copy()
    one[femur & top & right] = 3000
    (warning,) = said(values, one, affine)
    assert warning.startswith("Metal on the right")
    hu[femur & top] = 3000
    (warning,) = said(values, hu, affine)
    assert warning.startswith("Metal on both sides")


def test_what_stops_a_reader_is_marked_so():
    values, hu, affine = parts((60.0, 300.0))
    assert stops(np.concatenate([values, values]), np.concatenate([hu, hu]), affine) == (True,)
    assert stops(np.where(values % 100 == FEMUR, values, 0).astype(np.uint8), hu, affine) == (True,)
    hu[values % 100 == FEMUR] = 3000
    assert stops(values, hu, affine) == (False,)


def test_thigh_muscles_without_a_femur_do_not_make_an_abdomen_a_thigh():
    values, hu, affine = parts((520.0, 700.0))
    trunk = [BY_KEY[key].class_id for key in ("psoas", "multifidus", "abdominal_oblique", "rectus_abdominis")]
    values[~np.isin(values % 100, trunk)] = 0
    place = np.argwhere((values == 0) & (hu > -500))[:1500]
    values[tuple(place.T)] = BY_KEY["gracilis"].class_id  # liver, called gracilis
    (told,) = (w for w in said(values, hu, affine) if w.startswith("No thigh"))
    assert "gracilis" not in told


def test_a_knee_alone_is_told():
    shape = (60, 60, 12)
    x, y = np.mgrid[-90:90:3, -90:90:3]
    values, hu = np.zeros(shape, np.uint8), np.full(shape, -1000, np.int16)
    for k in range(12):
        hu[:, :, k][np.hypot(x, y) < 70 - k] = -100
        hu[:, :, k][np.hypot(x, y) < 45 - 2 * k] = 60
        values[:, :, k][np.hypot(x, y) < 35 - k] = BY_KEY["semimembranosus"].class_id
        values[:, :, k][np.hypot(x, y) < 26] = FEMUR
        hu[:, :, k][np.hypot(x, y) < 26] = 350
    affine = np.diag([3.0, 3.0, 4.0, 1.0])
    assert any(w.startswith("Only a knee is in the scan: 48 mm") for w in said(values, hu, affine))


def test_a_child_is_told_by_its_pelvis_where_no_shaft_is_seen():
    values, hu, affine = parts((330.0, 610.0))
    assert said(values, hu, affine) == ()
    shorter = affine.copy()
    shorter[2, 2] *= 0.75
    assert any("The hip bone is small" in w for w in said(values, hu, shorter))
    values, hu, affine = parts((260.0, 520.0))  # the hip bone is cut: its height says nothing
    narrower = affine.copy()
    narrower[0, 0] *= 0.68
    assert any("upper ends of the femora lie close together" in w for w in said(values, hu, narrower))


def test_stumps_are_told_but_not_a_scan_filled_with_air():
    values, hu, affine = parts((100.0, 610.0))
    level = round(120 / SPACING[2])
    values[:, :, :level], hu[:, :, :level] = 0, -1000
    assert said(values, hu, affine) == ()  # the bone ends where the body does
    bone = values % 100 == FEMUR
    bone[:, :, level + round(24 / SPACING[2]) :] = False
    values[bone], hu[bone] = 0, 50
    assert any(w.startswith("Both legs end within the scan, 120 mm") for w in said(values, hu, affine))
    one = np.where(values > 200, 0, values).astype(np.uint8)
    assert any(w.startswith("The leg ends within the scan") for w in said(one, hu, affine))


def test_metal_is_told_where_values_are_cut_off():
    values, hu, affine = parts()
    hu = np.minimum(hu, 1400)
    assert said(values, hu, affine) == ()
    top = values % 100 == FEMUR
    top[:, :, :60] = False
    hu[top] = 1500
    (warning,) = said(values, hu, affine)
    assert warning.startswith("Metal on both sides")


def test_a_short_stump_is_told_where_hardly_any_femur_is_left():
    values, hu, affine = parts((300.0, 610.0))
    low = round(110 / SPACING[2])
    middle = values.shape[0] // 2
    hu[middle:, :, :low], values[middle:, :, :low] = -1000, 0
    assert any(w.startswith("The right leg ends") for w in said(values, hu, affine))
    seen = slice(0, middle + round(30 / SPACING[0]))  # the image ends beside the middle: not seen, not missing
    assert not any("amputation" in w for w in said(values[seen], hu[seen], affine))


def test_centres_are_those_of_the_parts() -> None:
    parts = ndimage.label(np.random.default_rng(5).random((40, 30)) < 0.4)[0]
    numbers = range(1, parts.max() + 1)
    np.testing.assert_array_equal(_centres(parts)[1:], ndimage.center_of_mass(parts > 0, parts, numbers))
