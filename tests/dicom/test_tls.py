"""Outgoing TLS: C-STORE, C-FIND, C-GET and C-MOVE against a DICOM node that takes TLS connections only."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pydicom
import pytest
from pynetdicom import AE, build_context, evt

import dicom_factory as factory
from certificates import Authority, make_authority
from orthanc_server import free_port
from vastus.dicom.pacs import fetch_study, open_pacs, store_checked
from vastus.dicom.pacs_address import parse_address
from vastus.dicom.tls import VARIABLES, TlsFiles, client_context, server_context
from vastus.errors import PacsError, SettingsError

_FIND, _MOVE, _GET = (f"1.2.840.10008.5.1.4.1.2.2.{n}" for n in (1, 2, 3))


@dataclass
class Pacs:
    """Keeps what it is sent and gives it back, over TLS also where it opens the connection itself (C-MOVE)."""

    tls: TlsFiles
    port: int = field(default_factory=free_port)
    move_port: int = field(default_factory=free_port)
    held: dict[str, pydicom.Dataset] = field(default_factory=dict)

    def store(self, event: evt.Event) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        self.held[dataset.SOPInstanceUID] = dataset
        return 0x0000

    def _matching(self, event: evt.Event) -> list[pydicom.Dataset]:
        wanted = event.identifier
        return [d for d in self.held.values() if wanted.get("SeriesInstanceUID") in ("", d.SeriesInstanceUID)]

    def find(self, event: evt.Event):
        for dataset in self._matching(event):
            answer = pydicom.Dataset()
            answer.SeriesInstanceUID, answer.SOPInstanceUID = dataset.SeriesInstanceUID, dataset.SOPInstanceUID
            yield 0xFF00, answer
            if event.identifier.QueryRetrieveLevel == "SERIES":
                return

    def get(self, event: evt.Event):
        found = self._matching(event)
        yield len(found)
        for dataset in found:
            yield 0xFF00, dataset

    def move(self, event: evt.Event):
        context = build_context(factory.CT, pydicom.uid.ExplicitVRLittleEndian)
        options = {"contexts": [context], "tls_args": (client_context(self.tls), "127.0.0.1")}
        yield "127.0.0.1", self.move_port, options
        yield from self.get(event)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def pacs(authority: Authority) -> Iterator[Pacs]:
    pacs = Pacs(authority.issue("pacs"))
    entity = AE(ae_title="PACS")
    entity.add_supported_context(factory.CT, pydicom.uid.ExplicitVRLittleEndian, scp_role=True, scu_role=True)
    for uid in (_FIND, _MOVE, _GET):
        entity.add_supported_context(uid)
    handlers = [
        (evt.EVT_C_STORE, pacs.store),
        (evt.EVT_C_FIND, pacs.find),
        (evt.EVT_C_GET, pacs.get),
        (evt.EVT_C_MOVE, pacs.move),
    ]
    server = entity.start_server(
        ("127.0.0.1", pacs.port), block=False, ssl_context=server_context(pacs.tls), evt_handlers=handlers
    )
    yield pacs
    server.shutdown()


@pytest.fixture(scope="module")
def ours(authority: Authority) -> TlsFiles:
    return authority.issue("vastus")


@pytest.fixture
def environment(ours: TlsFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a user sets it for the command line."""
    for name, path in zip(VARIABLES, (ours.certificate, ours.key, ours.authorities), strict=True):
        monkeypatch.setenv(name, str(path))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(p) for p in factory.write_series(tmp_path_factory.mktemp("ct"), factory.series(3))]


@pytest.mark.usefixtures("environment")
def test_images_are_stored_checked_and_fetched_both_ways(
    pacs: Pacs, images: list[pydicom.Dataset], tmp_path: Path
) -> None:
    address = f"dicoms://PACS@127.0.0.1:{pacs.port}"
    store_checked(parse_address(address), images)
    assert set(pacs.held) == {d.SOPInstanceUID for d in images}
    for name, option in (("get", ""), ("move", f"?move={pacs.move_port}")):
        (tmp_path / name).mkdir()
        assert fetch_study(parse_address(f"{address}/studies/1.2.3.4{option}"), tmp_path / name) == 3


def test_a_stranger_is_not_let_in_and_not_trusted(
    pacs: Pacs, ours: TlsFiles, images: list[pydicom.Dataset], tmp_path: Path
) -> None:
    address = parse_address(f"dicoms://PACS@127.0.0.1:{pacs.port}")
    stranger = make_authority(tmp_path, "stranger").issue("other")
    before = dict(pacs.held)
    for files in (
        TlsFiles(authorities=ours.authorities),  # shows no certificate
        replace(stranger, authorities=ours.authorities),  # shows one of an unknown authority
        replace(ours, authorities=stranger.authorities),  # does not trust the PACS
    ):
        with pytest.raises(PacsError, match="does not accept a connection"):
            open_pacs(address, files).store(images)
    assert pacs.held == before


def test_the_name_in_the_certificate_is_checked(pacs: Pacs, ours: TlsFiles, images: list[pydicom.Dataset]) -> None:
    with pytest.raises(PacsError):  # the certificate is for 127.0.0.1
        open_pacs(parse_address(f"dicoms://PACS@localhost:{pacs.port}"), ours).store(images)


def test_plain_and_encrypted_ends_do_not_meet(pacs: Pacs, ours: TlsFiles, images: list[pydicom.Dataset]) -> None:
    with pytest.raises(PacsError):
        open_pacs(parse_address(f"dicom://PACS@127.0.0.1:{pacs.port}"), ours).store(images)


@pytest.mark.parametrize("scheme", ["dicoms://A@h", "dicomwebs://h/x"])
def test_files_that_are_no_certificates_are_named(scheme: str, tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("no certificate")
    for files in (TlsFiles(tmp_path / "bad.pem", tmp_path / "bad.pem"), TlsFiles(authorities=tmp_path / "none.pem")):
        with pytest.raises(SettingsError, match="certificates"):
            open_pacs(parse_address(scheme), files)
    with pytest.raises(SettingsError, match="only with a certificate"):
        open_pacs(parse_address("dicoms://A@h?move=11112"), TlsFiles())


def test_dicomweb_checks_certificates_both_ways(authority: Authority, ours: TlsFiles) -> None:
    class Empty(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/dicom+json")
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Empty)
    server.socket = server_context(authority.issue("web")).wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = parse_address(f"dicomwebs://127.0.0.1:{server.server_port}/rs")
    try:
        assert open_pacs(address, ours).ct_series("1.2") == []
        for files in (TlsFiles(), TlsFiles(authorities=ours.authorities)):
            with pytest.raises(PacsError, match="does not answer"):
                open_pacs(address, files).ct_series("1.2")
    finally:
        server.shutdown()
        server.server_close()


def test_old_versions_of_tls_are_refused(ours: TlsFiles) -> None:
    assert client_context(ours).minimum_version == server_context(ours).minimum_version == ssl.TLSVersion.TLSv1_2
    assert client_context(ours).check_hostname
