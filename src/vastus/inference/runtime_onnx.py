"""ONNX Runtime: the portable one, for processors that OpenVINO does not serve. fp32."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet

import numpy as np

from vastus.errors import BundleError
from vastus.inference.bundle import Bundle
from vastus.inference.processor import processor_name
from vastus.inference.stitch import Scores
from vastus.preprocessing import FloatImage

_POLL_S = 0.1  # how long a wait may keep Ctrl-C from being seen


class OnnxRuntime:
    """A network run by ONNX Runtime on the CPU: one single-threaded session, called from several threads."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        import onnxruntime

        onnxruntime.disable_telemetry_events()  # Windows builds send events otherwise
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(
                str(bundle.onnx_path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions share no public base
            raise BundleError("ONNX Runtime can't load the network of this bundle.", path=bundle.onnx_path) from error
        self._input = self._session.get_inputs()[0].name
        self._threads = threads
        self.description = f"ONNX Runtime on CPU ({processor_name()}), fp32, {threads} thread(s)"

    def run(self, windows: Iterable[FloatImage]) -> Iterator[Scores]:
        """Yield the logits of each window, in order; see ``Runtime.run``."""
        busy: deque[Future[Scores]] = deque()
        pool = ThreadPoolExecutor(self._threads)
        try:
            for window in windows:
                if len(busy) > self._threads:
                    yield _wait(busy.popleft())
                busy.append(pool.submit(self._one, np.ascontiguousarray(window)))
            while busy:
                yield _wait(busy.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _one(self, window: FloatImage) -> Scores:
        logits = self._session.run(None, {self._input: window[None, None]})[0][0]
        return np.ascontiguousarray(np.moveaxis(logits, 0, -1))


def _wait(future: Future[Scores]) -> Scores:
    while True:
        try:
            return future.result(timeout=_POLL_S)
        except NotYet:
            if future.done():
                raise
