"""Which precision is taken, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from toy_bundle import write_toy_bundle
from vastus.errors import DeviceError
from vastus.inference.bundle import Bundle, Precision
from vastus.inference.choices import PrecisionChoice, RuntimeOptions
from vastus.inference.runtime import choose_precision

ALL = (Precision.FP32, Precision.BF16, Precision.INT8)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    toy = write_toy_bundle(tmp_path)
    return replace(toy, info=replace(toy.info, precisions=ALL))


@pytest.mark.parametrize(
    ("has_bf16", "has_int8", "expected"),
    [
        (True, True, Precision.BF16),
        (True, False, Precision.BF16),
        (False, True, Precision.INT8),
        (False, False, Precision.FP32),
    ],
)
def test_auto_takes_what_is_quick_here(bundle: Bundle, has_bf16: bool, has_int8: bool, expected: Precision) -> None:
    chosen = choose_precision(bundle, RuntimeOptions(), has_bf16=has_bf16, has_int8=has_int8)
    assert chosen.precision is expected and chosen.because


def test_auto_takes_only_what_the_weights_were_checked_in(bundle: Bundle) -> None:
    plain = replace(bundle, info=replace(bundle.info, precisions=(Precision.FP32,)))
    assert choose_precision(plain, RuntimeOptions(), has_bf16=True, has_int8=True).precision is Precision.FP32


def test_a_wish_is_met_or_refused(bundle: Bundle) -> None:
    wish = RuntimeOptions(precision=PrecisionChoice.INT8)
    assert choose_precision(bundle, wish, has_bf16=True, has_int8=True).precision is Precision.INT8
    with pytest.raises(DeviceError, match="int8"):
        choose_precision(bundle, wish, has_bf16=True, has_int8=False)
    unchecked = replace(bundle, info=replace(bundle.info, precisions=(Precision.FP32,)))
    with pytest.raises(DeviceError, match="without ranges for int8"):
        choose_precision(unchecked, wish, has_bf16=False, has_int8=True)
