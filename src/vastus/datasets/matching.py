"""Find the CTs of an open set in a user's download: by name first, and always by their voxels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vastus.datasets.layout import ImageRecord, image_checksum
from vastus.errors import MissingInputError, VastusError
from vastus.io.labels import LABEL_SUFFIXES
from vastus.io.scans import read_scan
from vastus.volume import Volume, crop, from_ras, to_ras

_DICOM_SUFFIXES = (".dcm", ".ima", ".dicom")
_GRID_TOLERANCE_VOXELS = 0.05


class ImageFolder:
    """A folder with CTs in files or folders of DICOM, searched with its subfolders."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise MissingInputError("There is no such folder of images.", path=folder)
        self._paths = tuple(_scans_below(folder))
        self._kept: dict[Path, Volume] = {}

    def find(self, record: ImageRecord, grid: Volume) -> Volume | None:
        """The CT of a record on the grid of its label map; None if nothing here has these voxels.

        A larger CT (uncropped) is cropped to the grid. Every file whose name holds the scan's name is tried first; only
        then all others.
        """
        scan_name = _plain(record.scan)
        named = [p for p in self._paths if scan_name in _plain("/".join(p.parts[-3:]))]
        others = [p for p in self._paths if p not in set(named)]
        for path in (*named, *others):
            volume = self._read(path, keep=path in others)
            found = None if volume is None else on_grid(volume, grid)
            if found is not None and image_checksum(found) == record.sha256:
                return found
        return None

    def _read(self, path: Path, *, keep: bool) -> Volume | None:
        """A scan, or nothing where the file is none: masks, other modalities, texts."""
        if path in self._kept:
            return self._kept[path]
        try:
            volume = read_scan(path).volume
        except VastusError:
            return None
        if keep and len(self._kept) < _MOST_KEPT:
            self._kept[path] = volume
        return volume


_MOST_KEPT = 8
"""Scans of unknown names that stay in memory: a download of hundreds would not fit."""


def on_grid(ct: Volume, grid: Volume) -> Volume | None:
    """The part of a CT that a grid covers, in the grid's axis order, without resampling; None if it has no such part.

    A CT of the grid's shape whose place in space was lost is taken as it lies.
    """
    upright, target = to_ras(ct), to_ras(grid)
    step = np.linalg.inv(upright.affine) @ target.affine
    start = np.rint(step[:3, 3]).astype(int)
    straight = np.abs(step[:3, :3] - np.eye(3)).max() * max(target.shape) < _GRID_TOLERANCE_VOXELS
    stop = start + target.shape
    if straight and np.abs(step[:3, 3] - start).max() < _GRID_TOLERANCE_VOXELS and (start >= 0).all():
        if not (stop <= upright.shape).all():
            return None
        part = crop(upright, _triple(start), _triple(stop))
    elif upright.shape == target.shape:
        part = upright
    else:
        return None
    return from_ras(part.array, grid)


def _triple(values: np.ndarray) -> tuple[int, int, int]:
    i, j, k = (int(v) for v in values)
    return i, j, k


def _scans_below(folder: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(folder):
        folders.sort()
        names = [name.lower() for name in files]
        yield from (Path(here, name) for name in sorted(files) if name.lower().endswith(LABEL_SUFFIXES))
        if any(name.endswith(_DICOM_SUFFIXES) for name in names):
            yield Path(here)


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
