import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.ndimage import distance_transform_edt, gaussian_filter

from vastus.errors import GeometryError, UnreadableScanError
from vastus.synthesis.meshes import read_mesh, signed_distance_mm, voxelise
from vastus.synthesis.volume_kernels import near_squares


@pytest.mark.parametrize("centre", [(0.0, 0.0, 0.0), (0.37, -0.21, 0.44)])
def test_a_ball_keeps_its_volume(centre):
    ball = trimesh.creation.icosphere(subdivisions=4, radius=12.0)
    inside = voxelise(ball.vertices + centre, ball.faces, np.full(3, -15.0), 1.0, (31, 31, 31))
    assert inside.sum() == pytest.approx(4 / 3 * np.pi * 12**3, rel=0.02)
    i, j, k = np.argwhere(inside).T - 15.0
    assert np.hypot(np.hypot(i - centre[0], j - centre[1]), k - centre[2]).max() <= 12.01


def test_a_box_is_exact_whatever_falls_on_its_faces():
    box = trimesh.creation.box(extents=(8, 6, 4))
    inside = voxelise(box.vertices + 0.25, box.faces, np.full(3, -10.0), 0.5, (40, 40, 40))
    assert inside.sum() == (8 * 6 * 4) * 8


def test_a_hole_is_refused():
    ball = trimesh.creation.icosphere(subdivisions=2, radius=5.0)
    top = ball.triangles_center[:, 2] > 3
    with pytest.raises(GeometryError, match="not closed"):
        voxelise(ball.vertices, ball.faces[~top], np.full(3, -8.0), 0.5, (32, 32, 32))


def test_distance_is_signed_and_in_mm():
    grid = np.indices((41, 41, 41)) - 20
    inside = np.linalg.norm(grid, axis=0) * 1.5 < 18
    distance = signed_distance_mm(inside, 1.5, 40.0)
    along = distance[20:, 20, 20]
    assert np.abs(along - (np.arange(21) * 1.5 - 18)).max() < 1.1
    assert (distance[inside] < 0.5).all()


@given(mask=arrays(np.bool_, array_shapes(min_dims=3, max_dims=3, max_side=14)), reach=st.integers(1, 9))
@settings(deadline=None)
def test_near_squares_are_scipys_up_to_their_reach(mask, reach):
    squares = near_squares(mask, reach)
    if not mask.any():
        assert (squares == reach**2).all()
        return
    exact = np.round(distance_transform_edt(~mask) ** 2)
    assert (squares == np.minimum(exact, reach**2)).all()


def test_distances_within_reach_are_those_of_the_whole_block():
    inside = gaussian_filter(np.random.default_rng(0).standard_normal((60, 50, 70)), 5) > 0.01
    outside, within = (distance_transform_edt(m, sampling=1.5) for m in (~inside, inside))
    whole = gaussian_filter(np.where(inside, 0.75 - within, outside - 0.75).astype(np.float32), 0.4)
    assert np.abs(whole).max() > 12
    near = np.abs(whole) <= 8
    distance = signed_distance_mm(inside, 1.5, 8.0)
    assert (distance[near] == whole[near]).all()
    assert (np.abs(distance[~near]) > 8).all()


def test_a_damaged_mesh_is_named(tmp_path):
    path = tmp_path / "muscle.ply"
    path.write_bytes(b"ply\nformat binary_little_endian 1.0\nelement vertex 10\n")
    with pytest.raises(UnreadableScanError, match=r"muscle\.ply"):
        read_mesh(path)
