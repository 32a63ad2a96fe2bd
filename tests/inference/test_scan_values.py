"""Densities of no CT of a body, noise and large voxels."""

from __future__ import annotations

import numpy as np
import pytest

from vastus.anatomy import BY_KEY
from vastus.inference.scan_values import change_along, muscle_noise, odd_values, said_of_noise
from vastus.synthesis.phantom import make_phantom
from vastus.volume import Volume

SPACING = np.array([4.0, 4.0, 6.0])


def body() -> np.ndarray:
    hu: np.ndarray = make_phantom(tuple(SPACING), z_range_mm=(200.0, 610.0)).ct.array.astype(np.int16)
    return hu


def told(hu: np.ndarray) -> str:
    found = odd_values(hu, SPACING)
    assert found is None or found.stops
    return "" if found is None else found.text


def test_a_body_is_silent():
    assert told(body()) == ""


def test_a_ct_that_was_never_rescaled_is_told():
    assert "rescale slope and intercept lost" in told(np.maximum(body(), -1024) + 1024)


@pytest.mark.parametrize(("fat", "muscle", "bone"), [(300, 40, 350), (-400, 50, 400)])
def test_an_mr_in_which_fat_is_not_where_it_is_in_a_ct_is_told(fat: int, muscle: int, bone: int):
    hu = body()
    mr = np.select([hu < -500, hu < -50, hu < 150], [-1000, np.where(hu % 7 == 0, muscle, fat), muscle], bone)
    assert "MR" in told(mr.astype(np.int16))


def test_bone_alone_and_no_bone_are_told():
    hu = body()
    assert "nothing in it is as dense as bone" in told(np.minimum(hu, 100))
    assert "would be as dense as bone" in told(np.where(hu > -200, 500, hu).astype(np.int16))


def test_a_cylinder_is_a_phantom_however_noisy():
    x, y = np.mgrid[-120:120:4, -120:120:4]
    radius = np.hypot(x, y)
    plane = np.select([radius < 10, radius < 60, radius < 90], [900, 55, -100], -1000)
    noise = np.random.default_rng(0).normal(0, 15, (*plane.shape, 30))
    cast = np.round(plane[:, :, None] + noise).astype(np.int16)
    assert change_along(cast, SPACING) < 5
    assert "phantom" in told(cast)
    assert change_along(cast[:, :, :7], SPACING) == np.inf  # too short to tell


@pytest.mark.parametrize("sd", [5.0, 20.0, 45.0])
def test_noise_is_measured_within_muscle_and_not_at_edges_or_slopes(sd: float):
    values = np.zeros((60, 60, 6), np.uint8)
    values[10:50, 10:30], values[10:50, 30:50] = BY_KEY["gracilis"].class_id, BY_KEY["femur"].class_id
    slope = np.arange(60)[:, None, None] * 3.0 + np.arange(60)[None, :, None] * 2.0
    hu = slope + np.random.default_rng(1).normal(0, sd, values.shape)
    hu[:, 30:] += 700  # bone, and its edge
    assert muscle_noise(values, hu) == pytest.approx(sd, rel=0.06)


def test_noise_and_large_voxels_are_told_and_stop_nobody():
    values = np.full((40, 40, 6), BY_KEY["gracilis"].class_id, np.uint8)
    rng = np.random.default_rng(2)

    def said(sd: float, mm: float) -> str:
        ct = Volume(rng.normal(50, sd, values.shape).astype(np.float32), np.diag([mm, mm, 3.0, 1.0]))
        found = said_of_noise(Volume(values, ct.affine), ct)
        assert not any(remark.stops for remark in found)
        return " ".join(remark.text for remark in found)

    assert said(10.0, 1.0) == ""
    assert "noisy" in said(60.0, 1.0) and "correct a PET" in said(60.0, 1.0)
    assert "voxels are large: 4.1 mm" in said(10.0, 4.07)


def test_too_little_muscle_says_nothing_of_noise():
    assert muscle_noise(np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9, 3))) == 0.0
