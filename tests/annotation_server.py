"""A small annotation project, its server in a thread, and clients for both protocols."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from toy_bundle import write_toy_bundle
from vastus.annotation.project.project import Project, ServerSettings
from vastus.annotation.project.users import Accounts
from vastus.inference.choices import RuntimeName, RuntimeOptions
from vastus.io.labels import write_labels
from vastus.preprocessing import PreprocessingSettings
from vastus.synthesis.phantom import LabelledScan, make_phantom

SPACING_MM = (10.0, 10.0, 12.0)
SEEN = PreprocessingSettings(
    hu_window=(-100.0, 500.0), gamma=1.0, spacing_mm=(10.0, 10.0, 12.0), window_size=(32, 32, 32)
)
ONE_THREAD = RuntimeOptions(runtime=RuntimeName.ONNXRUNTIME, threads=1)


def phantom(number: int) -> LabelledScan:
    return make_phantom(SPACING_MM, seed=number)


def save_ct(scan: LabelledScan, path: Path) -> None:
    image = nibabel.Nifti1Image(scan.ct.array, scan.ct.affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def make_project(folder: Path, scans: int = 3) -> Path:
    """Phantoms ``scan0``, ``scan1`` ... as NIfTI."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(scans):
        save_ct(phantom(number), folder / f"scan{number}.nii.gz")
    return folder


def toy_model(folder: Path) -> Path:
    """A network that calls what is as bright as muscle sartorius, and what is as bright as bone femur."""
    return write_toy_bundle(folder, ("background", "sartorius", "femur"), (0.0, 0.253, 0.867), SEEN).folder


def label_bytes(labels: Any, folder: Path, name: str = "label.nii.gz") -> bytes:
    path = folder / name
    write_labels(labels, path, partly=True)
    return path.read_bytes()


@dataclass
class Answer:
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Client:
    """Plain requests, as a script would send them."""

    address: str
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        request = urllib.request.Request(
            self.address + path, data=body, method=method, headers=self.headers | (headers or {})
        )
        try:
            # Long enough for a first segmentation that compiles its kernels on a busy machine.
            with urllib.request.urlopen(request, timeout=300) as response:
                return Answer(response.status, response.headers, response.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.headers, error.read())

    def get(self, path: str) -> Answer:
        return self.ask("GET", path)

    def post(self, path: str, body: bytes | None = None, kind: str = "application/octet-stream") -> Answer:
        return self.ask("POST", path, body, {"content-type": kind})

    def post_json(self, path: str, values: Any) -> Answer:
        return self.post(path, json.dumps(values).encode(), "application/json")


@dataclass
class Running:
    address: str
    project: Project
    client: Client


@contextmanager
def serving(settings: ServerSettings, accounts: Accounts | None = None) -> Iterator[Running]:
    """The real server on a free port of this machine."""
    pytest.importorskip("fastapi")
    uvicorn = pytest.importorskip("uvicorn")
    from vastus.annotation.http.app import create_app, guarded

    project = Project(settings, accounts)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        server = uvicorn.Server(
            uvicorn.Config(guarded(create_app(project), project), log_level="error", access_log=False)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        limit = time.monotonic() + 20
        while not server.started and time.monotonic() < limit:
            time.sleep(0.02)
        try:
            yield Running(address, project, Client(address))
        finally:
            server.should_exit = True
            thread.join(20)
            project.close()


def labels_of(content: bytes) -> np.ndarray:
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(content))
    return np.asarray(image.dataobj)
