from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from app_server import RunningApp


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from annotation_server import toy_model

    return toy_model(tmp_path_factory.mktemp("model") / "toy")


@pytest.fixture(scope="session")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from annotation_server import phantom, save_ct

    path = tmp_path_factory.mktemp("scans") / "thigh.nii.gz"
    save_ct(phantom(0), path)
    return path


@pytest.fixture
def running(tmp_path: Path, model: Path) -> Iterator[RunningApp]:
    from app_server import serving_app

    with serving_app(tmp_path / "Vastus", model) as app:
        yield app
