"""From drawn slice to drawn slice: shapes are interpolated, then moved to the edges that each slice shows.

Between two drawn slices each structure is interpolated by its signed distance (``between_slices``). What lies well
inside the interpolated shape, and well outside all of them, seeds a random walker in the slice, as strokes do in
``outlining``. What is in one of the two drawn slices only ends somewhere between: its place becomes ``UNLABELLED``.
Between slices that lie too far apart nothing is filled. The result is a guess that nobody looked at; it has to be
marked as such.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BACKGROUND_ID, BY_VALUE, UNLABELLED, Group
from vastus.errors import GeometryError, SettingsError
from vastus.refinement.between_slices import fill_between
from vastus.refinement.outline import OutlineSettings
from vastus.refinement.outlining import Fields, coarser, fields_of, finer
from vastus.refinement.random_walk import walk
from vastus.refinement.shapes import Mask, disc

Labels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class PropagationSettings:
    """How far and how freely shapes are propagated.

    Attributes:
        farthest_mm: between two drawn slices that lie further apart nothing is propagated.
        play_mm: an edge may lie this far from the interpolated border.
        core: of a thin structure at least this share of its half width stays free to move (0 to 1).
        outline: how edges are found and masks are made.
    """

    farthest_mm: float = 35.0
    play_mm: float = 5.0
    core: float = 0.6
    outline: OutlineSettings = field(default_factory=OutlineSettings)

    def __post_init__(self) -> None:
        """Refuse what can't be meant."""
        if self.farthest_mm <= 0 or self.play_mm <= 0 or not 0 < self.core < 1:
            raise SettingsError("Distances of propagation must be above 0, and the core between 0 and 1.")


@dataclass(frozen=True, slots=True, eq=False)
class Propagated:
    """Labels with the slices between drawn ones filled.

    Attributes:
        labels: uint8; drawn slices are as they were.
        slices: numbers of the slices that were filled: nobody has looked at them.
    """

    labels: Labels
    slices: tuple[int, ...]


def propagate(
    hu: NDArray[Any],
    labels: Labels,
    spacing_mm: tuple[float, float, float],
    settings: PropagationSettings = PropagationSettings(),
) -> Propagated:
    """Fill between drawn slices.

    Args:
        hu: shape (I, J, K), slices along K.
        labels: uint8, the same shape: values of ``anatomy.LABELS``, 0; ``UNLABELLED`` in slices that nobody drew.
        spacing_mm: of the axes.
        settings: see there.

    Raises:
        GeometryError: the shapes differ.
    """
    if hu.ndim != 3 or hu.shape != labels.shape:
        raise GeometryError(f"Labels of shape {labels.shape} do not fit the image {hu.shape}.")
    drawn = np.flatnonzero((labels != UNLABELLED).any(axis=(0, 1)))
    result = labels.copy()
    filled: list[int] = []
    for first, last in pairwise(int(k) for k in drawn):
        if last - first < 2 or (last - first) * spacing_mm[2] > settings.farthest_mm:
            continue
        guess = fill_between(labels[:, :, first : last + 1], (0, last - first), 2, spacing_mm)
        ends = labels[:, :, first], labels[:, :, last]
        ending = np.isin(ends, _in_one_only(*ends)).any(axis=0)
        for k in range(first + 1, last):
            shapes = guess[:, :, k - first]
            unsure = (shapes == UNLABELLED) | ending
            around = tuple(hu[:, :, q].astype(np.float32) for q in (k - 1, k, k + 1))
            result[:, :, k] = _moved_to_edges(
                np.where(unsure, UNLABELLED, shapes), fields_of(around, settings.outline), spacing_mm[:2], settings
            )
            filled.append(k)
    return Propagated(result, tuple(filled))


def _in_one_only(one: Labels, other: Labels) -> list[int]:
    """Structures that are in one of two slices only."""
    either = set(np.unique(one).tolist()) ^ set(np.unique(other).tolist())
    return sorted(either - {BACKGROUND_ID, UNLABELLED})


def _moved_to_edges(
    guess: Labels, fields: Fields, spacing_mm: tuple[float, float], settings: PropagationSettings
) -> Labels:
    """One slice: the guess with its borders where the image has edges."""
    from scipy.ndimage import binary_opening

    values = [int(v) for v in np.unique(guess) if v not in (BACKGROUND_ID, UNLABELLED)]
    muscles = [value for value in values if not _is_bone(value)]
    factor = fields.settings.grid_factor
    seeds = np.zeros(guess.shape, np.int32)
    for rank, value in enumerate(muscles, start=1):
        seeds[_core(guess == value, spacing_mm, settings)] = rank + 1
    seeds[_core(guess == BACKGROUND_ID, spacing_mm, settings)] = 1
    domain = fields.growable & (guess != UNLABELLED)
    seeds[~domain] = 0
    grown = walk(fields.cost, finer(domain, factor), finer(seeds, factor))
    regions = coarser(grown, factor, len(muscles))
    result = np.where(guess == UNLABELLED, UNLABELLED, BACKGROUND_ID).astype(np.uint8)
    for rank, value in enumerate(muscles, start=1):
        whole = binary_opening((regions == rank) & fields.soft, disc(fields.settings.opening_voxels))
        result[whole] = value
    _put_bones(result, guess, fields.bone, [value for value in values if _is_bone(value)])
    return result


def _core(mask: Mask, spacing_mm: tuple[float, float], settings: PropagationSettings) -> Mask:
    """What lies so deep inside a shape that it stays; the image's edge is no border."""
    from scipy.ndimage import distance_transform_edt

    if not mask.any() or mask.all():
        return mask
    depth = distance_transform_edt(mask, sampling=spacing_mm)
    return np.asarray(mask & (depth >= min(settings.play_mm, float(depth.max()) * settings.core)))


def _put_bones(result: Labels, guess: Labels, bone: Mask, values: list[int]) -> None:
    """Pieces of bone of which more than half is guessed to be one bone become that bone as a whole."""
    from scipy.ndimage import label

    pieces, count = label(bone)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    for value in values:
        own = np.bincount(pieces[guess == value], minlength=count + 1) * 2 > sizes
        own[0] = False
        result[own[pieces] & (guess != UNLABELLED)] = value


def _is_bone(value: int) -> bool:
    label = BY_VALUE.get(value)
    return label is not None and label.structure.group == Group.BONE
