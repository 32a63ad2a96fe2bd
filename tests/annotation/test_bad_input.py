"""What must not come in: refused by name, with nothing left behind."""

import gzip
import http.client
import io
import json
import sqlite3
import struct
import zlib
from pathlib import Path
from urllib.parse import quote

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import generate_uid

from annotation_server import ONE_THREAD, Running, label_bytes, labels_of, phantom, serving
from vastus.annotation.project.project import ServerSettings
from vastus.annotation.refusals import TooLargeError
from vastus.annotation.uploads.intake import check_dicom_upload

TRUE = phantom(0)


def nifti(array: np.ndarray, affine: np.ndarray) -> bytes:
    return gzip.compress(nibabel.Nifti1Image(array, affine, dtype=array.dtype).to_bytes())


def refused(running: Running, content: bytes, status: int, error: str, word: str = "") -> None:
    answer = running.client.post("/api/cases/scan0/versions", content)
    assert (answer.status, answer.json["error"]) == (status, error), answer.body
    assert word in answer.json["detail"] and "/" not in answer.json["detail"]
    assert running.project.store.versions("scan0") == ()
    left = [p for p in running.project.layout.temporary.rglob("*") if p.is_file()]
    assert not left, "a refused upload leaves nothing behind"


def test_wrong_grids(running: Running) -> None:
    labels = TRUE.labels
    moved = labels.affine.copy()
    moved[0, 3] += 3.0
    turned = labels.affine @ np.diag([1.0, 1.0, 1.02, 1.0])
    for array, affine in (
        (labels.array[:-1], moved),
        (labels.array, moved),
        (labels.array, turned),
        (labels.array, np.eye(4)),
    ):
        refused(running, nifti(array, affine), 422, "WrongGridError", "does not lie on the voxels")
    larger = np.zeros([n + 1 for n in labels.shape], np.uint8)
    refused(running, nifti(larger, labels.affine), 413, "TooLargeError", "too many")


