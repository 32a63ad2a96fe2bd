"""torch: for GPUs (CUDA, Apple MPS), where it is installed. It also runs on a CPU, to compare.

On CUDA: bfloat16 by autocast, channels last, the whole network captured as one CUDA graph for a fixed batch of windows,
and the logits of one batch copied back through pinned memory while the next batch is computed. cuDNN is held to its
deterministic algorithms, so that labels are the same from run to run.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Final

import numpy as np

from vastus.errors import BundleError, MissingExtraError
from vastus.inference.bundle import SAFETENSORS_FILE, Bundle, Precision
from vastus.inference.choices import Device
from vastus.inference.processor import processor_name
from vastus.inference.stitch import Scores
from vastus.preprocessing import FloatImage

WINDOWS_A_BATCH: Final = 4
"""On a GPU. A scan has 8 to 20 windows: more at a time would mostly be padding."""
_WARM_UP_RUNS: Final = 3


class TorchRuntime:
    """A network run by torch."""

    def __init__(self, bundle: Bundle, device: Device, precision: Precision, threads: int) -> None:
        self._torch: Any = _import_torch()
        torch = self._torch
        self._device = device.value
        self._half = precision is Precision.BF16
        self._batch = 1 if device is Device.CPU else WINDOWS_A_BATCH
        self._memory_format = torch.channels_last_3d if device is Device.CUDA else torch.contiguous_format
        self._network = _load_network(bundle).eval().to(device.value, memory_format=self._memory_format)
        if device is Device.CPU:
            torch.set_num_threads(threads)
        window = bundle.info.preprocessing.window_size
        self._input: Any = torch.zeros((self._batch, 1, *window), device=device.value).to(
            memory_format=self._memory_format
        )
        self._pinned = device is Device.CUDA
        self._turn = threading.Lock()
        self._forward: Callable[[], Any] = self._captured() if device is Device.CUDA else self._compute
        name = torch.cuda.get_device_name() if device is Device.CUDA else processor_name()
        self.description = f"torch on {device.value} ({name}), {precision.value}"

    def run(self, windows: Iterable[FloatImage]) -> Iterator[Scores]:
        """Yield the logits of each window, in order; see ``Runtime.run``."""
        source = iter(windows)
        before: tuple[Any, Any, int] | None = None
        while chunk := list(islice(source, self._batch)):
            launched = self._launch(chunk)
            if before is not None:
                yield from self._arrived(*before)
            before = launched
        if before is not None:
            yield from self._arrived(*before)

    def _launch(self, chunk: list[FloatImage]) -> tuple[Any, Any, int]:
        """Start a batch; return its logits on the host (not ready yet), their ready mark, and the number of windows."""
        torch = self._torch
        n = len(chunk)
        batch = torch.from_numpy(np.stack(chunk)[:, None])
        with self._turn, torch.inference_mode(), self._deterministic():
            self._input[:n].copy_(batch.pin_memory() if self._pinned else batch, non_blocking=self._pinned)
            logits = self._forward()[:n]
            if not self._pinned:
                return logits.cpu(), None, n
            host = torch.empty(logits.shape, dtype=logits.dtype, pin_memory=True)
            host.copy_(logits, non_blocking=True)
            arrived = torch.cuda.Event()
            arrived.record()
        return host, arrived, n

    def _arrived(self, host: Any, event: Any, n: int) -> Iterator[Scores]:
        if event is not None:
            event.synchronize()
        values = host.view(self._torch.int16).numpy().view(np.uint16) if self._half else host.numpy()
        yield from values[:n]

    def _compute(self) -> Any:
        """Compute the class-last logits of the input buffer."""
        torch = self._torch
        # A captured graph must not rely on casts that autocast remembers from outside of it.
        with torch.autocast(self._device, torch.bfloat16, enabled=self._half, cache_enabled=False):
            logits = self._network(self._input).permute(0, 2, 3, 4, 1)
        return logits.to(torch.bfloat16 if self._half else torch.float32).contiguous()

    def _captured(self) -> Callable[[], Any]:
        """Record the computation as a CUDA graph: one launch for a batch instead of one for each layer."""
        torch = self._torch
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.inference_mode(), self._deterministic():
            with torch.cuda.stream(aside):
                for _ in range(_WARM_UP_RUNS):
                    self._compute()
            torch.cuda.current_stream().wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # another network may be running
                result = self._compute()

        def replay() -> Any:
            graph.replay()
            return result

        return replay

    def _deterministic(self) -> Any:
        cudnn = self._torch.backends.cudnn
        return cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)


def _import_torch() -> Any:
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise MissingExtraError("Running the network by torch", "train") from error


def _load_network(bundle: Bundle) -> Any:
    try:
        from safetensors.torch import load_file

        # The registry of networks belongs to training, above this room: it is looked up only when torch runs.
        networks: Any = importlib.import_module("vastus.training.networks")
    except ImportError as error:
        raise MissingExtraError("Running the network by torch", "train") from error
    if SAFETENSORS_FILE not in bundle.info.files:
        raise BundleError(f"The bundle has no {SAFETENSORS_FILE}, which torch needs.", path=bundle.folder)
    spec = bundle.info.network
    network: Any = networks.build_network(
        spec.name,
        class_count=len(bundle.info.classes),
        window_size=bundle.info.preprocessing.window_size,
        arguments=dict(spec.arguments),
    )
    try:
        network.load_state_dict(load_file(bundle.safetensors_path))
    except RuntimeError as error:
        raise BundleError("The weights do not fit the network the bundle names.", path=bundle.folder) from error
    return network
