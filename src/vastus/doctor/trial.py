"""The self-test: a small drawn body goes through the network, the labels are checked, and the clock runs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from vastus.anatomy import BY_KEY, LABELS, SIDES
from vastus.doctor.findings import Finding, State
from vastus.inference.bundle import default_bundle
from vastus.inference.choices import RuntimeOptions
from vastus.inference.predictor import Predictor, Segmentation
from vastus.inference.runtime import open_runtime
from vastus.inference.windows import plan_of
from vastus.preprocessing import preprocess
from vastus.synthesis.phantom import LabelledScan, make_phantom

EASY: Final = ("vastus_lateralis", "femur")
"""What the shipped weights find in the drawn body without fail (Dice 0.88 and more when this was written)."""
LEAST_DICE: Final = 0.8
_THIGHS: Final = (60.0, 400.0)
_COARSE_MM: Final = (4.0, 4.0, 6.0)


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast the network is here.

    Attributes:
        device: what runs it.
        window_s: seconds for one window, with all threads at work.
        thigh_windows: windows of a scan of both thighs from hip to knee.
        first_test_s: seconds of the self-test, compiling of loops included where they were not kept.
    """

    device: str
    window_s: float
    thigh_windows: int
    first_test_s: float

    @property
    def thigh_s(self) -> float:
        """Seconds of the network for a scan from hip to knee; reading, measuring and the page come on top."""
        return self.window_s * self.thigh_windows


def try_out(threads: int | None = None) -> tuple[Finding, Speed | None]:
    """Segment the drawn body and time the network; whatever fails becomes a finding.

    Args:
        threads: of the network; None: as ``vastus segment`` takes them.
    """
    try:
        start = time.perf_counter()
        predictor = Predictor(default_bundle(), RuntimeOptions(threads=threads))
        body = make_phantom(_COARSE_MM, z_range_mm=_THIGHS)
        wrong = judge(body, predictor.segment(body.ct))
        took = time.perf_counter() - start
        speed = _time(predictor, threads, took)
    except Exception as error:  # a library that can't be loaded, a compiler that fails: that is what is asked here
        said = f"It failed: {type(error).__name__}: {getattr(error, 'problem', '')}".rstrip(": ")
        return Finding("self-test", State.BROKEN, said, "Report it, with the output of `vastus doctor --json`."), None
    if wrong:
        said = f"The labels of the drawn body are wrong: {'; '.join(wrong)}."
        return Finding("self-test", State.BROKEN, said, "Report it, with the output of `vastus doctor --json`."), speed
    return Finding("self-test", State.OK, f"a drawn body was segmented as it should be ({took:.0f} s)"), speed


def judge(body: LabelledScan, found: Segmentation) -> list[str]:
    """What is wrong with the labels of the drawn body; empty if nothing is."""
    labels = found.labels
    if not labels.same_grid(body.ct):
        return ["not on the grid of the scan"]
    odd = set(np.unique(labels.array).tolist()) - {0, *(label.value for label in LABELS)}
    wrong = [f"unknown values {sorted(odd)}"] if odd else []
    for key in EASY:
        for side in SIDES:
            value = BY_KEY[key].label_value(side)
            dice = _dice(labels.array == value, body.labels.array == value)
            if dice < LEAST_DICE:
                wrong.append(f"{key} {side.value} has Dice {dice:.2f}")
    return wrong


def _dice(one: Any, other: Any) -> float:
    both = int(one.sum()) + int(other.sum())
    return 2.0 * int((one & other).sum()) / both if both else 0.0


def _time(predictor: Predictor, threads: int | None, first_test_s: float) -> Speed:
    info = predictor.bundle.info
    runtime = open_runtime(predictor.bundle, RuntimeOptions(threads=threads)).runtime
    window = np.zeros(info.preprocessing.window_size, np.float32)
    for _ in runtime.run([window] * predictor.threads):  # the first ones also lay out the memory
        pass
    count = 2 * predictor.threads
    start = time.perf_counter()
    for _ in runtime.run([window] * count):
        pass
    seconds = (time.perf_counter() - start) / count
    whole = preprocess(make_phantom(_COARSE_MM).ct, info.preprocessing)
    windows = len(plan_of(whole, info.preprocessing, predictor.overlap))
    return Speed(predictor.device, seconds, windows, first_test_s)
