from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

import dicom_factory as factory
import orthanc_server
from header_proxy import header_proxy
from labelled_dicom import FULL_HEADER
from orthanc_server import PASSWORD, USER, Orthanc, running_orthanc
from toy_bundle import write_toy_bundle
from vastus.cli.main import app
from vastus.dicom import formats
from vastus.dicom.draft import DicomContent
from vastus.dicom.network import keep_responses
from vastus.dicom.outputs import DicomFormat, write_dicom
from vastus.dicom.pacs import fetch_study, open_pacs, store_checked
from vastus.dicom.pacs_address import file_name, is_pacs, is_uid, parse_address
from vastus.errors import PacsError, SettingsError
from vastus.io.scans import read_scan

STUDY = "1.2.3.4"


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory, ct_folder: Path):
    if not orthanc_server.is_installed():
        pytest.skip("orthanc and orthanc-dicomweb are not installed")
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        datasets = [pydicom.dcmread(p) for p in sorted(ct_folder.iterdir())]
        localiser = factory.series(1, study_uid=STUDY, modality="MR", sop_class=factory.MR, extra=FULL_HEADER)
        folder = tmp_path_factory.mktemp("mr")
        datasets += [pydicom.dcmread(p) for p in factory.write_series(folder, localiser)]
        open_pacs(parse_address(server.dimse)).store(datasets)
        yield server


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VASTUS_PACS_USER", USER)
    monkeypatch.setenv("VASTUS_PACS_PASSWORD", PASSWORD)


def _address(server: Orthanc, way: str) -> str:
    return {
        "web": f"{server.web}/studies/{STUDY}",
        "get": f"{server.dimse}/studies/{STUDY}",
        "move": f"{server.dimse}/studies/{STUDY}?aet=VASTUS&move={server.move_port}",
    }[way]


@pytest.mark.parametrize("way", ["web", "get", "move"])
def test_a_study_is_fetched_whole_and_only_its_ct(orthanc: Orthanc, way: str, ct_folder: Path, tmp_path: Path) -> None:
    assert fetch_study(parse_address(_address(orthanc, way)), tmp_path) == 9
    fetched, original = read_scan(tmp_path).volume, read_scan(ct_folder).volume
    assert fetched.same_grid(original)
    assert (fetched.array == original.array).all()


@pytest.mark.parametrize("way", ["web", "get"])
def test_results_are_stored_and_found_again(orthanc: Orthanc, way: str, content: DicomContent, tmp_path: Path) -> None:
    chosen = (formats.SEG, formats.SR, formats.RTSTRUCT, formats.PDF)
    datasets = [pydicom.dcmread(p) for p in write_dicom(content, chosen, tmp_path)]
    store_checked(parse_address(_address(orthanc, way)), datasets)
    series = orthanc.get("/series?expand")
    modalities = {s["MainDicomTags"]["Modality"] for s in series}
    assert {"SEG", "SR", "RTSTRUCT", "DOC"} <= modalities


@pytest.mark.parametrize("way", ["web", "get"])
@pytest.mark.parametrize("kind", [formats.SEG, formats.LABELMAP])
def test_a_segmentation_comes_back_as_it_was(
    orthanc: Orthanc, way: str, kind: DicomFormat, content: DicomContent, tmp_path: Path
) -> None:
    (sent,) = (pydicom.dcmread(p) for p in write_dicom(content, (kind,), tmp_path))
    store_checked(parse_address(_address(orthanc, way)), [sent])
    (tmp_path / "back").mkdir()
    assert open_pacs(parse_address(orthanc.web)).fetch(STUDY, sent.SeriesInstanceUID, tmp_path / "back") == 1
    back = pydicom.dcmread(next((tmp_path / "back").iterdir()))
    assert (back.SOPClassUID, back.SOPInstanceUID) == (sent.SOPClassUID, sent.SOPInstanceUID)
    assert np.array_equal(back.pixel_array, sent.pixel_array)
    assert back.SegmentSequence == sent.SegmentSequence
    assert back.PerFrameFunctionalGroupsSequence == sent.PerFrameFunctionalGroupsSequence


