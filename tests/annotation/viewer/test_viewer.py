from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from annotation_server import Running
from vastus.anatomy import LABELS
from viewer_page import Viewer, saved_labels

VASTUS_LATERALIS_RIGHT, VASTUS_LATERALIS_LEFT, FEMUR_RIGHT = 103, 203, 128
Open = Callable[..., Viewer]
BOTH_CROSSHAIRS = """[vastus.scene.nv, vastus.scene.nv2].map(nv => [...nv.frac2vox(nv.scene.crosshairPos)])"""


def choose(viewer: Viewer, name: str) -> None:
    viewer.page.click(f"#structures .name:text-is('{name}')")


def test_open_switch_planes_draw_save_reload_and_find_it(server: Running, open_viewer: Open) -> None:
    viewer = open_viewer()
    viewer.open("lps")
    for key, plane in (("3", "Coronal"), ("4", "Sagittal"), ("2", "Axial")):
        viewer.keys(key)
        viewer.drawn()
        assert viewer.page.is_checked(f"[name=view][value={plane.lower()}]")
        viewer.page.keyboard.press("PageUp")
        assert viewer.text("#here-slice").startswith(plane)
    # A click names the structure.
    viewer.look_at(viewer.middle_of(FEMUR_RIGHT))
    viewer.click_voxel(viewer.middle_of(FEMUR_RIGHT))
    assert viewer.text("#here-name") == "Femur, right"
    # A stroke of another structure over fat; others are kept.
    choose(viewer, "Vastus lateralis")
    viewer.keys("b")
    start = viewer.middle_of(VASTUS_LATERALIS_RIGHT)
    viewer.look_at(start)
    end = [start[0] + 3, start[1], start[2]]
    viewer.stroke(start, end)
    ring = viewer.page.locator("#pen").bounding_box()
    one_voxel = abs(viewer.on_screen(end)[0] - viewer.on_screen(start)[0]) / 3
    assert ring["width"] == pytest.approx(0.6 * one_voxel, rel=0.05)  # 6 mm in voxels of 10 mm
    assert viewer.page.is_visible("#unsaved")
    drawn = viewer.page.evaluate(f"vastus.scene.map.at({end})")
    assert drawn == VASTUS_LATERALIS_RIGHT
    viewer.save("a stroke", final=True)
    viewer.wait_for_version(2)
    assert viewer.page.is_hidden("#unsaved")

    version = server.project.store.version("lps", 2)
    assert (version.kind.value, version.parent, version.note, version.tag) == ("human", 1, "a stroke", "final")
    (before, affine), (after, same_affine) = saved_labels(server, "lps", 1), saved_labels(server, "lps", 2)
    changed = before != after
    assert 1 <= changed.sum() <= 40
    assert set(np.unique(after[changed])) == {VASTUS_LATERALIS_RIGHT}
    assert set(np.unique(before[changed])) == {0}
    assert np.allclose(affine, same_affine, atol=1e-4)
    # Stored LPS: the voxel drawn on the right of the patient, seen in RAS, is found mirrored in the file.
    assert changed[before.shape[0] - 1 - end[0], before.shape[1] - 1 - end[1], end[2]]

    viewer.go("/?view=axial&case=lps")
    viewer.wait_for_case("lps")
    viewer.wait_for_version(2)
    viewer.look_at(end)
    assert viewer.place == {"voxel": end, "value": VASTUS_LATERALIS_RIGHT}
    assert viewer.text("#version-title") == "version 2, final"


def test_everything_by_keyboard(server: Running, open_viewer: Open) -> None:
    viewer = open_viewer()
    viewer.keys("g")
    while viewer.page.evaluate("document.activeElement.dataset.id") != "ras":
        viewer.keys("Tab")
    viewer.keys("Enter")
    viewer.wait_for_case("ras")
    viewer.keys("/")
    viewer.page.keyboard.type("gmax")
    viewer.keys("Tab", "Tab", "Tab")  # past All and None, and to the group's first box
    while viewer.page.evaluate("document.activeElement.className") != "name":
        viewer.keys("Tab")
    viewer.keys("Enter", "l", "j")
    assert viewer.text("#selected strong") == "Gluteus maximus"
    assert viewer.page.is_checked("#side-left")
    assert viewer.place["value"] == 214
    viewer.keys("i", "e", "]", " ")
    removed = viewer.place
    assert removed["value"] == 0
    viewer.keys("Control+z")
    assert viewer.place["value"] == 214
    assert viewer.page.is_disabled("#undo")
    viewer.keys("Control+y", "Control+s")
    viewer.page.wait_for_selector("dialog[open]")
    viewer.page.keyboard.type("by keys")
    viewer.keys("Enter")
    viewer.wait_for_version(2)
    after, _ = saved_labels(server, "ras", 2)
    assert after[tuple(removed["voxel"])] == 0
    viewer.keys("?")
    assert "Save as a new version" in viewer.text("dialog[open]")
    viewer.keys("Escape")
    assert viewer.page.is_hidden("dialog")


