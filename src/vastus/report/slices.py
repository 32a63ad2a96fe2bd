"""All slices of a scan in a form that a page can carry: the CT as one grey JPEG a slice, the labels without loss.

A browser decodes the axial slices one after the other and cuts coronal and sagittal ones out of them, so nothing is
stored twice. Labels are kept as the places where a row differs from the row above it, deflated.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from vastus.display_windows import SOFT_TISSUE
from vastus.report import kernels
from vastus.report.planes import Scene, femur_ends
from vastus.volume import Volume

CT_BYTES: Final = 4_700_000
"""Of all JPEGs together: as text in the page they are a third more, and the page stays below 8 MB."""
_QUALITIES: Final = (85, 75, 65, 55, 45, 38, 32, 27, 23)
_MOST_VOXELS: Final = 64_000_000
_SAMPLES: Final = 6
_MOST_STEP: Final = 8
_VALUES: Final = 256
_ASKEW: Final = 1e-3
T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, slots=True, eq=False)
class SliceLayer:
    """The axial slices inside a scene's frame, from the head down.

    Rows run from front to back, columns from the patient's right to the left, as in the pictures.

    Attributes:
        shape: (slices, rows, columns) of voxels as they are shown.
        spacing_mm: size of such a voxel along the three axes of ``shape``.
        origin_mm: x, y, z in RAS+ of its first voxel (approximate where the scan lies skew).
        ct: a JPEG a slice, in the window ``SOFT_TISSUE``.
        labels: see ``pack_labels``; empty where nothing is labelled.
        quality: of the JPEGs.
        step: every how many voxels of the scan across the body one is shown; 1: all.
        counts: (slices, 256): voxels of each label value in each slice.
        femur: index of the slice through the lower and the upper end of the femora; None where they do not tell.
        doubt: where borders are doubtful; None where it is not known.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]
    ct: tuple[bytes, ...]
    labels: bytes
    quality: int
    step: int
    counts: NDArray[np.int64]
    femur: tuple[float, float] | None
    doubt: DoubtLayer | None = None


@dataclass(frozen=True, slots=True)
class DoubtLayer:
    """Levels of doubt on a coarser grid than that of the slices.

    Attributes:
        shape: (slices, rows, columns) of the grid, upwards, to the front, to the patient's right.
        levels: see ``pack_labels``; 0 sure, 1 doubtful, 2 guessed.
        places: for the three axes of the layer's ``shape`` scale and offset from an index there to one here.
    """

    shape: tuple[int, int, int]
    levels: bytes
    places: tuple[tuple[float, float], ...]


