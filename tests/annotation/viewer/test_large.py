"""Voxels as the page keeps them, for any order of axes; and a large scan: first an overview, then the whole."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from annotation_server import ONE_THREAD, Running, label_bytes, phantom, save_ct, serving
from vastus.annotation.project.project import ServerSettings
from vastus.synthesis.phantom import LabelledScan
from vastus.volume import Volume, to_ras
from viewer_page import Viewer

Open = Callable[..., Viewer]
DIGEST = """async array => {
    const bytes = await crypto.subtle.digest("SHA-256", array.slice());
    return [...new Uint8Array(bytes)].map(b => b.toString(16).padStart(2, "0")).join("");
}"""
ORDERS = {
    "pil": ((1, 2, 0), (-1, 1, -1)),
    "sar": ((2, 1, 0), (1, 1, 1)),
    "lai": ((0, 1, 2), (-1, 1, -1)),
    "rpi": ((0, 1, 2), (1, -1, -1)),
}


def stored(volume: Volume, axes: tuple[int, ...], signs: tuple[int, ...]) -> Volume:
    """The same voxels with axes in another order and direction."""
    affine = volume.affine.copy()
    affine[:, :3] = volume.affine[:, list(axes)]
    array = volume.array.transpose(axes)
    for axis, sign in enumerate(signs):
        if sign < 0:
            array = np.flip(array, axis)
            affine[:, 3] += affine[:, axis] * (array.shape[axis] - 1)
            affine[:, axis] *= -1
    return Volume(np.asfortranarray(array), affine)


@pytest.fixture
def turned(tmp_path: Path, model: Path) -> Running:
    scan = phantom(0)
    folder = tmp_path / "turned"
    folder.mkdir()
    for name, order in ORDERS.items():
        save_ct(LabelledScan(stored(scan.ct, *order), stored(scan.labels, *order)), folder / f"{name}.nii.gz")
    with serving(ServerSettings(folder, model, ONE_THREAD)) as running:
        for name, order in ORDERS.items():
            (tmp_path / name).mkdir()
            body = label_bytes(stored(scan.labels, *order), tmp_path / name)
            assert running.client.post(f"/api/cases/{name}/versions", body).status == 201
        yield running  # type: ignore[misc]


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(array.tobytes(order="F")).hexdigest()


def test_voxels_of_any_order_of_axes_lie_where_the_server_has_them(turned: Running, open_viewer: Open) -> None:
    viewer = open_viewer(address=turned.address)
    for name in ORDERS:
        viewer.open(name)
        scan = to_ras(turned.project.image(name))
        labels = to_ras(turned.project.current_labels(name))
        page = viewer.page
        assert page.evaluate("vastus.scene.dims") == list(scan.array.shape)
        assert page.evaluate(f"({DIGEST})(vastus.scene.image.array)") == digest(scan.array)
        assert page.evaluate(f"({DIGEST})(vastus.scene.map.voxels)") == digest(labels.array)
        affine = np.array(page.evaluate("vastus.scene.image.affine")).reshape(4, 4)
        np.testing.assert_allclose(affine, scan.affine, atol=1e-4)
        i, j, k = viewer.place["voxel"]
        assert page.evaluate(f"vastus.scene.huAt(vastus.scene.map.index([{i}, {j}, {k}]))") == scan.array[i, j, k]


def test_half_floats_hold_hu(open_viewer: Open) -> None:
    viewer = open_viewer()
    halves = viewer.page.evaluate(
        "import('/viewer/js/grey.js').then(({ half }) => [0, 1, -1000, 2047, 3071, 1e6, -1e6, 1e-9].map(half))"
    )
    found = np.array(halves, np.uint16).view(np.float16)
    assert found.tolist() == [0, 1, -1000, 2047, 3072, 65504, -65504, 0]


def test_the_whole_scan_follows_its_overview_and_can_be_drawn_on(server: Running, open_viewer: Open) -> None:
    viewer = open_viewer()
    page = viewer.page
    page.evaluate("vastus.workspace.largeVoxels = 1000")
    page.evaluate("""() => {
        const { api } = vastus.workspace;
        const image = window.plainImage = api.image;
        api.image = async (...given) => {
            const found = await image(...given);
            await new Promise((done) => { window.goOn = done; });
            return found;
        };
    }""")
    page.click("[data-id=lps]")
    page.wait_for_function("() => window.goOn && vastus.workspace.version")
    assert "The whole scan follows" in viewer.text("#overview") and not page.is_visible("#load-whole")
    labels = to_ras(server.project.current_labels("lps")).array
    i, j, k = (int(c) for c in np.argwhere(labels == 103)[5])
    page.evaluate(f"vastus.scene.goTo([{i}, {j}, {k}])")
    page.keyboard.press("b")
    assert page.evaluate("vastus.workspace.overview")
    page.evaluate("window.before = window.goOn; window.goOn()")
    page.wait_for_function("() => !vastus.workspace.overview && vastus.workspace.following === null")
    viewer.drawn()
    assert not page.is_visible("#overview")
    assert viewer.place == {"voxel": [i, j, k], "value": 103}, "the crosshair stays"
    assert page.evaluate(f"({DIGEST})(vastus.scene.map.voxels)") == digest(labels)

    # Another case while the whole is still on its way: it is not put over that one.
    page.click("[data-id=ras]")
    page.wait_for_function("() => vastus.workspace.case?.id === 'ras' && vastus.workspace.following === 'ras'")
    page.wait_for_function("() => window.goOn !== window.before")
    page.evaluate("() => { Object.assign(vastus.workspace, { largeVoxels: 48e6 }).api.image = window.plainImage; }")
    viewer.open("new")
    page.evaluate("window.goOn()")
    viewer.drawn()
    assert page.evaluate("[vastus.workspace.case.id, vastus.workspace.overview, vastus.workspace.following]") == [
        "new",
        False,
        None,
    ]
    scan = to_ras(server.project.image("new")).array
    assert page.evaluate(f"({DIGEST})(vastus.scene.image.array)") == digest(scan)