def test_every_control_is_reached_by_tab_and_shows_it(open_viewer: Open) -> None:
    viewer = open_viewer()
    viewer.open("new")
    viewer.page.focus(".skip")
    reached: dict[str, bool] = {}
    while len(reached) < 250:
        viewer.keys("Tab")
        name, ringed = viewer.page.evaluate(
            """(() => {
                const at = document.activeElement;
                const shown = at.closest(".choice") ? at.nextElementSibling : at;
                const name = at.id || at.getAttribute("aria-label") || at.value || at.textContent;
                return at === document.body ? ["", true] : [name, getComputedStyle(shown).outlineStyle !== "none"];
            })()"""
        )
        if name == "":  # once around
            break
        reached[name] = ringed
    wanted = {
        "next",
        "strategy",
        "find-case",
        "tab-cases",
        "window",
        "low",
        "high",
        "opacity",
        "outline",
        "uncertainty",
        "size",
        "keep-others",
        "limit-hu",
        "save",
        "planes",
        "find",
        "show-all",
        "show-none",
        "help",
        "axial",
        "move",
    }
    assert wanted <= set(reached)
    assert [name for name, ringed in reached.items() if not ringed] == []


def test_nothing_is_asked_of_other_servers(open_viewer: Open) -> None:
    viewer = open_viewer("/?view=four")
    viewer.open("ras")
    for tab in ("history", "findings", "models", "cases"):
        viewer.page.click(f"#tab-{tab}")
    assert len(viewer.requests) > 12
    assert viewer.foreign_requests == []
    blocked = viewer.page.evaluate(
        """new Promise(done => {
            const refused = [];
            addEventListener("securitypolicyviolation", event => refused.push(event.effectiveDirective));
            const image = new Image();
            image.src = "http://127.0.0.9:9/x.png";
            fetch("http://127.0.0.9:9/x").catch(() => setTimeout(() => done(refused), 100));
        })"""
    )
    assert set(blocked) == {"connect-src", "img-src"}
    viewer.requests[:] = [url for url in viewer.requests if "127.0.0.9" not in url]
    viewer.errors.clear()  # the two refusals above are reported there, too


def test_two_versions_side_by_side(server: Running, open_viewer: Open) -> None:
    labels, _ = saved_labels(server, "ras", 1)
    viewer = open_viewer()
    viewer.open("ras")
    middle = viewer.middle_of(FEMUR_RIGHT)
    choose(viewer, "Femur")
    viewer.look_at(middle)
    viewer.page.focus("#planes")
    viewer.keys("e", " ")
    viewer.save("less femur")
    viewer.wait_for_version(2)
    viewer.keys("v", "c")
    viewer.page.wait_for_selector("#planes-second:visible")
    viewer.look_at(middle)
    assert viewer.place["value"] == 0
    assert viewer.text("#here-name") == "Background  |  Femur, right"
    dice = float(viewer.text("tr[data-key=femur] td.right .hu"))
    assert 0 < dice < 1
    assert viewer.text("tr[data-key=sartorius] td.right .hu") == "1.00"
    viewer.page.focus("#planes")
    viewer.keys("ArrowRight", "PageUp")
    places = viewer.page.evaluate(BOTH_CROSSHAIRS)
    assert places[0] == places[1] == [middle[0] - 1, middle[1], middle[2] + 1]
    # The link works from the second image, too.
    viewer.drawn()
    box = viewer.page.locator("#planes-second").bounding_box()
    viewer.page.mouse.click(box["x"] + 0.4 * box["width"], box["y"] + 0.5 * box["height"])
    viewer.drawn()
    places = viewer.page.evaluate(BOTH_CROSSHAIRS)
    assert places[0] == places[1] != [middle[0] - 1, middle[1], middle[2] + 1]
    viewer.keys("c")
    viewer.page.wait_for_selector("#planes-second", state="hidden")
    assert (labels[labels == FEMUR_RIGHT]).size > 0


