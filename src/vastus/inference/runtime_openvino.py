"""OpenVINO: the default on a CPU. Compiled ahead of the first scan, one single-threaded stream a thread."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vastus.errors import BundleError
from vastus.inference import group_norm, int8
from vastus.inference.bundle import Bundle, Precision
from vastus.inference.group_norm import normalise_in_place
from vastus.inference.int8 import quantise, read_ranges
from vastus.inference.kept_networks import keep_network, name_of, network_folder, read_network
from vastus.inference.processor import processor_name
from vastus.io.prefetch import Prefetch
from vastus.light_imports import left_out

if TYPE_CHECKING:  # as in ``vastus.inference.runtime``
    from vastus.inference.stitch import Scores
    from vastus.preprocessing import FloatImage

_CANT_LOAD: Final = "OpenVINO can't load the network of this bundle."
_POLL_MS = 100  # how long a wait may keep Ctrl-C from being seen


def load_openvino() -> Any:
    """Import OpenVINO without its telemetry, and without what converts models.

    On import the package ``openvino_telemetry`` sends an event to its maker and, where there is no network, holds the
    program back for seconds at its end. Scans of patients are labelled here: nothing is sent.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # "not installed": its stub is used
    with left_out("openvino.tools.ovc"):  # converts models of other makers
        import openvino

    return openvino


def prepared_model(bundle: Bundle, precision: Precision) -> Any:
    """Read the network of a bundle and make it ready for a precision.

    bfloat16 keeps its group norms as the file has them: the channels' means would be rounded to eight bits.

    Returns:
        ``openvino.Model`` for one window.

    Raises:
        BundleError: no network, or ranges for int8 that do not fit it.
    """
    openvino = load_openvino()
    try:
        model = openvino.Core().read_model(str(bundle.onnx_path))
        model.reshape([1, 1, *bundle.info.preprocessing.window_size])
        if precision is not Precision.BF16:
            normalise_in_place(model)
    except RuntimeError as error:
        raise BundleError(_CANT_LOAD, path=bundle.onnx_path) from error
    if precision is Precision.INT8:
        quantise(model, read_ranges(bundle.int8_path))
    return model


def compiled_network(bundle: Bundle, precision: Precision, threads: int) -> Any:
    """Compile the network of a bundle, or take it as an earlier run left it (``vastus.inference.kept_networks``).

    Returns:
        ``openvino.CompiledModel`` with as many single-threaded streams as there are threads.

    Raises:
        BundleError: it can't be loaded.
    """
    openvino = load_openvino()
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision is Precision.BF16 else "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": threads,
        "ENABLE_CPU_PINNING": False,
    }
    folder = network_folder(os.environ)
    name = name_of(bundle.digest, precision, settings, openvino.__version__, processor_name(), _own_code(), *_limits())
    kept = read_network(folder, name) if folder else None
    if kept is not None:
        # What can't be taken over (another processor behind the same name) is compiled again.
        with suppress(RuntimeError):
            return openvino.Core().import_model(kept, "CPU", settings)
    model = prepared_model(bundle, precision)
    try:
        compiled = openvino.Core().compile_model(_with_class_last(model, precision), "CPU", settings)
    except RuntimeError as error:
        raise BundleError(_CANT_LOAD, path=bundle.onnx_path) from error
    if folder is not None:
        _keep(compiled, folder, name)
    return compiled


def _keep(compiled: Any, folder: Path, name: str) -> None:
    """Write a compiled network beside the first scan; where it can't be taken out, the next run compiles again."""
    with suppress(RuntimeError):
        exported = compiled.export_model()
        data = exported if isinstance(exported, bytes) else exported.getvalue()
        Prefetch(lambda: keep_network(folder, name, data))


def _with_class_last(model: Any, precision: Precision) -> Any:
    """The logits come class last, and as bfloat16 when computed so: half the memory traffic, nothing lost."""
    openvino = load_openvino()
    from openvino.preprocess import PrePostProcessor

    steps = PrePostProcessor(model)
    steps.output().model().set_layout(openvino.Layout("NCDHW"))
    steps.output().tensor().set_layout(openvino.Layout("NDHWC"))
    half = precision is Precision.BF16
    steps.output().tensor().set_element_type(openvino.Type.bf16 if half else openvino.Type.f32)
    return steps.build()


def _own_code() -> str:
    """What changes when a model is made ready in another way."""
    files = (Path(__file__), Path(group_norm.__file__), Path(int8.__file__))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def _limits() -> list[str]:
    """Variables with which a user keeps the library from using all that the processor has."""
    return [f"{name}={os.environ[name]}" for name in sorted(os.environ) if name.startswith(("ONEDNN_", "DNNL_", "OV_"))]


class OpenVinoRuntime:
    """A network compiled by OpenVINO for the CPU."""

    def __init__(self, bundle: Bundle, precision: Precision, threads: int) -> None:
        self._compiled: Any = compiled_network(bundle, precision, threads)
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
