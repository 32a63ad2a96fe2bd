"""torch: for GPUs (CUDA, Apple MPS), where it is installed. It also runs on a CPU, to compare."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

import numpy as np

from vastus.errors import BundleError, MissingExtraError
from vastus.inference.bundle import SAFETENSORS_FILE, Bundle, Precision
from vastus.inference.choices import Device
from vastus.inference.runtime import processor_name
from vastus.inference.stitch import Scores
from vastus.preprocessing import FloatImage

WINDOWS_A_BATCH: Final = 4


class TorchRuntime:
    """A network run by torch, bfloat16 by autocast, channels last on CUDA."""

    def __init__(self, bundle: Bundle, device: Device, precision: Precision, threads: int) -> None:
        try:
            import torch
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
        self._batch = 1 if device is Device.CPU else WINDOWS_A_BATCH
        self._memory_format = torch.channels_last_3d if device is Device.CUDA else torch.contiguous_format
        self._network = network.eval().to(device.value, memory_format=self._memory_format)
        self._device = device.value
        self._half = precision is Precision.BF16
        if device is Device.CPU:
            torch.set_num_threads(threads)
        name = torch.cuda.get_device_name() if device is Device.CUDA else processor_name()
        self.description = f"torch on {device.value} ({name}), {precision.value}"

    def run(self, windows: Iterable[FloatImage]) -> Iterator[Scores]:
        """See ``Runtime.run``."""
        import torch

        source = iter(windows)
        while chunk := list(islice(source, self._batch)):
            batch = torch.from_numpy(np.stack(chunk)[:, None]).to(self._device, memory_format=self._memory_format)
            with torch.inference_mode(), torch.autocast(self._device, torch.bfloat16, enabled=self._half):
                logits = self._network(batch).permute(0, 2, 3, 4, 1)
                wanted = torch.bfloat16 if self._half else torch.float32
                last = logits.to(wanted).contiguous().cpu()
            values = last.view(torch.int16).numpy().view(np.uint16) if self._half else last.numpy()
            yield from values