def test_history_keeps_all_and_brings_back(server: Running, open_viewer: Open) -> None:
    viewer = open_viewer()
    viewer.open("ras")
    choose(viewer, "Femur")
    viewer.look_at(viewer.middle_of(FEMUR_RIGHT))
    viewer.page.focus("#planes")
    viewer.keys("e", " ")
    # Leaving asks first.
    viewer.page.click("[data-id=new]")
    viewer.page.click("dialog[open] button:has-text('Stay')")
    assert viewer.text("#case-title") == "ras"
    viewer.save("less")
    viewer.wait_for_version(2)
    viewer.page.click("#tab-history")
    viewer.page.click("#history li:nth-child(2) button:has-text('Show')")
    viewer.wait_for_version(1)
    assert viewer.text("#locked") == "Older version"
    assert viewer.page.is_disabled("#save")
    viewer.page.click("#history li:nth-child(2) button:has-text('Restore')")
    viewer.wait_for_version(3)
    first, _ = saved_labels(server, "ras", 1)
    third, _ = saved_labels(server, "ras", 3)
    assert np.array_equal(first, third)
    assert viewer.page.locator("#history li").count() == 3


def test_a_case_of_someone_else_is_only_looked_at(server: Running, open_viewer: Open) -> None:
    other = {"x-vastus-author": "berta"}
    assert server.client.ask("POST", "/api/cases/ras/lock", headers=other).status == 200
    viewer = open_viewer()
    assert "locked by berta" in viewer.text("[data-id=ras]")
    viewer.open("ras")
    assert viewer.text("#locked") == "Locked by berta"
    choose(viewer, "Femur")
    middle = viewer.middle_of(FEMUR_RIGHT)
    viewer.look_at(middle)
    viewer.page.focus("#planes")
    viewer.keys("e", " ")
    assert viewer.place["value"] == FEMUR_RIGHT
    assert viewer.page.is_disabled("#save")


def test_saved_meanwhile_by_someone_else(server: Running, open_viewer: Open) -> None:
    viewer = open_viewer()
    viewer.open("ras")
    choose(viewer, "Femur")
    viewer.look_at(viewer.middle_of(FEMUR_RIGHT))
    labels = server.client.get("/api/cases/ras/versions/1/labels.nii.gz").body
    assert server.client.post("/api/cases/ras/versions?note=in+between", labels).status == 201
    viewer.page.focus("#planes")
    viewer.keys("e", " ")
    viewer.save("mine")
    viewer.wait_for_version(3)
    notes = [v.note for v in server.project.store.versions("ras")]
    assert notes == ["", "in between", "mine (joined with version 2)"]


def test_solo_search_and_volumes(open_viewer: Open) -> None:
    viewer = open_viewer()
    viewer.open("ras")
    viewer.page.wait_for_function("() => document.querySelector('tr[data-key=femur] td.right .hu').textContent !== ''")
    counted = viewer.page.evaluate(f"vastus.scene.map.counts[{FEMUR_RIGHT}] * vastus.scene.map.voxelMl")
    assert float(viewer.text("tr[data-key=femur] td.right .ml")) == pytest.approx(counted, abs=0.6)
    assert 350 < float(viewer.text("tr[data-key=femur] td.right .hu")) < 450
    choose(viewer, "Femur")
    viewer.keys("s")
    shown = "[...Array(256).keys()].filter(v => vastus.scene.lut[4 * v + 3] > 0)"
    assert viewer.page.evaluate(shown) == [
        28,
        128,
        228,
        252,
        253,
        254,
        255,
    ]  # on all sides, a tool's change, seed, unlabelled
    viewer.keys("s")
    assert len(viewer.page.evaluate(shown)) == len(LABELS) + 4
    viewer.page.uncheck("input[aria-label='Bones, left']")
    assert {228, 229}.isdisjoint(viewer.page.evaluate(shown))
    viewer.page.fill("#find", "hamstrings")
    names = viewer.page.locator("#structures .name:visible").all_inner_texts()
    assert names == ["Semitendinosus", "Semimembranosus", "Biceps femoris"]
    viewer.page.fill("#find", "nothing of the kind")
    assert viewer.page.is_visible("#structures-empty")


