"""How sure the model is of its labels, and where not.

The network is deterministic, so the scan is varied instead: mirrored, moved against the network's grid, brighter or
darker, noisier. Where the labels change with it the model is unsure (test-time augmentation as a measure of
uncertainty: Wang et al. 2019, doi 10.1016/j.neucom.2019.01.103). Mirroring is safe, as the network's classes have no
side. For the muscles of hip and thigh Hiasa et al. 2020 (doi 10.1109/TMI.2019.2940555) showed that predictive
uncertainty goes with failure, and that asking for labels where it is high costs an annotator considerably less. They
take the variance over Monte Carlo dropout, which our networks don't have, and ask for pixels; here whole scans are
ranked, and the pixels are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BUILT_IN, SIDES, Side, StructureTable
from vastus.errors import SettingsError
from vastus.inference.evidence import Evidence
from vastus.label_arrays import classes_of
from vastus.volume import Volume, crop, from_ras, to_ras

LEAST_MM3: Final = 500.0
"""A structure smaller than this in every variation says nothing about the scan."""

HIGHEST: Final = 100
"""Voxel value of complete disagreement."""


@dataclass(frozen=True, slots=True)
class UncertaintySettings:
    """How the scan is varied.

    Attributes:
        variations: how many varied scans are labelled besides the plain one, 1..8; each costs one more segmentation.
        shift_voxels: how far the scan's edge is cut off, so that the network's grid lies elsewhere.
        brightness_hu: added in one variation, taken away in the next.
        noise_hu: SD of white noise.
        seed: of the noise.
    """

    variations: int = 4
    shift_voxels: int = 3
    brightness_hu: float = 12.0
    noise_hu: float = 15.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a number of variations with which nothing could be said."""
        if not 1 <= self.variations <= 8:
            raise SettingsError(f"Between 1 and 8 variations can be made, not {self.variations}.")


