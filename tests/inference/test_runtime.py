"""Which precision is taken, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from toy_bundle import write_toy_bundle
from vastus.errors import DeviceError
from vastus.inference import arithmetic, runtime
from vastus.inference.bundle import Bundle, Precision
from vastus.inference.choices import Device, PrecisionChoice, RuntimeName, RuntimeOptions
from vastus.inference.runtime import choose_precision, open_runtime

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


@pytest.fixture
def with_everything(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A processor that has bfloat16 and int8, and no variables that forbid them."""
    core = SimpleNamespace(get_property=lambda *_: ["BF16", "FP32", "INT8"])
    monkeypatch.setattr(arithmetic, "load_openvino", lambda: SimpleNamespace(Core=lambda: core))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("variables", "bf16", "int8"),
    [
        ({}, True, True),
        ({"ONEDNN_MAX_CPU_ISA": "AVX2"}, False, True),
        ({"ONEDNN_MAX_CPU_ISA": "avx512_core"}, False, True),
        ({"ONEDNN_MAX_CPU_ISA": "SSE41"}, False, False),
        ({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}, True, True),
        ({"ONEDNN_MAX_CPU_ISA": "DEFAULT"}, True, True),
        ({"DNNL_MAX_CPU_ISA": "AVX2"}, False, True),
        ({"ONEDNN_MAX_CPU_ISA": "", "DNNL_MAX_CPU_ISA": "AVX2"}, False, True),
        ({"ONEDNN_MAX_CPU_ISA": "DEFAULT", "DNNL_MAX_CPU_ISA": "AVX2"}, True, True),
    ],
)
def test_a_variable_may_forbid_what_the_processor_has(
    with_everything: pytest.MonkeyPatch, variables: dict[str, str], bf16: bool, int8: bool
) -> None:
    for name, value in variables.items():
        with_everything.setenv(name, value)
    assert (arithmetic.cpu_has_bf16(), arithmetic.cpu_has_int8()) == (bf16, int8)


def test_a_network_is_opened_also_where_a_variable_forbids_bfloat16(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    without_int8 = replace(bundle, info=replace(bundle.info, precisions=(Precision.FP32, Precision.BF16)))
    chosen = open_runtime(without_int8, RuntimeOptions(threads=1)).chosen
    assert chosen.precision is Precision.FP32


@pytest.fixture
def torch_stub(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runtime of torch, without a network."""
    pytest.importorskip("torch")
    from vastus.inference import runtime_torch

    monkeypatch.setattr(runtime_torch, "TorchRuntime", lambda *_: SimpleNamespace(description="stub"))


@pytest.mark.parametrize(
    ("limit", "expected"), [("", Precision.BF16), ("AVX512_CORE", Precision.FP32), ("AVX2", Precision.FP32)]
)
@pytest.mark.usefixtures("torch_stub")
def test_torch_takes_bfloat16_only_where_the_processor_has_it(
    bundle: Bundle, with_everything: pytest.MonkeyPatch, limit: str, expected: Precision
) -> None:
    with_everything.setenv("ONEDNN_MAX_CPU_ISA", limit)
    options = RuntimeOptions(Device.CPU, RuntimeName.TORCH, threads=1)
    assert open_runtime(bundle, options).chosen.precision is expected
    if expected is Precision.FP32:
        with pytest.raises(DeviceError, match="bfloat16"):
            open_runtime(bundle, replace(options, precision=PrecisionChoice.BF16))


@pytest.mark.parametrize(("native", "expected"), [(True, Precision.BF16), (False, Precision.FP32)])
@pytest.mark.usefixtures("torch_stub")
def test_torch_takes_bfloat16_only_where_the_card_has_it(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, native: bool, expected: Precision
) -> None:
    import torch

    monkeypatch.setattr(runtime, "_torch_sees", lambda _: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native)
    assert open_runtime(bundle, RuntimeOptions(Device.CUDA)).chosen.precision is expected


@pytest.mark.usefixtures("torch_stub")
def test_nothing_is_known_of_bfloat16_without_openvino(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ImportError

    monkeypatch.setattr(arithmetic, "load_openvino", missing)
    assert open_runtime(bundle, RuntimeOptions(Device.CPU, RuntimeName.TORCH)).chosen.precision is Precision.FP32