def test_tools_of_the_server(server: Running, open_viewer: Open) -> None:
    viewer = open_viewer()
    viewer.open("new")
    assert viewer.text("#version-title") == "no labels yet"
    choose(viewer, "Femur")
    viewer.page.focus("#planes")
    # The same dab five slices apart; the slices between are filled by the server.
    viewer.keys(
        "b", "]", "]", "]", " ", "Shift+PageUp", "PageDown", "PageDown", "PageDown", "PageDown", "PageDown", " "
    )
    voxel = viewer.place["voxel"]
    viewer.page.click("[data-server-tool=between-slices]")
    viewer.page.click("#accept-proposal")
    viewer.wait_for_version(1)
    version = server.project.store.version("new", 1)
    assert version.kind.value == "tool"
    labels, _ = saved_labels(server, "new", 1)
    assert set(np.unique(labels)) == {0, FEMUR_RIGHT}
    assert np.flatnonzero((labels == FEMUR_RIGHT).any(axis=(0, 1))).tolist() == list(range(voxel[2] - 5, voxel[2] + 1))
    # A further stroke to grow. Seeds of background keep their value for the tool, and only for it.
    # What would change was shown in a slice between: the stroke begins above the filled ones.
    viewer.look_at(voxel)
    viewer.page.focus("#planes")
    viewer.keys("b", "PageUp", "PageUp", " ")
    choose(viewer, "Background")
    viewer.page.focus("#planes")
    viewer.keys("b", "ArrowLeft", "ArrowLeft", "ArrowLeft", "ArrowLeft", " ")
    assert viewer.place["value"] == 254
    viewer.page.click("[data-server-tool=grow]")
    viewer.page.wait_for_selector("#proposal:visible td")
    assert "Femur" in viewer.text("#proposal") and len(server.project.store.versions("new")) == 1
    viewer.page.click("#cancel-proposal")
    assert len(server.project.store.versions("new")) == 1
    viewer.page.click("[data-server-tool=grow]")
    viewer.page.click("#accept-proposal")
    viewer.wait_for_version(2)
    grown, _ = saved_labels(server, "new", 2)
    assert set(np.unique(grown)) == {0, FEMUR_RIGHT}


def test_a_change_that_is_cancelled_in_another_slice_leaves_nothing(server: Running, open_viewer: Open) -> None:
    viewer = open_viewer()
    viewer.open("new")
    choose(viewer, "Femur")
    viewer.page.focus("#planes")
    viewer.keys("b", "]", "]", "]", " ", *["PageDown"] * 5, " ")
    top = viewer.place["voxel"][2] + 5
    digest = """async () => {
        const bits = await crypto.subtle.digest("SHA-256", vastus.scene.map.voxels);
        return [...new Uint8Array(bits)].join();
    }"""

    def seen(k: int) -> str:
        voxel = viewer.place["voxel"]
        viewer.look_at([voxel[0], voxel[1], k])
        picture = "(() => { vastus.scene.nv.drawScene(); return vastus.scene.nv.canvas.toDataURL(); })()"
        return str(viewer.page.evaluate(picture))

    slices = (top, top - 2, top - 5)
    before, pictures = viewer.page.evaluate(digest), [seen(k) for k in slices]
    viewer.page.click("[data-server-tool=between-slices]")
    viewer.page.wait_for_selector("#proposal:visible td")
    assert seen(top - 2) != pictures[1]  # what would be gained is shown there
    seen(top - 5)
    viewer.page.click("#cancel-proposal")
    viewer.page.wait_for_selector("#proposal", state="hidden")
    assert viewer.page.evaluate(digest) == before
    assert [seen(k) for k in slices] == pictures
    assert len(server.project.store.versions("new")) == 0
    # Other strokes can be made and taken back as before.
    viewer.page.focus("#planes")
    viewer.keys("b", "ArrowLeft", "ArrowLeft", " ")
    assert viewer.page.evaluate(digest) != before
    viewer.keys("Control+z")
    assert viewer.page.evaluate(digest) == before


