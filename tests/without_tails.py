"""Labels of a phantom whose muscles end where the cleaning of labels says that a muscle ends."""

from __future__ import annotations

import numpy as np

from vastus.anatomy import BUILT_IN
from vastus.inference.tails import dissolve_tails
from vastus.volume import Volume


def without_tails(labels: Volume) -> Volume:
    """Take the tails away until none is left: fewer thin sections make the median section larger.

    Args:
        labels: of the phantom, z along the body.
    """
    muscles = np.zeros(256, np.bool_)
    muscles[[value for entry in BUILT_IN.muscles for value in entry.label_values]] = True
    x, y, z = labels.spacing_mm
    array = np.asfortranarray(labels.array)
    while True:
        cleaned = dissolve_tails(array, muscles, voxel_mm2=x * y, slice_mm=z)
        if (cleaned == array).all():
            return labels.with_array(cleaned)
        array = cleaned
