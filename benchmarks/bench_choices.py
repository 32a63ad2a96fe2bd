"""What the choices behind the speed are worth, on scans with true labels: overlap, windows, smooth boundaries.

- Overlap of windows: Dice and time for several, so that a bundle's setting can be the smallest that costs nothing.
- Windows: how many lie over the whole grid, the body, lean tissue (what runs), and how many a perfect coarse pass that
  knew where the structures are would leave: the most that two stages could save.
- Boundaries: the labels brought to the scan's grid by scores, against the nearest voxel of the network's grid.

Every number is a mean over the scans; times are processor seconds of the whole process, which other work on the machine
disturbs less than a clock.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from bench_segment import write_phantom
from vastus.inference import predictor as predictor_module
from vastus.inference.bundle import Bundle, default_bundle_folder, load_bundle
from vastus.inference.choices import RuntimeOptions
from vastus.inference.predictor import Predictor
from vastus.inference.windows import LEAN_HU, lean_region, pad_to_window, plan_windows
from vastus.io.labels import read_labels
from vastus.io.scans import read_scan
from vastus.preprocessing import Preprocessed, normalise_hu, preprocess
from vastus.volume import Volume, to_ras

_LABEL_MARGIN_VOXELS = 3


@dataclass
class Means:
    """Values by name, a list each, and their means."""

    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        self.values.setdefault(name, []).append(value)

    def __getitem__(self, name: str) -> float:
        return float(np.mean(self.values[name]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=default_bundle_folder())
    parser.add_argument("--scan", type=Path, help="NIfTI to use; default: the phantom")
    parser.add_argument("--labels", type=Path, help="its true labels")
    parser.add_argument("--data", type=Path, help="instead: a folder with imagesTr and labelsTr, as nnU-Net has it")
    parser.add_argument("--count", type=int, default=4, help="scans to take of that folder, spread evenly")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--overlaps", type=float, nargs="*", default=[0.0, 0.125, 0.25, 0.5])
    options, _ = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as name:
        print(report(load_bundle(options.weights), list(_cases(options, Path(name))), options))


def _cases(options: argparse.Namespace, folder: Path) -> Iterator[tuple[Path, Path]]:
    if options.data:
        truths = sorted((options.data / "labelsTr").glob("*.nii.gz"))
        for n in np.unique(np.linspace(0, len(truths) - 1, options.count).round().astype(int)):
            stem = truths[n].name.removesuffix(".nii.gz")
            yield options.data / "imagesTr" / f"{stem}_0000.nii.gz", truths[n]
    elif options.scan:
        yield options.scan, options.labels
    else:
        yield write_phantom(folder)


def report(bundle: Bundle, cases: list[tuple[Path, Path]], options: argparse.Namespace) -> str:
    """All tables, as Markdown."""
    means = Means()
    runs = {o: Predictor(bundle, RuntimeOptions(threads=options.threads), overlap=o) for o in options.overlaps}
    usual = runs.setdefault(bundle.info.overlap, Predictor(bundle, RuntimeOptions(threads=options.threads)))
    for scan_path, truth_path in cases:
        scan, truth = read_scan(scan_path).volume, read_labels(truth_path)
        _count_windows(scan, truth, bundle, means)
        for overlap, predictor in sorted(runs.items()):
            with _brought_back(nearest=False, seconds=means if predictor is usual else Means()):
                start = time.process_time()
                segmentation = predictor.segment(scan)
                seconds = time.process_time() - start
            means.add(f"windows {overlap}", segmentation.windows)
            means.add(f"seconds {overlap}", seconds)
            means.add(f"dice {overlap}", mean_dice(segmentation.labels, truth))
        with _brought_back(nearest=True, seconds=means):
            means.add("dice nearest", mean_dice(usual.segment(scan).labels, truth))
    return "\n".join(_tables(means, sorted(runs), usual.overlap, len(cases)))


def _tables(means: Means, overlaps: list[float], usual: float, count: int) -> list[str]:
    lines = [
        "## What the choices are worth",
        "",
        f"Means over {count} scan(s).",
        "",
        "| overlap | windows | processor seconds without reading and measuring | mean Dice |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {o:g}{' (the bundle)' if o == usual else ''} | {means[f'windows {o}']:.1f} | {means[f'seconds {o}']:.1f} "
        f"| {means[f'dice {o}']:.4f} |"
        for o in overlaps
    ]
    lines += ["", "| windows laid over | windows |", "|---|---|"]
    lines += [f"| {name} | {means[name]:.1f} |" for name in _WINDOWS]
    smooth, nearest = means[f"dice {usual}"], means["dice nearest"]
    return [
        *lines,
        "",
        "| boundaries on the scan's grid | processor seconds | mean Dice |",
        "|---|---|---|",
        f"| nearest voxel | {means['nearest seconds']:.2f} | {nearest:.4f} |",
        f"| by scores | {means['smooth seconds']:.2f} | {smooth:.4f} ({smooth - nearest:+.4f}) |",
        "",
    ]


_WINDOWS = (
    "the whole grid, 50% overlap, as the plain way does",
    "the whole grid",
    "the body",
    "lean tissue (what runs)",
    "the true structures (the most a coarse pass could save)",
)


def _count_windows(scan: Volume, truth: Volume, bundle: Bundle, means: Means) -> None:
    settings, overlap = bundle.info.preprocessing, bundle.info.overlap
    seen = preprocess(scan, settings)
    lean = seen.image > normalise_hu(np.array([LEAN_HU]), settings)
    everything = np.ones(seen.body.shape, np.bool_)
    regions = (
        (everything, 0.5),
        (everything, overlap),
        (seen.body, overlap),
        (lean_region(lean, seen.body, settings.spacing_mm), overlap),
        (_near_labels(truth, seen), overlap),
    )
    for name, (region, share) in zip(_WINDOWS, regions, strict=True):
        plan = plan_windows(pad_to_window(region, settings.window_size), settings.window_size, share)
        means.add(name, len(plan))


def _near_labels(truth: Volume, seen: Preprocessed) -> np.ndarray:
    from scipy import ndimage

    box = tuple(slice(a, b) for a, b in zip(seen.box_start, seen.box_stop, strict=True))
    found = _nearest(to_ras(truth).array[box], seen.image.shape) > 0
    return np.asarray(ndimage.binary_dilation(found, iterations=_LABEL_MARGIN_VOXELS))


def _nearest(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    at = [
        np.minimum(((np.arange(n) + 0.5) * m / n).astype(int), m - 1) for n, m in zip(shape, array.shape, strict=True)
    ]
    return array[np.ix_(*at)]


@contextmanager
def _brought_back(*, nearest: bool, seconds: Means) -> Iterator[None]:
    """Time the last step of the segmentation, or replace it by the nearest neighbour."""
    smooth: Callable[..., None] = predictor_module.restore

    def by_scores(*arguments: Any) -> None:
        start = time.process_time()
        smooth(*arguments)
        seconds.add("smooth seconds", time.process_time() - start)

    def by_neighbour(labels: np.ndarray, _channels: Any, _scores: Any, target: np.ndarray) -> None:
        start = time.process_time()
        target[...] = _nearest(labels, target.shape)
        seconds.add("nearest seconds", time.process_time() - start)

    with mock.patch.object(predictor_module, "restore", by_neighbour if nearest else by_scores):
        yield


def mean_dice(found: Volume, truth: Volume) -> float:
    """Mean Dice over the structures and sides of the truth."""
    table = np.zeros((256, 256), np.int64)
    for a, b in zip(truth.array.T, found.array.T, strict=True):
        table += np.bincount(a.ravel().astype(np.intp) * 256 + b.ravel(), minlength=65536).reshape(256, 256)
    present = table.sum(1) > 0
    present[0] = False
    return float(np.mean((2 * np.diag(table) / np.maximum(table.sum(0) + table.sum(1), 1))[present]))


if __name__ == "__main__":
    main()
