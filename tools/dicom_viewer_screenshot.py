"""The picture of docs/how-to-dicom.md: the sample scan and its SEG in OHIF, served by Orthanc.

    npm pack @ohif/app@3.13.2 && tar xzf ohif-app-3.13.2.tgz
    python tools/dicom_viewer_screenshot.py package/dist docs/images/dicom-seg-in-ohif.png

Needs Orthanc with its DICOMweb plugin, Chromium, and ``tornado`` (it comes with ``vastus[batch]``). Nothing of OHIF is
kept. The scan is written as DICOM first; viewer and DICOMweb are served from one origin on loopback.
"""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import nibabel as nib
import numpy as np
import pydicom

import dicom_factory as factory
from labelled_dicom import FULL_HEADER, content_of
from orthanc_server import PASSWORD, USER, free_port, running_orthanc
from vastus.dicom.formats import LABELMAP
from vastus.dicom.outputs import write_dicom
from vastus.dicom.pacs import open_pacs
from vastus.dicom.pacs_address import parse_address

ROOT = Path(__file__).parents[1]
SCREEN = (1500, 950)
SECONDS = 400
SLICES = slice(60, 96)  # of the sample scan: the hips; the whole takes long to load without a graphics card
OPEN_SEG = """(() => {
  const thumbnails = [...document.querySelectorAll('[data-cy^=study-browser-thumbnail]')];
  const seg = thumbnails.find(e => e.innerText.includes('Vastus segmentation'));
  const banner = [...document.querySelectorAll('button')].find(e => e.innerText.includes('Confirm and hide'));
  banner?.click();
  seg?.dispatchEvent(new MouseEvent('dblclick', { bubbles: true }));
  return seg ? 1 : 0;
})()"""
LOAD_SEG = """(() => {
  if (document.body.innerText.includes('Loading SEG')) return;
  [...document.querySelectorAll('button, [role=button], div')].reverse().find(e => e.innerText === 'LOAD')?.click();
})()"""
CONFIG = """window.config = {
  routerBasename: null, extensions: [], modes: [], customizationService: {}, showStudyList: false,
  maxNumberOfWebWorkers: 2, showWarningMessageForCrossOrigin: false, showCPUFallbackMessage: false,
  strictZSpacingForVolumeViewport: false, disableConfirmationPrompts: true, defaultDataSourceName: 'orthanc',
  dataSources: [{ namespace: '@ohif/extension-default.dataSourcesModule.dicomweb', sourceName: 'orthanc',
    configuration: { friendlyName: 'Orthanc', name: 'orthanc', wadoUriRoot: '/wado', qidoRoot: '/dicom-web',
      wadoRoot: '/dicom-web', qidoSupportsIncludeField: false, imageRendering: 'wadors', thumbnailRendering: 'wadors',
      enableStudyLazyLoad: true, supportsFuzzyMatching: false, supportsWildcard: true, dicomUploadEnabled: false,
      omitQuotationForMultipartRequest: true, bulkDataURI: { enabled: true } } }] };
"""


def write_study(folder: Path) -> list[pydicom.Dataset]:
    """The sample scan as CT images, and the labelmap SEG of its labels (OHIF takes minutes for 58 binary ones)."""
    scan, labels = (nib.load(ROOT / "examples" / f"sample_{name}.nii.gz") for name in ("scan", "labels"))
    # DICOM counts columns to the patient's left and rows to the back: both opposite to RAS+.
    hu, values = (np.asarray(image.dataobj)[::-1, ::-1, SLICES].transpose(2, 1, 0) for image in (scan, labels))
    x, y, z = scan.affine[:3, 3]
    dx, dy, dz = (float(scan.affine[n, n]) for n in range(3))
    corner = (-(x + dx * (scan.shape[0] - 1)), -(y + dy * (scan.shape[1] - 1)))
    positions = [(float(corner[0]), float(corner[1]), float(z + dz * k)) for k in range(scan.shape[2])[SLICES]]
    extra = FULL_HEADER | {"SliceThickness": dz, "WindowCenter": 40, "WindowWidth": 400, "RescaleType": "HU"}
    spec = factory.SeriesSpec(
        np.clip(hu, -1024, 3071).astype(np.int16), positions, pixel_spacing=(dy, dx), patient="Synthetic", extra=extra
    )
    paths = factory.write_series(folder / "ct", spec)
    (seg,) = write_dicom(content_of(folder / "ct", values.astype(np.uint8)), (LABELMAP,), folder)
    datasets = [pydicom.dcmread(path) for path in (*paths, seg)]
    for number, dataset in enumerate(datasets, start=1):
        dataset.PatientName = "Sample^Synthetic"
        if dataset.Modality == "CT":
            dataset.InstanceNumber = number
    return datasets


