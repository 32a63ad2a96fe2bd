"""A DICOMweb query as the input of a batch, against a real Orthanc."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest

import dicom_factory as factory
import orthanc_server
from batch_standin import InlineEngine
from labelled_dicom import FULL_HEADER
from orthanc_server import PASSWORD, USER, Orthanc, running_orthanc
from toy_bundle import write_toy_bundle
from vastus.batch.pacs_inputs import find_studies
from vastus.batch.runner import BatchRequest, OpenBatch
from vastus.batch.task import ScanState
from vastus.dicom.pacs import open_pacs
from vastus.dicom.pacs_address import parse_address
from vastus.errors import PacsError

# Study, date, modality.
STUDIES = (
    ("1.5.1", "20200110", "CT"),
    ("1.5.2", "20200620", "CT"),
    ("1.5.3", "20210101", "CT"),
    ("1.5.4", "20200301", "MR"),
)


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    if not orthanc_server.is_installed():
        pytest.skip("orthanc and orthanc-dicomweb are not installed")
    hu = np.full((12, 40, 40), -1000, np.int16)
    hu[:, 4:36, 4:36] = 40
    hu[3:10, 10:30, 10:30] = 600  # class 6 of the toy network
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        for study, date, modality in STUDIES:
            sop_class = factory.CT if modality == "CT" else factory.MR
            spec = factory.series(
                12,
                hu=hu,
                step=4.0,
                pixel_spacing=(4.0, 4.0),
                study_uid=study,
                modality=modality,
                sop_class=sop_class,
                extra=FULL_HEADER | {"StudyDate": date},
            )
            paths = factory.write_series(tmp_path_factory.mktemp("series"), spec)
            open_pacs(parse_address(server.dimse)).store([pydicom.dcmread(path) for path in paths])
        yield server


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VASTUS_PACS_USER", USER)
    monkeypatch.setenv("VASTUS_PACS_PASSWORD", PASSWORD)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("StudyDate=20200101-20201231", {"1.5.1", "1.5.2"}),  # not the MR of that year
        ("StudyInstanceUID=1.5.3", {"1.5.3"}),
        ("StudyDate=20200110", {"1.5.1"}),
        ("StudyDate=19990101", set()),
    ],
)
def test_a_query_finds_the_ct_studies_that_fit(orthanc: Orthanc, query: str, expected: set[str]) -> None:
    found = list(find_studies(f"{orthanc.web}?{query}"))
    assert {scan.name for scan in found} == expected
    assert all(str(scan.path).endswith(f"/studies/{scan.name}") for scan in found)


def test_the_studies_of_a_query_are_fetched_segmented_and_forgotten(
    orthanc: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vastus.batch.processor import SegmentFactory
    from vastus.inference.bundle import load_bundle
    from vastus.inference.choices import RuntimeOptions

    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    write_toy_bundle(tmp_path / "toy")
    factory_of_toy = SegmentFactory.of(load_bundle(tmp_path / "toy"), RuntimeOptions())
    request = BatchRequest([Path(f"{orthanc.web}?StudyDate=20200101-20201231")], tmp_path / "out")
    with OpenBatch(request, factory_of_toy) as batch:
        assert batch.found == 2
        assert batch.work(InlineEngine()).counts[ScanState.DONE] == 2
    for table in ("volumes.csv", "confidence.csv"):
        with (tmp_path / "out" / table).open() as file:
            assert {row["subject"] for row in csv.DictReader(file)} == {"1.5.1", "1.5.2"}
    assert not list((tmp_path / "temporary").iterdir())  # images of patients stay nowhere
    with OpenBatch(request, factory_of_toy) as batch:
        assert (batch.found, batch.waiting) == (2, 0)


def test_a_wrong_password_ends_the_command_with_its_name(orthanc: Orthanc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VASTUS_PACS_PASSWORD", "wrong")
    with pytest.raises(PacsError, match="401"):
        list(find_studies(f"{orthanc.web}?StudyDate=20200101-20201231"))
