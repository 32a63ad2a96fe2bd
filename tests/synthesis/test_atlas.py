import numpy as np
import pytest

from synthesis.conftest import ellipsoid_volume
from vastus.anatomy import BY_KEY, SIDES, STRUCTURES, Side
from vastus.errors import MissingInputError
from vastus.synthesis.atlas import FEMORAL_HEAD_RADIUS_MM, PersonName, load_atlas, save_atlas
from vastus.synthesis.atlas_building import build_atlas
from vastus.synthesis.kernels import VOXEL_MM


def part_of(atlas, key, side):
    return next(p for p in atlas.parts if p.tissue == BY_KEY[key].class_id and p.side is side)


@pytest.mark.parametrize("key", ["vastus_lateralis", "gluteus_maximus", "femur", "hip_bone", "adductor_magnus"])
def test_a_part_has_the_volume_of_its_mesh(atlas, key):
    for side in SIDES:
        assert part_of(atlas, key, side).volume_mm3 == pytest.approx(ellipsoid_volume(key), rel=0.03)


def test_every_structure_has_a_part_on_both_sides_and_right_is_positive_x(atlas):
    for structure in STRUCTURES:
        right, left = (part_of(atlas, structure.key, side) for side in (Side.RIGHT, Side.LEFT))
        middle = [p.origin_mm[0] + VOXEL_MM * p.distance.shape[0] / 2 for p in (right, left)]
        assert middle[0] > 0 > middle[1], structure.key


def test_only_what_the_meshes_lack_is_procedural(atlas):
    classed = {p.tissue for p in atlas.parts if p.procedural and 1 <= p.tissue <= 29}
    assert classed == {BY_KEY[k].class_id for k in ("abdominal_oblique", "rectus_abdominis", "multifidus")}


def test_psoas_and_iliacus_become_iliopsoas_at_the_top_of_the_femoral_head(atlas):
    cut = atlas.landmarks.head_mm[Side.RIGHT][2] + FEMORAL_HEAD_RADIUS_MM

    def heights(key):
        part = part_of(atlas, key, Side.RIGHT)
        hit = np.flatnonzero((part.distance < 0).any(axis=(0, 1)))
        return part.origin_mm[2] + VOXEL_MM * hit[[0, -1]]

    assert heights("iliopsoas")[1] <= cut + VOXEL_MM
    assert heights("psoas")[0] >= cut - VOXEL_MM
    assert heights("iliacus")[0] >= cut - VOXEL_MM
    joined = sum(part_of(atlas, k, Side.RIGHT).volume_mm3 for k in ("iliopsoas", "psoas", "iliacus"))
    assert joined == pytest.approx(ellipsoid_volume("psoas_major") + ellipsoid_volume("iliacus"), rel=0.05)


def test_both_heads_of_the_biceps_are_one_part(atlas):
    part = part_of(atlas, "biceps_femoris", Side.LEFT)
    assert part.volume_mm3 > 1.05 * ellipsoid_volume("biceps_femoris_long")


def test_saved_and_loaded_is_the_same(atlas, tmp_path):
    save_atlas(atlas, tmp_path / "atlas_vhf.npz")
    again = load_atlas(tmp_path / "atlas_vhf.npz")
    assert again.person is PersonName.FEMALE
    assert again.landmarks == atlas.landmarks
    assert [(p.name, p.side, p.tissue, p.procedural) for p in again.parts] == [
        (p.name, p.side, p.tissue, p.procedural) for p in atlas.parts
    ]
    assert all((a.distance == b.distance).all() for a, b in zip(again.parts, atlas.parts, strict=True))
    assert np.abs(again.deep.values - atlas.deep.values).max() < 0.2


def test_a_missing_pack_is_named(tmp_path):
    with pytest.raises(MissingInputError, match="meshes are not there"):
        build_atlas(tmp_path, PersonName.MALE)
    with pytest.raises(MissingInputError, match="vastus atlas"):
        load_atlas(tmp_path / "none.npz")
