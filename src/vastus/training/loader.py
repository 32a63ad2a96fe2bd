"""Batches prepared in background processes, in a fixed order, never more than a few ahead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vastus.preprocessing import normalise_hu_tensor
from vastus.priority import lower_priority
from vastus.training.sources import PatchSource, SyntheticSource

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

_AHEAD = 4


@dataclass(frozen=True, slots=True)
class Place:
    """Which windows a process takes: step s of rank r takes the batch number ``s * ranks + r``."""

    batch_size: int
    rank: int = 0
    ranks: int = 1

    def indices(self, step: int) -> list[int]:
        """Window numbers of this process in a step (0, 1, 2 ...)."""
        first = (step * self.ranks + self.rank) * self.batch_size
        return list(range(first, first + self.batch_size))


class _Windows(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    def __init__(self, source: PatchSource) -> None:
        self.source = source

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        patch = self.source.patch(index)
        return torch.from_numpy(np.ascontiguousarray(patch.image))[None], torch.from_numpy(
            np.ascontiguousarray(patch.labels)
        )


class _Steps(torch.utils.data.Sampler[list[int]]):
    def __init__(self, place: Place, first_step: int) -> None:
        self.place = place
        self.first_step = first_step

    def __iter__(self) -> Iterator[list[int]]:
        step = self.first_step
        while True:
            yield self.place.indices(step)
            step += 1


def batches(
    source: PatchSource, place: Place, *, first_step: int, workers: int, device: torch.device | None = None
) -> DataLoader[tuple[Tensor, Tensor]] | Iterator[tuple[Tensor, Tensor]]:
    """Endless batches (image (B, 1, X, Y, Z) float32, labels (B, X, Y, Z) uint8) from a step on.

    Args:
        source: of the windows.
        place: share of this process.
        first_step: number of the step that the first batch is for.
        workers: background processes; 0 prepares each batch when it is asked for. The result is the same.
        device: where the network is. A source of synthetic windows alone makes them there if that is a GPU.
    """
    if device is not None and device.type == "cuda" and isinstance(source, SyntheticSource):
        return rendered_batches(source, place, first_step=first_step, device=device)
    background = {"prefetch_factor": _AHEAD, "multiprocessing_context": "spawn"} if workers else {}
    return torch.utils.data.DataLoader(
        _Windows(source),
        batch_sampler=_Steps(place, first_step),
        num_workers=workers,
        worker_init_fn=_one_thread if workers else None,
        **background,  # type: ignore[arg-type]
    )


def rendered_batches(
    source: SyntheticSource, place: Place, *, first_step: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """The same windows as ``batches`` but for rounding, made on the device in this process."""
    from vastus.synthesis.torch_patches import TorchPool

    pool, settings = TorchPool(source.folder, device), source.settings
    for indices in _Steps(place, first_step):
        images, labels = [], []
        for index in indices:
            hu, classes = pool.patch(source.seed, index, settings.window_size, settings.spacing_mm)
            image = normalise_hu_tensor(hu, settings)
            mirrored = source.mirrors(index)
            images.append(image.flip(0) if mirrored else image)
            labels.append(classes.flip(0) if mirrored else classes)
        yield torch.stack(images)[:, None], torch.stack(labels)


def _one_thread(worker: int) -> None:
    import numba

    torch.set_num_threads(1)
    numba.set_num_threads(1)
    # The optimiser's step goes first; a worker catches up while the step waits for memory.
    lower_priority(5)
