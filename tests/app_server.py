"""The app on small phantoms: its server in a thread, its worker a real process."""

from __future__ import annotations

import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from annotation_server import Answer, Client, phantom
from dicom_factory import SeriesSpec, write_series
from vastus.app.service import App, AppSettings

KEY = "a-key-of-the-tests"
LIMIT_S = 600.0


@dataclass
class RunningApp:
    address: str
    app: App
    client: Client
    """Has the key."""

    def state(self) -> Any:
        return self.client.get("/app/state").json

    def add(self, path: Path) -> Answer:
        return self.client.post_json("/app/scans", {"path": str(path)})

    def wait(self, holds: Callable[[Any], Any]) -> Any:
        limit = time.monotonic() + LIMIT_S
        while not holds(state := self.state()):
            assert time.monotonic() < limit, state
            time.sleep(0.05)
        return state

    def done(self) -> Any:
        """Wait until nothing waits or runs."""
        return self.wait(lambda state: all(task["state"] == "failed" for task in state["tasks"]))

    def upload(self, files: dict[str, bytes]) -> Answer:
        upload = self.client.post("/app/uploads").json["id"]
        for name, content in files.items():
            query = urllib.parse.urlencode({"name": name})
            assert self.client.ask("PUT", f"/app/uploads/{upload}?{query}", content).status == 204
        return self.client.post(f"/app/uploads/{upload}")


@contextmanager
def serving_app(folder: Path, weights: Path, *, work: bool = True) -> Iterator[RunningApp]:
    pytest.importorskip("fastapi")
    uvicorn = pytest.importorskip("uvicorn")
    from vastus.app.http import create

    served = App(AppSettings(folder, weights, threads=1))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(create(served, KEY), log_level="error", access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        limit = time.monotonic() + 20
        while not server.started and time.monotonic() < limit:
            time.sleep(0.02)
        if work:
            served.runner.start()
        try:
            yield RunningApp(address, served, Client(address, {"cookie": cookie_of(address)}))
        finally:
            server.should_exit = True
            thread.join(20)
            served.close()
            served.project.close()


def cookie_of(address: str) -> str:
    """What a browser keeps after the page was opened with its key."""
    import http.client

    connection = http.client.HTTPConnection(urllib.parse.urlsplit(address).netloc, timeout=30)
    connection.request("GET", f"/app?key={KEY}")
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("location")) == (303, "/app")
    return str(answer.getheader("set-cookie")).partition(";")[0]


def phantom_dicom(folder: Path, number: int = 0) -> dict[str, bytes]:
    """A phantom as a DICOM series; name -> bytes of each slice, in a folder of its own name."""
    ct = phantom(number).ct
    x, y, z = ct.array.shape
    hu = np.ascontiguousarray(ct.array[::-1, ::-1].transpose(2, 1, 0))
    step_x, step_y, step_z = ct.spacing_mm
    corner = ct.affine @ [x - 1, y - 1, 0, 1]
    positions = [(float(-corner[0]), float(-corner[1]), float(corner[2] + step_z * k)) for k in range(z)]
    paths = write_series(folder, SeriesSpec(hu, positions, pixel_spacing=(step_y, step_x)))
    return {f"patient 7/{path.name}": path.read_bytes() for path in paths}
