"""Group norms by the channels' means give what reshaping and normalising gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vastus.inference.group_norm import normalise_in_place
from vastus.inference.runtime_openvino import load_openvino

CHANNELS, GROUPS = 6, 2
SHAPE = (1, CHANNELS, 5, 4, 7)


def _model(*, scale: float = 1.0, groups: int = GROUPS) -> Any:
    """A group norm as the ONNX exporter writes it."""
    openvino = load_openvino()
    from openvino import opset13 as op

    rng = np.random.default_rng(1)
    image = op.parameter(list(SHAPE), np.float32, name="image")
    flat = op.reshape(image, op.constant(np.array([0, groups, -1])), True)
    normal = op.mvn(flat, op.constant(np.array([2])), True, 1e-5, "inside_sqrt")
    plain = op.add(op.multiply(normal, op.constant(np.float32(scale))), op.constant(np.float32(0.0)))
    back = op.reshape(plain, op.shape_of(image), False)
    gain, offset = (op.constant(rng.normal(size=(CHANNELS, 1, 1, 1)).astype(np.float32)) for _ in range(2))
    return openvino.Model([op.add(op.multiply(back, gain), offset)], [image])


def _run(model: Any, image: np.ndarray) -> np.ndarray:
    compiled = load_openvino().Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(compiled([image])[0])


@pytest.mark.parametrize("mean", [0.0, 3.0])
def test_the_same_numbers_without_a_reshape(mean: float) -> None:
    image = np.random.default_rng(0).normal(mean, 2.0, SHAPE).astype(np.float32)
    image[:, 0] += 5.0  # channels of a group differ: its mean is not that of each channel
    before = _run(_model(), image)
    model = _model()
    assert normalise_in_place(model) == 1
    assert "MVN" not in {node.get_type_name() for node in model.get_ops()}
    np.testing.assert_allclose(_run(model, image), before, atol=2e-5)


def test_an_image_of_one_value_has_no_negative_variance() -> None:
    model = _model()
    normalise_in_place(model)
    assert np.isfinite(_run(model, np.full(SHAPE, 1234.567, np.float32))).all()


def test_what_is_not_exactly_a_group_norm_stays() -> None:
    model = _model(scale=2.0)
    assert normalise_in_place(model) == 0
    assert "MVN" in {node.get_type_name() for node in model.get_ops()}
