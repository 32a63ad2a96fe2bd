"""``Predictor``: a network loaded once; scans in, labels on their own grid out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import numpy as np

from vastus.anatomy import BUILT_IN, StructureTable
from vastus.errors import SettingsError
from vastus.inference.body_lie import said_of_lie
from vastus.inference.bundle import Bundle, BundleInfo
from vastus.inference.choices import RuntimeOptions
from vastus.inference.confidence import Confidence
from vastus.inference.doubt import doubt_map
from vastus.inference.evidence import Evidence
from vastus.inference.finish import Cleaned, channel_of_label, clean_scores, judge, on_scan_grid
from vastus.inference.header_lie import said_of_header
from vastus.inference.remarks import Remark
from vastus.inference.runtime import LoadedNetwork, Runtime, open_runtime, thread_count
from vastus.inference.scan_kind import said_of_kind
from vastus.inference.stitch import ScoreMap, Stitcher
from vastus.inference.turned import DOUBTFUL, fullest, said_of_turns, turns_of
from vastus.inference.windows import WindowPlan, pad_to_window, plan_of
from vastus.io.prefetch import Prefetch
from vastus.io.scan_types import ToldLie
from vastus.light_imports import load_ndimage
from vastus.preprocessing import FloatImage, Preprocessed, preprocess
from vastus.resampling import resample_box
from vastus.volume import Volume, to_ras

NOT_CHECKED: Final = (
    "These weights have structures of their own. The expected agreement and the checks of the scan (its kind, how the"
    " person lies, impossible muscles) were made for the built-in structures and are left out: look at the labels."
)
"""Said of every scan that is labelled with a table of structures of a lab's own."""


