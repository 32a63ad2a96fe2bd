"""Validation during training: Dice of every class over fixed windows, by counting, and a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vastus.anatomy import BUILT_IN, StructureTable
from vastus.io.atomic import atomic_path
from vastus.training.losses import IGNORE
from vastus.training.sources import Patch, PatchSource

_PICTURE_PATCHES = 4
_SHADE = 0.55


@dataclass(frozen=True, slots=True, eq=False)
class Validation:
    """Result of one validation.

    Attributes:
        dice: (classes,), pooled over the windows; NaN for a class that occurs neither in labels nor prediction.
        pairs: the first windows with their predictions, for the picture.
    """

    dice: NDArray[np.float64]
    pairs: tuple[tuple[Patch, NDArray[np.uint8]], ...]

    @property
    def mean_dice(self) -> float:
        """Mean over the foreground classes that occur; 0 if none does."""
        foreground = self.dice[1:]
        return float(np.nanmean(foreground)) if np.isfinite(foreground).any() else 0.0


def validate(network: nn.Module, source: PatchSource, count: int, *, class_count: int, bf16: bool) -> Validation:
    """Predict the first ``count`` windows of a source and count.

    Dice is 2 |A and B| / (|A| + |B|) with voxels pooled over all windows; unlabelled voxels (255) are left out.
    """
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    table = np.zeros((class_count, class_count), dtype=np.int64)
    pairs = []
    with torch.inference_mode():
        for index in range(count):
            patch = source.patch(index)
            image = torch.from_numpy(np.ascontiguousarray(patch.image))[None, None].to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                predicted = network(image).argmax(1)[0].to(torch.uint8).cpu().numpy()
            # Merged labels have ids beyond the classes: which member is right is not known.
            known = (patch.labels != IGNORE) & (patch.labels < class_count)
            pair = patch.labels[known].astype(np.int64) * class_count + predicted[known]
            table += np.bincount(pair, minlength=class_count**2).reshape(class_count, class_count)
            if index < _PICTURE_PATCHES:
                pairs.append((patch, predicted))
    network.train(was_training)
    return Validation(dice_from_table(table), tuple(pairs))


def dice_from_table(table: NDArray[np.int64]) -> NDArray[np.float64]:
    """Dice of each class from a table of counts [reference, predicted]; NaN where a class occurs in neither."""
    size = table.sum(0) + table.sum(1)
    with np.errstate(invalid="ignore"):
        dice: NDArray[np.float64] = np.where(size > 0, 2.0 * np.diag(table) / np.maximum(size, 1), np.nan)
    return dice


def save_picture(
    validation: Validation, classes: tuple[str, ...], path: Path, table: StructureTable = BUILT_IN
) -> None:
    """Write a PNG: for each of the first windows the middle axial and coronal slice, reference beside prediction."""
    import matplotlib.image

    colours = np.array([_colour(name, index, table) for index, name in enumerate(classes)], dtype=np.float32) / 255.0
    rows = []
    for patch, predicted in validation.pairs:
        panels = []
        for axis in (2, 1):
            middle = patch.image.shape[axis] // 2
            grey = np.take(patch.image, middle, axis)
            for labels in (patch.labels, predicted):
                panels.append(_upright(_overlay(grey, np.take(labels, middle, axis), colours)))
        height = max(p.shape[0] for p in panels)
        rows.append(np.concatenate([np.pad(p, ((0, height - p.shape[0]), (1, 1), (0, 0))) for p in panels], axis=1))
    with atomic_path(path) as temporary:
        matplotlib.image.imsave(temporary, np.concatenate(rows), format="png")


def _colour(name: str, index: int, table: StructureTable) -> tuple[int, int, int]:
    if name in table.by_key:
        return table.by_key[name].colour
    # Classes from outside the table: spread over the colour wheel by the golden ratio.
    import colorsys

    red, green, blue = colorsys.hsv_to_rgb((index * 0.618) % 1.0, 0.7, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)


def _overlay(grey: NDArray[np.float32], labels: NDArray[np.uint8], colours: NDArray[np.float32]) -> NDArray[np.float32]:
    plain = np.repeat(np.clip(grey, 0.0, 1.0)[..., None], 3, axis=-1)
    marked = (labels > 0) & (labels < len(colours))
    plain[marked] = (1 - _SHADE) * plain[marked] + _SHADE * colours[labels[marked]]
    return plain


def _upright(panel: NDArray[np.float32]) -> NDArray[np.float32]:
    """From (right, up) axes to rows from the top; the patient's right on the left, as radiologists look at it."""
    return np.ascontiguousarray(panel.transpose(1, 0, 2)[::-1, ::-1])
