"""Where training windows come from. Every source is a function of its seed and an index, so that resuming is
continuing at an index, whatever process or machine asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vastus.errors import SettingsError, TrainingError
from vastus.preprocessing import PreprocessingSettings, normalise_hu


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """One training window.

    Attributes:
        image: float32 (X, Y, Z), normalised, 0..1.
        labels: uint8 (X, Y, Z), class ids; 255 where nobody labelled.
    """

    image: NDArray[np.float32]
    labels: NDArray[np.uint8]


class PatchSource(Protocol):
    """Gives the window of an index, the same one every time; must survive pickling."""

    def patch(self, index: int) -> Patch:
        """Window number ``index`` (0, 1, 2 ...), without end."""
        ...


class PatchPool(Protocol):
    """What ``vastus.synthesis.render.open_pool`` gives."""

    def patch(
        self, seed: int, index: int, window_size: tuple[int, int, int], spacing_mm: tuple[float, float, float]
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """HU and class ids of one window."""
        ...


class SyntheticSource:
    """Windows of a pool of synthetic subjects, opened on first use in each process.

    Mirroring left and right is safe: both sides of a structure share a class, so that the labels mirror with the image
    and no side is named. (Label maps with sides get their sides from geometry after the network.)
    """

    def __init__(self, folder: Path, settings: PreprocessingSettings, seed: int, *, mirror: bool = True) -> None:
        self.folder = folder
        self.settings = settings
        self.seed = seed
        self.mirror = mirror
        self._pool: PatchPool | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without the open pool, which each process opens for itself."""
        return self.__dict__ | {"_pool": None}

    def patch(self, index: int) -> Patch:
        """See ``PatchSource``."""
        if self._pool is None:
            self._pool = open_pool(self.folder)
        settings = self.settings
        hu, labels = self._pool.patch(self.seed, index, settings.window_size, settings.spacing_mm)
        if hu.shape != settings.window_size or labels.shape != settings.window_size:
            raise TrainingError(f"The pool gave a window of {hu.shape}, asked for {settings.window_size}.")
        image = normalise_hu(hu, settings)
        if self.mirrors(index):
            image, labels = image[::-1], labels[::-1]
        return Patch(np.ascontiguousarray(image), np.ascontiguousarray(labels, dtype=np.uint8))

    def mirrors(self, index: int) -> bool:
        """Whether window number ``index`` is mirrored."""
        return self.mirror and bool(np.random.default_rng((self.seed, index, 17)).random() < 0.5)


def open_pool(folder: Path) -> PatchPool:
    """Open a pool of synthetic subjects; a clear error when the folder is not one."""
    if not folder.exists():
        raise SettingsError("There is no such pool of synthetic subjects.", path=folder)
    from vastus.synthesis import render

    pool: PatchPool = render.open_pool(folder)
    return pool


class MixedSource:
    """Several sources, drawn by weight; each draw is a function of the seed and the index."""

    def __init__(self, sources: tuple[PatchSource, ...], weights: tuple[float, ...], seed: int) -> None:
        if len(sources) != len(weights) or not sources or min(weights) < 0 or sum(weights) <= 0:
            raise SettingsError("A mix needs one weight a source, none negative, not all 0.")
        self.sources = sources
        self.shares = np.cumsum(weights) / np.sum(weights)
        self.seed = seed

    def patch(self, index: int) -> Patch:
        """See ``PatchSource``."""
        draw = np.random.default_rng((self.seed, index, 29)).random()
        chosen = int(np.searchsorted(self.shares, draw, side="right"))
        return self.sources[min(chosen, len(self.sources) - 1)].patch(index)
