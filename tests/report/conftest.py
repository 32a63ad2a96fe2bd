from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from vastus.anatomy import LABELS, SIDES, Side
from vastus.io.csv_tables import VolumeRow
from vastus.report.page import PageRecord
from vastus.synthesis.phantom import LabelledScan, make_phantom

COARSE = (4.0, 4.0, 8.0)


@pytest.fixture(scope="session")
def phantom() -> LabelledScan:
    return make_phantom(COARSE)


@pytest.fixture(scope="session")
def right_leg() -> LabelledScan:
    return make_phantom(COARSE, sides=(Side.RIGHT,))


@pytest.fixture(scope="session")
def rows() -> tuple[VolumeRow, ...]:
    """All 58 rows: 100 cm3 on the right, 90 cm3 on the left."""
    volume = {Side.RIGHT: 100_000.0, Side.LEFT: 90_000.0}
    return tuple(
        VolumeRow("s1", label.structure.key, label.structure.group, label.side, volume[label.side], 51.5, False)
        for label in LABELS
        if label.side in SIDES
    )


@pytest.fixture(scope="session")
def record() -> PageRecord:
    return PageRecord("s1", "small 0.1", "phantoms only.", "CPU", COARSE, {"network": 3.25}, {"vastus": "0.1.0"})


@pytest.fixture(scope="session")
def changed() -> Callable[..., tuple[VolumeRow, ...]]:
    """A function that gives the rows with some values of one structure's row replaced."""

    def change(rows: tuple[VolumeRow, ...], structure: str, side: Side, **values: object) -> tuple[VolumeRow, ...]:
        return tuple(replace(r, **values) if (r.structure, r.side) == (structure, side) else r for r in rows)

    return change
