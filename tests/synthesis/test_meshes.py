import numpy as np
import pytest
import trimesh

from vastus.errors import GeometryError, UnreadableScanError
from vastus.synthesis.meshes import read_mesh, signed_distance_mm, voxelise


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
    distance = signed_distance_mm(inside, 1.5)
    along = distance[20:, 20, 20]
    assert np.abs(along - (np.arange(21) * 1.5 - 18)).max() < 1.1
    assert (distance[inside] < 0.5).all()


def test_a_damaged_mesh_is_named(tmp_path):
    path = tmp_path / "muscle.ply"
    path.write_bytes(b"ply\nformat binary_little_endian 1.0\nelement vertex 10\n")
    with pytest.raises(UnreadableScanError, match=r"muscle\.ply"):
        read_mesh(path)
