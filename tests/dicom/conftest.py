from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from labelled_dicom import content_of, label_values, write_ct_folder
from vastus.dicom.draft import DicomContent


@pytest.fixture(scope="session")
def ct_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ct_folder(tmp_path_factory.mktemp("ct"))


@pytest.fixture(scope="session")
def content(ct_folder: Path) -> DicomContent:
    return content_of(ct_folder, label_values())


@pytest.fixture(scope="session")
def errors_of() -> Callable[[Path], list[str]]:
    """What dciodvfy calls an error in a file."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (dicom3tools) is not installed")

    def check(path: Path) -> list[str]:
        done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
        lines = (done.stdout + done.stderr).splitlines()
        assert any(not line.startswith(("Error", "Warning")) for line in lines), "dciodvfy did not name the IOD"
        return [line for line in lines if line.startswith("Error")]

    return check
