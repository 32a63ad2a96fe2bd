"""Calcium, oedema and blood take fat or vessel only; lines of fractures cross the neck; all follow the seed."""

from dataclasses import replace

import numpy as np
import pytest

from synthesis.test_perineum import ANCHORS
from vastus.anatomy import Side
from vastus.sex import Sex
from vastus.synthesis.atlas import part_from_mask
from vastus.synthesis.clinical import Person
from vastus.synthesis.deformation import NodeMap
from vastus.synthesis.kernels import NODE_MM
from vastus.synthesis.look import sample_look
from vastus.synthesis.overlay import Overlay
from vastus.synthesis.patient_changes import after_fracture, calcium, fracture_line
from vastus.synthesis.soft_tissues import LOOKS
from vastus.synthesis.store import StoredBody, StoredPart
from vastus.synthesis.tissues import CLASS_OF_TISSUE, FEMUR, Tissue

OLD = Person(Sex.MAN, 90.0, 170.0, 70.0)


def shifted_map() -> NodeMap:
    """A body that lies 10 mm further along x than the person."""
    nodes = np.stack(np.meshgrid(*[NODE_MM * np.arange(n) for n in (12, 12, 40)], indexing="ij"), axis=-1)
    shape = nodes.shape[:3]
    source = (nodes - np.array([10.0, 0.0, 0.0])).astype(np.float32)
    return NodeMap(source, np.ones(shape, np.float32), np.zeros(shape, np.float32), np.zeros(3))


def artery():
    mask = np.zeros((10, 10, 120), bool)
    mask[3:7, 3:7] = True
    return part_from_mask("artery", int(Tissue.VESSEL), Side.RIGHT, mask, np.array([20.0, 20.0, 10.0]), procedural=True)


def test_calcium_lies_in_the_wall_of_the_moved_artery() -> None:
    middle = 20.0 + 1.5 * 4.5 + 10.0
    found = [o for seed in range(40) for o in calcium([artery()], shifted_map(), OLD, np.random.default_rng(seed))]
    assert len(found) > 60
    for overlay in found:
        assert overlay.tissue is Tissue.CALCIUM and overlay.takes == (Tissue.VESSEL,)
        low, high = overlay.shape.box_mm()
        assert abs((low[0] + high[0]) / 2 - middle) < 5.0
        assert low[2] > 0 and high[2] < 10 + 180 + 5


def test_the_young_have_none_and_most_of_the_old_do() -> None:
    young = replace(OLD, age_years=45.0)
    assert not any(list(calcium([artery()], shifted_map(), young, np.random.default_rng(n))) for n in range(40))
    old = [bool(list(calcium([artery()], shifted_map(), OLD, np.random.default_rng(n)))) for n in range(60)]
    assert np.mean(old) > 0.75


@pytest.mark.parametrize("outwards", [1.0, -1.0])
def test_oedema_and_blood_lie_on_the_injured_side_and_take_fat_only(outwards: float) -> None:
    side = Side.RIGHT if outwards > 0 else Side.LEFT
    names = set()
    for seed in range(40):
        for overlay in after_fracture(ANCHORS, outwards, ANCHORS.head_mm[side], np.random.default_rng(seed)):
            names.add(overlay.name)
            assert overlay.takes == (Tissue.FAT,) and CLASS_OF_TISSUE[overlay.tissue] == 0 and overlay.name in LOOKS
            low, high = overlay.shape.box_mm()
            assert outwards * (low[0] + high[0]) > 0
    assert names == {"oedema", "haematoma"}


def test_calcium_is_dense_and_single_muscles_turn_into_fat() -> None:
    parts = [artery(), *(replace(artery(), name=name, tissue=1 + n) for n, name in enumerate("abcdef"))]
    looks = [sample_look(parts, np.random.default_rng(seed)) for seed in range(200)]
    mostly_fat = [(look.infiltration[1:7] >= 0.5).sum() for look in looks]
    assert 0.05 < np.mean([n > 0 for n in mostly_fat]) < 0.3 and max(mostly_fat) <= 3
    hard = replace(artery(), name="calcium", tissue=int(Tissue.CALCIUM))
    assert sample_look([hard], np.random.default_rng(0)).mean_hu[0] > 200


HEAD, SHAFT = (88.0, 0.0, 420.0), (132.0, 0.0, 365.0)


def lines(count: int = 200) -> list[Overlay]:
    found = [list(fracture_line(HEAD, SHAFT, 1.0, np.random.default_rng(seed))) for seed in range(count)]
    assert all(len(one) <= 1 for one in found)
    return [one[0] for one in found if one]


def test_the_line_of_a_fracture_takes_femur_only_and_is_not_always_seen() -> None:
    found = lines()
    assert 0.5 < len(found) / 200 < 0.7
    assert all(o.tissue is Tissue.FRACTURE and o.takes == (FEMUR,) for o in found)
    with pytest.raises(AssertionError, match="takes no structure"):
        Overlay("oedema", Tissue.SOFT, found[0].shape, (FEMUR,))


def test_the_line_crosses_neck_or_trochanters_whole_and_thin() -> None:
    axis = (np.array(SHAFT) - HEAD) / np.linalg.norm(np.array(SHAFT) - HEAD)
    places = []
    for overlay in lines():
        shape = overlay.shape
        share = (np.array(shape.centre_mm) - HEAD) @ axis / np.linalg.norm(np.array(SHAFT) - HEAD)
        places.append(share)
        # Along the axis of the neck, the line is met once, and is a few millimetres thick.
        way = np.arange(-25, 25, 0.1)
        points = (np.array(shape.centre_mm) + way[:, None] * axis).astype(np.float32).T
        inside = shape.distance_mm(*points) < 0
        assert 0.9 < 0.1 * inside.sum() < 9
        assert (np.diff(inside.astype(int)) == 1).sum() == 1
    places = np.array(places)
    neck = places < 0.48
    assert places.min() > 0.29 and places[~neck].min() > 0.51 and 0.35 < neck.mean() < 0.65


def test_a_fracture_is_darker_than_bone() -> None:
    hard = replace(artery(), name="fracture", tissue=int(Tissue.FRACTURE))
    looks = [sample_look([hard], np.random.default_rng(seed)) for seed in range(50)]
    assert all(look.mean_hu[0] <= 110 < look.cortex_hu for look in looks)
    assert np.mean([look.mean_hu[0] < look.spongy_hu for look in looks]) > 0.9


def test_in_a_pool_a_fracture_is_labelled_as_femur() -> None:
    line = lines(20)[0]
    parts = (StoredPart(line.name, int(line.tissue)), StoredPart("oedema", int(Tissue.SOFT)))
    nothing = np.zeros((1, 1, 1), np.uint8)
    body = StoredBody(nothing, nothing.astype(np.int8), parts, np.zeros(3), 420.0, np.zeros((0, 4), np.int16))
    assert list(body.labels[:2]) == [FEMUR, 0]
