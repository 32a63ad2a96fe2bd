import numpy as np
import pytest

from vastus.anatomy import SIDES, Side
from vastus.synthesis.atlas import Landmarks, part_from_mask
from vastus.synthesis.kernels import VOXEL_MM
from vastus.synthesis.straightening import straightening

HEADS = {Side.RIGHT: (90.0, 0.0, 450.0), Side.LEFT: (-90.0, 0.0, 450.0)}


def marks(forward_deg):
    knees = {}
    for side, (x, y, z) in HEADS.items():
        a = np.radians(forward_deg)
        knees[side] = (x, y + 440 * float(np.sin(a)), z - 440 * float(np.cos(a)))
    return Landmarks(HEADS, knees, 560.0, 0.0)


def ball(centre_mm, radius_mm=15.0):
    origin = np.array(centre_mm) - 30
    points = np.stack(np.meshgrid(*(o + VOXEL_MM * np.arange(41) for o in origin), indexing="ij"), axis=-1)
    mask = np.linalg.norm(points - np.array(centre_mm), axis=-1) < radius_mm
    return part_from_mask("gracilis", 9, Side.RIGHT, mask, origin, procedural=False)


def middle_of(part):
    return part.origin_mm + VOXEL_MM * np.argwhere(part.distance < 0).mean(axis=0)


def test_people_in_one_pose_are_left_alone():
    assert straightening(marks(1.0), marks(-1.0)) is None


def test_a_bent_thigh_is_laid_straight():
    how = straightening(marks(15.0), marks(0.0))
    for side in SIDES:
        assert how.landmarks.knee_mm[side] == pytest.approx(marks(0.0).knee_mm[side], abs=1e-6)
    a = np.radians(15.0)
    down = 300.0
    bent = (90.0, down * np.sin(a), 450 - down * np.cos(a))
    moved = how.part(ball(bent))
    assert middle_of(moved) == pytest.approx((90.0, 0.0, 150.0), abs=2.0)
    assert moved.volume_mm3 == pytest.approx(ball(bent).volume_mm3, rel=0.04)


def test_the_shank_is_laid_straight_too():
    how = straightening(marks(15.0), marks(0.0))
    knee = marks(15.0).knee_mm[Side.RIGHT]
    hanging = (knee[0], knee[1], knee[2] - 120)
    assert middle_of(how.part(ball(hanging))) == pytest.approx((90.0, 0.0, 450 - 440 - 120), abs=4.0)


def test_the_trunk_stays():
    how = straightening(marks(15.0), marks(0.0))
    above = ball((90.0, 0.0, 540.0))
    assert middle_of(how.part(above)) == pytest.approx(middle_of(above), abs=0.1)


def test_a_mask_ends_at_the_same_height():
    how = straightening(marks(15.0), marks(0.0))
    mask = np.ones((60, 60, 150), bool)
    moved, origin = how.mask(mask, np.array([-90.0, -90.0, 100.0]), 3.0)
    assert origin[2] + 3.0 * np.flatnonzero(moved.any(axis=(0, 1)))[-1] == pytest.approx(100 + 3 * 149, abs=3.0)