def test_flipped_transposed_and_cropped_maps_find_their_place(running: Running) -> None:
    labels, affine = TRUE.labels.array, TRUE.labels.affine
    flip = affine @ np.array([[-1, 0, 0, labels.shape[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    swap = affine @ np.eye(4)[[0, 2, 1, 3]]
    crop = affine @ np.array([[1, 0, 0, 2], [0, 1, 0, 1], [0, 0, 1, 5], [0, 0, 0, 1]])
    cut = np.zeros_like(labels)
    cut[2:30, 1:20, 5:40] = labels[2:30, 1:20, 5:40]
    for array, at, expected in (
        (labels[::-1], flip, labels),
        (labels.transpose(0, 2, 1), swap, labels),
        (labels[2:30, 1:20, 5:40], crop, cut),
        (labels.astype(np.float32), affine, labels),
        (labels.astype(np.int64), affine, labels),
    ):
        answer = running.client.post("/api/cases/scan0/versions", nifti(array, at))
        assert answer.status == 201, answer.body
        stored = running.client.get(f"/api/cases/scan0/versions/{answer.json['version']}/labels.nii.gz").body
        assert np.array_equal(labels_of(stored), expected)


def test_labels_that_do_not_exist(running: Running) -> None:
    for value, word in ((30, "30"), (99, "99"), (254, "254"), (1000, "1000")):
        array = TRUE.labels.array.astype(np.int16)
        array[3, 4, 5] = value
        refused(running, nifti(array, TRUE.labels.affine), 422, "LabelError", word)
    for value in (-1, 0.5, np.nan, np.inf):
        array = TRUE.labels.array.astype(np.float32)
        array[3, 4, 5] = value
        refused(running, nifti(array, TRUE.labels.affine), 422, "LabelError")


def bomb(megabytes: int) -> bytes:
    """A NIfTI header of the right size, and then zeros without end."""
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape(TRUE.labels.shape)
    header.set_sform(TRUE.labels.affine, 1)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [deflate.compress(header.binaryblock + b"\0\0\0\0")]
    parts += [deflate.compress(bytes(1 << 20)) for _ in range(megabytes)]
    return b"".join([*parts, deflate.flush()])


def test_a_zip_bomb_is_not_unpacked(running: Running) -> None:
    import resource

    content = bomb(200)
    assert len(content) < 1 << 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(running, content, 413, "TooLargeError", "more than its header announces")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kilobytes: it was kept in memory"


def test_headers_that_announce_the_world(running: Running) -> None:
    header = nibabel.Nifti1Header()
    header["magic"], header["vox_offset"] = b"n+1", 352
    header["dim"] = [3, 32767, 32767, 32767, 1, 1, 1, 1]
    header["datatype"], header["bitpix"] = 64, 64
    refused(running, gzip.compress(header.binaryblock + bytes(100)), 413, "TooLargeError", "too many")
    wide = nibabel.Nifti2Header()
    wide["dim"] = [7, 2**62, 2**62, 4, 1, 1, 1, 1]
    refused(running, gzip.compress(wide.binaryblock + bytes(100)), 413, "TooLargeError", "too many")
    wide["dim"] = [3, -5, 4, 4, 1, 1, 1, 1]
    refused(running, gzip.compress(wide.binaryblock + bytes(100)), 422, "UnreadableUploadError")
    nrrd = b"NRRD0004\ntype: double\ndimension: 3\nsizes: 100000 100000 100000\nencoding: gzip\nendian: little\n\n"
    refused(running, nrrd + gzip.compress(bytes(100)), 413, "TooLargeError", "too many")


def test_a_nrrd_may_not_point_to_a_file_of_the_server(running: Running, tmp_path: Path) -> None:
    secret = tmp_path / "secret.raw"
    secret.write_bytes(bytes(TRUE.labels.array.size))
    sizes = " ".join(str(n) for n in TRUE.labels.shape)
    for field in ("data file", "datafile", "DATA FILE"):
        head = f"NRRD0004\ntype: uchar\ndimension: 3\nsizes: {sizes}\nencoding: raw\n{field}: {secret}\n\n"
        refused(running, head.encode(), 422, "UnreadableUploadError", "points to another file")


@pytest.mark.parametrize(
    "content",
    # A fixed time in the files: the names of the tests are made from them, and all workers must find the same.
    [
        b"no image at all",
        b"\x1f\x8b",
        b"\x1f\x8b" + bytes(200),
        gzip.compress(b"short", mtime=0),
        gzip.compress(bytes(400), mtime=0),
        b"NRRD0004\n",
        b"NRRD0004\nsizes: x\n\n",
        b"NRRD0004\ndimension: 3\nsizes: 2 2 2\ntype: block\n\n",
        struct.pack("<i", 348) + bytes(344),
        b"PK\x03\x04" + bytes(64),
        b"\x89HDF\r\n\x1a\n",
    ],
)
def test_what_is_no_image(running: Running, content: bytes) -> None:
    refused(running, content, 422, "UnreadableUploadError")


def test_a_truncated_upload(running: Running, tmp_path: Path) -> None:
    content = label_bytes(TRUE.labels, tmp_path)
    for length in (len(content) // 2, len(content) - 3):
        refused(running, content[:length], 422, "UnreadableUploadError")
    refused(running, b"", 400, "BadRequestError", "empty")


def test_colours_time_series_and_overlapping_segments(running: Running, tmp_path: Path) -> None:
    four = np.zeros((*TRUE.labels.shape, 2), np.uint8)
    answer = running.client.post("/api/cases/scan0/versions", nifti(four, TRUE.labels.affine))
    assert answer.status == 413 and answer.json["error"] == "TooLargeError"
    small = np.zeros((4, 4, 4, 2), np.uint8)
    refused(running, nifti(small, TRUE.labels.affine), 422, "UnreadableUploadError", "dimensions")
    image = sitk.GetImageFromArray(np.zeros((6, 5, 4, 2), np.uint8), isVector=True)
    sitk.WriteImage(image, str(tmp_path / "two.nrrd"))
    refused(running, (tmp_path / "two.nrrd").read_bytes(), 422, "UnreadableUploadError", "three-dimensional")


def test_unknown_segment_names_of_slicer(running: Running, tmp_path: Path) -> None:
    label = tmp_path / "l.nii.gz"
    label.write_bytes(label_bytes(TRUE.labels, tmp_path))
    boundary = "b"
    params = json.dumps({"label_info": [{"name": "Segment_1\ud800"}]})
    body = (
        (
            f'--b\r\nContent-Disposition: form-data; name="params"\r\n\r\n{params}\r\n--b\r\n'
            'Content-Disposition: form-data; name="label"; filename="C:\\x\\l.nii.gz"\r\n\r\n'
        ).encode()
        + label.read_bytes()
        + b"\r\n--b--\r\n"
    )
    answer = running.client.ask(
        "PUT", "/datastore/label?image=scan0", body, {"content-type": f"multipart/form-data; boundary={boundary}"}
    )
    assert (answer.status, answer.json["error"]) == (422, "LabelError") and "Segment_1" in answer.json["detail"]


@pytest.mark.parametrize(
    "path",
    [
        "/api/cases/..%2f..%2fetc/image.nii.gz",
        "/api/cases/..%2fusers.json/versions",
        "/viewer/..%2f..%2fapp.py",
        "/viewer/%2e%2e/app.py",
        "/viewer/../../../etc/passwd",
        "/datastore/image?image=../../etc/passwd",
        "/datastore/image?image=/etc/passwd",
        "/datastore/label?label=..%2f..%2fx&tag=final",
        "/datastore/label?label=scan0&tag=../../x",
        "/api/findings/..%2f..%2fx/picture.png",
        "/api/findings/1-f0001%2f../picture.png",
        "/session/..%2f..%2fetc",
        "/api/cases/scan0%00/image.nii.gz",
        "/api/cases/annotation/image.nii.gz",
        "/api/cases/dataset/versions",
    ],
)
def test_paths_lead_nowhere(running: Running, path: str) -> None:
    host = running.address.removeprefix("http://")
    connection = http.client.HTTPConnection(host)
    connection.request("GET", path)  # as it stands: no library tidies the dots away
    response = connection.getresponse()
    assert response.status in (400, 404), path
    assert b"root:" not in response.read()


def test_names_from_outside_stay_names(running: Running, tmp_path: Path) -> None:
    scan = nifti(TRUE.ct.array, TRUE.ct.affine)
    for name in ("../../evil", "..", ".hidden", "a/b", "a\\b", "%2e%2e%2fevil", "\0"):
        body = (
            b"--b\r\nContent-Disposition: form-data; "
            + f'name="file"; filename="../../../../tmp/evil{name}.nii.gz"\r\n\r\n'.encode()
            + scan
            + b"\r\n--b--\r\n"
        )
        answer = running.client.ask(
            "PUT", f"/datastore/?image={quote(name)}", body, {"content-type": "multipart/form-data; boundary=b"}
        )
        assert answer.status in (200, 400, 409, 422), answer.body
    project = running.project.layout.root
    outside = {p for p in project.parent.rglob("*evil*") if not p.is_relative_to(project / "annotation" / "uploaded")}
    assert not outside
    assert {p.parent for p in project.rglob("*evil*")} <= {project / "annotation" / "uploaded"}


def test_a_body_over_the_limit_is_cut_off(project: Path, model: Path) -> None:
    with serving(ServerSettings(project, model, ONE_THREAD, body_limit=1 << 20)) as running:
        announced = running.client.post("/api/cases/scan0/versions", bytes(16 << 20))  # more than sockets buffer
        assert (announced.status, announced.json["error"]) == (413, "TooLargeError")
        host = running.address.removeprefix("http://")
        for path, kind in (
            ("/api/cases/scan0/versions", "application/gzip"),
            ("/datastore/label?image=scan0", "multipart/form-data; boundary=b"),
        ):
            connection = http.client.HTTPConnection(host, timeout=20)
            head = b'--b\r\nContent-Disposition: form-data; name="label"; filename="x"\r\n\r\n'
            connection.request(
                "POST" if "api" in path else "PUT",
                path,
                iter([head, *[bytes(1 << 16)] * 100]),
                {"content-type": kind},
                encode_chunked=True,
            )
            response = connection.getresponse()
            assert response.status == 413 and json.loads(response.read())["error"] == "TooLargeError"
        assert not any(running.project.layout.temporary.rglob("*.nii*"))


def test_a_scan_that_can_not_be_read_is_said_to_be(project: Path, model: Path) -> None:
    (project / "broken.nii.gz").write_bytes(b"\x1f\x8b broken")
    with serving(ServerSettings(project, model, ONE_THREAD)) as running:
        answer = running.client.get("/api/cases/broken/image.nii.gz")
        assert answer.status == 422 and answer.json["error"] == "UnreadableScanError"
        row = next(r for r in running.client.get("/api/cases").json if r["id"] == "broken")
        assert (row["shape"] is None and "damaged" in row["problem"]) or "truncated" in row["problem"]


@pytest.mark.parametrize("version", ["0", "-1", "99999999999999999999", "x", "1"])
def test_versions_that_do_not_exist(running: Running, version: str) -> None:
    for what in ("volumes", "labels.nii.gz"):
        answer = running.client.get(f"/api/cases/scan0/versions/{version}/{what}")
        assert answer.status in (404, 422) and "error" in answer.json


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), sqlite3.OperationalError("disk is full")])
def test_a_full_disk_is_told(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    content = label_bytes(TRUE.labels, tmp_path)
    assert running.client.post("/api/cases/scan0/versions", content).status == 201

    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(running.project.store, "save", fails)
    answer = running.client.post("/api/cases/scan0/versions", content)
    assert (answer.status, answer.json["error"]) == (507, "OutputError")
    monkeypatch.undo()
    assert running.client.post("/api/cases/scan0/versions", content).json["version"] == 2


def dicom(syntax: str, pixels: bytes = b"", **changes: object) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = "1.2.840.10008.5.1.4.1.1.2", syntax
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = meta.MediaStorageSOPClassUID, generate_uid(), "CT"
    dataset.Rows, dataset.Columns, dataset.BitsAllocated, dataset.SamplesPerPixel = 16, 16, 16, 1
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 15, 0
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    if pixels:
        dataset.PixelData = pixels
        dataset["PixelData"].VR = "OB"
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def jpeg_of(rows: int, columns: int) -> bytes:
    size = rows.to_bytes(2) + columns.to_bytes(2)
    return b"\xff\xd8\xff\xf7\x00\x0b\x10" + size + b"\x01\x01\x11\x00\xff\xda\x00\x08\x01\x01\x00\x00\x00\x00\xff\xd9"


DEFLATED, JPEG_LS, RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.5"
PLAIN = "1.2.840.10008.1.2.1"
PACKED = {
    "deflated": (dicom(DEFLATED, bytes(1 << 20)), 422),
    "deflated, without preamble": (dicom(DEFLATED, bytes(1 << 20))[132:], 422),
    "deflated frames": (dicom(JPEG_LS, encapsulate([b"x" * 512])).replace(b"1.2.4.80", b"1.2.8.1\0"), 422),
    "unknown syntax": (dicom(JPEG_LS, encapsulate([b"x" * 512])).replace(b"1.2.4.80", b"1.2.9.99"), 422),
    "a stream larger than its header": (dicom(JPEG_LS, encapsulate([jpeg_of(60_000, 60_000)])), 422),
    "a run of zeros": (dicom(RLE, encapsulate([bytes(64) + b"\x81\0" * (1 << 20)])), 413),
    "too many voxels": (dicom(PLAIN, bytes(512), Rows=60_000, Columns=60_000), 413),
    "too many frames": (dicom(JPEG_LS, encapsulate([jpeg_of(16, 16)]), NumberOfFrames=2_000_000), 413),
    "no size": (dicom(PLAIN, bytes(512), Rows=0), 422),
    "no DICOM": (b"hello" * 100, 422),
}


@pytest.mark.parametrize("name", sorted(PACKED))
def test_a_dicom_file_that_unpacks_to_more_is_refused_before_a_reader_sees_it(
    running: Running, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    content, status = PACKED[name]

    def never(_path: Path) -> None:
        raise AssertionError("the reader was reached")

    monkeypatch.setattr("vastus.annotation.http.monai_requests.read_scan", never)
    form = b"".join(
        b'--B\r\nContent-Disposition: form-data; name="files"; filename="x"\r\n\r\n' + content + b"\r\n" for _ in (1, 2)
    )
    answer = running.client.ask(
        "PUT", "/session/", form + b"--B--\r\n", {"content-type": "multipart/form-data; boundary=B"}
    )
    assert (answer.status, answer.json["error"]) in {(413, "TooLargeError"), (422, "UnreadableUploadError")}
    assert answer.status == status, answer.json
    assert not [p for p in running.project.layout.temporary.rglob("*") if p.is_file()]


def test_voxels_of_a_series_are_counted_over_all_its_files(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(dicom(PLAIN, bytes(512)))
    assert check_dicom_upload(path, 256) == 256
    with pytest.raises(TooLargeError):
        check_dicom_upload(path, 255)
    path.write_bytes(dicom(JPEG_LS, encapsulate([jpeg_of(16, 16)] * 3), NumberOfFrames=3))
    assert check_dicom_upload(path, 10_000) == 768
