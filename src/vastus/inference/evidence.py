"""What a segmentation says of itself: counted once on the network's grid, of each label in each slice.

Nothing is judged here. ``vastus.quality`` makes an expected agreement of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BY_ID, BY_VALUE, CLASS_COUNT, LABELS, SIDES, Side
from vastus.inference import kernels
from vastus.inference.stitch import STEPS_PER_LOGIT, ScoreMap
from vastus.preprocessing import FloatImage, PreprocessingSettings
from vastus.volume import Affine

ROW_OF_VALUE: Final = {label.value: row for row, label in enumerate(LABELS)}
"""Label value -> row of the tables below."""
CONTACTS: Final = CLASS_COUNT + 2
"""Columns of ``Evidence.contacts``: 0 the background, the class ids, then the two below."""
OTHER_SIDE: Final = CLASS_COUNT
IMAGE_EDGE: Final = CLASS_COUNT + 1


class Count(IntEnum):
    """Columns of ``Evidence.counts``: sums over the voxels of a label in a slice.

    ``OWN`` is the probability of the label given, ``OUTSIDE`` that of this label summed over voxels that were given
    another one, ``MARGIN`` how far the best class is before the second. A voxel is ``BORDER`` where one of its four
    neighbours in the slice has another label.
    """

    VOXELS = 0
    OWN = 1
    ENTROPY = 2
    BELOW_HALF = 3
    BELOW_FOUR_FIFTHS = 4
    BORDER = 5
    BORDER_OWN = 6
    HU = 7
    HU_SQUARES = 8
    FAT = 9
    DENSE = 10
    BORDER_HU = 11
    X = 12
    Y = 13
    X_SQUARES = 14
    Y_SQUARES = 15
    OUTSIDE = 16
    STEP_SQUARES = 17
    STEPS = 18
    MARGIN = 19


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """Counts of a segmentation on the network's grid; rows are ``anatomy.LABELS``.

    Attributes:
        counts: float64, shape (87, Z, 20): see ``Count``; HU are clipped to what the network sees.
        contacts: int32, shape (87, Z, 32): faces in the slice shared with each class, the same structure on the other
            side (``OTHER_SIDE``) and the image's edge (``IMAGE_EDGE``).
        parts: shape (87,): connected parts that the network gave, before small ones were dissolved.
        dissolved: shape (87,): share of the label's voxels that were dissolved.
        spacing_mm: of the grid.
        affine: of the grid.
    """

    counts: NDArray[np.float64]
    contacts: NDArray[np.int32]
    parts: NDArray[np.int64]
    dissolved: NDArray[np.float64]
    spacing_mm: tuple[float, float, float]
    affine: Affine

    def present(self) -> NDArray[np.int64]:
        """Return the rows that hold voxels."""
        return np.flatnonzero(self.counts[:, :, Count.VOXELS].sum(axis=1))


@dataclass(frozen=True, slots=True, eq=False)
class NetworkView:
    """What the network saw and on which grid: ``Preprocessed.image``, its affine, and how it was made from HU."""

    image: FloatImage
    affine: Affine
    settings: PreprocessingSettings


def gather_evidence(
    labels: NDArray[np.uint8],
    raw: tuple[NDArray[np.uint8], NDArray[np.int64]],
    class_ids: tuple[int, ...],
    scores: ScoreMap,
    view: NetworkView,
) -> Evidence:
    """Count; one pass over the grid, each slice on its own.

    Args:
        labels: uint8, shape (X, Y, Z): cleaned label values.
        raw: label value and number of voxels of each connected part before cleaning, as in ``islands.Parts``.
        class_ids: class id of each output channel.
        scores: on the same grid (it may be larger at the far ends).
        view: on the same grid.
    """
    x, y, z = labels.shape
    odds = np.exp((np.arange(256) - 255.0) / STEPS_PER_LOGIT)
    odds[0] = 0.0  # the floor: that far behind or farther
    class_of, hand_of = np.zeros(256, np.int64), np.full(256, 2, np.int64)
    for label in LABELS:
        class_of[label.value] = label.structure.class_id
        hand_of[label.value] = (*SIDES, Side.UNKNOWN).index(label.side)
    row_of = np.full(256, -1, np.int64)
    row_of[list(ROW_OF_VALUE)] = list(ROW_OF_VALUE.values())
    channel_of_class = {class_id: channel for channel, class_id in enumerate(class_ids)}
    own = np.array([channel_of_class.get(label.structure.class_id, -1) for label in LABELS])
    row_at = np.zeros((len(class_ids), 3), np.int64)
    for channel, class_id in enumerate(class_ids[1:], start=1):
        row_at[channel] = [ROW_OF_VALUE[BY_ID[class_id].label_value(side)] for side in (*SIDES, Side.UNKNOWN)]
    kept, behind = (np.ascontiguousarray(a[:x, :y, :z].transpose(2, 1, 0, 3)) for a in (scores.kept, scores.scores))
    counts, contacts = kernels.gather_evidence(
        np.asfortranarray(labels).transpose(2, 1, 0),
        class_of,
        hand_of,
        row_of,
        own,
        row_at,
        kept,
        behind,
        odds,
        _as_hu(view.image, view.settings).transpose(2, 1, 0),
        len(LABELS),
        CONTACTS,
    )
    parts, before = np.zeros(256, np.int64), np.zeros(256, np.int64)
    value, size = raw
    np.add.at(parts, value[1:], 1)
    np.add.at(before, value[1:], size[1:])
    after = np.bincount(labels.ravel(order="K"), minlength=256)
    values = np.array([label.value for label in LABELS])
    dissolved = np.clip(1.0 - after[values] / np.maximum(before[values], 1), 0.0, 1.0) * (before[values] > 0)
    spacing = np.linalg.norm(view.affine[:3, :3], axis=0)
    return Evidence(
        counts,
        contacts,
        parts[values],
        dissolved,
        (float(spacing[0]), float(spacing[1]), float(spacing[2])),
        view.affine,
    )


def label_name(row: int) -> str:
    """Return the machine name of a row, e.g. ``femur_left``."""
    return BY_VALUE[LABELS[row].value].name


def _as_hu(image: FloatImage, settings: PreprocessingSettings) -> FloatImage:
    """HU back from what the network sees, clipped to its window."""
    low, high = (np.float32(v) for v in settings.hu_window)
    straight = image if settings.gamma == 1.0 else np.power(image, np.float32(1.0 / settings.gamma))
    return straight * (high - low) + low
