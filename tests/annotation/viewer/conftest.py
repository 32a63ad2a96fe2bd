"""The real server on small phantoms, and the viewer in headless Chromium.

Every page is watched: an error in a script, or a request to anywhere but the server, fails the test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from vastus.synthesis.phantom import LabelledScan
from vastus.volume import Volume

if TYPE_CHECKING:
    from annotation_server import Running
    from viewer_page import Viewer


def turned(volume: Volume) -> Volume:
    """The same voxels stored towards the left and the back, as most scanners do (LPS)."""
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    flip[0, 3], flip[1, 3] = volume.array.shape[0] - 1, volume.array.shape[1] - 1
    return Volume(np.asfortranarray(volume.array[::-1, ::-1]), volume.affine @ flip)


def as_lps(scan: LabelledScan) -> LabelledScan:
    return LabelledScan(turned(scan.ct), turned(scan.labels))


@pytest.fixture
def server(tmp_path: Path, model: Path) -> Iterator[Running]:
    """``ras`` and ``lps`` with their true labels as version 1, and ``new`` without labels."""
    from annotation_server import ONE_THREAD, label_bytes, phantom, save_ct, serving
    from vastus.annotation.project.project import ServerSettings

    project = tmp_path / "project"
    project.mkdir()
    scans = {"ras": phantom(0), "lps": as_lps(phantom(1)), "new": phantom(2)}
    for name, scan in scans.items():
        save_ct(scan, project / f"{name}.nii.gz")
    with serving(ServerSettings(project, model, ONE_THREAD)) as running:
        for name in ("ras", "lps"):
            answer = running.client.post(f"/api/cases/{name}/versions", label_bytes(scans[name].labels, tmp_path))
            assert answer.status == 201
        yield running


@pytest.fixture
def open_viewer(browser: Any, server: Running) -> Iterator[Callable[..., Viewer]]:
    """Opens the viewer in a new window; checks at the end that nothing went wrong in any of them."""
    from viewer_page import Viewer

    viewers: list[Viewer] = []

    def open_one(path: str = "/?view=axial", address: str | None = None) -> Viewer:
        page = browser.new_page(viewport={"width": 1000, "height": 600})
        page.set_default_timeout(90_000)
        viewer = Viewer(page, address or server.address)
        viewers.append(viewer)
        viewer.go(path)
        return viewer

    yield open_one
    for viewer in viewers:
        viewer.page.close()
        assert viewer.errors == []
        assert viewer.foreign_requests == []
