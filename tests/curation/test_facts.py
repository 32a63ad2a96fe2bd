import numpy as np
import pytest

from vastus.curation.facts import ROW_OF, gather
from vastus.errors import GeometryError
from vastus.volume import Volume

AFFINE = np.diag([2.0, 3.0, 5.0, 1.0])
A, B = 101, 202


def small() -> tuple[Volume, Volume, Volume]:
    rng = np.random.default_rng(0)
    labels = rng.choice(np.array([0, A, B], np.uint8), (7, 6, 5))
    model = rng.choice(np.array([0, A, B], np.uint8), (7, 6, 5))
    return (
        Volume(rng.integers(-100, 100, (7, 6, 5)).astype(np.int16), AFFINE),
        Volume(labels, AFFINE),
        Volume(model, AFFINE),
    )


def test_volumes_contacts_slices_and_centres_agree_with_a_plain_count() -> None:
    ct, labels, model = small()
    facts = gather("c", ct, labels, model)
    a, b = ROW_OF[A], ROW_OF[B]
    one, other = labels.array == A, labels.array == B
    assert facts.joint_mm3[a, b] == pytest.approx(30.0 * (one & (model.array == B)).sum())
    faces = 0.0
    for axis, area in enumerate((15.0, 10.0, 6.0)):
        low, high = np.moveaxis(one, axis, 0), np.moveaxis(other, axis, 0)
        faces += area * ((low[:-1] & high[1:]).sum() + (low[1:] & high[:-1]).sum())
    assert facts.contact_mm2[a, b] == facts.contact_mm2[b, a] == pytest.approx(faces)
    assert facts.area_mm2[a].tolist() == pytest.approx((6.0 * one.sum(axis=(0, 1))).tolist())
    assert facts.shared_mm2[a, :-1].tolist() == pytest.approx(
        (6.0 * (one[..., :-1] & one[..., 1:]).sum((0, 1))).tolist()
    )
    assert facts.centre_mm[a] == pytest.approx(np.argwhere(one).mean(axis=0) * [2, 3, 5])
    assert facts.model_centre_mm[b] == pytest.approx(np.argwhere(model.array == B).mean(axis=0) * [2, 3, 5])
    assert facts.across_mm3[a].tolist() == pytest.approx((30.0 * one.sum(axis=(1, 2))).tolist())
    assert facts.cut[a] == (one[..., 0].any() or one[..., -1].any())


def test_hu_fall_across_a_boundary() -> None:
    labels = np.zeros((40, 40, 3), np.uint8)
    labels[10:30, 10:30] = A
    hu = np.where(labels > 0, 50, -100).astype(np.int16)
    facts = gather("c", Volume(hu, AFFINE), Volume(labels, AFFINE), None)
    assert facts.outwards_hu[ROW_OF[A]].tolist() == [50.0, -100.0]
    assert not facts.has_model
    moved = np.roll(labels, 4, axis=0)
    inside, outside = gather("c", Volume(hu, AFFINE), Volume(moved, AFFINE), None).outwards_hu[ROW_OF[A]]
    assert inside - outside < 0.6 * 150


def test_skin_is_no_boundary_to_judge() -> None:
    """Half of the muscle's rim lies in fat, half of it on air: only fat counts."""
    labels = np.zeros((40, 40, 6), np.uint8)
    labels[10:30, 10:30] = A
    hu = np.full(labels.shape, -100, np.int16)
    hu[20:] = -1000
    hu[labels > 0] = 50
    facts = gather("c", Volume(hu, AFFINE), Volume(labels, AFFINE), None)
    assert facts.outwards_hu[ROW_OF[A]].tolist() == [50.0, -100.0]


def test_other_grids_are_refused() -> None:
    ct, labels, _ = small()
    with pytest.raises(GeometryError):
        gather("c", ct, Volume(labels.array, 2 * AFFINE), None)
