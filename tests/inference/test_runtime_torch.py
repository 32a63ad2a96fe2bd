"""torch on the CPU; the CUDA path needs a card and is skipped without one."""

from __future__ import annotations

import numpy as np
import pytest

from toy_bundle import write_toy_bundle
from vastus.errors import BundleError, DeviceError
from vastus.inference.bundle import Bundle, Precision, default_bundle
from vastus.inference.choices import Device, RuntimeOptions
from vastus.inference.predictor import Predictor
from vastus.inference.runtime_openvino import OpenVinoRuntime
from vastus.preprocessing import preprocess
from vastus.synthesis.phantom import make_phantom

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from vastus.inference.runtime_torch import TorchRuntime  # noqa: E402

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return default_bundle()


@pytest.fixture(scope="module")
def windows(bundle: Bundle) -> list[np.ndarray]:
    """Three windows of a modelled scan: hip, thigh, and thigh from elsewhere."""
    settings = bundle.info.preprocessing
    image = preprocess(make_phantom((3.0, 3.0, 4.0), z_range_mm=(150.0, 550.0)).ct, settings).image
    x, y, z = settings.window_size
    starts = [
        (0, 0, image.shape[2] - z),
        (0, 0, 0),
        (image.shape[0] - x, image.shape[1] - y, image.shape[2] // 2 - z // 2),
    ]
    padded = np.pad(image, [(0, max(0, w - n)) for n, w in zip(image.shape, (x, y, z), strict=True)])
    return [padded[a : a + x, b : b + y, c : c + z] for a, b, c in (tuple(max(0, s) for s in at) for at in starts)]


@pytest.mark.slow
def test_torch_on_the_cpu_gives_the_labels_of_openvino(bundle: Bundle, windows: list[np.ndarray]) -> None:
    ours = [s.argmax(-1) for s in TorchRuntime(bundle, Device.CPU, Precision.FP32, 1).run(windows)]
    theirs = [s.argmax(-1) for s in map(np.copy, OpenVinoRuntime(bundle, Precision.FP32, 1).run(windows))]
    foreground = [(a > 0) | (b > 0) for a, b in zip(ours, theirs, strict=True)]
    assert sum(f.sum() for f in foreground) > 10_000
    equal = sum((a == b)[f].sum() for a, b, f in zip(ours, theirs, foreground, strict=True))
    assert equal / sum(f.sum() for f in foreground) > 0.995


@pytest.mark.slow
def test_batches_give_every_window_its_own_logits(bundle: Bundle, windows: list[np.ndarray]) -> None:
    runtime = TorchRuntime(bundle, Device.CPU, Precision.FP32, 1)
    alone = [s.copy() for s in runtime.run(windows)]
    runtime._batch, runtime._input = 2, torch.zeros((2, 1, *bundle.info.preprocessing.window_size))
    together = [s.copy() for s in runtime.run(windows)]
    assert len(together) == len(alone) == 3
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)


def test_a_bundle_without_torch_weights_is_refused(tmp_path) -> None:
    with pytest.raises(BundleError, match="safetensors"):
        TorchRuntime(write_toy_bundle(tmp_path), Device.CPU, Precision.FP32, 1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_card_is_an_error_that_says_so(bundle: Bundle) -> None:
    with pytest.raises(DeviceError, match="cuda"):
        Predictor(bundle, RuntimeOptions(device=Device.CUDA))


@needs_cuda
def test_cuda_gives_the_labels_of_openvino_twice(bundle: Bundle, windows: list[np.ndarray]) -> None:
    runtime = TorchRuntime(bundle, Device.CUDA, Precision.FP32, 1)
    first, second = ([s.argmax(-1).copy() for s in runtime.run(windows * 3)] for _ in range(2))
    theirs = [s.argmax(-1) for s in map(np.copy, OpenVinoRuntime(bundle, Precision.FP32, 1).run(windows))]
    for n, labels in enumerate(first):
        np.testing.assert_array_equal(labels, second[n])
        foreground = (labels > 0) | (theirs[n % 3] > 0)
        assert (labels == theirs[n % 3])[foreground].mean() > 0.995
