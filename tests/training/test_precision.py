import pytest
import torch

from training.tiny import tiny_config
from vastus.inference import arithmetic
from vastus.training import loop
from vastus.training.precision import has_bf16

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("network_run", "instructions", "expected"),
    [
        (True, {}, True),
        (False, {"avx2": True, "avx512_bf16": False}, False),
        (False, {"bf16": True}, True),
        (False, {}, False),
    ],
)
def test_a_processor_has_bfloat16_when_the_network_runs_in_it_or_torch_knows_it_of_arm(
    monkeypatch, network_run, instructions, expected
):
    monkeypatch.setattr(arithmetic, "cpu_has_bf16", lambda: network_run)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions, raising=False)
    assert has_bf16(CPU) is expected


def test_a_torch_that_knows_no_instructions_is_not_asked(monkeypatch):
    monkeypatch.setattr(arithmetic, "cpu_has_bf16", lambda: False)
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not has_bf16(CPU)


@pytest.mark.parametrize("there", [True, False])
def test_a_run_computes_bfloat16_only_where_it_is_native(monkeypatch, tmp_path, there):
    monkeypatch.setattr(loop, "has_bf16", lambda device: there)
    asked = {}
    for wanted in (True, False):
        trainer = loop._Trainer(tiny_config(bf16=wanted), tmp_path, loop._Team(CPU, 0, 1))
        asked[wanted] = trainer.half
    assert asked == {True: there, False: False}
