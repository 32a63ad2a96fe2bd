"""Training patches made where the network is: the renderer of ``stream.Pool`` on torch, for a GPU.

The bodies stay on the device; a patch is gathered, painted and imaged there. Every number that is drawn comes from the
same generator in the same order as in ``stream.Pool``, and textures are the same tiles: a patch is the same on every
device but for rounding, and depends on nothing but seed and index.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vastus.synthesis.growth import NO_PART, Grid
from vastus.synthesis.scanner import (
    HU_RANGE,
    Acquisition,
    Look,
    Textures,
    paint_tables,
    sample_look,
    sample_rays,
    seam_reach,
    streak_strength,
)
from vastus.synthesis.stream import (
    ARMS,
    CLOTH,
    COUCH,
    IGNORE,
    POOL_SPACING_MM,
    Pool,
    Size,
    Spacing,
    StoredBody,
    arms_beside,
    arms_in_reach,
    halves_of,
    load_body,
    patch_acquisition,
    patch_grid,
    sample_lesion,
    sample_sheet,
    sample_view,
    width_at,
)
from vastus.synthesis.surroundings import cloth_gap, draw_couch, draw_forearms, sample_couch
from vastus.synthesis.tissues import BONE_IDS, CLASS_OF_TISSUE, FEMUR, Tissue, any_of

_BONES = (*BONE_IDS, int(Tissue.OTHER_BONE))
_RESIDENT_GB = 24.0


@dataclass(frozen=True, slots=True, eq=False)
class _Resident:
    """A body on the device."""

    stored: StoredBody
    part: Tensor
    depth: Tensor
    tissues: Tensor

    @property
    def size_bytes(self) -> int:
        return self.part.numel() + self.depth.numel()


@dataclass(frozen=True, slots=True, eq=False)
class _Tiles:
    """Textures of one voxel size on the device."""

    size: int
    fibre: Tensor
    blotch: Tensor
    grain: Tensor
    streak: Tensor

    def take(self, tile: Tensor, start: NDArray[np.int64], shape: Size) -> Tensor:
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
        self._classes = torch.from_numpy(CLASS_OF_TISSUE.copy()).to(self.device)

    @torch.no_grad()
    def patch(self, seed: int, index: int, window_size: Size, spacing_mm: Spacing) -> tuple[Tensor, Tensor]:
        """One patch: HU (float32, -1024 outside the scan) and class ids (uint8, ``IGNORE`` outside and in lesions)."""
        rng = np.random.default_rng([seed, index, 5])
        body = self._resident(self._pool.draw_body(rng))
        view = sample_view(body.stored, window_size, spacing_mm, rng)
        halves, fine, tall = halves_of(window_size, spacing_mm)
        matrix, shift = view.in_halves(halves)
        part, depth = _gather(body, matrix, shift, tall)
        tissue = body.tissues[part.long()]
        centre = tissue if halves == 1 else body.tissues[_gather(body, view.matrix, view.shift, window_size)[0].long()]
        grid = patch_grid(body.stored, view, fine, tall)
        tiles = self._tiles_of(fine)
        look = sample_look(body.stored.parts, rng)
        starts = rng.integers(tiles.size, size=(3, 3))
        hu = _paint(_Map(part, depth, tissue, grid), body.stored.length_mm, look, tiles, starts)
        labels = self._classes[centre.long()]
        labels[centre == Tissue.METAL] = FEMUR
        air = tissue == Tissue.AIR
        _surround(hu, air, body.stored, (matrix, shift), fine, rng)
        sheet = sample_sheet(tall, fine, rng)
        if sheet is not None:
            skin = sheet.inside(*_axes(tall, self.device)) & (tissue == Tissue.FAT)
            hu = torch.where(skin, sheet.hu, hu)
        blob = sample_lesion(tall, fine, rng)
        if blob is not None:
            lesion = blob.inside(*_axes(tall, self.device))
            soft = lesion & (hu > -150) & (hu < 250)
            base = float(rng.uniform(0, 65))
            blotch = tiles.take(tiles.blotch, rng.integers(tiles.size, size=3), tall)
            hu = torch.where(soft, base + 8 * blotch, hu)
            labels[lesion[:, :, ::halves] & ~any_of(labels, BONE_IDS)] = IGNORE
        setting = patch_acquisition(width_at(body.stored, view, window_size), rng)
        hu = _acquire(hu, tissue, fine, setting, tiles, rng)
        hu = _slices(hu, halves, rng)
        covered = torch.zeros(window_size, dtype=torch.bool, device=self.device)
        covered[tuple(slice(int(a), int(b)) for a, b in zip(view.low, view.high, strict=True))] = True
        hu = torch.where(covered, hu, -1024.0)
        return hu, torch.where(covered, labels, IGNORE).to(torch.uint8)

    def _resident(self, path: Path) -> _Resident:
        if path in self._bodies:
            self._bodies.move_to_end(path)
            return self._bodies[path]
        stored = load_body(path)
        body = _Resident(
            stored,
            *(torch.from_numpy(np.array(a)).to(self.device) for a in (stored.part, stored.depth, stored.tissues)),
        )
        self._bodies[path] = body
        while len(self._bodies) > 1 and sum(b.size_bytes for b in self._bodies.values()) > self._most_bytes:
            self._bodies.popitem(last=False)
        return body

    def _tiles_of(self, spacing_mm: Spacing) -> _Tiles:
        if spacing_mm not in self._tiles:
            made = Textures(spacing_mm, 0)
            tiles = (torch.from_numpy(t).to(self.device) for t in (made.fibre, made.blotch, made.grain, made.streak))
            self._tiles[spacing_mm] = _Tiles(made.size, *tiles)
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
    """See ``kernels.gather_affine``."""
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


def _paint(where: _Map, length_mm: float, look: Look, tiles: _Tiles, starts: NDArray[np.int64]) -> Tensor:
    """See ``kernels.paint_tissues``."""
    device, shape = where.part.device, where.grid.shape
    tables = paint_tables(where.grid, length_mm, look)
    bias_of, shaft, mean_of = (torch.from_numpy(t).to(device) for t in (*tables[:2], look.mean_hu))
    fat_hu, skin_hu, septa, sharp, rim, cortex_hu, spongy_hu, marrow_hu, thin, thick, low, high = map(float, tables[2])
    fibre, blotch, grain = (
        tiles.take(t, s, shape) for t, s in zip((tiles.fibre, tiles.blotch, tiles.grain), starts, strict=True)
    )
    number, what = where.part.long(), where.tissue
    deep = where.depth.float() * 0.125
    value, bias = mean_of[number], bias_of[number]

    cavity = 0.97 * blotch + 0.24 * fibre
    bowel = torch.where(cavity < low, fat_hu + 6, torch.where(cavity > high, -850.0, value))
    out = torch.where(what == Tissue.BOWEL, bowel, value)

    fatty = torch.sigmoid(sharp * (0.75 * fibre + 0.45 * blotch + 0.35 * grain + bias))
    seam = _edge_share(where, torch.from_numpy(tables[3]).to(device), seam_reach(where.grid.spacing_mm))
    seam = torch.where(deep > rim, seam, 0.0)
    fatty = fatty + seam * torch.exp(deep.clamp(max=0.0) / 1.2) * (1 - fatty)
    out = torch.where(bias > -50.0, value + fatty.clamp(max=1.0) * (fat_hu - value), out)

    middle = torch.where(what == FEMUR, shaft[None, None, :], 0.0)
    inner = (spongy_hu + 55 * blotch + 45 * grain + 25 * fibre) * (1 - middle) + (marrow_hu + 12 * blotch) * middle
    wall = (deep + thin + (thick - thin) * middle + 0.5).clamp(0.0, 1.0)
    bone = inner + (cortex_hu * (0.62 + 0.38 * middle) - inner) * wall
    out = torch.where(any_of(what, _BONES), bone, out)

    strand = fibre + 0.5 * blotch
    out = torch.where(what == Tissue.FAT, fat_hu + septa * torch.exp(-14.0 * strand * strand) + 3.0 * blotch, out)
    out = torch.where(what == Tissue.SKIN, skin_hu, out)
    return torch.where(what == Tissue.AIR, -1000.0, out)


def _edge_share(where: _Map, edges: Tensor, reach: int) -> Tensor:
    """See ``kernels.edge_share``; for every voxel."""
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


def _surround(
    hu: Tensor,
    air: Tensor,
    body: StoredBody,
    place: tuple[NDArray[np.float32], NDArray[np.float32]],
    fine_mm: Spacing,
    rng: np.random.Generator,
) -> None:
    """Couch, cloth and forearms, as in ``stream.Pool`` (in place)."""
    tall = (hu.shape[0], hu.shape[1], hu.shape[2])
    if rng.random() < COUCH:
        rows = torch.nonzero((~air).any(dim=2).any(dim=0))
        couch = sample_couch(int(rows[0]) if len(rows) else None, rng)
        if couch is not None:
            draw_couch(hu, air, couch)
    if rng.random() < CLOTH:
        gap = torch.from_numpy(cloth_gap((tall[0], tall[2]), fine_mm, rng)).to(hu.device)
        row = tall[1] - 1 - torch.argmax((~air).flip(1).to(torch.uint8), dim=1) + gap
        cloth_hu = float(rng.uniform(-850, -500))
        i, k = torch.nonzero((~air).any(dim=1) & (row < tall[1]), as_tuple=True)
        j = row[i, k]
        free = air[i, j, k]
        hu[i[free], j[free], k[free]] = cloth_hu
    arms = arms_beside(body, rng) if rng.random() < ARMS else None
    if arms is not None and arms_in_reach(arms, body, *place, tall):
        i, j, k = _axes(tall, hu.device)
        at = [
            (float(o) + POOL_SPACING_MM * (float(m[0]) * i + float(m[1]) * j + float(m[2]) * k + float(s))).float()
            for o, m, s in zip(body.origin_mm, *place, strict=True)
        ]
        draw_forearms(hu, air, arms, (at[0], at[1], at[2]))


def _acquire(
    image: Tensor,
    tissue: Tensor,
    spacing_mm: Spacing,
    acquisition: Acquisition,
    tiles: _Tiles,
    rng: np.random.Generator,
) -> Tensor:
    """See ``scanner.acquire``; the setting says how wide the body is."""
    shape = (image.shape[0], image.shape[1], image.shape[2])
    for axis in range(2):
        sigma = acquisition.blur_mm / spacing_mm[axis]
        if sigma > 0.15:
            image = _blur(image, sigma, axis)
    metal = tissue == Tissue.METAL
    if bool(metal.any()):
        image = image + _metal_streaks(metal, spacing_mm, rng)
    if acquisition.cupping_hu > 1:
        rows = any_of(tissue, BONE_IDS).float() * spacing_mm[0]
        before = torch.cumsum(rows, dim=0)
        image = image - acquisition.cupping_hu * (torch.minimum(before, before[-1:] - before) / 30.0).clamp(0, 1)
    noise = acquisition.noise_hu * tiles.take(tiles.grain, rng.integers(tiles.size, size=3), shape)
    if acquisition.streak_hu > 0:
        strength = float(streak_strength(np.array([acquisition.width_mm or 0.0]), acquisition)[0])
        noise = noise + strength * tiles.take(tiles.streak, rng.integers(tiles.size, size=3), shape)
    return (image + noise).clamp(*HU_RANGE)


def _blur(image: Tensor, sigma: float, axis: int) -> Tensor:
    """``scipy.ndimage.gaussian_filter1d(..., truncate=2.5)``, edges mirrored."""
    radius = int(2.5 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    weights /= weights.sum()
    count = image.shape[axis]
    index = torch.from_numpy(np.pad(np.arange(count), radius, mode="symmetric")).to(image.device)
    padded = image.index_select(axis, index)
    total = torch.zeros_like(image)
    for shift, weight in enumerate(weights):
        total += float(weight) * padded.narrow(axis, shift, count)
    return total


def _metal_streaks(metal: Tensor, spacing_mm: Spacing, rng: np.random.Generator) -> Tensor:
    """See ``scanner.metal_streaks``; all slices at once."""
    strength, course = sample_rays(metal.shape[2], rng)
    rays = torch.from_numpy(course).to(metal.device)
    i, j, k = _axes((metal.shape[0], metal.shape[1], metal.shape[2]), metal.device)
    count = metal.sum(dim=(0, 1))
    some = count.clamp(min=1)
    dx = i * spacing_mm[0] - (metal * i).sum(dim=(0, 1)) / some * spacing_mm[0]
    dy = j * spacing_mm[1] - (metal * j).sum(dim=(0, 1)) / some * spacing_mm[1]
    size = torch.sqrt(count * spacing_mm[0] * spacing_mm[1])
    angle = torch.rad2deg(torch.atan2(dy, dx)).long() % 360
    fall = torch.exp(-torch.hypot(dx, dy) / (35 + 2.2 * size)) * (size / 18.0).clamp(max=1.0)
    dark = -0.7 * torch.exp(-((dy / (0.4 * size + 4)) ** 2))
    streaks = strength * fall * (rays[angle, k.long().expand_as(angle)] + dark)
    return torch.where((count > 0) & ~metal, streaks, 0.0).float()


def _slices(hu: Tensor, halves: int, rng: np.random.Generator) -> Tensor:
    """Back to whole slices; now and then a wider slice profile; a little gain and offset."""
    if halves > 1:
        hu = hu.reshape(hu.shape[0], hu.shape[1], -1, halves).mean(dim=3)
    if rng.random() < 0.4:
        weight = float(np.float32(rng.uniform(0, 0.25)))
        padded = torch.cat([hu[:, :, :1], hu, hu[:, :, -1:]], dim=2)
        hu = (1 - 2 * weight) * hu + weight * (padded[:, :, :-2] + padded[:, :, 2:])
    return hu * float(np.float32(rng.normal(1, 0.02))) + float(np.float32(rng.normal(0, 5)))
