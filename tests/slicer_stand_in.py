"""What 3D Slicer's MONAI Label module does with a server, on the wire and with label values.

Written from its behaviour:

- Requests go through ``http.client``; forms are put together by hand with one long boundary, and a file's name in a
  form is its full path on the client.
- Answers to an inference are read by ``cgi.FieldStorage``: a part with a file name is the result, one without is JSON.
- A label map that arrives becomes one segment for each value that occurs, in the order of the values; their names come
  from ``label_names`` of the answer, in the same order. A label map that is sent numbers the segments 1, 2, ... in the
  order of ``label_info``.
"""

from __future__ import annotations

import http.client
import json
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

import numpy as np
import pytest
import SimpleITK as sitk

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    cgi = pytest.importorskip("cgi", reason="what that client reads answers with; gone in Python 3.13")

_BOUNDARY = "----------a_LonG_bOundary_of_the_cLient_$"


class ServerSaysNo(Exception):
    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"{status}: {body[:300]!r}")
        self.status, self.body = status, body


@dataclass
class Wire:
    """HTTP as that client speaks it."""

    address: str
    headers: dict[str, str] = field(default_factory=dict)

    def plain(self, method: str, selector: str, body: dict[str, Any] | str | None = None, kind: str = "") -> Any:
        headers = dict(self.headers)
        if body:
            text = json.dumps(body) if isinstance(body, dict) else body
            headers |= {"content-type": kind or "application/json", "content-length": str(len(text))}
        else:
            text = None
        return self._send(method, selector, text, headers)

    def form(self, method: str, selector: str, fields: dict[str, str], files: dict[str, Path]) -> Any:
        body = bytearray()
        for name, value in fields.items():
            body += f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, path in files.items():
            body += (
                f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="{path}"\r\n'
                f"Content-Type: application/octet-stream\r\n\r\n"
            ).encode()
            body += path.read_bytes() + b"\r\n"
        body += f"--{_BOUNDARY}--\r\n\r\n".encode()
        kind = f"multipart/form-data; boundary={_BOUNDARY}"
        return self._send(
            method, selector, bytes(body), self.headers | {"content-type": kind, "content-length": str(len(body))}
        )

    def _send(self, method: str, selector: str, body: Any, headers: dict[str, str]) -> Any:
        host = urlsplit(self.address)
        assert host.hostname
        connection = http.client.HTTPConnection(host.hostname, host.port, timeout=60)
        connection.request(method, selector, body=body, headers=headers)
        response = connection.getresponse()
        if response.status != 200:
            raise ServerSaysNo(response.status, response.read())
        if "multipart" not in response.getheader("content-type", ""):
            return response.read(), {}, response.headers
        found = cgi.FieldStorage(
            fp=response.fp, environ={"REQUEST_METHOD": "POST"}, headers=response.msg, keep_blank_values=True
        )
        form = {part.name: part.value for part in found.list or [] if not part.filename}
        files = {part.filename: part.value for part in found.list or [] if part.filename}
        return form, files, response.headers


