"""Each slice is handed over cropped to its labels and a margin, and changed in place, whatever its order in memory."""

from __future__ import annotations

import numpy as np
import pytest

from vastus.inference.planes import change_planes


@pytest.mark.parametrize("order", ["C", "F"])
def test_slices_are_cropped_to_their_labels_with_a_margin_and_changed_in_place(order: str) -> None:
    labels = np.zeros((20, 30, 4), np.uint8, order=order)
    labels[5:8, 10:16, 1] = 7
    labels[0:3, 28:30, 3] = 9  # at the edge of the scan the margin ends
    hu = np.arange(labels.size, dtype=np.int16).reshape(labels.shape)
    before, seen = labels.copy(), []

    def change(values: np.ndarray, plane: np.ndarray) -> None:
        assert plane.dtype == np.float32 and values.flags.c_contiguous and plane.flags.c_contiguous
        seen.append((int(values.max()), values.shape, plane.copy()))
        values[values > 0] += 1

    change_planes(labels, hu, (3, 2), change)
    np.testing.assert_array_equal(labels, np.where(before > 0, before + 1, 0))
    found = {value: (shape, plane) for value, shape, plane in seen}
    assert {value: shape for value, (shape, _) in found.items()} == {7: (12, 7), 9: (5, 5)}
    np.testing.assert_array_equal(found[7][1], hu[3:10, 7:19, 1].T)  # rows run along Y
    np.testing.assert_array_equal(found[9][1], hu[0:5, 25:30, 3].T)


def test_slices_without_labels_are_passed_over() -> None:
    def refuse(*_: np.ndarray) -> None:
        raise AssertionError("nothing to change")

    change_planes(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3)), (1, 1), refuse)