class _OneOrigin(SimpleHTTPRequestHandler):
    """The viewer's files, and everything under /dicom-web from Orthanc."""

    def __init__(self, *args: object, upstream: str, **kwargs: object) -> None:
        self._upstream = upstream
        super().__init__(*args, **kwargs)

    def do_GET(self) -> None:
        if self.path.startswith("/dicom-web"):
            self._pass_on()
        elif self.path == "/app-config.js":
            self._answer(200, "text/javascript", CONFIG.encode())
        else:
            if not (Path(self.directory) / self.path.partition("?")[0].lstrip("/")).is_file():
                self.path = "/index.html"
            super().do_GET()

    def _pass_on(self) -> None:
        request = urllib.request.Request(self._upstream + self.path)
        request.add_header("Accept", self.headers.get("Accept", "*/*"))
        request.add_header("Authorization", "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode())
        # Orthanc writes the addresses of bulk data with the host it was asked by.
        request.add_header("Host", self.headers["Host"])
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                self._answer(answer.status, answer.headers["Content-Type"], answer.read())
        except urllib.error.HTTPError as error:
            self._answer(error.code, "text/plain", error.read())

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Requests are not logged."""


@contextmanager
def serve(viewer: Path, upstream: str) -> Iterator[str]:
    """Viewer and PACS under one address."""
    handler = partial(_OneOrigin, directory=str(viewer), upstream=upstream)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


async def photograph(address: str, target: Path) -> None:
    """Open the address in Chromium, wait until the segmentation is drawn, save the screen."""
    from tornado.websocket import websocket_connect

    port = free_port()
    with tempfile.TemporaryDirectory() as profile:
        browser = subprocess.Popen(
            [
                "chromium",
                "--headless",
                "--no-sandbox",
                "--disable-quic",
                "--no-first-run",
                "--use-angle=swiftshader",
                "--enable-unsafe-swiftshader",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--force-device-scale-factor=1",
                f"--window-size={SCREEN[0]},{SCREEN[1]}",
                f"--remote-debugging-port={port}",
                f"--user-data-dir={profile}",
                "about:blank",
            ],
            stderr=subprocess.DEVNULL,
        )
        try:
            page = await _page(port)
            socket = await websocket_connect(page, max_message_size=1 << 27)
            number = 0

            async def ask(method: str, **parameters: object) -> dict:
                nonlocal number
                number += 1
                await socket.write_message(json.dumps({"id": number, "method": method, "params": parameters}))
                while True:
                    answer = json.loads(await socket.read_message())
                    if answer.get("id") == number:
                        return answer.get("result", {})

            await ask("Page.navigate", url=address)
            opened, text = 0, ""
            for _ in range(SECONDS // 2):
                await asyncio.sleep(2)
                if not opened:
                    opened = (await ask("Runtime.evaluate", expression=OPEN_SEG))["result"].get("value", 0)
                else:
                    await ask("Runtime.evaluate", expression=LOAD_SEG)
                text = (await ask("Runtime.evaluate", expression="document.body.innerText"))["result"].get("value", "")
                if "Gracilis" in text:
                    break
            else:
                print("The viewer did not list the segments in time; its text:\n" + text[:2000], file=sys.stderr)
            await asyncio.sleep(20)
            image = await ask("Page.captureScreenshot", format="png")
            target.write_bytes(base64.b64decode(image["data"]))
        finally:
            browser.terminate()
            browser.wait(20)


async def _page(port: int) -> str:
    for _ in range(100):
        await asyncio.sleep(0.3)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=5) as answer:
                pages = [p for p in json.load(answer) if p["type"] == "page"]
            if pages:
                return pages[0]["webSocketDebuggerUrl"]
        except OSError:
            continue
    raise RuntimeError("Chromium does not answer")


def main() -> None:
    """Take the picture."""
    viewer, target = map(Path, sys.argv[1:3])
    with tempfile.TemporaryDirectory() as name, running_orthanc(Path(name)) as orthanc:
        datasets = write_study(Path(name))
        open_pacs(parse_address(orthanc.dimse)).store(datasets)
        seg, study = datasets[-1].SeriesInstanceUID, datasets[-1].StudyInstanceUID
        with serve(viewer, f"http://127.0.0.1:{orthanc.http_port}") as address:
            query = f"StudyInstanceUIDs={study}&initialSeriesInstanceUID={seg}"
            asyncio.run(photograph(f"{address}/segmentation?{query}", target))


if __name__ == "__main__":
    main()
