"""Networks kept from run to run: the same labels, only in a folder of our own, never a damaged one."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from toy_bundle import write_toy_bundle
from vastus.inference.bundle import Precision
from vastus.inference.kept_networks import (
    MOST_KEPT,
    VARIABLE,
    keep_network,
    name_of,
    network_folder,
    read_network,
)
from vastus.inference.runtime_openvino import OpenVinoRuntime

posix = pytest.mark.skipif(os.name != "posix", reason="nothing is kept where a folder's owner can't be told")


@posix
def test_a_kept_network_gives_the_same_logits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vastus.inference import runtime_openvino as module

    folder = tmp_path / "kept"
    monkeypatch.setenv(VARIABLE, str(folder))
    bundle = write_toy_bundle(tmp_path / "toy")
    window = np.random.default_rng(0).random(bundle.info.preprocessing.window_size, np.float32)
    first = next(OpenVinoRuntime(bundle, Precision.FP32, 2).run([window])).copy()
    until = time.monotonic() + 60
    while not list(folder.glob("*.network")) and time.monotonic() < until:
        time.sleep(0.01)
    compiled: list[object] = []
    monkeypatch.setattr(module, "prepared_model", lambda *a: compiled.append(a))
    second = next(OpenVinoRuntime(bundle, Precision.FP32, 2).run([window]))
    assert not compiled
    np.testing.assert_array_equal(first, second)


@posix
def test_a_damaged_file_is_not_used(tmp_path: Path) -> None:
    keep_network(tmp_path, "one", b"a network")
    assert read_network(tmp_path, "one") == b"a network"
    path = tmp_path / "one.network"
    path.write_bytes(path.read_bytes()[:-1])
    assert read_network(tmp_path, "one") is None
    assert read_network(tmp_path, "none") is None


@posix
def test_the_oldest_go_first(tmp_path: Path) -> None:
    for number in range(MOST_KEPT + 2):
        keep_network(tmp_path, f"n{number}", b"x")
        os.utime(tmp_path / f"n{number}.network", (number, number))
    keep_network(tmp_path, "last", b"x")
    assert len(list(tmp_path.iterdir())) == MOST_KEPT
    assert read_network(tmp_path, "n0") is None and read_network(tmp_path, "last") == b"x"


@posix
def test_only_a_folder_of_our_own_is_used(tmp_path: Path) -> None:
    assert network_folder({VARIABLE: ""}) is None
    assert network_folder({}) is None
    mine = network_folder({"HOME": str(tmp_path)})
    assert mine == tmp_path / ".cache" / "vastus" and mine.stat().st_mode & 0o777 == 0o700
    mine.chmod(0o777)
    assert network_folder({"HOME": str(tmp_path)}) is None
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    assert network_folder({VARIABLE: str(link)}) is None


def test_a_name_depends_on_every_fact() -> None:
    assert name_of("a", 1) == name_of("a", 1)
    assert len({name_of("a", 1), name_of("a", 2), name_of("b", 1)}) == 3
