"""Borders between muscles follow the septa between them.

Two muscles that touch are parted by a septum: a thin dark line of fat and fascia. The network's grid is too coarse to
see where exactly it runs. On the scan's own grid, slice by slice, pixels near such a border are named anew: both
muscles grow from inside towards each other, over bright pixels first, so that they meet on the dark line (a watershed:
Meyer 1991, "Un algorithme optimal de ligne de partage des eaux"). Where there is none, the border stays.

A muscle that lies beside others and is nowhere deeper in a slice than a few millimetres is a sliver. It gets the names
around it.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vastus.inference import septum_kernels
from vastus.inference.border_fat import gaussian_weights
from vastus.inference.planes import change_planes

REACH_MM: Final = 5.0
"""How far from the network's border a septum is looked for."""
SLIVER_MM: Final = 3.0
"""Least depth of a muscle: distance of its innermost pixel from the next border with another muscle."""
SMOOTHING_MM: Final = 1.0
"""Standard deviation of the Gaussian in the slice: noise is no septum."""
SURROUNDING_MM: Final = 4.0
"""Half the side of the square whose mean a septum is darker than."""
DARKNESS_STEP_HU: Final = 10.0
"""Differences below this are noise."""
COARSEST_MM: Final = 1.5
"""Larger pixels do not show a septum: nothing is changed there."""
_ROUNDING_MM: Final = 1e-3
_DARKNESS_STEPS: Final = 15
_DEPTH_STEP_MM: Final = 0.25


def shows_septa(spacing_mm: tuple[float, float, float]) -> bool:
    """Tell whether pixels are small enough to show a septum; ``spacing_mm`` along X, Y and Z of a scan in RAS."""
    return max(spacing_mm[:2]) <= COARSEST_MM + _ROUNDING_MM


def follow_septa(
    labels: NDArray[np.uint8],
    hu: NDArray[Any],
    spacing_mm: tuple[float, float, float],
    muscle: NDArray[np.bool_],
) -> None:
    """Move borders between muscles to the septa beside them, in place.

    Args:
        labels: label values, (X, Y, Z), RAS, of any order in memory.
        hu: the scan on the same grid.
        spacing_mm: voxel size along X, Y and Z.
        muscle: (256,), which label values are muscles.
    """
    if not shows_septa(spacing_mm):
        return
    in_plane = spacing_mm[1], spacing_mm[0]  # a plane's rows run along Y
    weights = tuple(gaussian_weights(SMOOTHING_MM / spacing) for spacing in in_plane)
    half_box = tuple(round(SURROUNDING_MM / spacing) for spacing in in_plane)
    spacing = np.array(in_plane, np.float32)
    limits = np.array([REACH_MM, SLIVER_MM], np.float32)
    steps = np.array([DARKNESS_STEP_HU, _DARKNESS_STEPS, _DEPTH_STEP_MM], np.float32)
    down, across = (max(half, len(weight) // 2) for half, weight in zip(half_box, weights, strict=True))
    kernel: Any = septum_kernels.follow
    change_planes(
        labels,
        hu,
        (down, across),
        lambda values, seen: kernel(values, seen, muscle, weights, half_box, spacing, limits, steps),
    )
