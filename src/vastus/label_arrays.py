"""Arrays of label values and class ids: what ``vastus.anatomy`` says of single values, for whole label maps."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BUILT_IN, LABELS, Side, StructureTable


def _table_of(side: Side) -> NDArray[np.bool_]:
    table = np.zeros(256, np.bool_)
    table[[label.value for label in LABELS if label.side is side]] = True
    return table


_OF_SIDE: Final = {side: _table_of(side) for side in Side}


def classes_of(labels: NDArray[Any], table: StructureTable = BUILT_IN) -> NDArray[np.uint8]:
    """Class ids of label values, whatever their side.

    Args:
        labels: whole numbers 0..255 of any shape.
        table: of the structures.

    Returns:
        uint8 of the same shape; 0 for background and for what no label map holds, ``UNLABELLED`` among it.
    """
    return np.frombuffer(table.class_of_value, np.uint8)[labels]


def on_side(labels: NDArray[Any], side: Side) -> NDArray[np.bool_]:
    """Where label values are of one side; of the same shape."""
    return _OF_SIDE[side][labels]
