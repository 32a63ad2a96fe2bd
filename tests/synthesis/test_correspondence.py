import numpy as np
import pytest

from vastus.synthesis.correspondence import CommonFrame, _continued, find_correspondence, smallest_stretch


def test_a_person_matches_itself_where_it_stands(atlas):
    same = find_correspondence(atlas, atlas)
    assert np.abs(same.shift_mm).max() < 0.5
    assert same.miss_mm[1] == pytest.approx(0, abs=0.2)


def test_surfaces_of_two_people_come_to_lie_on_each_other(match):
    before, after = match.miss_mm
    assert before > 1.5
    # The ellipsoids overlap and pull the map to and fro; real people, which don't, are in test_real_atlas.
    assert after < 0.7 * before


def test_the_map_does_not_fold(match):
    assert smallest_stretch(match.shift_mm) > 0


def test_a_folded_map_has_a_negative_stretch():
    shift = np.zeros((8, 8, 8, 3), np.float32)
    assert smallest_stretch(shift) == pytest.approx(1.0)
    shift[4, :, :, 0] = -20.0
    assert smallest_stretch(shift) < 0


def test_points_on_the_thicker_muscle_go_to_the_thinner_one(two, match):
    """A point on the outer surface of B's gluteus maximus lies on that of A's once shifted."""
    a, b = (next(p for p in x.parts if p.name == "gluteus_maximus" and p.side.value == "right") for x in two)
    middle = b.origin_mm + 1.5 * (np.array(b.distance.shape) - 1) / 2
    inside = b.distance[:, b.distance.shape[1] // 2, b.distance.shape[2] // 2] < 0
    outermost = middle.copy()
    outermost[0] = b.origin_mm[0] + 1.5 * np.flatnonzero(inside)[-1]
    common = match.b.from_person(outermost[None]).astype(np.float32)
    in_a = match.a.to_person(common + match.shift_at(common))[0]
    at = np.round((in_a - a.origin_mm) / 1.5).astype(int)
    assert abs(a.distance[tuple(at)]) / 8 < 3.0  # mm; the shift itself is larger
    assert np.linalg.norm(match.shift_at(common)[0]) > 2.0


def test_the_common_frame_and_back(atlas):
    frame = CommonFrame(np.array([1.0, 2.0, 3.0]), 1.25)
    points = np.array([[10.0, -4.0, 7.0]])
    assert frame.to_person(frame.from_person(points).astype(np.float32)) == pytest.approx(points, abs=1e-5)
    assert atlas.landmarks.leg_mm == pytest.approx(205.0)


@pytest.mark.parametrize("lower", [30, 12])
def test_a_map_known_above_only_goes_on_without_a_jump(lower):
    """Also where the drawing ends below the knee (node 20)."""
    beyond = np.zeros((6, 6, 60, 3), np.float32)
    beyond[:, :, lower:, 0] = 12.0
    slope = np.zeros((6, 2), np.float32)
    found = _continued(beyond, np.array([lower - 2, 59]), (slope, 20.0))[3, 3, :, 0]
    assert found[lower:] == pytest.approx(np.full(60 - lower, 12.0))
    assert (np.diff(found) >= 0).all()
    assert np.diff(found).max() < 1.2  # mm from node to node: far from a fold
    assert found[0] < 7.0
