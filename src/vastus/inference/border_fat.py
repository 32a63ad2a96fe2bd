"""Fat at the border of a muscle is not muscle: the grid of the network is too coarse for it, that of the scan is not.

The network sees voxels of several millimetres, so its muscles reach over thin layers of fat between neighbours and into
the fat under the skin. On the scan's own grid, the outermost millimetre of fat is taken off a muscle, slice by slice.
Fat inside a muscle stays, because measures of fatty muscle need it.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vastus.inference import kernels
from vastus.inference.planes import change_planes

FAT_BELOW_HU: Final = -30.0
"""The usual upper end of fat and lower end of muscle on CT (Mitsiopoulos 1998, doi 10.1152/jappl.1998.85.1.115)."""
SMOOTHING_MM: Final = 0.7
"""Standard deviation of the Gaussian in the slice: a single noisy voxel must not decide."""
DEPTH_MM: Final = 1.0
"""How far fat is followed into a muscle. 3 mm gained nothing more on drawn slices, and would eat into fatty muscles."""


def trim_border_fat(
    labels: NDArray[np.uint8],
    hu: NDArray[Any],
    spacing_mm: tuple[float, float, float],
    soft: NDArray[np.bool_],
) -> None:
    """Set fat to background where it reaches a muscle from another label, in place.

    Args:
        labels: label values, (X, Y, Z), RAS, of any order in memory.
        hu: the scan on the same grid.
        spacing_mm: voxel size along X, Y and Z.
        soft: (256,), whether a label value is trimmed: those of muscles.
    """
    across, down = (gaussian_weights(SMOOTHING_MM / spacing) for spacing in spacing_mm[:2])
    depth = max(1, round(DEPTH_MM / min(spacing_mm[:2])))
    kernel: Any = kernels.trim_fat
    change_planes(
        labels,
        hu,
        (len(down) // 2, len(across) // 2),
        lambda values, seen: kernel(values, seen, soft, down, across, FAT_BELOW_HU, depth),
    )


def gaussian_weights(sigma: float) -> NDArray[np.float32]:
    """Compute the weights of a Gaussian of ``sigma`` voxels, to three standard deviations; their sum is 1."""
    reach = int(np.ceil(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return (weights / weights.sum()).astype(np.float32)
