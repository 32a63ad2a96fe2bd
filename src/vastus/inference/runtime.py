"""What runs the network: one small interface, three runtimes, and the choice among them.

Every runtime gives each window to a single thread (several windows at a time), so that labels do not depend on the
number of threads.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from vastus.errors import DeviceError
from vastus.inference.bundle import Bundle, Precision
from vastus.inference.choices import MOST_THREADS, Device, PrecisionChoice, RuntimeName, RuntimeOptions
from vastus.processors import usable_processors

if TYPE_CHECKING:  # a network is loaded while numba, which these need, is imported by another thread
    from vastus.inference.stitch import Scores
    from vastus.preprocessing import FloatImage

_BUILT_FOR_CARDS: Final = ("*torch_cuda.*", "*torch_hip.*")
_NVIDIA_DRIVER: Final = "libcuda.so.1"
_AMD_DRIVER: Final = Path("/dev/kfd")


class Runtime(Protocol):
    """A loaded network. Several ``run`` at a time, also of several threads, do not disturb each other."""

    @property
    def description(self) -> str:
        """What runs, for the user: library, device, precision, threads."""
        ...

    def run(self, windows: Iterable[FloatImage]) -> Iterator[Scores]:
        """Yield the logits of each window, in order.

        Args:
            windows: float32 arrays of the bundle's window size.

        Yields:
            Class-last logits (see ``stitch.Scores``), valid until the next one is asked for.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class LoadedNetwork:
    """What runs the network of a bundle, in what precision, and why in this one."""

    runtime: Runtime
    chosen: ChosenPrecision


def open_runtime(bundle: Bundle, options: RuntimeOptions) -> LoadedNetwork:
    """Load the network of a bundle.

    Raises:
        DeviceError: what was asked for is not there. Nothing else is taken in its place.
    """
    device, runtime = choose(options)
    threads = thread_count(options.threads)
    if runtime is RuntimeName.TORCH:
        from vastus.inference.arithmetic import torch_has_bf16
        from vastus.inference.runtime_torch import TorchRuntime

        chosen = choose_precision(bundle, options, has_bf16=torch_has_bf16(device.value))
        return LoadedNetwork(TorchRuntime(bundle, device, chosen.precision, threads), chosen)
    if runtime is RuntimeName.ONNXRUNTIME:
        from vastus.inference.runtime_onnx import OnnxRuntime

        chosen = choose_precision(bundle, options, has_bf16=False)
        return LoadedNetwork(OnnxRuntime(bundle, threads), chosen)
    from vastus.inference.arithmetic import cpu_has_bf16, cpu_has_int8
    from vastus.inference.runtime_openvino import OpenVinoRuntime

    chosen = choose_precision(bundle, options, has_bf16=cpu_has_bf16(), has_int8=cpu_has_int8())
    return LoadedNetwork(OpenVinoRuntime(bundle, chosen.precision, threads), chosen)


def choose(options: RuntimeOptions) -> tuple[Device, RuntimeName]:
    """Settle ``auto``: a CUDA device if torch is installed and sees one, else OpenVINO (or ONNX Runtime) on the CPU.

    Raises:
        DeviceError: the wish can't be met.
    """
    device, runtime = options.device, options.runtime
    if device is Device.AUTO:
        wants_torch = runtime in (RuntimeName.AUTO, RuntimeName.TORCH)
        device = Device.CUDA if wants_torch and _torch_sees(Device.CUDA) else Device.CPU
    if device in (Device.CUDA, Device.MPS):
        if runtime not in (RuntimeName.AUTO, RuntimeName.TORCH):
            raise DeviceError(
                f"{runtime.value} runs on the CPU only here, not on {device.value}.",
                remedy="Use --runtime torch or --device cpu.",
            )
        if not _torch_sees(device):
            raise DeviceError(
                f"No {device.value} device can be used: torch is not installed or sees none.",
                remedy="Install the GPU build of torch, or use --device cpu.",
            )
        return device, RuntimeName.TORCH
    if runtime is RuntimeName.AUTO:
        runtime = next(
            (r for r in (RuntimeName.OPENVINO, RuntimeName.ONNXRUNTIME) if _installed(r)), RuntimeName.OPENVINO
        )
    if not _installed(runtime):
        raise DeviceError(f"The runtime {runtime.value} is not installed.", remedy="Choose another with --runtime.")
    return device, runtime


