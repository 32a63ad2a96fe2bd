import numpy as np
import pytest

from vastus.errors import GeometryError
from vastus.refinement.one_structure import replace_structure

MM = (1.0, 1.0, 1.0)


def three_bars() -> np.ndarray:
    labels = np.zeros((30, 12, 8), np.uint8)
    labels[2:10], labels[10:20], labels[20:24] = 1, 2, 3
    return labels


def test_others_keep_their_voxels_unless_told_to_give_way() -> None:
    labels = three_bars()
    mask = np.zeros(labels.shape, bool)
    mask[8:22] = True
    strict = replace_structure(labels, mask, 2, MM)
    assert np.array_equal(strict, labels)
    given = replace_structure(labels, mask, 2, MM, give_way={1})
    assert (given[8:20] == 2).all() and (given[2:8] == 1).all() and (given[20:24] == 3).all()


def test_a_gap_goes_to_the_nearest_neighbour_or_the_background() -> None:
    labels = three_bars()
    mask = np.zeros(labels.shape, bool)
    mask[13:17] = True
    mended = replace_structure(labels, mask, 2, MM)
    assert (mended[10:13] == 1).all() and (mended[13:17] == 2).all() and (mended[17:20] == 3).all()
    edge = replace_structure(labels, np.zeros(labels.shape, bool), 3, MM)
    assert (edge[20:22] == 2).all() and (edge[22:24] == 0).all()


def test_the_background_is_free() -> None:
    labels = three_bars()
    mask = labels == 3
    mask[24:28] = True
    assert (replace_structure(labels, mask, 3, MM)[20:28] == 3).all()


def test_a_foreign_mask_is_refused() -> None:
    with pytest.raises(GeometryError):
        replace_structure(three_bars(), np.zeros((3, 3, 3), bool), 2, MM)
