"""OpenVINO: the default on a CPU. Compiled ahead of the first scan, one single-threaded stream a thread."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from vastus.errors import BundleError
from vastus.inference.bundle import Bundle, Precision
from vastus.inference.processor import processor_name
from vastus.inference.stitch import Scores
from vastus.preprocessing import FloatImage

_POLL_MS = 100  # how long a wait may keep Ctrl-C from being seen


def load_openvino() -> Any:
    """Import OpenVINO without its telemetry.

    On import the package ``openvino_telemetry`` sends an event to its maker and, where there is no network, holds the
    program back for seconds at its end. Scans of patients are labelled here: nothing is sent.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # "not installed": its stub is used
    import openvino

    return openvino


def cpu_has_bf16() -> bool:
    """Tell whether OpenVINO computes bfloat16 natively on this processor."""
    openvino = load_openvino()
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OpenVinoRuntime:
    """A network compiled by OpenVINO for the CPU."""

    def __init__(self, bundle: Bundle, precision: Precision, threads: int) -> None:
        openvino = load_openvino()
        from openvino.preprocess import PrePostProcessor

        core = openvino.Core()
        try:
            model = core.read_model(str(bundle.onnx_path))
            model.reshape([1, 1, *bundle.info.preprocessing.window_size])
            # The logits come class last, and as bfloat16 when computed so: half the memory traffic, nothing lost.
            steps = PrePostProcessor(model)
            steps.output().model().set_layout(openvino.Layout("NCDHW"))
            steps.output().tensor().set_layout(openvino.Layout("NDHWC"))
            half = precision is Precision.BF16
            steps.output().tensor().set_element_type(openvino.Type.bf16 if half else openvino.Type.f32)
            compiled = core.compile_model(
                steps.build(),
                "CPU",
                {
                    "INFERENCE_PRECISION_HINT": "bf16" if half else "f32",
                    "INFERENCE_NUM_THREADS": threads,
                    "NUM_STREAMS": threads,
                    "ENABLE_CPU_PINNING": False,
                },
            )
        except RuntimeError as error:
            raise BundleError("OpenVINO can't load the network of this bundle.", path=bundle.onnx_path) from error
        self._compiled: Any = compiled
        self._threads = threads
        self._spare = [self._make_requests()]
        self._guard = threading.Lock()
        self.description = f"OpenVINO on CPU ({processor_name()}), {precision.value}, {threads} thread(s)"

    def run(self, windows: Iterable[FloatImage]) -> Iterator[Scores]:
        """Yield the logits of each window, in order; see ``Runtime.run``."""
        tensor = load_openvino().Tensor
        requests = self._borrow()
        free = deque(requests)
        busy: deque[Any] = deque()
        try:
            for window in windows:
                if not free:
                    finished = busy.popleft()
                    yield _scores(finished)
                    free.append(finished)
                request = free.popleft()
                request.set_input_tensor(tensor(np.ascontiguousarray(window)[None, None]))
                request.start_async()
                busy.append(request)
            while busy:
                yield _scores(busy[0])
                busy.popleft()
        finally:
            for request in busy:
                request.cancel()
            for request in busy:
                try:
                    request.wait()
                except RuntimeError:
                    continue  # cancelled, as wanted
            with self._guard:
                self._spare[:] = [requests]

    def _borrow(self) -> list[Any]:
        """Take requests that no other run uses; a run that pauses between its windows keeps its own."""
        with self._guard:
            return self._spare.pop() if self._spare else self._make_requests()

    def _make_requests(self) -> list[Any]:
        """Make one request more than streams: the next window runs while a finished one is stitched."""
        return [self._compiled.create_infer_request() for _ in range(self._threads + 1)]


def _scores(request: Any) -> Scores:
    while not request.wait_for(_POLL_MS):
        pass
    logits: Scores = request.get_output_tensor().data[0]
    return logits if logits.dtype == np.float32 else logits.view(np.uint16)
