"""int8: the ranges of a bundle, and what they do to a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vastus.errors import BundleError
from vastus.inference.int8 import quantise, read_ranges, write_ranges
from vastus.inference.runtime_openvino import load_openvino

SHAPE = (1, 8, 6, 6, 6)


def _model() -> Any:
    openvino = load_openvino()
    from openvino import opset13 as op

    rng = np.random.default_rng(3)
    image = op.parameter(list(SHAPE), np.float32, name="image")
    weights = op.constant(rng.normal(size=(4, 8, 3, 3, 3)).astype(np.float32))
    one = op.convolution(image, weights, [1] * 3, [1] * 3, [1] * 3, [1] * 3)
    one.set_friendly_name("first")
    return openvino.Model([one], [image])


def _run(model: Any, image: np.ndarray) -> np.ndarray:
    compiled = load_openvino().Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(compiled([image])[0])


def test_a_convolution_in_int8_is_near_and_not_equal() -> None:
    image = np.random.default_rng(0).uniform(-1.0, 4.0, SHAPE).astype(np.float32)
    exact = _run(_model(), image)
    model = _model()
    quantise(model, {"first": (-1.0, 4.0)})
    rounded = _run(model, image)
    error = np.abs(rounded - exact).max()
    assert 0.0 < error < 0.03 * np.abs(exact).max()


def test_no_sum_is_cut_off_where_a_processor_adds_two_products_in_16_bits() -> None:
    # The largest values and weights there are: with weights up to 127, 2 x 255 x 127 = 64,770 would not fit.
    openvino = load_openvino()
    from openvino import opset13 as op

    image = op.parameter(list(SHAPE), np.float32, name="image")
    one = op.convolution(image, op.constant(np.ones((4, 8, 3, 3, 3), np.float32)), [1] * 3, [1] * 3, [1] * 3, [1] * 3)
    one.set_friendly_name("first")
    model = openvino.Model([one], [image])
    quantise(model, {"first": (0.0, 1.0)})
    brightest = np.ones(SHAPE, np.float32)
    assert _run(model, brightest).max() == pytest.approx(8 * 27, rel=0.01)


def test_values_beyond_the_range_are_cut_off() -> None:
    model = _model()
    quantise(model, {"first": (0.0, 1.0)})
    inside, beyond = (np.full(SHAPE, value, np.float32) for value in (1.0, 50.0))
    np.testing.assert_allclose(_run(model, beyond), _run(model, inside), atol=1e-4)


def test_ranges_of_another_network_are_refused() -> None:
    with pytest.raises(BundleError, match="another network"):
        quantise(_model(), {"second": (0.0, 1.0)})


def test_ranges_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "int8.json"
    write_ranges(path, {"first": (-0.25, 3.5), "second": (0.0, 1.0)})
    assert read_ranges(path) == {"first": (-0.25, 3.5), "second": (0.0, 1.0)}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"ranges": {}}',
        '{"ranges": {"a": [1.0, 2.0]}}',
        '{"ranges": {"a": [0.0, 0.0]}}',
        '{"ranges": {"a": [0]}}',
    ],
)
def test_malformed_ranges_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "int8.json"
    path.write_text(text)
    with pytest.raises(BundleError, match="int8"):
        read_ranges(path)
