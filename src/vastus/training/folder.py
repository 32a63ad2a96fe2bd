"""Training windows from labelled scans: preprocessed once into a cache, then cut, four windows a scan in turn.

A scan that is labelled throughout is kept on the grid that the network sees. One of which only some slices were drawn
keeps its own voxels: brought to another slice spacing, most drawn slices would fall between two of the network's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vastus.errors import SettingsError
from vastus.io.atomic import atomic_folder, ensure_folder
from vastus.preprocessing import PreprocessingSettings, body_box, normalise_hu, preprocess
from vastus.training.augmentation import Frame, cut_field, plain_cut, take, varied_cut, vary_intensity
from vastus.training.config import ANATOMY_CLASSES, TrainConfig
from vastus.training.dataset import TrainingCase, TrainingSet, read_pair, require_sound
from vastus.training.folds import Fold, all_of, folds_of
from vastus.training.losses import IGNORE
from vastus.training.sources import Patch
from vastus.volume import Volume, crop, to_ras

_CROPS_PER_SCAN = 4
_FOREGROUND_SHARE = 0.6
_POINTS_PER_CLASS = 256
_SPARSE_SHARE = 0.5
_GRID_FILE = "grid.json"
_CACHE_FORMAT = 2


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
    data: Path,
    config: TrainConfig,
    *,
    fold: int | None,
    cache: Path,
    known: tuple[str, ...] | None = (),
    tell: Callable[[str], None] = lambda _: None,
) -> FolderData:
    """Check a data set, preprocess what is not in the cache yet, and give the windows of one fold.

    Args:
        data: nnU-Net layout.
        config: of the run; its classes are kept when they are a choice, and become those of the data set when the run
            names all of the anatomy and the data set does not.
        fold: number in ``splits_final.json``; ``None`` trains on all cases.
        cache: folder for the preprocessed scans (about 2 bytes a voxel for the image and 1 for the labels).
        known: classes of the weights that the run starts from; they stay where this data set says that its background
            may be one of them. None: never change the classes of the run.
        tell: told which scan is checked and prepared.

    Raises:
        TrainingError: every problem of the data set, in one message.
        SettingsError: no such fold.
    """
    dataset, notices = require_sound(data, tell)
    chosen = _fold(data, tuple(c.name for c in dataset.cases), fold)
    if known is not None and config.classes == ANATOMY_CLASSES:
        config = replace(config, classes=dataset.classes_beside(known))
    strange = [name for name in config.classes[1:] if name not in dataset.table.by_key]
    if known is not None and strange and not dataset.table.is_built_in:
        raise SettingsError(f"The data set's table of structures lacks classes of the run: {', '.join(strange)}.")
    config = replace(config, table=dataset.table)
    config = replace(config, merged=dataset.merged_classes(config.classes))
    prepared = {}
    for number, case in enumerate(dataset.cases, start=1):
        place = f"preparing {number} of {len(dataset.cases)}: {case.name}"
        prepared[case.name] = prepare_case(case, dataset, config, cache, partial(tell, place))
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


def prepare_case(
    case: TrainingCase,
    dataset: TrainingSet,
    config: TrainConfig,
    cache: Path,
    on_work: Callable[[], None] = lambda: None,
) -> Path:
    """Preprocess a case into the cache, unless it is there already (else ``on_work`` is called); returns its folder.

    The folder's name holds a hash of the settings, the classes and the files' sizes and times, so that nothing stale is
    ever used.
    """
    stats = [(p.stat().st_size, p.stat().st_mtime_ns) for p in (case.image, case.labels)]
    values = [[value, key, side.value] for value, (key, side) in sorted(dataset.values.items())]
    values += [[value, label.name, *label.members] for value, label in sorted(dataset.merged.items())]
    described = json.dumps(
        [_CACHE_FORMAT, config.settings.to_dict(), config.classes, values, dataset.ignore_value, stats]
    )
    target = cache / f"{case.name}-{hashlib.sha256(described.encode()).hexdigest()[:12]}"
    if target.is_dir():
        return target
    on_work()
    ensure_folder(cache)
    image, values_map = read_pair(case)
    classes = dataset.lookup(config.classes)[to_ras(values_map).array]
    sparse = is_sparse(classes)
    prepared = (_own_grid if sparse else _network_grid)(image, classes, config.settings)
    with atomic_folder(target) as folder:
        np.save(folder / "image.npy", np.ascontiguousarray(prepared.image, dtype=np.float16))
        np.save(folder / "labels.npy", np.ascontiguousarray(prepared.labels))
        np.save(folder / "points.npy", class_points(prepared.labels, config.seed))
        (folder / _GRID_FILE).write_text(json.dumps({"spacing_mm": prepared.spacing_mm}), encoding="utf-8")
    return target


@dataclass(frozen=True, slots=True, eq=False)
class _Prepared:
    """Normalised image and class ids on one grid, and its voxel size in mm."""

    image: NDArray[np.float32]
    labels: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]


def is_sparse(labels: NDArray[np.uint8]) -> bool:
    """Tell whether fewer than half of the axial slices (last axis) hold a labelled voxel."""
    return bool((labels != IGNORE).any(axis=(0, 1)).mean() < _SPARSE_SHARE)


def _network_grid(image: Volume, classes: NDArray[np.uint8], settings: PreprocessingSettings) -> _Prepared:
    seen = preprocess(image, settings)
    box = classes[tuple(slice(a, b) for a, b in zip(seen.box_start, seen.box_stop, strict=True))]
    # Nearest neighbour at the centres of the new voxels, axis by axis.
    at = [
        np.minimum(((np.arange(n) + 0.5) * m / n).astype(np.int64), m - 1)
        for n, m in zip(seen.image.shape, box.shape, strict=True)
    ]
    return _Prepared(seen.image, box[np.ix_(*at)], settings.spacing_mm)


def _own_grid(image: Volume, classes: NDArray[np.uint8], settings: PreprocessingSettings) -> _Prepared:
    """Keep the scan's voxels; blur the image in the plane as resampling to the network's voxels would."""
    from scipy.ndimage import uniform_filter1d

    upright = to_ras(image)
    start, stop = body_box(upright, settings)
    box = crop(upright, start, stop)
    hu = box.array.astype(np.float32)
    for axis in (0, 1):
        width = settings.spacing_mm[axis] / box.spacing_mm[axis]
        if settings.antialias and width > 1.0:
            hu = _box_filter(hu, width, axis, uniform_filter1d)
    labels = classes[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
    return _Prepared(normalise_hu(hu, settings), labels, box.spacing_mm)


def _box_filter(hu: NDArray[np.float32], width: float, axis: int, mean: Any) -> NDArray[np.float32]:
    """Average over ``width`` voxels: the odd widths below and above it, weighted to keep the variance of the box."""
    narrow = 2 * int((width - 1) // 2) + 1
    # The variance of a box of n voxels is (n^2 - 1) / 12; a mixture of two boxes has the mixture of their variances.
    share = (width**2 - narrow**2) / ((narrow + 2) ** 2 - narrow**2)
    wide: NDArray[np.float32] = mean(hu, narrow + 2, axis=axis, mode="nearest")
    base = hu if narrow == 1 else mean(hu, narrow, axis=axis, mode="nearest")
    return (1.0 - share) * base + share * wide


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
    Of scans of which only some slices were drawn, all windows are.
    Where a window leaves the scan the image is air and the labels are ``IGNORE``.
    """

    def __init__(self, cases: tuple[Path, ...], settings: PreprocessingSettings, seed: int, *, augment: bool) -> None:
        self.cases = cases
        self.settings = settings
        self.seed = seed
        self.augment = augment
        self._open: dict[Path, _OpenCase] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Without the open files, which each process opens for itself."""
        return self.__dict__ | {"_open": {}}

    def _case(self, folder: Path) -> _OpenCase:
        if folder not in self._open:
            first, second, third = json.loads((folder / _GRID_FILE).read_text(encoding="utf-8"))["spacing_mm"]
            labels = np.load(folder / "labels.npy", mmap_mode="r")
            self._open[folder] = _OpenCase(
                np.load(folder / "image.npy", mmap_mode="r"),
                labels,
                np.load(folder / "points.npy"),
                (first, second, third),
                is_sparse(labels),
            )
        return self._open[folder]

    def patch(self, index: int) -> Patch:
        """See ``PatchSource``."""
        visit, _ = divmod(index, _CROPS_PER_SCAN)
        round_number, place = divmod(visit, len(self.cases))
        order = np.random.default_rng((self.seed, round_number, 41)).permutation(len(self.cases))
        case = self._case(self.cases[int(order[place])])
        rng = np.random.default_rng((self.seed, index, 43))
        window = self.settings.window_size
        frame = Frame(window, self.settings.spacing_mm, case.spacing_mm)
        centre = _centre(case, frame, rng)
        cut = varied_cut(centre, frame, rng) if self.augment else plain_cut(centre, frame)
        taken = take(case.image, cut, window, order=1, outside=0.0)
        known = take(case.labels, cut, window, order=0, outside=IGNORE)
        if self.augment:
            taken = vary_intensity(taken, rng)
            beyond = ~cut_field(window, rng)
            taken[beyond], known[beyond] = 0.0, IGNORE
        return Patch(np.ascontiguousarray(taken, dtype=np.float32), np.ascontiguousarray(known))


@dataclass(frozen=True, slots=True, eq=False)
class _OpenCase:
    """Arrays of a prepared scan, read from disk as they are needed, and its voxel size in mm."""

    image: NDArray[np.float16]
    labels: NDArray[np.uint8]
    points: NDArray[np.int32]
    spacing_mm: tuple[float, float, float]
    sparse: bool


def _centre(case: _OpenCase, frame: Frame, rng: np.random.Generator) -> NDArray[np.float64]:
    """Middle of a window, kept so that no more of the window than need be lies outside the scan."""
    points, shape = case.points, np.array(case.image.shape)
    # In voxels of the scan.
    window = np.array(frame.window) * np.array(frame.spacing_mm) / np.array(frame.scan_spacing_mm)
    if len(points) and rng.random() < (1.0 if case.sparse else _FOREGROUND_SHARE):
        classes = np.unique(points[:, 0])
        rows = points[points[:, 0] == rng.choice(classes)]
        centre = rows[rng.integers(len(rows)), 1:] + rng.normal(0.0, 0.12, 3) * window
    else:
        centre = rng.uniform(0.0, 1.0, 3) * (shape - 1)
    margin = np.minimum(window, shape) / 2 - 0.5
    return np.clip(centre, margin, shape - 1 - margin)