class SegmentStage(Enum):
    """The steps of a segmentation, in order."""

    PREPROCESS = "preprocess"
    NETWORK = "network"
    CLEAN = "clean"
    RESTORE = "restore"


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a segmentation stands: ``done`` of ``total`` windows while in the network stage."""

    stage: SegmentStage
    done: int = 0
    total: int = 0


OnProgress = Callable[[Progress], None]
OnLabels = Callable[[Volume, Volume], None]
"""Gets the labels on the grid of the scan, and the map of doubt (see ``Segmentation``)."""


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """The result for one scan.

    Attributes:
        labels: uint8 label values on the grid of the scan, in its axis order.
        warnings: sentences for the user.
        seconds: time of each stage; ``stitch`` is the part of ``network`` in which windows were put together. Of what
            was begun before, only the wait for it counts.
        windows: number of network windows.
        device: device and runtime of the network.
        confidence: how sure the network is of the whole scan and of each structure.
        evidence: what the model of agreement looks at; None where the structures are not the built-in ones.
        table: of the structures.
        alarms: those of ``warnings`` after which no number of the scan is to be used.
        doubt: on the network's grid, where borders are doubtful (``doubt_map``); None: not known.
    """

    labels: Volume
    warnings: tuple[str, ...]
    seconds: Mapping[str, float]
    windows: int
    device: str
    confidence: Confidence
    evidence: Evidence | None = None
    table: StructureTable = BUILT_IN
    alarms: tuple[str, ...] = ()
    doubt: Volume | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """A scan as the network saw it, and what the network said of it."""

    scan: Volume
    seen: Preprocessed
    scores: ScoreMap
    windows: int


class Predictor:
    """Weights and runtime, loaded once, for any number of scans."""

    def __init__(
        self,
        bundle: Bundle,
        options: RuntimeOptions | None = None,
        *,
        overlap: float | None = None,
        network: LoadedNetwork | None = None,
    ) -> None:
        """Load the network.

        Args:
            bundle: weights and settings.
            options: device, runtime, precision, threads.
            overlap: share by which windows overlap, 0 to 1 (1 excluded); None: the overlap of the bundle.
            network: of this bundle with these options, where it is loaded already.

        Raises:
            DeviceError: the requested device or runtime is not available.
            BundleError: the network can't be loaded.
            SettingsError: overlap not in 0..1.
        """
        options = options or RuntimeOptions()
        self.bundle = bundle
        self.overlap = bundle.info.overlap if overlap is None else overlap
        if not 0.0 <= self.overlap < 1.0:
            raise SettingsError(f"The overlap must lie in 0..1 (1 excluded), got {self.overlap}.")
        self.threads = thread_count(options.threads)
        network = network or open_runtime(bundle, options)
        self.precision = network.chosen
        self._options = options
        self._runtime: Runtime | None = network.runtime
        self.device = network.runtime.description

    def release(self) -> None:
        """Give back the memory of the network, some 300 MB, after the last scan; needed again, it is loaded anew."""
        self._runtime = None

    def _network(self) -> Runtime:
        if self._runtime is None:
            self._runtime = open_runtime(self.bundle, self._options).runtime
        return self._runtime

    def segment(
        self,
        scan: Volume,
        on_progress: OnProgress | None = None,
        told: ToldLie | None = None,
        *,
        seen: Callable[[], Preprocessed] | None = None,
        on_labels: OnLabels | None = None,
    ) -> Segmentation:
        """Label one scan.

        Args:
            scan: in HU, any orientation, any spacing.
            on_progress: called after each step.
            told: how the body lies by the words of its header, to be held against what is seen.
            seen: gives the scan as ``preprocess`` makes it for these weights, where that was begun already.
            on_labels: called as soon as the labels are final, before the scan as a whole is judged.

        Raises:
            UnsupportedScanError: no body in it.
        """
        tell = on_progress or (lambda _: None)
        clock = _Clock()
        looked = self._look(scan, tell, clock, seen)
        info = self.bundle.info
        with compute_threads(self.threads):
            # What needs one thread, and is not needed yet, runs beside the next step.
            aside = self.threads > 1
            with clock.of(SegmentStage.CLEAN.value):
                doubting = Prefetch(
                    lambda: doubt_map(looked.scores, looked.seen.image.shape, looked.seen.affine), aside=aside
                )
            cleaned = self._clean(looked, tell, clock)
            with clock.of(SegmentStage.RESTORE.value):
                judging = Prefetch(
                    lambda: judge(cleaned, looked.scores, looked.seen, info.classes, info.preprocessing, info.table),
                    aside=aside,
                )
            full = self._restore(cleaned, looked, tell, clock)
            with clock.of(SegmentStage.RESTORE.value):
                doubt = doubting.result()
            if on_labels:
                on_labels(full, doubt)
            with clock.of(SegmentStage.RESTORE.value):
                judged = judging.result()
                remarks = self._said_of_scan(full, looked, judged.confidence.scan, told or ToldLie())
        return Segmentation(
            full,
            (*(remark.text for remark in remarks), *cleaned.warnings),
            clock.seconds,
            looked.windows,
            self.device,
            judged.confidence,
            judged.evidence,
            info.table,
            tuple(remark.text for remark in remarks if remark.stops),
            doubt,
        )

    def label(
        self,
        scan: Volume,
        on_progress: OnProgress | None = None,
        *,
        seen: Callable[[], Preprocessed] | None = None,
    ) -> Volume:
        """Label one scan, and judge neither the labels nor the scan: for those who wait for the labels alone.

        Args:
            scan: in HU, any orientation, any spacing.
            on_progress: called after each step.
            seen: as in ``segment``.

        Returns:
            The labels of ``segment``.

        Raises:
            UnsupportedScanError: no body in it.
        """
        tell, clock = on_progress or (lambda _: None), _Clock()
        looked = self._look(scan, tell, clock, seen)
        with compute_threads(self.threads):
            return self._restore(self._clean(looked, tell, clock), looked, tell, clock)

    def _clean(self, looked: Looked, tell: OnProgress, clock: _Clock) -> Cleaned:
        tell(Progress(SegmentStage.CLEAN))
        with clock.of(SegmentStage.CLEAN.value):
            return clean_scores(looked.scores, looked.seen, self.bundle.info.classes, self.bundle.info.table)

    def _restore(self, cleaned: Cleaned, looked: Looked, tell: OnProgress, clock: _Clock) -> Volume:
        info = self.bundle.info
        tell(Progress(SegmentStage.RESTORE))
        with clock.of(SegmentStage.RESTORE.value):
            channels = channel_of_label(info.classes, info.table)
            return on_scan_grid(cleaned.labels, looked.scores, looked.seen, channels, looked.scan, info.table)

    def look(self, scan: Volume) -> Looked:
        """Run the network and return its scores, unfinished.

        Raises:
            UnsupportedScanError: no body in it.
        """
        return self._look(scan, lambda _: None, _Clock())

    def _look(
        self, scan: Volume, tell: OnProgress, clock: _Clock, begun: Callable[[], Preprocessed] | None = None
    ) -> Looked:
        with compute_threads(self.threads):
            tell(Progress(SegmentStage.PREPROCESS))
            with clock.of(SegmentStage.PREPROCESS.value):
                seen = begun() if begun else preprocess(scan, self.bundle.info.preprocessing)
            with clock.of(SegmentStage.NETWORK.value):
                scores, windows = self._predict(seen, tell, clock)
        return Looked(scan, seen, scores, windows)

    def _said_of_scan(
        self, labels: Volume, looked: Looked, confidence: float | None, told: ToldLie
    ) -> tuple[Remark, ...]:
        """What must be said of the scan as a whole; with structures of a lab's own, what is left out."""
        if not self.bundle.info.table.is_built_in:
            return (Remark(NOT_CHECKED),)
        upright = to_ras(labels), to_ras(looked.scan)
        kind = said_of_kind(*upright)
        if any(remark.stops for remark in kind):  # no body of which one could say how it lies
            return kind
        doubtful = confidence is not None and confidence < DOUBTFUL
        turned = (self._said_of_turns(looked) if doubtful else ()) or said_of_lie(*upright)
        return (*turned, *said_of_header(told, *upright), *kind)

    def _said_of_turns(self, looked: Looked) -> tuple[Remark, ...]:
        settings = self.bundle.info.preprocessing
        plan = plan_of(looked.seen, settings, self.overlap)
        start = fullest(plan, looked.scores.channels)
        if start is None:
            return ()
        image = pad_to_window(looked.seen.image, settings.window_size)
        place = tuple(slice(s, s + n) for s, n in zip(start, settings.window_size, strict=True))
        return said_of_turns(self._network().run(turns_of(image[place])))

    def _predict(self, seen: Preprocessed, tell: OnProgress, clock: _Clock) -> tuple[ScoreMap, int]:
        window = self.bundle.info.preprocessing.window_size
        image = pad_to_window(seen.image, window)
        plan = plan_of(seen, self.bundle.info.preprocessing, self.overlap)
        stitcher = Stitcher(image.shape, len(self.bundle.info.classes), plan)
        results = self._network().run(_cut(image, plan))
        done = 0
        tell(Progress(SegmentStage.NETWORK, 0, len(plan)))
        for layer in plan.layers:
            with clock.of("stitch"):
                stitcher.finish_below(layer.z)
            for x, y in layer.starts:
                scores = next(results)
                with clock.of("stitch"):
                    stitcher.add(scores, x, y, layer.z)
                done += 1
                tell(Progress(SegmentStage.NETWORK, done, len(plan)))
        with clock.of("stitch"):
            return stitcher.result(), len(plan)


