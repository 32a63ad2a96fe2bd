"""How tissues become grey values: the compiled painter, and the numbers that it shares with the one on torch.

The numbers stand in this very file, because compiled code on disk is made again only when its own file changes.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from vastus.loops import njit
from vastus.synthesis.kernels import AIR, BONE, BOWEL, FAT, FEMUR, SKIN

AIR_HU = -1000.0
DEPTH_MM = 0.125
"""A step of stored depths."""
NO_MUSCLE = -50.0
"""A part whose share of fat starts below this has none."""

# Muscle: streaks of fat from three textures, and fat at the edge, which fades with depth (mm).
FATTY_FIBRE, FATTY_BLOTCH, FATTY_GRAIN = 0.75, 0.45, 0.35
SEAM_FADES_MM = 1.7
MUSCLE_BLOTCH_HU, MUSCLE_FIBRE_HU = 5.0, 4.0
"""Muscle without fat is not even, either: so much remains on real CT when the noise is taken away."""

LAYER_MM, LAYER_FAT = 0.8, 0.75
"""Thickness of the sheets in a muscle of three layers, and their share of fat."""

# Fat: fine strands where a texture passes through zero.
STRAND_BLOTCH, STRAND_SHARP, FAT_BLOTCH_HU = 0.5, -8.0, 8.0

# Bone: spongy towards the joints, marrow in the shaft, a cortex around both (as a share of its full value).
SPONGY_BLOTCH_HU, SPONGY_GRAIN_HU, SPONGY_FIBRE_HU, MARROW_BLOTCH_HU = 55, 45, 25, 12
CORTEX_AT_ENDS, CORTEX_MORE_IN_SHAFT = 0.62, 0.38
HALF_VOXEL_MM = 0.5

# Bowel: a mixture of unit variance, whose quantiles are fat, content and gas.
CAVITY_BLOTCH, CAVITY_FIBRE = 0.97, 0.24
CAVITY_FAT_HU, CAVITY_GAS_HU = 6, -850.0
"""The fat of the cavity lies so far above that below the skin."""


@njit(cache=True, nogil=True)
def edge_share(part, tissue, i, j, k, kinds, fat, edges, reach):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Share of fat at the edge of a muscle: by its nearest neighbour in the slice, up to ``reach`` voxels away.

    Only steps along the rows, the columns and both diagonals are looked at. Of neighbours equally near the one with
    the most fat counts; without any, the column of fat.
    """
    own = part[i, j, k]
    what = tissue[i, j, k]
    for r in range(1, reach + 1):
        most = np.float32(-1.0)
        for a in range(max(i - r, 0), min(i + r, part.shape[0] - 1) + 1):
            if a != i and abs(a - i) != r:
                continue
            for b in range(max(j - r, 0), min(j + r, part.shape[1] - 1) + 1):
                if b != j and abs(b - j) != r:
                    continue
                there = tissue[a, b, k]
                if part[a, b, k] != own and kinds[there] > SKIN:
                    most = max(most, edges[what, there])
        if most >= 0:
            return most
    return edges[what, fat]


@njit(parallel=True, cache=True, fastmath=True, nogil=True)
def paint_tissues(  # type: ignore[no-untyped-def] # pragma: no cover
    part, depth, tissue, kinds, fat, mean, bias, layers, shaft, numbers, edges, reach, fibres, blotches, grains, starts
):
    """See ``scanner.paint_hu``; ``numbers`` are the fields of a ``Look`` in order, ``edges`` as in ``edge_share``.

    ``kinds`` is ``tissues.KIND_OF_TISSUE``, ``fat`` the id of fat.
    """
    fat_hu, skin_hu, septa, sharp, rim, cortex_hu, spongy_hu, marrow_hu, thin, thick, low, high = numbers
    size = fibres.shape[0]
    out = np.empty(part.shape, np.float32)
    for i in prange(part.shape[0]):
        for j in range(part.shape[1]):
            for k in range(part.shape[2]):
                what = kinds[tissue[i, j, k]]
                if what == AIR:
                    out[i, j, k] = AIR_HU
                    continue
                if what == SKIN:
                    out[i, j, k] = skin_hu
                    continue
                fibre = fibres[(i + starts[0, 0]) % size, (j + starts[0, 1]) % size, (k + starts[0, 2]) % size]
                blotch = blotches[(i + starts[1, 0]) % size, (j + starts[1, 1]) % size, (k + starts[1, 2]) % size]
                if what == FAT:
                    strand = fibre + STRAND_BLOTCH * blotch
                    out[i, j, k] = fat_hu + septa * np.exp(STRAND_SHARP * strand * strand) + FAT_BLOTCH_HU * blotch
                    continue
                grain = grains[(i + starts[2, 0]) % size, (j + starts[2, 1]) % size, (k + starts[2, 2]) % size]
                deep = depth[i, j, k] * np.float32(DEPTH_MM)
                number = part[i, j, k]
                value = mean[number]
                if what in (BONE, FEMUR):
                    middle = shaft[k] if what == FEMUR else np.float32(0.0)
                    spongy = spongy_hu + SPONGY_BLOTCH_HU * blotch + SPONGY_GRAIN_HU * grain + SPONGY_FIBRE_HU * fibre
                    inner = spongy * (1 - middle) + (marrow_hu + MARROW_BLOTCH_HU * blotch) * middle
                    wall = deep + thin + (thick - thin) * middle + np.float32(HALF_VOXEL_MM)
                    wall = min(max(wall, 0.0), 1.0)
                    dense = cortex_hu * (CORTEX_AT_ENDS + CORTEX_MORE_IN_SHAFT * middle)
                    value = inner + (dense - inner) * wall
                elif bias[number] > NO_MUSCLE:
                    mixture = FATTY_FIBRE * fibre + FATTY_BLOTCH * blotch + FATTY_GRAIN * grain
                    inside = 1.0 / (1.0 + np.exp(-sharp * (mixture + bias[number])))
                    if deep > rim:
                        seam = edge_share(part, tissue, i, j, k, kinds, fat, edges, reach)
                        inside += seam * np.exp(deep / SEAM_FADES_MM) * (1 - inside)
                    if layers[number] > 0:
                        off = (deep + layers[number]) / LAYER_MM
                        inside += LAYER_FAT * np.exp(-off * off) * (1 - inside)
                    value += MUSCLE_BLOTCH_HU * blotch + MUSCLE_FIBRE_HU * fibre
                    value += min(inside, 1.0) * (fat_hu - value)
                elif what == BOWEL:
                    cavity = CAVITY_BLOTCH * blotch + CAVITY_FIBRE * fibre
                    if cavity < low:
                        value = fat_hu + CAVITY_FAT_HU
                    elif cavity > high:
                        value = CAVITY_GAS_HU
                out[i, j, k] = value
    return out
