"""What the node's tests share: a stub worker, a destination, and small series to send."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, evt

import dicom_factory as factory
from orthanc_server import free_port
from vastus.dicom.pacs_address import file_name

CT = factory.CT
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
_UID_PLACE = "2.25." + "1" * 39
_SERIES_PLACE = "2.25." + "2" * 39
_NOTE_PLACE = "N" * 64

STUB = r"""
import hashlib, json, os, pathlib, random, sys, time
template = pathlib.Path(sys.argv[1]).read_bytes()
for line in sys.stdin:
    request = json.loads(line)
    folder = pathlib.Path(request["series"])
    files = sorted(folder.iterdir())
    content = b"".join(f.read_bytes() for f in files)
    if b"POISON" in content:
        os._exit(7)
    if b"HANG" in content:
        time.sleep(60)
    if b"REFUSE" in content:
        answer = {"ok": False, "error": "GeometryError", "reason": "slices missing", "final": True}
        print(json.dumps(answer), flush=True)
        continue
    time.sleep(float(sys.argv[2]))
    digest = hashlib.sha256("".join(f.name for f in files).encode()).hexdigest()[:32]
    note = (folder.name.partition(".")[0] + digest).encode()
    result = template.replace(b"N" * 64, note)
    for digit in (b"1", b"2"):
        fresh = str(random.SystemRandom().randrange(10**38, 10**39 - 1)).encode()
        result = result.replace(digit * 39, fresh)
    out = pathlib.Path(request["output"]) / "dicom"
    out.mkdir(parents=True)
    (out / "result.dcm").write_bytes(result)
    print(json.dumps({"ok": True}), flush=True)
"""


def stub_command(folder: Path, seconds: float = 0.0) -> list[str]:
    """A worker that needs no network: its result says which files it was made from."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = RTSTRUCT, _UID_PLACE
    meta.TransferSyntaxUID = ImplicitVRLittleEndian
    result = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    result.SOPClassUID, result.SOPInstanceUID = RTSTRUCT, _UID_PLACE
    result.StudyInstanceUID, result.SeriesInstanceUID, result.ImageComments = "1.2.3.4", _SERIES_PLACE, _NOTE_PLACE
    result.save_as(folder / "template.dcm", enforce_file_format=True)
    (folder / "stub.py").write_text(STUB)
    return [sys.executable, "-S", "-I", str(folder / "stub.py"), str(folder / "template.dcm"), str(seconds)]


def note_of(datasets: list[pydicom.Dataset]) -> str:
    """What the stub notes for a series of which exactly these were received."""
    series = hashlib.sha256(str(datasets[0].SeriesInstanceUID).encode()).hexdigest()[:32]
    names = sorted(file_name(str(d.SOPInstanceUID)) for d in datasets)
    return series + hashlib.sha256("".join(names).encode()).hexdigest()[:32]


def small_series(folder: Path, count: int = 4, **changes: object) -> list[pydicom.Dataset]:
    spec = factory.series(count, hu=np.zeros((count, 12, 10), np.int16)).but(**changes)
    return [pydicom.dcmread(path) for path in factory.write_series(folder, spec)]


class Destination:
    """A PACS that remembers what it got."""

    def __init__(self) -> None:
        self.results: dict[str, str] = {}
        self.receipts: Counter[str] = Counter()
        self.failing = threading.Event()
        self._where: dict[str, str] = {}

    def store(self, event: evt.Event) -> int:
        if self.failing.is_set():
            return 0xA700
        dataset = event.dataset
        uid = str(dataset.SOPInstanceUID)
        self.results[uid] = str(dataset.ImageComments)
        self._where[uid] = str(dataset.SeriesInstanceUID)
        self.receipts[uid] += 1
        return 0x0000

    def find(self, event: evt.Event):
        for uid, series in list(self._where.items()):
            if series == event.identifier.SeriesInstanceUID:
                answer = pydicom.Dataset()
                answer.SOPInstanceUID = uid
                yield 0xFF00, answer


@contextmanager
def running_destination():
    port = free_port()
    destination = Destination()
    entity = AE(ae_title="DEST")
    entity.add_supported_context(RTSTRUCT)
    entity.add_supported_context("1.2.840.10008.5.1.4.1.2.2.1")
    handlers = [(evt.EVT_C_STORE, destination.store), (evt.EVT_C_FIND, destination.find)]
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
    try:
        yield destination, port
    finally:
        server.shutdown()


def send(port: int, datasets: list[pydicom.Dataset], aet: str = "SENDER", **options: object) -> list[int]:
    """Status of each object; fewer than given when the connection ended. Empty: not accepted."""
    entity = AE(ae_title=aet)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 20
    for uid, syntax in sorted({(d.SOPClassUID, d.file_meta.TransferSyntaxUID) for d in datasets}):
        entity.add_requested_context(uid, syntax)
    association = entity.associate("127.0.0.1", port, ae_title="VASTUS", **options)
    found = []
    if association.is_established:
        for dataset in datasets:
            status = association.send_c_store(dataset)
            if "Status" not in status:
                break
            found.append(status.Status)
        if association.is_established:
            association.release()
    return found