def make_ready(scan: Volume, info: BundleInfo, threads: int | None) -> Preprocessed:
    """Preprocess a scan for a bundle whose network is still being loaded.

    Args:
        scan: in HU.
        info: of the bundle.
        threads: as in ``RuntimeOptions``.

    Raises:
        UnsupportedScanError: no body in it.
    """
    with compute_threads(thread_count(threads)):
        return preprocess(scan, info.preprocessing)


def load_ahead() -> None:
    """Load everything that each scan needs (libraries, compiled loops), while a network or a scan is being read."""
    import cc3d  # noqa: F401

    load_ndimage()
    resample_box(np.zeros((4, 4, 4), np.int16), (2, 2, 2), antialias=True)


def cut_windows(seen: Preprocessed, info: BundleInfo) -> Iterator[FloatImage]:
    """Give the windows of a scan in the order in which the network sees them."""
    image = pad_to_window(seen.image, info.preprocessing.window_size)
    yield from _cut(image, plan_of(seen, info.preprocessing, info.overlap))


def _cut(image: FloatImage, plan: WindowPlan) -> Iterator[FloatImage]:
    a, b, c = plan.window
    for layer in plan.layers:
        for x, y in layer.starts:
            yield np.ascontiguousarray(image[x : x + a, y : y + b, layer.z : layer.z + c])


@contextmanager
def compute_threads(threads: int) -> Iterator[None]:
    """Let the compiled loops use as many threads as the network does.

    Args:
        threads: how many; at most those that the process may use are taken.
    """
    import numba

    before = numba.get_num_threads()
    most: int = vars(numba.config)["NUMBA_NUM_THREADS"]
    numba.set_num_threads(min(threads, most))
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