def test_what_did_not_arrive_is_noticed(
    orthanc: Orthanc, content: DicomContent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = [pydicom.dcmread(p) for p in write_dicom(content, (formats.RTSTRUCT,), tmp_path)]
    monkeypatch.setattr("vastus.dicom.web.WebPacs.store", lambda *_: None)
    with pytest.raises(PacsError, match="does not hold 1 of 1"):
        store_checked(parse_address(orthanc.web), datasets)


@pytest.mark.parametrize("way", ["web", "get"])
def test_an_unknown_study_is_refused(orthanc: Orthanc, way: str, tmp_path: Path) -> None:
    address = _address(orthanc, way).replace(STUDY, "9.9.9")
    with pytest.raises(PacsError, match="holds no"):
        fetch_study(parse_address(address), tmp_path)


def test_a_wrong_password_is_named(orthanc: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VASTUS_PACS_PASSWORD", "wrong")
    with pytest.raises(PacsError, match="401") as caught:
        fetch_study(parse_address(_address(orthanc, "web")), tmp_path)
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize("kind", ["Bearer", "Basic"])
def test_every_request_carries_the_credentials(
    orthanc: Orthanc, kind: str, content: DicomContent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "Bearer":
        monkeypatch.setenv("VASTUS_PACS_TOKEN", "abc.def")  # goes before user and password
    wanted = {"Bearer": "Bearer abc.def", "Basic": "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode()}[kind]
    datasets = [pydicom.dcmread(p) for p in write_dicom(content, (formats.RTSTRUCT,), tmp_path / "made")]
    (tmp_path / "ct").mkdir()
    with header_proxy(orthanc, wanted) as (address, seen):
        assert fetch_study(parse_address(f"{address}/studies/{STUDY}"), tmp_path / "ct") == 9
        store_checked(parse_address(address), datasets)
        assert len(seen) >= 4 and set(seen) == {wanted}
        monkeypatch.setenv("VASTUS_PACS_TOKEN", "expired")
        with pytest.raises(PacsError, match="401") as caught:
            store_checked(parse_address(address), datasets)
    assert "expired" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["dicomweb://127.0.0.1:{}/x", "dicom://A@127.0.0.1:{}"])
def test_a_silent_host_is_named(scheme: str, tmp_path: Path) -> None:
    text = scheme.format(orthanc_server.free_port()) + "/studies/1.2"
    with pytest.raises(PacsError, match=r"127\.0\.0\.1"):
        fetch_study(parse_address(text), tmp_path)


def test_addresses_are_taken_apart() -> None:
    web = parse_address("dicomwebs:/pacs.example/rs/studies/1.2/series/3.4")
    assert (web.host, web.port, web.base, web.study, web.series) == ("pacs.example", 443, "/rs", "1.2", "3.4")
    dimse = parse_address("dicom://PACS@10.0.0.1:4242/studies/1.2?aet=ME&move=11112")
    assert (dimse.called_aet, dimse.aet, dimse.move_port, dimse.port) == ("PACS", "ME", 11112, 4242)
    assert "1.2" not in str(parse_address("dicom://PACS@host:4242/studies/1.2"))
    assert is_pacs("dicomweb:/host/x")
    assert not is_pacs("dicom/folder")


@pytest.mark.parametrize(
    "text",
    [
        "http://host/studies/1",
        "dicomweb://me:secret@host/",
        "dicomweb://host/studies/../etc",
        "dicom://A@host:99999",
        "dicom://A@host?x=1",
        "dicomweb://host/studies/1.2/series/a",
        "dicom://A@host:1/studies/1?move=x",
    ],
)
def test_bad_addresses_are_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        parse_address(text)


def test_no_uid_can_become_a_path() -> None:
    assert "/" not in file_name("../../etc/passwd")
    assert not is_uid("../1") and not is_uid("1..2") and not is_uid("1" * 65) and is_uid("1.2.840")


def test_segment_takes_a_study_from_the_pacs_and_sends_the_results_back(orthanc: Orthanc, tmp_path: Path) -> None:
    hu = np.full((16, 40, 40), -1000, np.int16)
    hu[:, 4:36, 4:36] = 40
    hu[3:13, 10:30, 10:30] = 600  # class 6 of the toy network
    spec = factory.series(16, hu=hu, step=4.0, pixel_spacing=(4.0, 4.0), extra=FULL_HEADER, study_uid="1.7.7")
    paths = factory.write_series(tmp_path / "ct", spec)
    open_pacs(parse_address(orthanc.dimse)).store([pydicom.dcmread(p) for p in paths])
    write_toy_bundle(tmp_path / "toy")
    args = [
        "segment",
        f"{orthanc.web}/studies/1.7.7",
        "-o",
        tmp_path / "out",
        "--weights",
        tmp_path / "toy",
        "-t",
        1,
        "-f",
        "dicom-labelmap,rtstruct",
        "--send-to",
        orthanc.dimse,
    ]
    done = CliRunner().invoke(app, [str(a) for a in args], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    study = next(s for s in orthanc.get("/studies?expand") if s["MainDicomTags"]["StudyInstanceUID"] == "1.7.7")
    modalities = {orthanc.get(f"/series/{uid}")["MainDicomTags"]["Modality"] for uid in study["Series"]}
    assert modalities == {"CT", "SEG", "RTSTRUCT"}
    assert "1.7.7" not in done.output


def test_an_answer_that_the_background_loop_took_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pynetdicom's loop pauses during a request, but not always in time; here it never does."""
    from pynetdicom import AE, evt
    from pynetdicom.association import Association

    monkeypatch.setattr(Association, "_is_paused", property(lambda _: True, lambda *_: None), raising=False)
    port, number = orthanc_server.free_port(), 20
    entity = AE()
    entity.add_supported_context(factory.CT)
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda _: 0)])
    requestor = AE()
    requestor.dimse_timeout = 3
    requestor.add_requested_context(factory.CT, "1.2.840.10008.1.2.1")
    dataset = pydicom.dcmread(factory.write_series(tmp_path / "ct", factory.series(1))[0])
    try:
        association = requestor.associate("127.0.0.1", port)
        keep_responses(association)
        association._reactor_checkpoint.clear = lambda: None
        association.network_timeout = None
        found = [association.send_c_store(dataset).get("Status") for _ in range(number)]
        association.release()
    finally:
        server.shutdown()
    assert found == [0] * number
