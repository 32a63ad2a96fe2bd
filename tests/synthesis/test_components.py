import cc3d
import numpy as np
import pytest

from vastus.synthesis.components import CRUMB_SHARE, crumbs_and_splits, drop_crumbs, in_one_piece
from vastus.synthesis.growth import Offsets, Packed, fit_offsets
from vastus.synthesis.kernels import NO_PART

WHOLE = np.zeros(256, bool)
WHOLE[:3] = True


def a_map():
    part = np.full((40, 30, 30), NO_PART, np.uint8)
    part[5:15, 5:15, 5:25] = 0
    return part


def test_a_crumb_becomes_fat_and_a_large_piece_stays():
    part = a_map()
    part[20:23, 5:8, 10:13] = 0
    part[25:35, 5:15, 5:25] = 1
    part[25:35, 20:28, 5:25] = 1
    crumbs, split = crumbs_and_splits(part, WHOLE)
    assert [c[0] for c in crumbs] == [0] and split == {1}
    drop_crumbs(part, WHOLE)
    assert (part[20:23, 5:8, 10:13] == NO_PART).all()
    assert (part == 0).sum() == 2000 and (part == 1).sum() == 3600


def test_a_piece_at_the_edge_may_belong_to_something_out_of_sight():
    part = a_map()
    part[20:25, 5:10, :3] = 0
    drop_crumbs(part, WHOLE)
    assert (part[20:25, 5:10, :3] == 0).all()
    part[20:25, 5:10, :3] = NO_PART
    part[20, 5, 0] = 0
    drop_crumbs(part, WHOLE)
    assert part[20, 5, 0] == NO_PART


def test_parts_that_may_be_many_are_left_alone():
    part = a_map()
    part[20:22, 5:7, 10:12] = 7
    part[25:35, 5:15, 5:25] = 7
    drop_crumbs(part, WHOLE)
    assert (part == 7).sum() == 2008


def test_what_is_around_a_crumb_holds_the_crumb_but_not_the_main_piece():
    part = a_map()
    part[16:18, 8:10, 10:12] = 0
    (number, box, around), *rest = crumbs_and_splits(part, WHOLE)[0]
    assert number == 0 and not rest
    marked = np.zeros(part.shape, bool)
    marked[box] = around
    assert marked[16:18, 8:10, 10:12].all() and marked.sum() > 60
    assert not (marked[5:15, 5:15, 5:25]).any()


def test_an_empty_map_is_no_trouble():
    part = np.full((4, 5, 6), NO_PART, np.uint8)
    drop_crumbs(part, WHOLE)
    assert crumbs_and_splits(part, WHOLE) == ([], set())
    assert 0 < CRUMB_SHARE < 0.2


@pytest.mark.parametrize("wanted", [4000.0, 9000.0])
def test_a_fit_reaches_its_volume_in_one_piece(wanted):
    # A ball of 8 mm, and a small one beside it that must not count for its volume.
    spacing = (1.0, 1.0, 1.0)
    i, j, k = np.ogrid[:60, :40, :40]
    large = np.sqrt((i - 20.0) ** 2 + (j - 20) ** 2 + (k - 20) ** 2) - 10.0
    small = np.sqrt((i - 45.0) ** 2 + (j - 20) ** 2 + (k - 20) ** 2) - 4.0
    distance = np.minimum(large, small) / 0.125
    parts = np.full((60, 40, 40, 4), NO_PART, np.uint8)
    parts[..., 0] = np.where(distance < 120, 0, NO_PART)
    distances = np.full(parts.shape, 127, np.int8)
    distances[..., 0] = np.clip(np.round(distance), -127, 127)
    one = np.zeros(1, np.float32)
    box = np.zeros((1, 3))
    packed = Packed(
        np.zeros(0, np.int8),
        one.astype(np.int64),
        box.astype(np.int32),
        box.astype(np.float32),
        box.astype(np.float32),
        np.array([1], np.uint8),
        np.array([5], np.uint8),
    )
    fit = fit_offsets((parts, distances), packed, Offsets(one, one, one), np.array([wanted]), spacing)
    assert abs(fit.miss[0]) < 0.01 and not fit.split and fit.closed == {0}
    radius = float(np.cbrt(wanted * 3 / 4 / np.pi))
    assert float(fit.offsets.middle_mm[0]) == pytest.approx(radius - 10.0, abs=0.1)
    assert fit.volume_mm3[0] == pytest.approx(wanted, rel=0.01)
    # Painted, the small ball is there again: grown by 3 mm, it is no crumb any more, but did not count.
    painted = np.where(distance * 0.125 < fit.offsets.middle_mm[0], 0, NO_PART).astype(np.uint8)
    drop_crumbs(painted, WHOLE, fit.closed)
    assert (painted == 0).sum() == pytest.approx(wanted, rel=0.02)


def pieces_of(mask):
    return cc3d.connected_components(mask, connectivity=26, return_N=True)[1]


def test_two_pieces_with_a_small_gap_are_joined_and_nothing_of_them_is_lost():
    mask = np.zeros((30, 30, 60), bool)
    mask[5:25, 5:10, 5:40] = True
    mask[5:25, 14:19, 44:56] = True
    assert pieces_of(mask) == 2
    whole = in_one_piece(mask)
    assert pieces_of(whole) == 1
    assert (whole & mask).sum() == mask.sum() and 30 < (whole & ~mask).sum() < 400


def test_crumbs_and_what_is_far_away_are_left_out():
    mask = np.zeros((30, 30, 60), bool)
    mask[5:25, 5:10, 5:30] = True
    main = mask.copy()
    mask[5:25, 5:10, 50:58] = True  # large, 30 mm away
    mask[5, 13, 8] = True  # near, a crumb
    assert (in_one_piece(mask) == main).all()
    assert in_one_piece(main) is main
