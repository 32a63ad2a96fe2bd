from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vastus.anatomy import BUILT_IN
from vastus.pipeline import HU_WINDOW, write_scan_page
from vastus.volume import Volume

RECORD: dict[str, Any] = {
    "subject": "p1",
    "weights": {"name": "toy", "sha256": "0123456789abcdef", "trained_on": "nothing"},
    "device": "CPU",
    "seconds": {"network": 1.0},
    "versions": {"vastus": "0.1.0"},
    "warnings": [],
}


@pytest.mark.parametrize(("window", "shown"), [([-150.0, 250.0], True), ([-57.0, 164.0], True), (None, False)])
def test_the_page_says_which_window_the_network_of_this_run_read(
    tmp_path: Path, window: list[float] | None, shown: bool
) -> None:
    values = np.zeros((12, 12, 12), np.uint8)
    values[3:9, 3:9, 3:9] = 128
    ct = Volume(np.where(values > 0, 300, -80).astype(np.int16), np.diag([4.0, 4.0, 4.0, 1.0]))
    record = RECORD if window is None else RECORD | {HU_WINDOW: window}
    measured: Any = SimpleNamespace(volumes=(), rows=(), context=(), found=SimpleNamespace(table=BUILT_IN))
    write_scan_page(tmp_path / "report.html", ct, ct.with_array(values), measured, record)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert ("HU window of the network" in page) is shown
    if window is not None:
        low, high = window
        assert f"{low:.0f} to {high:.0f} HU</dd>".replace("-", "−") in page