def test_uncertainty_next_case_and_models(server: Running, open_viewer: Open) -> None:
    viewer = open_viewer()
    viewer.page.select_option("#strategy", "random")
    viewer.page.click("#next")
    viewer.wait_for_case("new")  # the two others have been labelled by a person
    viewer.page.click("#tab-models")
    viewer.page.wait_for_function("() => document.querySelector('#model').value !== ''")
    viewer.page.click("#infer")
    viewer.wait_for_version(1)
    assert server.project.store.version("new", 1).kind.value == "model"
    viewer.page.check("#uncertainty")
    viewer.page.wait_for_selector("#legend:visible")
    assert viewer.page.evaluate("vastus.scene.nv.volumes.length") == 2
    assert viewer.page.is_checked("#outline")
    viewer.keys("u")
    viewer.page.wait_for_selector("#legend", state="hidden")
    assert viewer.page.evaluate("vastus.scene.nv.volumes.length") == 1
    assert not viewer.page.is_checked("#outline")


def test_who_waits_for_the_network_sees_the_queue_and_can_stop(server: Running, open_viewer: Open) -> None:
    import threading

    from vastus.annotation.models.engine import Purpose, RequestKind

    gate = threading.Event()
    held = server.project.engine.submit(lambda _load: gate.wait(600), Purpose(RequestKind.LABEL, "ras", "local"))
    viewer = open_viewer()
    viewer.open("new")
    viewer.page.click("#tab-models")
    viewer.page.wait_for_selector("#model option", state="attached")
    viewer.page.click("#infer")
    viewer.page.wait_for_selector(".queue span:not(:empty)")
    assert viewer.text(".queue span") == "Next in the queue"
    viewer.page.click(".queue button")
    viewer.page.wait_for_selector("#message[data-kind=error]")
    assert "stopped" in viewer.text("#message")
    assert viewer.page.locator(".queue").count() == 0
    gate.set()
    assert held.result(60) is True
    assert server.project.store.current("new") is None


def test_structures_of_a_lab_s_own_and_of_the_midline(open_viewer: Open, tmp_path: Path) -> None:
    import nibabel

    from annotation_server import ONE_THREAD, serving
    from own_scan import SACRUM, own_labels, write_own_bundle
    from vastus.annotation.project.project import ServerSettings
    from vastus.io.labels import write_labels

    ct, labels = own_labels()
    (tmp_path / "own").mkdir()
    nibabel.save(nibabel.Nifti1Image(ct.array, ct.affine), tmp_path / "own" / "hip.nii.gz")
    with serving(ServerSettings(tmp_path / "own", write_own_bundle(tmp_path / "weights"), ONE_THREAD)) as running:
        write_labels(labels, tmp_path / "hip.nii.gz", table=running.project.table)
        running.client.post("/api/cases/hip/versions", (tmp_path / "hip.nii.gz").read_bytes())
        viewer = open_viewer(address=running.address)
        viewer.open("hip")
        viewer.page.click("#structures tr[data-key=sacrum] .name")
        viewer.page.wait_for_function(
            "document.querySelector('#structures tr[data-key=sacrum] .ml').textContent !== '–'"
        )
        assert viewer.page.is_disabled("#side-right") and viewer.page.evaluate("vastus.workspace.selected") == SACRUM
        assert viewer.page.locator("#structures tr[data-key=sacrum] input").count() == 1
        assert viewer.page.locator("#structures tr[data-key=femur] input:visible").count() == 2
        assert "Merged" in viewer.text("#structures") and "Sartorius" not in viewer.text("#structures")


def test_the_crosshair_is_one_pixel_wide_at_once_and_at_every_zoom(open_viewer: Open, browser_name: str) -> None:
    from PIL import Image

    if browser_name == "firefox":
        pytest.skip("a screenshot of Firefox adds a style, which the page's rules forbid")

    viewer = open_viewer("/?view=axial")
    viewer.open("ras")
    viewer.page.click("#show-none")
    for _ in range(3):
        viewer.page.wait_for_timeout(300)
        image = Image.open(io.BytesIO(viewer.page.locator("#planes").screenshot(caret="initial")))
        pixels = np.asarray(image.convert("RGB")).astype(float)
        # The image is grey; a line that lies between two pixels is spread over both.
        share = np.clip((pixels[..., 2] - pixels[..., 0]) / (217 - 143), 0, 1)
        for axis in (0, 1):
            middle = np.median(share, axis=axis)
            assert 0.7 < middle[middle > 0.16].sum() < 1.4
        viewer.page.evaluate("vastus.scene.zoom(1.7)")
