"""The real worker, with a toy network, behind the node."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest

import dicom_factory as factory
from labelled_dicom import FULL_HEADER
from toy_bundle import write_toy_bundle
from vastus.node.config import Processing
from vastus.node.worker_process import WorkerFailure, WorkerProcess


@pytest.mark.skipif(sys.platform == "win32", reason="the node runs on Linux and macOS")
def test_the_worker_makes_dicom_results_and_survives_a_refusal(tmp_path: Path) -> None:
    hu = np.full((12, 40, 40), -1000, np.int16)
    hu[:, 4:36, 4:36] = 40
    hu[3:10, 10:30, 10:30] = 600  # class 6 of the toy network
    spec = factory.series(12, hu=hu, step=4.0, pixel_spacing=(4.0, 4.0), extra=FULL_HEADER)
    paths = factory.write_series(tmp_path / "ct", spec)
    write_toy_bundle(tmp_path / "toy")
    worker = WorkerProcess(Processing("rtstruct", weights=tmp_path / "toy", threads=1, timeout_s=120))
    try:
        (tmp_path / "empty").mkdir()
        with pytest.raises(WorkerFailure, match="MissingInputError") as caught:
            worker.run(tmp_path / "empty", tmp_path / "out1", "job_1")
        assert caught.value.final
        assert str(tmp_path) not in caught.value.reason
        worker.run(tmp_path / "ct", tmp_path / "out2", "job_2")
    finally:
        worker.stop()
    result = pydicom.dcmread(tmp_path / "out2" / "dicom" / "rtstruct.dcm")
    assert result.StudyInstanceUID == pydicom.dcmread(io.BytesIO(paths[0].read_bytes())).StudyInstanceUID


def test_a_worker_that_speaks_nonsense_is_a_failure(tmp_path: Path) -> None:
    command = (sys.executable, "-c", "import sys\nfor line in sys.stdin: print('hello', flush=True)")
    worker = WorkerProcess(Processing(command=command, timeout_s=20))
    try:
        with pytest.raises(WorkerFailure, match="protocol"):
            worker.run(tmp_path, tmp_path / "out", "job_1")
    finally:
        worker.stop()
