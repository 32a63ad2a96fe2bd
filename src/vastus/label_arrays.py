"""Arrays of label values and class ids: what ``vastus.anatomy`` says of single values, for whole label maps."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import CLASS_OF_VALUE

_CLASSES: Final = np.frombuffer(CLASS_OF_VALUE, np.uint8)


def classes_of(labels: NDArray[Any]) -> NDArray[np.uint8]:
    """Class ids of label values, whatever their side.

    Args:
        labels: whole numbers 0..255 of any shape.

    Returns:
        uint8 of the same shape; 0 for background and for what no label map holds, ``UNLABELLED`` among it.
    """
    return _CLASSES[labels]
