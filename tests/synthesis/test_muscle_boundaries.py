"""Fat where two muscles touch: which neighbour counts, and what painting makes of it."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from vastus.anatomy import BY_KEY, MUSCLES
from vastus.synthesis.growth import NO_PART, Grid
from vastus.synthesis.look import sample_look
from vastus.synthesis.muscle_boundaries import SEAMS
from vastus.synthesis.paint_kernels import SEAM_FADES_MM, edge_share
from vastus.synthesis.scanner import Textures, paint_hu, seam_reach
from vastus.synthesis.store import StoredPart
from vastus.synthesis.subject import TissueMap
from vastus.synthesis.tissues import KIND_OF_TISSUE, Tissue

MEDIALIS, INTERMEDIUS = BY_KEY["vastus_medialis"].class_id, BY_KEY["vastus_intermedius"].class_id
SARTORIUS, GRACILIS = BY_KEY["sartorius"].class_id, BY_KEY["gracilis"].class_id


def row_of(*pieces):
    """A row of voxels (n, 1, 1): part numbers and tissues; a piece is (count, part, tissue)."""
    part = np.concatenate([np.full(n, number, np.uint8) for n, number, _ in pieces])[:, None, None]
    tissue = np.concatenate([np.full(n, what, np.uint8) for n, _, what in pieces])[:, None, None]
    return part, tissue


def test_the_table_is_symmetric_and_a_share():
    assert SEAMS.min() >= 0 and SEAMS.max() <= 1
    ids = [m.class_id for m in MUSCLES]
    among = SEAMS[np.ix_(ids, ids)]
    assert (among == among.T).all()
    assert SEAMS[MEDIALIS, INTERMEDIUS] == 0.0
    assert SEAMS[SARTORIUS, GRACILIS] > 0.8


def test_the_nearest_neighbour_counts():
    part, tissue = row_of((3, 0, SARTORIUS), (2, 1, MEDIALIS), (3, 2, GRACILIS))
    edges = np.zeros(SEAMS.shape, np.float32)
    edges[SARTORIUS, MEDIALIS], edges[SARTORIUS, GRACILIS], edges[SARTORIUS, Tissue.FAT] = 0.25, 0.5, 0.125
    assert edge_share(part, tissue, 2, 0, 0, KIND_OF_TISSUE, int(Tissue.FAT), edges, 4) == 0.25
    assert edge_share(part, tissue, 0, 0, 0, KIND_OF_TISSUE, int(Tissue.FAT), edges, 2) == 0.125
    assert edge_share(part, tissue, 0, 0, 0, KIND_OF_TISSUE, int(Tissue.FAT), edges, 3) == 0.25


def test_of_equally_near_ones_the_fattest_border_counts():
    part, tissue = row_of((2, 1, MEDIALIS), (1, 0, SARTORIUS), (2, 2, GRACILIS))
    edges = np.zeros(SEAMS.shape, np.float32)
    edges[SARTORIUS, MEDIALIS], edges[SARTORIUS, GRACILIS] = 0.25, 0.5
    assert edge_share(part, tissue, 2, 0, 0, KIND_OF_TISSUE, int(Tissue.FAT), edges, 2) == 0.5
    assert edge_share(part[::-1], tissue[::-1], 2, 0, 0, KIND_OF_TISSUE, int(Tissue.FAT), edges, 2) == 0.5


def test_fat_skin_and_air_are_no_neighbours_and_what_lies_beyond_them_is():
    nothing = [(1, NO_PART, Tissue.FAT), (1, NO_PART, Tissue.SKIN), (1, NO_PART, Tissue.AIR)]
    part, tissue = row_of((2, 0, SARTORIUS), *nothing, (1, 1, GRACILIS))
    edges = np.zeros(SEAMS.shape, np.float32)
    edges[SARTORIUS, GRACILIS], edges[SARTORIUS, Tissue.FAT] = 0.5, 0.125
    assert edge_share(part, tissue, 1, 0, 0, KIND_OF_TISSUE, int(Tissue.FAT), edges, 3) == 0.125
    assert edge_share(part, tissue, 1, 0, 0, KIND_OF_TISSUE, int(Tissue.FAT), edges, 4) == 0.5


def test_reach_is_in_mm():
    assert seam_reach((0.75, 0.75, 3.0)) == 4
    assert seam_reach((2.0, 2.0, 2.0)) == 2
    assert seam_reach((6.0, 6.0, 6.0)) == 1


def painted(one, other):
    """Mean HU by distance from the border (mm, 0.5 steps) of two muscles that touch in a plane."""
    spacing, half = 1.0, 16
    shape = (2 * half, 12, 12)
    part = np.zeros(shape, np.uint8)
    part[half:] = 1
    tissue = np.where(part == 0, one, other).astype(np.uint8)
    deep_mm = np.abs(np.arange(2 * half) - half + 0.5) * spacing
    depth = np.broadcast_to((-8 * deep_mm).clip(-127, 0).astype(np.int8)[:, None, None], shape).copy()
    rng = np.random.default_rng(1)
    parts = [StoredPart("one", one), StoredPart("other", other)]
    look = sample_look(parts, rng)
    mean, none = look.mean_hu.copy(), look.infiltration.copy()
    mean[:2], none[:2] = 50.0, 0.005
    look = replace(look, mean_hu=mean, infiltration=none, seam=0.8, fat_hu=-100.0, fibre_contrast=6.0)
    grid = Grid(np.zeros(3), (spacing,) * 3, shape)
    textures = Textures((spacing,) * 3, 0)
    starts = rng.integers(textures.size, size=(3, 3))
    hu = paint_hu(TissueMap(grid, part, depth, tissue), 400.0, look, textures, starts)
    return hu.mean(axis=(1, 2))


def test_vasti_grow_into_each_other_and_sartorius_lies_in_fat():
    fused, apart = painted(MEDIALIS, INTERMEDIUS), painted(SARTORIUS, GRACILIS)
    assert fused[15:17] == pytest.approx(fused[[2, -3]], abs=8.0)
    # Half a millimetre below the surface: the share of the body, times that of the pair, faded a little.
    expected = 50.0 - 150.0 * 0.8 * SEAMS[SARTORIUS, GRACILIS] * np.exp(-0.5 / SEAM_FADES_MM)
    assert apart[15:17] == pytest.approx([expected, expected], abs=8.0)
    assert all(a >= b - 3.0 for a, b in pairwise(apart[8:16]))