class Segmenter(Protocol):
    """What is asked of a predictor; ``inference.predictor.Predictor`` is one."""

    def segment(self, scan: Volume) -> Any:
        """Labels of a scan in ``.labels``, on its grid."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Uncertainty:
    """How unsure a model is of one scan.

    Attributes:
        labels: the plain prediction.
        voxels: uint8 on the grid of the scan: 0 where all variations agree, 100 where no two do.
        by_value: label value -> 0 (all variations give the same mask) .. 1 (no overlap): one minus the mean Dice of the
            variations with the plain prediction, as Roy et al. 2019 use it (doi 10.1016/j.neuroimage.2019.03.042).
        score: mean of ``by_value`` over structures of at least 500 mm3: the scan as a whole.
    """

    labels: Volume
    voxels: Volume
    by_value: Mapping[int, float]
    score: float
    evidence: Evidence | None = None


def estimate_uncertainty(
    predictor: Segmenter,
    scan: Volume,
    settings: UncertaintySettings = UncertaintySettings(),
    on_progress: Callable[[int, int], None] | None = None,
    table: StructureTable = BUILT_IN,
) -> Uncertainty:
    """Label a scan and its variations and compare.

    Args:
        predictor: gives the labels.
        scan: in HU.
        settings: the variations.
        on_progress: called with (segmentations done, all).
        table: of the structures that the predictor knows.
    """
    tell = on_progress or (lambda _done, _all: None)
    total = settings.variations + 1
    segmented = predictor.segment(scan)
    plain = segmented.labels
    tell(1, total)
    maps = [plain.array]
    for number in range(settings.variations):
        maps.append(_varied(predictor, scan, number, settings, table))
        tell(number + 2, total)
    return replace(compare(plain, maps[1:], table), evidence=getattr(segmented, "evidence", None))


def compare(plain: Volume, others: list[NDArray[np.uint8]], table: StructureTable = BUILT_IN) -> Uncertainty:
    """Uncertainty from label maps of one scan; ``others`` lie on the grid of ``plain``.

    Only the structures are compared: which side a structure is on is told from geometry after the network, and a scan
    of one leg may be called left in one variation and right in the next.
    """
    maps = [classes_of(one, table) for one in (plain.array, *others)]
    most = np.ones(plain.shape, np.uint8)
    for one in maps:
        votes = np.zeros(plain.shape, np.uint8)
        for other in maps:
            votes += one == other
        np.maximum(most, votes, out=most)
    unsure = np.round(HIGHEST * (len(maps) - most.astype(np.float32)) / (len(maps) - 1)).astype(np.uint8)
    sides = _Sides(plain, table)
    sided = [plain.array, *(sides.give(one) for one in maps[1:])]
    sizes = [_counts(m) for m in sided]
    overlap = [_counts(np.where(m == plain.array, m, 0)) for m in sided[1:]]
    by_value: dict[int, float] = {}
    for value in np.flatnonzero(np.sum(sizes, axis=0)):
        if value:
            dice = [
                2.0 * both[value] / (sizes[0][value] + size[value]) if both[value] else 0.0
                for both, size in zip(overlap, sizes[1:], strict=True)
            ]
            by_value[int(value)] = 1.0 - float(np.mean(dice))
    least = LEAST_MM3 / plain.voxel_volume_mm3
    large = [u for value, u in by_value.items() if max(size[value] for size in sizes) >= least]
    score = float(np.mean(large)) if large else 1.0  # a model that finds nothing knows nothing
    return Uncertainty(plain, plain.with_array(unsure), by_value, score)


class _Sides:
    """Label values for class ids by where they lie, as in a given label map: between its two sides, or its only one."""

    def __init__(self, plain: Volume, table: StructureTable) -> None:
        self._plain = plain
        upright = to_ras(plain).array
        n = upright.shape[0]
        # One table of (class id, plane across the body) -> label value.
        self._table = np.zeros((table.class_count, n), np.uint8)
        across = np.stack([np.bincount(upright[i].ravel(), minlength=256) for i in range(n)], axis=1)
        size = across.sum(axis=1)
        middle = (across * np.arange(n)).sum(axis=1) / np.maximum(size, 1)
        for structure in table.rows:
            right, left, unknown = (structure.label_value(side) for side in (*SIDES, Side.UNKNOWN))
            row = self._table[structure.class_id]
            if size[right] and size[left] and structure.paired:
                row[:] = np.where(np.arange(n) > (middle[right] + middle[left]) / 2, right, left)
            else:
                row[:] = max((right, left, unknown), key=lambda value: size[value]) if size.any() else unknown

    def give(self, classes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        upright = to_ras(self._plain.with_array(classes)).array
        planes = np.arange(upright.shape[0])[:, None, None]
        return from_ras(self._table[upright, planes], self._plain).array


def _counts(labels: NDArray[np.uint8]) -> NDArray[np.int64]:
    return np.bincount(labels.ravel(order="K"), minlength=256)


def _varied(
    predictor: Segmenter, scan: Volume, number: int, settings: UncertaintySettings, table: StructureTable
) -> NDArray[np.uint8]:
    """Labels of one variation, brought back to the scan's own grid."""
    upright = to_ras(scan)
    array = upright.array
    mirrored = number % 2 == 0
    if mirrored:
        array = array[::-1]
    rng = np.random.default_rng([settings.seed, number])
    hu = array.astype(np.float32)
    hu += (settings.brightness_hu if number % 4 < 2 else -settings.brightness_hu) * (number > 0)
    if number >= 2:
        hu += rng.normal(0.0, settings.noise_hu, array.shape).astype(np.float32)
    cut = [min(int(c), n - 1) for c, n in zip(_cuts(number, settings), array.shape, strict=True)]
    start = (cut[0], cut[1], cut[2])
    varied = crop(Volume(np.round(hu).astype(np.int16), upright.affine), start, upright.shape)
    found = predictor.segment(varied).labels.array
    labels = np.zeros(upright.shape, np.uint8)
    labels[start[0] :, start[1] :, start[2] :] = found
    for axis in range(3):  # what was cut off carries on with the nearest slice: nothing is learnt there
        edge = np.take(labels, [start[axis]], axis=axis)
        window = tuple(slice(0, start[a]) if a == axis else slice(None) for a in range(3))
        labels[window] = edge
    if mirrored:
        labels = _other_side(table)[labels[::-1]]
    return from_ras(labels, scan).array


def _cuts(number: int, settings: UncertaintySettings) -> Iterator[int]:
    rng = np.random.default_rng([settings.seed, number, 5])
    yield from rng.integers(0, settings.shift_voxels + 1, 3).tolist()


def _other_side(table: StructureTable) -> NDArray[np.uint8]:
    lookup = np.arange(256, dtype=np.uint8)
    for label in table.labels:
        lookup[label.value] = label.structure.label_value(label.side.opposite)
    return lookup