def take_slices(scene: Scene, most_bytes: int = CT_BYTES, doubt: Volume | None = None) -> SliceLayer:
    """Make the layer of a scene; coarser or in more JPEG loss only as far as the size asks for it.

    Args:
        scene: CT and labels, in RAS.
        most_bytes: for all JPEGs together.
        doubt: levels of doubt on a grid of the same directions.
    """
    start, stop = scene.frame.start, scene.frame.stop
    across, along = stop[0] - start[0], stop[1] - start[1]
    indices = range(stop[2] - 1, start[2] - 1, -1)
    step = 1
    while step < _MOST_STEP and len(indices) * (across // step) * (along // step) > _MOST_VOXELS:
        step += 1
    step, quality = _fitting(scene, indices, step, most_bytes)
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        ct = tuple(pool.map(partial(_jpeg, scene, step=step, quality=quality), indices))
        packed = list(pool.map(partial(_changes, scene, step=step), indices))
    spacing = scene.ct.spacing_mm
    corner = scene.ct.affine @ np.array([stop[0] - 1, stop[1] - 1, stop[2] - 1, 1.0])
    ends = femur_ends(scene)
    rows, columns = _grid(scene, step)
    return SliceLayer(
        shape=(len(indices), rows, columns),
        spacing_mm=(spacing[2], spacing[1] * step, spacing[0] * step),
        origin_mm=(float(corner[0]), float(corner[1]), float(corner[2])),
        ct=ct,
        labels=_deflated([p.per_row for p in packed], [p.columns for p in packed], [p.bits for p in packed])
        if scene.labels is not None
        else b"",
        quality=quality,
        step=step,
        counts=np.stack([p.counts for p in packed]),
        femur=None if ends is None else (stop[2] - 1 - ends[0], stop[2] - 1 - ends[1]),
        doubt=None if doubt is None else _doubt(scene, doubt, step),
    )


def _doubt(scene: Scene, doubt: Volume, step: int) -> DoubtLayer | None:
    """None where the grid lies askew to that of the scan."""
    to_doubt = np.linalg.inv(doubt.affine) @ scene.ct.affine
    scale = np.diag(to_doubt)[:3]
    if np.abs(to_doubt[:3, :3] - np.diag(scale)).max() > _ASKEW * np.abs(scale).min():
        return None
    stop = scene.frame.stop
    first = [float(scale[axis] * (stop[axis] - 1) + to_doubt[axis, 3]) for axis in range(3)]
    each = (1, step, step)
    places = tuple((-float(scale[axis]) * n, first[axis]) for axis, n in zip((2, 1, 0), each, strict=True))
    levels = np.ascontiguousarray(doubt.array.transpose(2, 1, 0))
    z, y, x = levels.shape
    return DoubtLayer((z, y, x), pack_labels(levels), places)


def pack_labels(labels: NDArray[np.uint8]) -> bytes:
    """Pack label values, shape (slices, rows, columns), without loss.

    A voxel is said only where it differs from the one in the row above (above the first row lies background): for each
    row how many do (uint16), then of each the column, as a difference to the one before it modulo 65536 (uint16, all
    low bytes before all high bytes), then the exclusive or of the two values (uint8); the three behind each other,
    little-endian, deflated with a zlib header.
    """
    found = [_packed(plane) for plane in labels]
    return _deflated([p.per_row for p in found], [p.columns for p in found], [p.bits for p in found])


def unpack_labels(packed: bytes, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Give back what ``pack_labels`` packed; the browser does the same."""
    import zlib

    raw = zlib.decompress(packed)
    lines = shape[0] * shape[1]
    per_row = np.frombuffer(raw, "<u2", lines).astype(np.int64)
    count = int(per_row.sum())
    low = np.frombuffer(raw, np.uint8, count, 2 * lines).astype(np.uint16)
    high = np.frombuffer(raw, np.uint8, count, 2 * lines + count).astype(np.uint16)
    columns = np.cumsum(low | (high << 8), dtype=np.uint16)
    changed = np.zeros((lines, shape[2]), dtype=np.uint8)
    changed[np.repeat(np.arange(lines), per_row), columns] = np.frombuffer(raw, np.uint8, count, 2 * lines + 2 * count)
    return np.bitwise_xor.accumulate(changed.reshape(shape), axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class _Changes:
    """Of one slice: changes in each row, their columns, what changes; and how often each value occurs."""

    per_row: NDArray[np.uint16]
    columns: NDArray[np.uint16]
    bits: NDArray[np.uint8]
    counts: NDArray[np.int64]


def _packed(plane: NDArray[np.uint8]) -> _Changes:
    rows, width = plane.shape
    per_row, counts = np.empty(rows, np.uint16), np.zeros(_VALUES, np.int64)
    columns, bits = np.empty(rows * width, np.uint16), np.empty(rows * width, np.uint8)
    found = kernels.note_changes(_lying(plane), per_row, columns, bits, counts)
    return _Changes(per_row, columns[:found].copy(), bits[:found].copy(), counts)


def _lying(plane: NDArray[T]) -> NDArray[T]:
    """Bring a plane to lie in memory against rows and columns, as most do: so the loops are compiled once."""
    return plane if not plane.flags.forc else np.flip(np.flip(plane).copy())


def load_loops() -> None:
    """Load the compiled loops, where they are needed soon."""
    _packed(np.zeros((2, 2), np.uint8))
    _grey(np.zeros((4, 4), np.int16)[1:3, 1:3])  # a part of a slice, as always


def _deflated(
    per_row: Sequence[NDArray[np.uint16]], columns: Sequence[NDArray[np.uint16]], bits: Sequence[NDArray[np.uint8]]
) -> bytes:
    from isal import isal_zlib

    steps = np.concatenate([np.zeros(1, np.uint16), *columns])
    steps = steps[1:] - steps[:-1]
    parts = (np.concatenate(per_row).astype("<u2"), (steps & 255).astype(np.uint8), (steps >> 8).astype(np.uint8))
    return bytes(isal_zlib.compress(b"".join(part.tobytes() for part in (*parts, *bits)), 2))


def _fitting(scene: Scene, indices: Sequence[int], step: int, most_bytes: int) -> tuple[int, int]:
    """Step and JPEG quality that keep the CT within its size, told from a few slices."""
    chosen = np.linspace(0, len(indices) - 1, min(_SAMPLES, len(indices)) + 2).round().astype(int)[1:-1]
    while True:
        for quality in _QUALITIES:
            sizes = [len(_jpeg(scene, indices[i], step=step, quality=quality)) for i in chosen]
            if np.mean(sizes) * len(indices) <= most_bytes:
                return step, quality
        if step >= _MOST_STEP:
            return step, _QUALITIES[-1]
        step += 1


def _grid(scene: Scene, step: int) -> tuple[int, int]:
    across, along = (scene.frame.stop[a] - scene.frame.start[a] for a in (0, 1))
    return -(-along // step), -(-across // step)


def _plane(array: NDArray[np.generic], scene: Scene, index: int) -> NDArray[np.generic]:
    """One slice of the frame, rows from front to back, columns from the patient's right to the left."""
    start, stop = scene.frame.start, scene.frame.stop
    return array[start[0] : stop[0], start[1] : stop[1], index].T[::-1, ::-1]


def _jpeg(scene: Scene, index: int, *, step: int, quality: int) -> bytes:
    from PIL import Image

    image = Image.fromarray(_grey(_plane(scene.ct.array, scene, index)))
    if step > 1:
        image = image.reduce(step)
    stream = io.BytesIO()
    # Tables of codes made for each slice would spare 5% of the bytes, for twice the time.
    image.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def _grey(hu: NDArray[np.generic]) -> NDArray[np.uint8]:
    """HU in the window as grey values; whole numbers go through a table, which is several times faster."""
    if hu.dtype != np.int16:
        hu = np.clip(np.asarray(hu, dtype=np.float32), -1024, 3071).round().astype(np.int16)
    grey = np.empty(hu.shape, np.uint8)
    kernels.look_up(_lying(hu), _grey_of_value(), grey)
    return grey


@cache
def _grey_of_value() -> NDArray[np.uint8]:
    """The grey value of each value of 16 bits, shape (65536,), those from 0 upwards first."""
    low, high = SOFT_TISSUE.hu
    greys = np.round(np.arange(int(high - low) + 1) * (255.0 / (high - low))).astype(np.uint8)
    values = np.arange(2**16, dtype=np.uint16).view(np.int16)
    return greys[np.clip(values, int(low), int(high)) - np.int16(low)]


def _changes(scene: Scene, index: int, *, step: int) -> _Changes:
    if scene.labels is None:
        rows, columns = _grid(scene, step)
        return _packed(np.zeros((rows, columns), dtype=np.uint8))
    return _packed(_plane(scene.labels.array, scene, index)[::step, ::step].astype(np.uint8, copy=False))
