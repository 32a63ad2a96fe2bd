"""``Predictor``: a network loaded once; scans in, labels on their own grid out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BY_KEY
from vastus.errors import SettingsError
from vastus.inference.body_lie import said_of_lie
from vastus.inference.bundle import Bundle, BundleInfo
from vastus.inference.choices import RuntimeOptions
from vastus.inference.confidence import Confidence, find_confidence
from vastus.inference.evidence import Evidence, NetworkView, gather_evidence
from vastus.inference.islands import dissolve, find_parts, islands
from vastus.inference.pelvis import below_pelvis, said_below, said_without_bones
from vastus.inference.restore import restore
from vastus.inference.runtime import Runtime, open_runtime, thread_count
from vastus.inference.scan_kind import said_of_kind
from vastus.inference.sides import tell_sides
from vastus.inference.stitch import ScoreMap, Stitcher
from vastus.inference.windows import LEAN_HU, WindowPlan, lean_region, pad_to_window, plan_windows
from vastus.preprocessing import FloatImage, Preprocessed, normalise_hu, preprocess
from vastus.resampling import resample_box
from vastus.volume import Volume, to_ras


class Stage(Enum):
    """The steps of a segmentation, in order."""

    PREPROCESS = "preprocess"
    NETWORK = "network"
    CLEAN = "clean"
    RESTORE = "restore"


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a segmentation stands: ``done`` of ``total`` windows while in the network stage."""

    stage: Stage
    done: int = 0
    total: int = 0


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """The result for one scan.

    Attributes:
        labels: uint8 label values on the grid of the scan, in its axis order.
        warnings: what the user should know.
        seconds: time of each stage; ``stitch`` is the part of ``network`` in which windows were put together.
        windows: number of network windows.
        device: what ran the network.
        confidence: how sure the network is, of the scan and of each structure.
        evidence: what was counted of each label, for ``vastus.quality``.
    """

    labels: Volume
    warnings: tuple[str, ...]
    seconds: Mapping[str, float]
    windows: int
    device: str
    confidence: Confidence
    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """A scan as the network saw it, and what the network said of it."""

    scan: Volume
    seen: Preprocessed
    scores: ScoreMap
    windows: int


class Predictor:
    """Weights and runtime, loaded once, for any number of scans."""

    def __init__(self, bundle: Bundle, options: RuntimeOptions | None = None, *, overlap: float | None = None) -> None:
        """Load the network.

        Args:
            bundle: weights and settings.
            options: device, runtime, precision, threads.
            overlap: share by which windows overlap; None: what the bundle says.

        Raises:
            DeviceError: what was asked for is not there.
            BundleError: the network can't be loaded.
            SettingsError: overlap not in 0..1.
        """
        options = options or RuntimeOptions()
        self.bundle = bundle
        self.overlap = bundle.info.overlap if overlap is None else overlap
        if not 0.0 <= self.overlap < 1.0:
            raise SettingsError(f"The overlap must lie in 0..1 (1 excluded), got {self.overlap}.")
        self.threads = thread_count(options.threads)
        self._runtime: Runtime = open_runtime(bundle, options)
        self.device = self._runtime.description

    def segment(self, scan: Volume, on_progress: OnProgress | None = None) -> Segmentation:
        """Label one scan.

        Args:
            scan: in HU, any orientation, any spacing.
            on_progress: called after each step.

        Raises:
            UnsupportedScanError: no body in it.
        """
        clock = _Clock()
        return self._finish(self._look(scan, on_progress or (lambda _: None), clock), on_progress, clock)

    def look(self, scan: Volume) -> Looked:
        """Run the network and keep what it says: to be changed on purpose, and finished with ``finish``.

        Raises:
            UnsupportedScanError: no body in it.
        """
        return self._look(scan, lambda _: None, _Clock())

    def finish(self, looked: Looked) -> Segmentation:
        """Labels on the scan's own grid from what the network said."""
        return self._finish(looked, None, _Clock())

    def _look(self, scan: Volume, tell: OnProgress, clock: _Clock) -> Looked:
        with compute_threads(self.threads):
            tell(Progress(Stage.PREPROCESS))
            with clock.of(Stage.PREPROCESS.value):
                seen = preprocess(scan, self.bundle.info.preprocessing)
            with clock.of(Stage.NETWORK.value):
                scores, windows = self._predict(seen, tell, clock)
        return Looked(scan, seen, scores, windows)

    def _finish(self, looked: Looked, on_progress: OnProgress | None, clock: _Clock) -> Segmentation:
        scan, seen, scores = looked.scan, looked.seen, looked.scores
        tell = on_progress or (lambda _: None)
        with compute_threads(self.threads):
            tell(Progress(Stage.CLEAN))
            labelled = label_scores(scores, seen, self.bundle.info, clock)
            tell(Progress(Stage.RESTORE))
            with clock.of(Stage.RESTORE.value):
                labels = restore_labels(labelled, looked, self.bundle.info)
                upright = to_ras(labels), to_ras(scan)
                warnings = (*said_of_lie(*upright), *said_of_kind(*upright), *labelled.warnings)
        return Segmentation(
            labels, warnings, clock.seconds, looked.windows, self.device, labelled.confidence, labelled.evidence
        )

    def _predict(self, seen: Preprocessed, tell: OnProgress, clock: _Clock) -> tuple[ScoreMap, int]:
        window = self.bundle.info.preprocessing.window_size
        image = pad_to_window(seen.image, window)
        lean = seen.image > normalise_hu(np.array([LEAN_HU]), self.bundle.info.preprocessing)
        region = lean_region(lean, seen.body, self.bundle.info.preprocessing.spacing_mm)
        plan = plan_windows(pad_to_window(region, window), window, self.overlap)
        stitcher = Stitcher(image.shape, len(self.bundle.info.classes), plan)
        results = self._runtime.run(_cut(image, plan))
        done = 0
        tell(Progress(Stage.NETWORK, 0, len(plan)))
        for layer in plan.layers:
            with clock.of("stitch"):
                stitcher.finish_below(layer.z)
            for x, y in layer.starts:
                scores = next(results)
                with clock.of("stitch"):
                    stitcher.add(scores, x, y, layer.z)
                done += 1
                tell(Progress(Stage.NETWORK, done, len(plan)))
        with clock.of("stitch"):
            return stitcher.result(), len(plan)


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Label values on the network's grid, and what is known of them."""

    labels: NDArray[np.uint8]
    warnings: tuple[str, ...]
    confidence: Confidence
    evidence: Evidence