@dataclass(frozen=True, slots=True)
class ChosenPrecision:
    """What the network is computed in, and the reason in a few words for the user."""

    precision: Precision
    because: str


def choose_precision(
    bundle: Bundle, options: RuntimeOptions, *, has_bf16: bool, has_int8: bool = False
) -> ChosenPrecision:
    """Settle the precision; an explicit choice is met or refused.

    Args:
        bundle: says which precisions were checked for its weights.
        options: the precision that was asked for.
        has_bf16: device and runtime compute bfloat16.
        has_int8: device and runtime compute int8, and it is quicker there than float32.

    Raises:
        DeviceError: a precision was asked for that the device, the runtime or the weights do not have.
    """
    wish, checked = options.precision, bundle.info.precisions
    if wish is PrecisionChoice.BF16 and not has_bf16:
        raise DeviceError("This processor or runtime has no bfloat16.", remedy="Use --precision fp32.")
    if wish is PrecisionChoice.INT8 and Precision.INT8 not in checked:
        raise DeviceError("These weights come without ranges for int8.", remedy="Use --precision fp32.")
    if wish is PrecisionChoice.INT8 and not has_int8:
        raise DeviceError("This processor or runtime computes no int8 here.", remedy="Use --precision fp32.")
    if wish is not PrecisionChoice.AUTO:
        return ChosenPrecision(Precision(wish.value), "asked for")
    if has_bf16 and Precision.BF16 in checked:
        return ChosenPrecision(Precision.BF16, "the processor has bfloat16, and the weights were checked in it")
    if has_int8 and Precision.INT8 in checked:
        return ChosenPrecision(
            Precision.INT8, "no bfloat16 here; quicker than fp32, and the weights were checked in it"
        )
    return ChosenPrecision(
        Precision.FP32, "nothing quicker is on this device, in this runtime and checked for the weights"
    )


def thread_count(threads: int | None) -> int:
    """Return the number of threads: the given one, else the usable processors, at most ``MOST_THREADS``.

    Raises:
        DeviceError: fewer than one asked for.
    """
    if threads is not None:
        if threads < 1:
            raise DeviceError(f"At least one thread is needed, {threads} asked for.")
        return threads
    return max(1, min(usable_processors(), MOST_THREADS))


def _installed(runtime: RuntimeName) -> bool:
    return importlib.util.find_spec(runtime.value) is not None


def _torch_sees(device: Device) -> bool:
    found = importlib.util.find_spec("torch")
    if found is None:
        return False
    # To import torch takes more than a second: it is asked only where its answer can be yes.
    folders = [Path(folder) / "lib" for folder in found.submodule_search_locations or ()]
    if device is Device.CUDA and not (_built_for_cards(folders) and _has_driver()):
        return False
    import torch

    return torch.cuda.is_available() if device is Device.CUDA else torch.backends.mps.is_available()


def _built_for_cards(folders: Iterable[Path]) -> bool:
    """Tell whether torch was built for graphics cards: such builds have a library of their own for them."""
    return any(any(folder.glob(pattern)) for folder in folders for pattern in _BUILT_FOR_CARDS)


def _has_driver() -> bool:
    """Tell whether a driver for graphics cards may be there; where that can't be seen, it may."""
    if sys.platform != "linux" or _AMD_DRIVER.exists():
        return True
    try:
        ctypes.CDLL(_NVIDIA_DRIVER)
    except OSError:
        return False
    return True
