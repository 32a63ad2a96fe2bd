"""Training windows from labelled scans: preprocessed once into a cache, then cut, four windows a scan in turn."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vastus.errors import SettingsError
from vastus.io.atomic import atomic_folder, ensure_folder
from vastus.preprocessing import PreprocessingSettings, preprocess
from vastus.training.augmentation import cut_field, plain_cut, take, varied_cut, vary_intensity
from vastus.training.config import ANATOMY_CLASSES, TrainConfig
from vastus.training.dataset import Case, Dataset, read_pair, require_sound
from vastus.training.folds import Fold, all_of, folds_of
from vastus.training.losses import IGNORE
from vastus.training.sources import Patch
from vastus.volume import crop, to_ras

_CROPS_PER_SCAN = 4
_FOREGROUND_SHARE = 0.6
_POINTS_PER_CLASS = 256


@dataclass(frozen=True, slots=True)
class FolderData:
    """What a run needs from a data set.

    Attributes:
        training, validation: windows of the fold.
        settings_of_run: the settings with the classes of the data set.
        notices: what the user should know, not stopping anything.
    """

    training: FolderSource
    validation: FolderSource
    settings_of_run: TrainConfig
    notices: tuple[str, ...]


def open_folder(
    data: Path, config: TrainConfig, *, fold: int | None, cache: Path, keep_classes: bool = False
) -> FolderData:
    """Check a data set, preprocess what is not in the cache yet, and give the windows of one fold.

    Args:
        data: nnU-Net layout.
        config: of the run; its classes are kept when they are a choice, and become those of the data set when the run
            names all of the anatomy and the data set does not.
        fold: number in ``splits_final.json``; ``None`` trains on all cases.
        keep_classes: never change the classes of the run.
        cache: folder for the preprocessed scans (about 2 bytes a voxel for the image and 1 for the labels).

    Raises:
        TrainingError: every problem of the data set, in one message.
        SettingsError: no such fold.
    """
    dataset, notices = require_sound(data)
    chosen = _fold(data, tuple(c.name for c in dataset.cases), fold)
    if not keep_classes and config.classes == ANATOMY_CLASSES and dataset.classes != config.classes:
        config = replace(config, classes=dataset.classes)
    prepared = {c.name: prepare_case(c, dataset, config, cache) for c in dataset.cases}
    settings = config.settings
    return FolderData(
        FolderSource(tuple(prepared[n] for n in chosen.training), settings, config.seed, augment=True),
        FolderSource(tuple(prepared[n] for n in chosen.validation), settings, config.seed, augment=False),
        config,
        notices,
    )


def _fold(data: Path, names: tuple[str, ...], number: int | None) -> Fold:
    if number is None:
        return all_of(names)
    folds = folds_of(data, names)
    if not 0 <= number < len(folds):
        raise SettingsError(f"There is no fold {number}; the data set has 0..{len(folds) - 1}.", path=data)
    return folds[number]


def prepare_case(case: Case, dataset: Dataset, config: TrainConfig, cache: Path) -> Path:
    """Preprocess a case into the cache, unless it is there already; returns its folder.

    The folder's name holds a hash of the settings, the classes and the files' sizes and times, so that nothing stale is
    ever used.
    """
    stats = [(p.stat().st_size, p.stat().st_mtime_ns) for p in (case.image, case.labels)]
    values = [[value, key, side.value] for value, (key, side) in sorted(dataset.values.items())]
    described = json.dumps([config.settings.to_dict(), config.classes, values, dataset.ignore_value, stats])
    target = cache / f"{case.name}-{hashlib.sha256(described.encode()).hexdigest()[:12]}"
    if target.is_dir():
        return target
    print(f"preparing {case.name}", file=sys.stderr, flush=True)
    ensure_folder(cache)
    image, values_map = read_pair(case)
    seen = preprocess(image, config.settings)
    box = crop(to_ras(values_map), seen.box_start, seen.box_stop)
    # Nearest neighbour at the centres of the new voxels, axis by axis.
    at = [
        np.minimum(((np.arange(n) + 0.5) * m / n).astype(np.int64), m - 1)
        for n, m in zip(seen.image.shape, box.shape, strict=True)
    ]
    labels = dataset.lookup(config.classes)[box.array[np.ix_(*at)]]
    with atomic_folder(target) as folder:
        np.save(folder / "image.npy", np.ascontiguousarray(seen.image, dtype=np.float16))
        np.save(folder / "labels.npy", np.ascontiguousarray(labels))
        np.save(folder / "points.npy", class_points(labels, config.seed))
    return target


def class_points(labels: NDArray[np.uint8], seed: int) -> NDArray[np.int32]:
    """Rows (class id, i, j, k): up to 256 random voxels of every foreground class."""
    rng = np.random.default_rng(seed)
    order = np.argsort(labels, axis=None, kind="stable")
    values = labels.ravel()[order]
    rows = [np.zeros((0, 4), dtype=np.int64)]
    for class_id in np.unique(values):
        if class_id in (0, IGNORE):
            continue
        first, last = np.searchsorted(values, class_id, "left"), np.searchsorted(values, class_id, "right")
        chosen = order[rng.integers(first, last, min(_POINTS_PER_CLASS, last - first))]
        rows.append(np.column_stack([np.full(len(chosen), class_id), *np.unravel_index(chosen, labels.shape)]))
    return np.concatenate(rows).astype(np.int32)


class FolderSource:
    """Windows of prepared scans: every scan gives four in turn, in an order shuffled anew each round.

    Six in ten windows are centred near a voxel of a class drawn at random among those present; the others anywhere.
    Where a window leaves the scan the image is air and the labels are ``IGNORE``.
    """

    def __init__(self, cases: tuple[Path, ...], settings: PreprocessingSettings, seed: int, *, augment: bool) -> None:
        self.cases = cases
        self.settings = settings
        self.seed = seed
        self.augment = augment
        self._open: dict[Path, tuple[Any, Any, Any]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Without the open files, which each process opens for itself."""
        return self.__dict__ | {"_open": {}}

    def _arrays(self, case: Path) -> tuple[Any, Any, Any]:
        if case not in self._open:
            self._open[case] = (
                np.load(case / "image.npy", mmap_mode="r"), np.load(case / "labels.npy", mmap_mode="r"),
                np.load(case / "points.npy"),
            )  # fmt: skip
        return self._open[case]

    def patch(self, index: int) -> Patch:
        """See ``PatchSource``."""
        visit, _ = divmod(index, _CROPS_PER_SCAN)
        round_number, place = divmod(visit, len(self.cases))
        order = np.random.default_rng((self.seed, round_number, 41)).permutation(len(self.cases))
        image, labels, points = self._arrays(self.cases[int(order[place])])
        rng = np.random.default_rng((self.seed, index, 43))
        window = self.settings.window_size
        centre = _centre(np.array(image.shape), points, np.array(window), rng)
        cut = varied_cut(centre, window, self.settings.spacing_mm, rng) if self.augment else plain_cut(centre, window)
        taken = take(image, cut, window, order=1, outside=0.0)
        known = take(labels, cut, window, order=0, outside=IGNORE)
        if self.augment:
            taken = vary_intensity(taken, rng)
            beyond = ~cut_field(window, rng)
            taken[beyond], known[beyond] = 0.0, IGNORE
        return Patch(np.ascontiguousarray(taken, dtype=np.float32), np.ascontiguousarray(known))


def _centre(
    shape: NDArray[np.int64], points: NDArray[np.int32], window: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Middle of a window, kept so that no more of the window than need be lies outside the scan."""
    if len(points) and rng.random() < _FOREGROUND_SHARE:
        classes = np.unique(points[:, 0])
        rows = points[points[:, 0] == rng.choice(classes)]
        centre = rows[rng.integers(len(rows)), 1:] + rng.normal(0.0, 0.12, 3) * window
    else:
        centre = rng.uniform(0.0, 1.0, 3) * (shape - 1)
    margin = np.minimum(window, shape) / 2 - 0.5
    return np.clip(centre, margin, shape - 1 - margin)