def label_scores(scores: ScoreMap, seen: Preprocessed, info: BundleInfo, clock: _Clock | None = None) -> Labelled:
    """Clean label values from what the network said: sides told, islands dissolved."""
    clock = clock or _Clock()
    x, y, z = seen.image.shape
    with clock.of(Stage.CLEAN.value):
        classes = np.take(np.array(info.class_ids, np.uint8), scores.channels[:x, :y, :z])
        sided = tell_sides(classes, seen.affine)
        voxel_mm3 = abs(float(np.linalg.det(seen.affine[:3, :3])))
        parts = find_parts(sided.labels)
        below = below_pelvis(parts, seen.affine, voxel_mm3)
        labels = dissolve(sided.labels, parts, below | islands(parts, voxel_mm3, below))
        told = (*said_below(parts, below, voxel_mm3), *said_without_bones(parts, voxel_mm3))
        confidence = find_confidence(labels, channel_of_label(info), scores)
    with clock.of("evidence"):
        view = NetworkView(seen.image, seen.affine, info.preprocessing)
        evidence = gather_evidence(labels, (parts.value, parts.size), info.class_ids, scores, view)
    return Labelled(labels, (*sided.warnings, *told), confidence, evidence)


def restore_labels(labelled: Labelled, looked: Looked, info: BundleInfo) -> Volume:
    """Labels on the scan's own grid."""
    scan, seen = looked.scan, looked.seen
    full = np.zeros(scan.array.shape, np.uint8, order="F" if _is_f_ordered(scan) else "C")
    box = tuple(slice(a, b) for a, b in zip(seen.box_start, seen.box_stop, strict=True))
    restore(labelled.labels, channel_of_label(info), looked.scores, to_ras(scan.with_array(full)).array[box])
    return scan.with_array(full)


def channel_of_label(info: BundleInfo) -> NDArray[np.int64]:
    """Output channel of each of the 256 label values; background's for those that do not occur."""
    channel = np.zeros(256, np.int64)
    for number, key in enumerate(info.classes[1:], start=1):
        class_id = BY_KEY[key].class_id
        channel[[class_id, 100 + class_id, 200 + class_id]] = number
    return channel


def load_ahead() -> None:
    """Load what every scan needs (libraries, compiled loops): to be called while a network or a scan is being read."""
    import cc3d  # noqa: F401
    from scipy import ndimage  # noqa: F401

    resample_box(np.zeros((4, 4, 4), np.int16), (2, 2, 2), antialias=True)


def _cut(image: FloatImage, plan: WindowPlan) -> Iterator[FloatImage]:
    a, b, c = plan.window
    for layer in plan.layers:
        for x, y in layer.starts:
            yield np.ascontiguousarray(image[x : x + a, y : y + b, layer.z : layer.z + c])


def _is_f_ordered(scan: Volume) -> bool:
    strides = np.abs(scan.array.strides)
    return bool(strides[0] <= strides[2])


@contextmanager
def compute_threads(wanted: int) -> Iterator[None]:
    """Let the compiled loops use as many threads as the network does.

    Args:
        wanted: threads; at most those that the process may use are taken.
    """
    import numba

    before = numba.get_num_threads()
    most: int = vars(numba.config)["NUMBA_NUM_THREADS"]
    numba.set_num_threads(min(wanted, most))
    try:
        yield
    finally:
        numba.set_num_threads(before)


@dataclass
class _Clock:
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