@dataclass
class SlicerModule:
    """One annotator at 3D Slicer."""

    address: str
    folder: Path
    file_ext: str = ".nii.gz"
    client_id: str = "user-one"
    segments: dict[str, np.ndarray] = field(default_factory=dict)
    volume: Any = None
    sample: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.wire = Wire(self.address)
        self.folder.mkdir(parents=True, exist_ok=True)

    # --- connecting ---

    def auth_enabled(self) -> bool:
        try:
            body, _, _ = self.wire.plain("GET", "/auth/")
        except ServerSaysNo:
            return False
        return bool(json.loads(body).get("enabled"))

    def sign_in(self, name: str, password: str) -> None:
        form = urlencode({"username": name, "password": password, "grant_type": "password"})
        body, _, _ = self.wire.plain("POST", "/auth/token", form, "application/x-www-form-urlencoded")
        token = json.loads(body)
        self.wire.headers["Authorization"] = f"{token['token_type']} {token['access_token']}"
        self.wire.plain("GET", "/auth/token/valid")

    def info(self) -> dict[str, Any]:
        info = json.loads(self.wire.plain("GET", "/info/")[0])
        if info.get("config"):
            raise AssertionError("Please upgrade the server")  # what the module tells its user
        for model in info["models"].values():
            assert {"type", "labels", "description", "config"} <= set(model)
        return dict(info)

    # --- the scan ---

    def next_sample(self, strategy: str) -> bool:
        body, _, _ = self.wire.plain("POST", f"/activelearning/{quote_plus(strategy)}", {"client_id": self.client_id})
        self.sample = json.loads(body)
        if not self.sample.get("id"):
            return False
        assert not (self.sample["path"] and Path(self.sample["path"]).exists()), "it would open the file itself"
        body, _, _ = self.wire.plain("GET", f"/datastore/image?image={quote_plus(self.sample['id'])}")
        path = self.folder / self.sample["name"]
        path.write_bytes(body)
        self.volume = sitk.ReadImage(str(path))
        self.segments = {}
        return True

    def upload_image(self, path: Path, image_id: str) -> str:
        fields = {"params": json.dumps({"client_id": self.client_id})}
        body, _, _ = self.wire.form("PUT", f"/datastore/?image={quote_plus(image_id)}", fields, {"file": path})
        self.sample = {"id": json.loads(body)["image"]}
        self.volume = sitk.ReadImage(str(path))
        return str(self.sample["id"])

    # --- segments ---

    def infer(self, model: str, label: Path | None = None, **params: Any) -> dict[str, Any]:
        params |= {"client_id": self.client_id, "result_extension": self.file_ext, "result_dtype": "uint8"}
        selector = f"/infer/{quote_plus(model)}?image={quote_plus(self.sample['id'])}"
        session = params.pop("session_id", None)
        selector += f"&session_id={quote_plus(session)}" if session else ""
        form, files, _ = self.wire.form(
            "POST", selector, {"params": json.dumps(params)}, {"label": label} if label else {}
        )
        ((name, content),) = files.items()
        path = self.folder / name
        path.write_bytes(content)
        result = json.loads(form["params"])
        self.import_labels(path, result["label_names"])
        return dict(result)

    def import_labels(self, path: Path, label_names: dict[str, int] | list[str]) -> None:
        image = sitk.ReadImage(str(path))
        assert image.GetSize() == self.volume.GetSize()
        assert np.allclose(image.GetOrigin(), self.volume.GetOrigin(), atol=1e-3)
        assert np.allclose(image.GetDirection(), self.volume.GetDirection(), atol=1e-4)
        array = sitk.GetArrayFromImage(image)
        names = sorted(label_names, key=label_names.get) if isinstance(label_names, dict) else label_names
        for name, value in zip(names, np.unique(array[array > 0]), strict=False):
            self.segments[name] = array == value

    def download_label(self, tag: str) -> None:
        found = json.loads(self.wire.plain("GET", "/datastore/?output=all")[0])["objects"][self.sample["id"]]
        names = found["labels"][tag]["info"]["params"]["label_names"]
        body, _, headers = self.wire.plain(
            "GET", f"/datastore/label?label={quote_plus(self.sample['id'])}&tag={quote_plus(tag)}"
        )
        (file_name,) = re.findall('filename="(.+)"', headers["content-disposition"])
        path = self.folder / f"downloaded{''.join(Path(file_name).suffixes)}"
        path.write_bytes(body)
        self.import_labels(path, list(names))

    def save_label(self, tag: str = "") -> dict[str, Any]:
        path, label_info = self.export()
        params = {"label_info": label_info, "client_id": self.client_id}
        selector = f"/datastore/label?image={quote_plus(self.sample['id'])}" + (
            f"&tag={quote_plus(tag)}" if tag else ""
        )
        return dict(json.loads(self.wire.form("PUT", selector, {"params": json.dumps(params)}, {"label": path})[0]))

    def export(self, key: str = "idx") -> tuple[Path, list[dict[str, Any]]]:
        size = self.volume.GetSize()
        array = np.zeros(size[::-1], np.uint8)
        label_info = []
        for number, (name, mask) in enumerate(self.segments.items(), start=1):
            array[mask] = number
            label_info.append({"name": name, key: number})
        image = sitk.GetImageFromArray(array)
        image.CopyInformation(self.volume)
        path = self.folder / f"exported{self.file_ext}"
        sitk.WriteImage(image, str(path), useCompression=True)
        return path, label_info

    # --- training ---

    def is_training(self) -> bool:
        try:
            self.wire.plain("GET", "/train/?check_if_running=true")
        except ServerSaysNo:
            return False
        return True
