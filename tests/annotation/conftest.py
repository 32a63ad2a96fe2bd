from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from annotation_server import Running


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from annotation_server import toy_model

    return toy_model(tmp_path_factory.mktemp("model") / "toy")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    from annotation_server import make_project

    return make_project(tmp_path / "project")


@pytest.fixture
def running(project: Path, model: Path) -> Iterator[Running]:
    """A server of its own for each test, without accounts."""
    from annotation_server import ONE_THREAD, serving
    from vastus.annotation.project.project import ServerSettings

    with serving(ServerSettings(project, model, ONE_THREAD)) as server:
        yield server
