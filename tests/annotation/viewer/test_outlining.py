"""Outlines drawn with the mouse, kept and opened again; what is not saved; what others saved meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable

import nibabel
import numpy as np
import pytest

from annotation_server import Running
from vastus.anatomy import UNLABELLED
from vastus.annotation.http.outline_routes import values_of
from vastus.annotation.project.store import Draft, Kind
from vastus.refinement.outline_files import parse_outline
from vastus.refinement.outlining import outline_slice
from vastus.volume import to_ras
from viewer_page import Viewer, saved_labels

VASTUS_LATERALIS_RIGHT, FEMUR_RIGHT, FEMUR_LEFT = 103, 128, 228
Open = Callable[..., Viewer]
SLICE = 4
INSIDE = {FEMUR_RIGHT: [60, 48, SLICE], VASTUS_LATERALIS_RIGHT: [34, 48, SLICE]}


@pytest.fixture
def discs(server: Running) -> Running:
    """A case ``discs``: a muscle and a bone as discs in fat, in voxels of 2 mm."""
    i, j = np.mgrid[:96, :96]
    plane = np.full((96, 96), -1000, np.int16)
    for (x, y), radius, hu in (((48, 48), 42, -100), ((34, 48), 13, 55), ((60, 48), 8, 500)):
        plane[(i - x) ** 2 + (j - y) ** 2 < radius**2] = hu
    image = nibabel.Nifti1Image(np.repeat(plane[:, :, None], 7, axis=2), np.diag([2.0, 2.0, 5.0, 1.0]))
    nibabel.save(image, server.project.layout.root / "discs.nii.gz")
    return server


def choose(viewer: Viewer, name: str) -> None:
    viewer.page.click(f"#structures .name:text-is('{name}')")


def pen(viewer: Viewer, name: str) -> None:
    viewer.page.click(f"label:has([name=outline-pen][value={name}])")


def inside(value: int) -> list[int]:
    return INSIDE[value]


def answered(viewer: Viewer) -> None:
    """Wait until the mask of all that was drawn is on screen."""
    viewer.page.wait_for_function("() => !vastus.workspace.outlining.asking && !vastus.workspace.outlining.draft")
    viewer.drawn()


def on_screen(viewer: Viewer, k: int) -> np.ndarray:
    """The labels of an axial slice as the page has them, (I, J)."""
    values = viewer.page.evaluate(f"[...vastus.scene.map.slice({k})]")
    nx, ny = viewer.page.evaluate("vastus.scene.dims.slice(0, 2)")
    return np.array(values, np.uint8).reshape(ny, nx).T


def redrawn(server: Running, case: str, text: object, k: int) -> np.ndarray:
    spec = parse_outline(json.dumps(text))
    return values_of(outline_slice(to_ras(server.project.image(case)).array, k, spec).labels, spec)


def draw_two(viewer: Viewer) -> None:
    """The femur and the vastus lateralis of the right side, inside a frame around the right thigh."""
    viewer.look_at(inside(FEMUR_RIGHT))
    choose(viewer, "Femur")
    viewer.page.check("#side-right", force=True)
    viewer.keys("d")
    # The bar of the tool moves the planes: a click must not come before they have found their place.
    viewer.page.wait_for_selector("label:has([name=outline-pen])", state="visible")
    viewer.drawn()
    viewer.click_voxel(inside(FEMUR_RIGHT))
    answered(viewer)
    choose(viewer, "Vastus lateralis")
    start = inside(VASTUS_LATERALIS_RIGHT)
    viewer.stroke(start, [start[0], start[1] + 1, SLICE])
    answered(viewer)


def test_outline_is_saved_with_its_strokes_and_edited_again(discs: Running, open_viewer: Open) -> None:
    viewer = open_viewer()
    viewer.open("discs")
    draw_two(viewer)
    drawn = on_screen(viewer, SLICE)
    assert {VASTUS_LATERALIS_RIGHT, FEMUR_RIGHT} <= set(np.unique(drawn))
    viewer.save("drawn")
    viewer.wait_for_version(1)
    labels, _ = saved_labels(discs, "discs", 1)
    assert np.array_equal(labels[:, :, SLICE], drawn)
    assert (np.delete(labels, SLICE, axis=2) == UNLABELLED).all()  # nobody looked there
    kept = discs.client.get("/api/cases/discs/versions/1/outlines").json
    assert list(kept) == [str(SLICE)]
    assert kept[str(SLICE)]["side"] == "right"
    assert set(kept[str(SLICE)]["strokes"]) == {"femur", "vastus_lateralis"}
    assert np.array_equal(redrawn(discs, "discs", kept[str(SLICE)], SLICE), drawn)

    # After a reload the strokes are there; the slice is marked and reached; a line is moved, then deleted.
    viewer.go("/?view=axial&case=discs")
    viewer.wait_for_version(1)
    viewer.page.wait_for_selector("#next-drawn:enabled")
    assert viewer.place["voxel"][2] != SLICE
    viewer.page.focus("#planes")
    viewer.keys("k" if viewer.place["voxel"][2] > SLICE else "m")
    assert viewer.place["voxel"][2] == SLICE
    assert viewer.page.locator("#strokes path:not(.halo)").count() == 2
    viewer.keys("d")
    choose(viewer, "Vastus lateralis")
    pen(viewer, "cut")
    x, y, _ = inside(VASTUS_LATERALIS_RIGHT)
    viewer.stroke([x - 2, y - 2, SLICE], [x + 2, y - 2, SLICE])
    answered(viewer)
    with_cut = on_screen(viewer, SLICE)
    pen(viewer, "edit")
    viewer.click_voxel([x, y - 2, SLICE])
    assert viewer.page.is_enabled("#delete-line")
    viewer.page.focus("#planes")
    viewer.keys("Delete")
    answered(viewer)
    assert np.array_equal(on_screen(viewer, SLICE), drawn)
    viewer.keys("Control+z")
    answered(viewer)
    assert np.array_equal(on_screen(viewer, SLICE), with_cut)
    before = viewer.page.evaluate("vastus.workspace.outlining.spec.cuts[0]")
    viewer.stroke([x, y - 2, SLICE], [x, y - 1, SLICE])
    answered(viewer)
    after = viewer.page.evaluate("vastus.workspace.outlining.spec.cuts[0]")
    assert [round(b[1] - a[1], 1) for a, b in zip(before, after, strict=True)] == pytest.approx([1, 1], abs=0.3)


def test_frame_area_of_255_band_and_threshold(discs: Running, open_viewer: Open) -> None:
    viewer = open_viewer()
    viewer.open("discs")
    draw_two(viewer)
    narrow = on_screen(viewer, SLICE)
    pen(viewer, "area")
    x, y, _ = inside(VASTUS_LATERALIS_RIGHT)
    corners = [[x - 4, y - 4, SLICE], [x + 4, y - 4, SLICE], [x + 4, y + 4, SLICE], [x - 4, y + 4, SLICE]]
    viewer.page.mouse.move(*viewer.on_screen(corners[0]))
    viewer.page.mouse.down()
    for corner in corners[1:]:
        viewer.page.mouse.move(*viewer.on_screen(corner), steps=3)
    viewer.page.mouse.up()
    answered(viewer)
    pen(viewer, "window")
    viewer.stroke([10, 10, SLICE], [80, 80, SLICE])
    answered(viewer)
    viewer.page.select_option("#band-with", "femur")
    answered(viewer)
    viewer.page.focus("#mask-hu")
    viewer.keys("Control+a")
    viewer.page.keyboard.type("-110")
    viewer.keys("Tab")
    answered(viewer)
    final = on_screen(viewer, SLICE)
    assert (final[x - 2 : x + 3, y - 2 : y + 3] == UNLABELLED).all()
    assert (final[:9] == UNLABELLED).all() and (final[82:] == UNLABELLED).all()
    assert (final == VASTUS_LATERALIS_RIGHT).sum() > (narrow == VASTUS_LATERALIS_RIGHT).sum()  # fat counts now
    viewer.save("corrected")
    viewer.wait_for_version(1)
    kept = discs.client.get("/api/cases/discs/versions/1/outlines").json[str(SLICE)]
    assert kept["settings"] == {"mask_hu": -110} and [p["as"] for p in kept["polygons"]] == ["unlabelled"]
    assert kept["undecided"] == [["vastus_lateralis", "femur"]]
    assert np.array_equal(redrawn(discs, "discs", kept, SLICE), final)


def test_strokes_of_the_brush_are_kept_and_painted_again(discs: Running, open_viewer: Open) -> None:
    viewer = open_viewer()
    viewer.open("discs")
    draw_two(viewer)
    viewer.save("drawn")
    viewer.wait_for_version(1)
    # A correction with the brush in the drawn slice, and one in a slice that had no verdict.
    choose(viewer, "Sartorius")
    viewer.page.uncheck("#keep-others")
    viewer.page.focus("#planes")
    viewer.keys("b", " ", "PageUp", " ")
    painted = on_screen(viewer, SLICE)
    assert (painted == 101).any()
    viewer.save("brush")
    viewer.wait_for_version(2)
    strokes = discs.client.get("/api/cases/discs/versions/2/strokes").json
    assert [s["slices"] for s in strokes] == [[SLICE], [SLICE + 1]]
    assert all(s["kind"] == "brush" and s["value"] == 101 for s in strokes)
    assert str(SLICE) in discs.client.get("/api/cases/discs/versions/2/outlines").json
    # Drawn again from both: the outline's mask, and the brush over it.
    viewer.go("/?view=axial&case=discs")
    viewer.wait_for_version(2)
    assert viewer.page.evaluate("document.querySelector('#next-drawn').disabled") is False
    viewer.look_at([3, 3, SLICE])
    choose(viewer, "Femur")
    viewer.keys("d")
    viewer.page.evaluate("vastus.workspace.outlining.redraw()")
    answered(viewer)
    assert np.array_equal(on_screen(viewer, SLICE), painted)


def test_strokes_not_saved_are_offered_after_a_reload(discs: Running, open_viewer: Open) -> None:
    viewer = open_viewer()
    viewer.open("discs")
    draw_two(viewer)
    drawn = on_screen(viewer, SLICE)
    viewer.page.evaluate("vastus.workspace.writeDraft()")
    viewer.page.on("dialog", lambda dialog: dialog.accept())
    viewer.go("/?view=axial")
    viewer.open("discs")
    assert "did not save" in viewer.text("dialog[open]")
    viewer.page.click("dialog[open] button:has-text('Bring back')")
    viewer.page.wait_for_selector("#unsaved:visible")
    assert np.array_equal(on_screen(viewer, SLICE), drawn)
    viewer.save("after the crash")
    viewer.wait_for_version(1)
    assert str(SLICE) in discs.client.get("/api/cases/discs/versions/1/outlines").json
    viewer.go("/?view=axial&case=discs")
    viewer.wait_for_version(1)
    assert viewer.page.locator("dialog[open]").count() == 0


def test_a_draft_being_written_when_a_save_ends_is_not_offered_again(discs: Running, open_viewer: Open) -> None:
    viewer = open_viewer()
    viewer.open("discs")
    draw_two(viewer)
    # The draft is about to be stored, its database slow to open, when the server says that the version is saved.
    viewer.page.evaluate(
        """() => {
            const { api } = vastus.workspace;
            const [save, open] = [api.saveDrawn, IDBFactory.prototype.open];
            api.saveDrawn = async (...given) => {
                const made = await save(...given);
                await new Promise((opening) => {
                    IDBFactory.prototype.open = function (...name) {
                        IDBFactory.prototype.open = open;
                        opening();
                        const asked = {};
                        setTimeout(() => {
                            const late = open.apply(this, name);
                            late.onsuccess = () => { asked.result = late.result; asked.onsuccess(); };
                        }, 1000);
                        return asked;
                    };
                    globalThis.written = vastus.workspace.writeDraft();
                });
                return made;
            };
        }"""
    )
    viewer.save("drawn")
    viewer.wait_for_version(1)
    viewer.page.evaluate("() => globalThis.written")
    viewer.go("/?view=axial&case=discs")
    viewer.wait_for_version(1)
    assert viewer.page.locator("dialog[open]").count() == 0


def test_changes_of_two_people_join_and_clashes_are_shown(server: Running, open_viewer: Open) -> None:
    viewer = open_viewer()
    viewer.open("ras")
    before, _ = saved_labels(server, "ras", 1)
    theirs = server.project.label_map(server.project.store.version("ras", 1))
    without = theirs.with_array(np.where(theirs.array == FEMUR_LEFT, 0, theirs.array).astype(np.uint8))
    server.project.save("ras", Draft(Kind.HUMAN, "berta", 1, "no left femur"), without)
    choose(viewer, "Femur")
    viewer.page.check("#side-right", force=True)
    viewer.look_at(viewer.middle_of(FEMUR_RIGHT))
    viewer.page.focus("#planes")
    viewer.keys("e", " ")
    viewer.save("mine")
    viewer.wait_for_version(3)
    joined, _ = saved_labels(server, "ras", 3)
    assert FEMUR_LEFT not in joined
    assert 0 < (joined == FEMUR_RIGHT).sum() < (before == FEMUR_RIGHT).sum()
    assert server.project.store.version("ras", 3).note == "mine (joined with version 2)"

    # Now both change the same voxel.
    place = viewer.middle_of(FEMUR_RIGHT)
    viewer.look_at(place)
    current = server.project.label_map(server.project.store.version("ras", 3))
    other = current.array.copy()
    other[other == FEMUR_RIGHT] = VASTUS_LATERALIS_RIGHT
    server.project.save("ras", Draft(Kind.HUMAN, "berta", 3, "a muscle"), current.with_array(other))
    viewer.page.focus("#planes")
    viewer.keys("e", " ")
    viewer.save("mine again")
    viewer.page.wait_for_selector("dialog[open] button:has-text('Save mine there')")
    assert "berta changed" in viewer.text("dialog[open]")
    viewer.page.click("dialog[open] button:has-text('Save mine there')")
    viewer.wait_for_version(5)
    last, _ = saved_labels(server, "ras", 5)
    assert (last == VASTUS_LATERALIS_RIGHT).sum() > (before == VASTUS_LATERALIS_RIGHT).sum()
    assert last[tuple(place)] == 0


def test_a_tool_shows_what_would_change(discs: Running, open_viewer: Open) -> None:
    # A muscle with a spike, which smoothing takes off.
    scan = discs.project.image("discs")
    spiky = np.zeros(scan.shape, np.uint8)
    spiky[24:45, 38:59] = spiky[20:24, 47:49] = VASTUS_LATERALIS_RIGHT
    discs.project.save("discs", Draft(Kind.HUMAN, "anna"), scan.with_array(spiky))
    viewer = open_viewer()
    viewer.open("discs")
    choose(viewer, "Vastus lateralis")
    viewer.look_at(viewer.middle_of(VASTUS_LATERALIS_RIGHT))
    before = viewer.page.evaluate("[...vastus.scene.map.counts]")
    viewer.page.click("[data-server-tool=smooth]")
    viewer.page.wait_for_selector("#proposal:visible td")
    assert "Vastus lateralis" in viewer.text("#proposal")
    shown = viewer.page.evaluate("vastus.scene.map.voxels.reduce((n, v) => n + (v === 252 || v === 253), 0)")
    assert shown > 0
    assert viewer.page.is_disabled("#save")
    viewer.page.focus("#planes")
    viewer.keys("Escape")
    viewer.page.wait_for_selector("#proposal", state="hidden")
    assert viewer.page.evaluate("[...vastus.scene.map.counts]") == before
    assert viewer.page.evaluate("vastus.scene.map.voxels.some(v => v === 252 || v === 253)") is False
    assert len(discs.project.store.versions("discs")) == 1
    viewer.page.click("[data-server-tool=smooth]")
    viewer.page.click("#accept-proposal")
    viewer.wait_for_version(2)
    smooth, _ = saved_labels(discs, "discs", 2)
    assert not smooth[20].any() and (smooth[34, 48] == VASTUS_LATERALIS_RIGHT).all()


def test_small_things(server: Running, open_viewer: Open) -> None:
    viewer = open_viewer()
    viewer.page.set_viewport_size({"width": 1366, "height": 768})
    viewer.open("new")
    assert viewer.page.is_visible("#infer-here")
    for bar, last in (("view-bar", "compare"), ("edit-bar", "save")):
        top = viewer.page.locator(f"#{bar} input, #{bar} button").first.bounding_box()["y"]
        box = viewer.page.locator(f"#{last}").bounding_box()
        assert abs(box["y"] - top) < 15, f"{bar} needs a second line"
    viewer.page.click("#infer-here")
    viewer.wait_for_version(1)
    viewer.page.wait_for_selector("#no-labels", state="hidden")
    viewer.open("ras")
    assert viewer.page.locator("#compare option").all_inner_texts() == ["Off"]
    # All labels on one side: that side is chosen, and painting the other is warned of.
    one_side = server.project.label_map(server.project.store.version("ras", 1))
    left = np.where((one_side.array >= 200) & (one_side.array < UNLABELLED), one_side.array, 0).astype(np.uint8)
    server.project.save("ras", Draft(Kind.HUMAN, "berta", 1), one_side.with_array(left))
    viewer.go("/?view=axial&case=ras")
    viewer.wait_for_version(2)
    choose(viewer, "Femur")
    assert viewer.page.is_checked("#side-left")
    viewer.page.focus("#planes")
    viewer.keys("l", "b", " ")
    assert "on the left" in viewer.text("#message")
