"""The network in integers of eight bits: which values each convolution sees, and how that is put into the model.

What calibration finds (``tools/quantise.py``) is small: for every convolution that may be computed in int8 the range of
the values that go into it. The weights are those of the bundle; they are rounded, one scale an output channel, when the
network is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from vastus.errors import BundleError

_LEVELS: Final = 256
_WEIGHT_LEVELS: Final = 255
"""-127 to 127: symmetric, so that a weight of zero stays zero."""
_LARGEST_WEIGHT: Final = 64
"""Processors with AVX2 but without VNNI add two products of a value (up to 255) and a weight in 16 bits. What does not
fit is cut off. With weights up to 64, every sum fits: 2 x 255 x 64 = 32,640, and the most is 32,767."""

Ranges = Mapping[str, tuple[float, float]]
"""Name of a convolution in the ONNX file -> least and largest value of what goes in."""


def read_ranges(path: Path) -> Ranges:
    """Read the ranges of a bundle.

    Raises:
        BundleError: not there, or malformed.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))["ranges"]
        found = {str(name): (float(low), float(high)) for name, (low, high) in values.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError("The ranges for int8 can't be read.", path=path, remedy="Use --precision fp32.") from error
    if not found or not all(low <= 0.0 <= high and low < high < np.inf for low, high in found.values()):
        raise BundleError("The ranges for int8 are empty or do not hold zero.", path=path)
    return found


def write_ranges(path: Path, ranges: Ranges) -> None:
    """Write what ``read_ranges`` reads."""
    text = json.dumps({"ranges": {name: [float(v) for v in pair] for name, pair in ranges.items()}}, indent=1)
    path.write_text(text + "\n", encoding="utf-8")


def quantise(model: Any, ranges: Ranges) -> None:
    """Let the named convolutions of a model be computed in int8, in place.

    Args:
        model: ``openvino.Model`` with fixed shapes.
        ranges: of what goes into the convolutions.

    Raises:
        BundleError: a convolution of that name is not in the model.
    """
    from openvino import opset13 as op

    convolutions = {n.get_friendly_name(): n for n in model.get_ordered_ops() if n.get_type_name() == "Convolution"}
    rounded: dict[tuple[str, int], Any] = {}
    for name, (low, high) in ranges.items():
        if name not in convolutions:
            raise BundleError(f"The ranges for int8 belong to another network: it has no {name}.")
        node = convolutions[name]
        source = node.input_value(0)
        key = (source.get_node().get_friendly_name(), source.get_index())
        if key not in rounded:  # a block and its shortcut read the same image
            ends = [op.constant(np.float32(value)) for value in (low, high)]
            rounded[key] = op.fake_quantize(source, *ends, *ends, _LEVELS)
        node.input(0).replace_source_output(rounded[key].output(0))
        node.input(1).replace_source_output(_rounded_weights(node.input_value(1)).output(0))
    model.validate_nodes_and_infer_types()


def _rounded_weights(source: Any) -> Any:
    from openvino import opset13 as op

    weights = np.asarray(source.get_node().get_data(), np.float32)
    largest = np.abs(weights).max(axis=tuple(range(1, weights.ndim)), keepdims=True)
    span = np.maximum(largest, np.float32(1e-12)) * np.float32(_WEIGHT_LEVELS // 2 / _LARGEST_WEIGHT)
    high, low = op.constant(span), op.constant(-span)
    return op.fake_quantize(op.constant(weights), low, high, low, high, _WEIGHT_LEVELS)
