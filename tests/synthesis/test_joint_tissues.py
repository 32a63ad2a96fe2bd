"""Capsule, tendons, nerve: where they lie, and that they take nothing from a muscle."""

import numpy as np

from vastus.anatomy import BY_KEY, Side
from vastus.synthesis.atlas import Atlas, Part
from vastus.synthesis.growth import Rank, rank_of
from vastus.synthesis.joint_tissues import joint_tissues
from vastus.synthesis.tissues import Tissue


def inside_mm(part: Part) -> np.ndarray:
    """Places of the voxels inside."""
    places: np.ndarray = part.origin_mm + np.array(part.voxel_mm) * np.argwhere(part.distance < 0)
    return places


def test_they_give_way_to_all_others_and_carry_no_class(atlas: Atlas) -> None:
    parts = joint_tissues(atlas, np.random.default_rng(0))
    assert {p.tissue for p in parts} == {Tissue.SOFT}
    assert {rank_of(p) for p in parts} == {Rank.LAST}
    names = [(p.name, p.side) for p in parts]
    assert {("capsule", s) for s in (Side.LEFT, Side.RIGHT)} <= set(names)
    assert {"nerve", "ligament", "hamstring_tendon", "tract"} <= {n for n, _ in names}


def test_the_capsule_lies_around_the_upper_femur_as_thick_as_drawn(atlas: Atlas) -> None:
    capsule = next(p for p in joint_tissues(atlas, np.random.default_rng(1)) if p.name == "capsule")
    femur = next(p for p in atlas.select(BY_KEY["femur"].class_id) if p.side is capsule.side)
    points = inside_mm(capsule)
    assert points[:, 2].min() > atlas.landmarks.head_mm[capsule.side][2] - 60 * atlas.landmarks.leg_mm / 420
    index = np.round((points - femur.origin_mm) / femur.voxel_mm).astype(int)
    assert femur.distance[tuple(index.T)].max() / 8 < 9.5


def test_the_nerve_runs_behind_the_femur(atlas: Atlas) -> None:
    for nerve in (p for p in joint_tissues(atlas, np.random.default_rng(2)) if p.name == "nerve"):
        points = inside_mm(nerve)
        assert points[:, 1].mean() < atlas.landmarks.head_mm[nerve.side][1]
        assert (np.sign(points[:, 0]) == (1 if nerve.side is Side.RIGHT else -1)).all()


def test_the_seed_decides(atlas: Atlas) -> None:
    one, same, other = (joint_tissues(atlas, np.random.default_rng(n)) for n in (3, 3, 4))
    assert all((a.distance == b.distance).all() for a, b in zip(one, same, strict=True))
    assert any(
        a.distance.shape != b.distance.shape or (a.distance != b.distance).any()
        for a, b in zip(one, other, strict=True)
    )
