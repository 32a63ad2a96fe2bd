"""Training patches made where the network is: the renderer of ``render.Pool`` on torch, for a GPU.

The bodies stay on the device; a patch is gathered, painted and imaged there. What it does is said by the same
``recipe.Recipe``, with the numbers of ``paint_kernels`` and ``scanner``, and textures are the same tiles: a patch is
the same on every device but for rounding, and depends on nothing but seed and index.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vastus.synthesis import paint_kernels as numbers
from vastus.synthesis.growth import NO_PART, Grid
from vastus.synthesis.look import Look
from vastus.synthesis.protocols import Kernel
from vastus.synthesis.recipe import LESION_BLOTCH_HU, SOFT_HU, Recipe, Shown, draw_recipe
from vastus.synthesis.render import IGNORE, NO_IMAGE_HU, Pool
from vastus.synthesis.scanner import (
    BLUR_REACH,
    BONE_FULL_MM,
    HU_RANGE,
    NO_BLUR,
    RAY_COUNT,
    Exposure,
    Rays,
    Starts,
    Textures,
    paint_tables,
    seam_reach,
    streak_strength,
)
from vastus.synthesis.store import POOL_SPACING_MM, StoredBody, load_body
from vastus.synthesis.surroundings import draw_couch, draw_forearms
from vastus.synthesis.tissues import BONE_IDS, FEMUR, Tissue, any_of
from vastus.synthesis.view import Size, Spacing, halves_of, patch_grid, sample_view

_BONES = (*BONE_IDS, int(Tissue.OTHER_BONE))
_RESIDENT_GB = 24.0


@dataclass(frozen=True, slots=True, eq=False)
class _Resident:
    """A body on the device."""

    stored: StoredBody
    part: Tensor
    depth: Tensor
    tissues: Tensor
    labels: Tensor

    @property
    def size_bytes(self) -> int:
        return self.part.numel() + self.depth.numel()


@dataclass(frozen=True, slots=True, eq=False)
class _Tiles:
    """Textures of one voxel size on the device."""

    size: int
    noise: dict[Kernel, Tensor]
    fibre: Tensor
    blotch: Tensor
    grain: Tensor
    streak: Tensor

    def take(self, tile: Tensor, start: Starts, shape: Size) -> Tensor:
        """A piece of a texture, repeated where it is larger than the tile."""
        index = [
            torch.arange(int(s), int(s) + n, device=tile.device) % self.size for s, n in zip(start, shape, strict=True)
        ]
        return tile[index[0][:, None, None], index[1][None, :, None], index[2][None, None, :]]


class TorchPool:
    """Patches from a folder of bodies, as tensors on a device.

    Args:
        folder: what ``fill_pool`` made.
        device: ``cuda``, ``cuda:1``, ``cpu`` ...
        resident_gb: how much of the device's memory bodies may take; one takes about 0.03 GB.
    """

    def __init__(self, folder: Path, device: torch.device | str, *, resident_gb: float = _RESIDENT_GB) -> None:
        self.device = torch.device(device)
        self._pool = Pool(folder)
        self._most_bytes = int(resident_gb * 1e9)
        self._bodies: OrderedDict[Path, _Resident] = OrderedDict()
        self._tiles: dict[Spacing, _Tiles] = {}

    @torch.no_grad()
    def patch(self, seed: int, index: int, window_size: Size, spacing_mm: Spacing) -> tuple[Tensor, Tensor]:
        """One patch: HU (float32, -1024 outside the scan) and class ids (uint8, ``IGNORE`` outside and in lesions)."""
        rng = np.random.default_rng([seed, index, 5])
        body = self._resident(self._pool.draw_body(rng))
        view = sample_view(body.stored, window_size, spacing_mm, rng)
        halves, fine, tall = halves_of(window_size, spacing_mm)
        part, depth = _gather(body, *view.in_halves(halves), tall)
        shown = _Map(part, depth, body.tissues[part.long()], patch_grid(body.stored, view, fine, tall))
        tiles = self._tiles_of(fine)
        recipe = draw_recipe(body.stored, view, (window_size, spacing_mm), _facts(body.stored, shown), rng)
        centres = part if halves == 1 else _gather(body, view.matrix, view.shift, window_size)[0]
        labels = body.labels[centres.long()]
        hu = _paint(shown, body.stored.length_mm, recipe.look, tiles, recipe.starts)
        hu = _add_lesion(_surround(hu, body.stored, shown, recipe), recipe, tiles, labels)
        hu = _slices(_acquire(hu, shown, recipe.exposure, tiles), recipe)
        covered = torch.zeros(window_size, dtype=torch.bool, device=self.device)
        covered[view.covered] = True
        hu = torch.where(covered, hu, NO_IMAGE_HU)
        return hu, torch.where(covered, labels, IGNORE).to(torch.uint8)

    def _resident(self, path: Path) -> _Resident:
        if path in self._bodies:
            self._bodies.move_to_end(path)
            return self._bodies[path]
        stored = load_body(path)
        body = _Resident(
            stored,
            *(
                torch.from_numpy(np.array(a)).to(self.device)
                for a in (stored.part, stored.depth, stored.tissues, stored.labels)
            ),
        )
        self._bodies[path] = body
        while len(self._bodies) > 1 and sum(b.size_bytes for b in self._bodies.values()) > self._most_bytes:
            self._bodies.popitem(last=False)
        return body

    def _tiles_of(self, spacing_mm: Spacing) -> _Tiles:
        if spacing_mm not in self._tiles:
            made = Textures(spacing_mm, 0, resampled=True)
            tiles = (torch.from_numpy(t).to(self.device) for t in (made.fibre, made.blotch, made.grain, made.streak))
            noise = {kernel: torch.from_numpy(made.noise(kernel)).to(self.device) for kernel in Kernel}
            self._tiles[spacing_mm] = _Tiles(made.size, noise, *tiles)
        return self._tiles[spacing_mm]


@dataclass(frozen=True, slots=True, eq=False)
class _Map:
    """``subject.TissueMap`` on a device."""

    part: Tensor
    depth: Tensor
    tissue: Tensor
    grid: Grid


def _axes(shape: Size, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    i, j, k = (torch.arange(n, dtype=torch.float64, device=device) for n in shape)
    return i[:, None, None], j[None, :, None], k[None, None, :]


def _gather(
    body: _Resident, matrix: NDArray[np.float32], shift: NDArray[np.float32], size: Size
) -> tuple[Tensor, Tensor]:
    """See ``volume_kernels.gather_affine``."""
    i, j, k = _axes(size, body.part.device)
    shape = body.part.shape
    flat = torch.zeros(size, dtype=torch.int64, device=body.part.device)
    inside = torch.ones(size, dtype=torch.bool, device=body.part.device)
    for axis, row in enumerate(matrix.astype(np.float64)):
        at = torch.floor((row[0] * i + row[1] * j + float(shift[axis]) + 0.5) + row[2] * k).long()
        inside &= (at >= 0) & (at < shape[axis])
        flat = flat * shape[axis] + at
    flat = torch.where(inside, flat, 0)
    return (torch.where(inside, body.part.view(-1)[flat], NO_PART), torch.where(inside, body.depth.view(-1)[flat], 127))


def _paint(where: _Map, length_mm: float, look: Look, tiles: _Tiles, starts: Starts) -> Tensor:
    """See ``paint_kernels.paint_tissues``."""
    device, shape = where.part.device, where.grid.shape
    tables = paint_tables(where.grid, length_mm, look)
    bias_of, shaft, mean_of = (torch.from_numpy(t).to(device) for t in (*tables[:2], look.mean_hu))
    fat_hu, skin_hu, septa, sharp, rim, cortex_hu, spongy_hu, marrow_hu, thin, thick, low, high = map(float, tables[2])
    fibre, blotch, grain = (
        tiles.take(t, s, shape) for t, s in zip((tiles.fibre, tiles.blotch, tiles.grain), starts, strict=True)
    )
    number, what = where.part.long(), where.tissue
    deep = where.depth.float() * numbers.DEPTH_MM
    value, bias = mean_of[number], bias_of[number]

    cavity = numbers.CAVITY_BLOTCH * blotch + numbers.CAVITY_FIBRE * fibre
    content = torch.where(cavity > high, numbers.CAVITY_GAS_HU, value)
    bowel = torch.where(cavity < low, fat_hu + numbers.CAVITY_FAT_HU, content)
    out = torch.where(what == Tissue.BOWEL, bowel, value)

    mixture = numbers.FATTY_FIBRE * fibre + numbers.FATTY_BLOTCH * blotch + numbers.FATTY_GRAIN * grain
    fatty = torch.sigmoid(sharp * (mixture + bias))
    seam = _edge_share(where, torch.from_numpy(tables[3]).to(device), seam_reach(where.grid.spacing_mm))
    seam = torch.where(deep > rim, seam, 0.0)
    fatty = fatty + seam * torch.exp(deep.clamp(max=0.0) / numbers.SEAM_FADES_MM) * (1 - fatty)
    layer = torch.from_numpy(look.layer_mm).to(device)[number]
    sheet = numbers.LAYER_FAT * torch.exp(-(((deep + layer) / numbers.LAYER_MM) ** 2))
    fatty = fatty + torch.where(layer > 0, sheet, 0.0) * (1 - fatty)
    lean = value + numbers.MUSCLE_BLOTCH_HU * blotch + numbers.MUSCLE_FIBRE_HU * fibre
    out = torch.where(bias > numbers.NO_MUSCLE, lean + fatty.clamp(max=1.0) * (fat_hu - lean), out)

    middle = torch.where(what == FEMUR, shaft[None, None, :], 0.0)
    spongy = numbers.SPONGY_BLOTCH_HU * blotch + numbers.SPONGY_GRAIN_HU * grain + numbers.SPONGY_FIBRE_HU * fibre
    inner = (spongy_hu + spongy) * (1 - middle) + (marrow_hu + numbers.MARROW_BLOTCH_HU * blotch) * middle
    wall = (deep + thin + (thick - thin) * middle + numbers.HALF_VOXEL_MM).clamp(0.0, 1.0)
    dense = cortex_hu * (numbers.CORTEX_AT_ENDS + numbers.CORTEX_MORE_IN_SHAFT * middle)
    bone = inner + (dense - inner) * wall
    out = torch.where(any_of(what, _BONES), bone, out)

    strand = fibre + numbers.STRAND_BLOTCH * blotch
    fat = fat_hu + septa * torch.exp(numbers.STRAND_SHARP * strand * strand) + numbers.FAT_BLOTCH_HU * blotch
    out = torch.where(what == Tissue.FAT, fat, out)
    out = torch.where(what == Tissue.SKIN, skin_hu, out)
    return torch.where(what == Tissue.AIR, numbers.AIR_HU, out)


def _edge_share(where: _Map, edges: Tensor, reach: int) -> Tensor:
    """See ``paint_kernels.edge_share``; for every voxel."""
    part, tissue = where.part, where.tissue.long()
    share, found = edges[tissue, int(Tissue.FAT)], torch.zeros_like(part, dtype=torch.bool)
    for r in range(1, reach + 1):
        most = torch.full_like(share, -1.0)
        for step in ((a, b) for a in (-r, 0, r) for b in (-r, 0, r) if a or b):
            there = _moved(tissue, step)
            other = (
                (_moved(part, step) != part) & (there != Tissue.AIR) & (there != Tissue.FAT) & (there != Tissue.SKIN)
            )
            most = torch.where(other, torch.maximum(most, edges[tissue, there]), most)
        share = torch.where(~found & (most >= 0), most, share)
        found |= most >= 0
    return share


def _moved(values: Tensor, step: tuple[int, int]) -> Tensor:
    """What lies a step away in the slice; 0 beyond its rim."""
    result = torch.zeros_like(values)
    to = tuple(slice(max(0, -s), n - max(0, s)) for s, n in zip(step, values.shape, strict=False))
    come_from = tuple(slice(max(0, s), n - max(0, -s)) for s, n in zip(step, values.shape, strict=False))
    result[to] = values[come_from]
    return result


def _facts(body: StoredBody, shown: _Map) -> Shown:
    """See ``recipe.Shown``."""
    rows = torch.nonzero((shown.tissue != Tissue.AIR).any(dim=2).any(dim=0))
    metal = any(p.tissue == Tissue.METAL for p in body.parts) and bool((shown.tissue == Tissue.METAL).any())
    return Shown(int(rows[0]) if len(rows) else None, metal)


def _surround(hu: Tensor, body: StoredBody, shown: _Map, recipe: Recipe) -> Tensor:
    """See ``render``."""
    air, tall = shown.tissue == Tissue.AIR, recipe.tall
    if recipe.couch is not None:
        draw_couch(hu, air, recipe.couch)
    if recipe.drape is not None:
        gap = torch.from_numpy(recipe.drape.gap).to(hu.device)
        row = tall[1] - 1 - torch.argmax((~air).flip(1).to(torch.uint8), dim=1) + gap
        i, k = torch.nonzero((~air).any(dim=1) & (row < tall[1]), as_tuple=True)
        j = row[i, k]
        free = air[i, j, k]
        hu[i[free], j[free], k[free]] = recipe.drape.hu
    if recipe.arms is not None:
        i, j, k = _axes(tall, hu.device)
        at = [
            (float(o) + POOL_SPACING_MM * (float(m[0]) * i + float(m[1]) * j + float(m[2]) * k + float(s))).float()
            for o, m, s in zip(body.origin_mm, recipe.matrix, recipe.shift, strict=True)
        ]
        draw_forearms(hu, air, recipe.arms, (at[0], at[1], at[2]))
    if recipe.sheet is not None:
        skin = recipe.sheet.inside(*_axes(tall, hu.device)) & (shown.tissue == Tissue.FAT)
        hu = torch.where(skin, recipe.sheet.hu, hu)
    return hu


def _add_lesion(hu: Tensor, recipe: Recipe, tiles: _Tiles, labels: Tensor) -> Tensor:
    """See ``render``; ``labels`` in place."""
    if recipe.lesion is None or recipe.filling is None:
        return hu
    lesion = recipe.lesion.inside(*_axes(recipe.tall, hu.device))
    labels[lesion[:, :, :: recipe.halves] & ~any_of(labels, BONE_IDS)] = IGNORE
    soft = lesion & (hu > SOFT_HU[0]) & (hu < SOFT_HU[1])
    blotch = tiles.take(tiles.blotch, recipe.filling.start, recipe.tall)
    return torch.where(soft, recipe.filling.hu + LESION_BLOTCH_HU * blotch, hu)


def _acquire(image: Tensor, shown: _Map, exposure: Exposure, tiles: _Tiles) -> Tensor:
    """See ``scanner.acquire``; the setting says how wide the body is."""
    spacing, shape, setting = shown.grid.spacing_mm, shown.grid.shape, exposure.setting
    for axis in range(2):
        sigma = setting.blur_mm / spacing[axis]
        if sigma > NO_BLUR:
            image = _blur(image, sigma, axis)
    if exposure.rays is not None:
        image = image + _metal_streaks(shown.tissue == Tissue.METAL, spacing, exposure.rays)
    if setting.cupping_hu > 1:
        rows = any_of(shown.tissue, BONE_IDS).float() * spacing[0]
        before = torch.cumsum(rows, dim=0)
        between = torch.minimum(before, before[-1:] - before) / BONE_FULL_MM
        image = image - setting.cupping_hu * between.clamp(0, 1)
    noise = setting.noise_hu * tiles.take(tiles.noise[setting.kernel], exposure.grain_start, shape)
    if exposure.streak_start is not None:
        strength = float(streak_strength(np.array([setting.width_mm or 0.0]), setting)[0])
        noise = noise + strength * tiles.take(tiles.streak, exposure.streak_start, shape)
    return (image + noise).clamp(*HU_RANGE)


def _blur(image: Tensor, sigma: float, axis: int) -> Tensor:
    """``scipy.ndimage.gaussian_filter1d``, edges mirrored."""
    radius = int(BLUR_REACH * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    weights /= weights.sum()
    count = image.shape[axis]
    index = torch.from_numpy(np.pad(np.arange(count), radius, mode="symmetric")).to(image.device)
    padded = image.index_select(axis, index)
    total = torch.zeros_like(image)
    for shift, weight in enumerate(weights):
        total += float(weight) * padded.narrow(axis, shift, count)
    return total


def _metal_streaks(metal: Tensor, spacing_mm: Spacing, rays: Rays) -> Tensor:
    """See ``scanner.metal_streaks``; all slices at once."""
    course = torch.from_numpy(rays.course).to(metal.device)
    i, j, k = _axes((metal.shape[0], metal.shape[1], metal.shape[2]), metal.device)
    count = metal.sum(dim=(0, 1))
    some = count.clamp(min=1)
    dx = i * spacing_mm[0] - (metal * i).sum(dim=(0, 1)) / some * spacing_mm[0]
    dy = j * spacing_mm[1] - (metal * j).sum(dim=(0, 1)) / some * spacing_mm[1]
    size = torch.sqrt(count * spacing_mm[0] * spacing_mm[1])
    angle = torch.rad2deg(torch.atan2(dy, dx)).long() % RAY_COUNT
    streaks = rays.hu(torch.hypot(dx, dy), dy, size, course[angle, k.long().expand_as(angle)], torch)
    return torch.where((count > 0) & ~metal, streaks, 0.0).float()


def _slices(hu: Tensor, recipe: Recipe) -> Tensor:
    """See ``render``."""
    if recipe.halves > 1:
        hu = hu.reshape(hu.shape[0], hu.shape[1], -1, recipe.halves).mean(dim=3)
    weight = float(recipe.profile)
    padded = torch.cat([hu[:, :, :1], hu, hu[:, :, -1:]], dim=2)
    hu = (1 - 2 * weight) * hu + weight * (padded[:, :, :-2] + padded[:, :, 2:])
    return hu * float(recipe.gain) + float(recipe.offset_hu)
