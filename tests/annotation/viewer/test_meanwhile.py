"""Drawing and opening cases while an answer of the server is on its way: nothing is lost or lands in another case."""

from __future__ import annotations

from collections.abc import Callable

import nibabel
import numpy as np
import pytest

from annotation_server import Running
from vastus.annotation.project.store import Draft, Kind
from vastus.volume import to_ras
from viewer_page import Viewer, saved_labels

SARTORIUS_RIGHT, FEMUR_LEFT = 101, 228
Open = Callable[..., Viewer]


def hold(viewer: Viewer, request: str) -> None:
    """The page waits for the answer to the next request of this kind, until ``let_go``."""
    viewer.page.evaluate(
        """request => {
            const { api } = vastus.workspace;
            const asked = api[request];
            globalThis.answered = false;
            const gate = new Promise(done => { globalThis.letGo = done; });
            api[request] = async (...given) => {
                api[request] = asked;
                const answer = await asked(...given);
                globalThis.answered = true;
                await gate;
                return answer;
            };
        }""",
        request,
    )


def wait_for_answer(viewer: Viewer) -> None:
    viewer.page.wait_for_function("() => globalThis.answered")


def let_go(viewer: Viewer) -> None:
    """Hand out the answer, and wait until the page has dealt with them."""
    viewer.page.evaluate("() => globalThis.letGo()")
    viewer.page.wait_for_load_state("networkidle")
    viewer.drawn()


def take_brush(viewer: Viewer) -> None:
    viewer.page.click("#structures .name:text-is('Sartorius')")
    viewer.page.check("#side-right", force=True)
    viewer.page.uncheck("#keep-others")
    viewer.page.focus("#planes")
    viewer.keys("b")


def dab(viewer: Viewer, voxel: list[int]) -> None:
    """One dab of the brush."""
    viewer.look_at(voxel)
    viewer.page.focus("#planes")
    viewer.keys(" ")


def value_at(viewer: Viewer, voxel: list[int]) -> int:
    return int(viewer.page.evaluate(f"vastus.scene.map.at({voxel})"))


def grey_sum(viewer: Viewer) -> float:
    return float(viewer.page.evaluate("vastus.scene.image.array.reduce((sum, grey) => sum + grey, 0)"))


def unsaved(viewer: Viewer) -> bool:
    return bool(viewer.page.evaluate("vastus.workspace.unsaved"))


FIRST, SECOND = [10, 10, 4], [30, 20, 9]  # two places without a structure, in slices of their own


@pytest.fixture
def spiky(server: Running) -> Running:
    """Two cases, ``one`` and ``two``: the sartorius is a block with a spike, which smoothing takes off."""
    i, j = np.mgrid[:64, :64] - 32
    plane = np.where(i**2 + j**2 < 15**2, 55, np.where(i**2 + j**2 < 30**2, -100, -1000)).astype(np.int16)
    for case, first in (("one", 20), ("two", 30)):
        image = nibabel.Nifti1Image(np.repeat(plane[:, :, None], 20, axis=2), np.diag([2.0, 2.0, 2.0, 1.0]))
        nibabel.save(image, server.project.layout.root / f"{case}.nii.gz")
        scan = server.project.image(case)
        labels = np.zeros(scan.shape, np.uint8)
        labels[first : first + 12, 30:50, 8:18] = labels[first - 5 : first, 40:42, 12:14] = SARTORIUS_RIGHT
        server.project.save(case, Draft(Kind.HUMAN, "anna"), scan.with_array(labels))
    return server


def smooth(viewer: Viewer) -> None:
    viewer.page.wait_for_selector("[data-server-tool=smooth]:enabled")
    viewer.page.click("[data-server-tool=smooth]")


def line_on_its_way(viewer: Viewer) -> None:
    """Draw a line at the crosshair; its mask does not come yet."""
    viewer.page.focus("#planes")
    viewer.keys("d")
    hold(viewer, "outlinePreview")
    viewer.page.focus("#planes")
    viewer.keys(" ")
    wait_for_answer(viewer)


def save_on_its_way(viewer: Viewer) -> None:
    """Draw ``FIRST`` in the case ``ras`` and save it; the answer to the save does not come yet."""
    viewer.open("ras")
    take_brush(viewer)
    dab(viewer, FIRST)
    hold(viewer, "saveDrawn")
    viewer.save("the first")
    wait_for_answer(viewer)


def test_strokes_drawn_while_a_save_is_on_its_way_are_not_saved_yet(server: Running, open_viewer: Open) -> None:
    viewer = open_viewer()
    save_on_its_way(viewer)
    dab(viewer, SECOND)
    viewer.keys("Control+z", "Control+z")  # the second goes back; the first is in a version
    assert [value_at(viewer, FIRST), value_at(viewer, SECOND)] == [SARTORIUS_RIGHT, 0]
    viewer.keys("Control+y")
    let_go(viewer)
    viewer.wait_for_version(2)
    saved, _ = saved_labels(server, "ras", 2)
    assert saved[tuple(FIRST)] == SARTORIUS_RIGHT and saved[tuple(SECOND)] == 0
    assert unsaved(viewer) and viewer.page.is_visible("#unsaved")

    # They outlive a reload, and are kept once.
    viewer.page.evaluate("vastus.workspace.writeDraft()")
    viewer.page.on("dialog", lambda dialog: dialog.accept())
    viewer.go("/?view=axial")
    viewer.open("ras")
    assert "you changed 1 slice of this case, starting from version 2" in viewer.text("dialog[open]")
    viewer.page.click("dialog[open] button:has-text('Bring back')")
    viewer.page.wait_for_selector("#unsaved:visible")
    viewer.save("the second")
    viewer.wait_for_version(3)
    saved, _ = saved_labels(server, "ras", 3)
    assert saved[tuple(FIRST)] == saved[tuple(SECOND)] == SARTORIUS_RIGHT
    strokes = server.client.get("/api/cases/ras/versions/3/strokes").json
    assert [s["slices"] for s in strokes] == [[FIRST[2]], [SECOND[2]]]
    assert not unsaved(viewer)


def test_strokes_drawn_meanwhile_are_put_over_a_joined_version(server: Running, open_viewer: Open) -> None:
    viewer = open_viewer()
    viewer.open("ras")
    theirs = server.project.label_map(server.project.store.version("ras", 1))
    without = theirs.with_array(np.where(theirs.array == FEMUR_LEFT, 0, theirs.array).astype(np.uint8))
    server.project.save("ras", Draft(Kind.HUMAN, "berta", 1, "no left femur"), without)
    take_brush(viewer)
    dab(viewer, FIRST)
    hold(viewer, "saveDrawn")
    viewer.save("mine")
    wait_for_answer(viewer)
    dab(viewer, SECOND)
    let_go(viewer)
    viewer.wait_for_version(3)
    assert viewer.page.evaluate(f"vastus.scene.map.counts[{FEMUR_LEFT}]") == 0  # theirs is on screen
    assert [value_at(viewer, FIRST), value_at(viewer, SECOND)] == [SARTORIUS_RIGHT, SARTORIUS_RIGHT]
    assert unsaved(viewer)
    viewer.save("mine again")
    viewer.wait_for_version(4)
    saved, _ = saved_labels(server, "ras", 4)
    assert saved[tuple(SECOND)] == SARTORIUS_RIGHT and FEMUR_LEFT not in saved
    assert server.project.store.version("ras", 4).note == "mine again"  # nobody saved meanwhile: nothing to join


def test_a_save_that_fails_takes_nothing_away(server: Running, open_viewer: Open) -> None:
    viewer = open_viewer()
    viewer.open("ras")
    take_brush(viewer)
    dab(viewer, FIRST)
    viewer.page.evaluate("() => { vastus.workspace.api.saveDrawn = async () => { throw new Error('no room left'); }; }")
    viewer.save("in vain")
    viewer.page.wait_for_selector("#message:has-text('no room left')")
    assert unsaved(viewer)
    dab(viewer, SECOND)
    viewer.keys("Control+z", "Control+z")
    assert value_at(viewer, FIRST) == value_at(viewer, SECOND) == 0
    viewer.keys("Control+y")
    assert value_at(viewer, FIRST) == SARTORIUS_RIGHT


def test_another_case_waits_for_the_save_on_its_way(server: Running, open_viewer: Open) -> None:
    viewer = open_viewer()
    save_on_its_way(viewer)
    viewer.page.click("[data-id=lps]")
    viewer.keys("Control+s")  # one save at a time
    assert viewer.page.locator("dialog[open]").count() == 0
    let_go(viewer)
    viewer.wait_for_case("lps")
    assert viewer.text("#version-title").startswith("version 1")
    assert viewer.page.locator("dialog[open]").count() == 0
    assert len(server.project.store.versions("ras")) == 2


def test_a_save_waits_for_the_mask_of_a_line(server: Running, open_viewer: Open) -> None:
    viewer = open_viewer()
    viewer.open("ras")
    viewer.page.click("#structures .name:text-is('Sartorius')")
    viewer.page.check("#side-right", force=True)
    viewer.look_at(viewer.middle_of(SARTORIUS_RIGHT))
    k = viewer.place["voxel"][2]
    line_on_its_way(viewer)
    viewer.save("drawn")
    let_go(viewer)
    viewer.wait_for_version(2)
    saved, _ = saved_labels(server, "ras", 2)
    shown = viewer.page.evaluate(f"[...vastus.scene.map.slice({k})]")
    assert saved[:, :, k].T.ravel().tolist() == shown
    assert list(server.client.get("/api/cases/ras/versions/2/outlines").json) == [str(k)]
    assert not unsaved(viewer)


def test_lines_still_to_be_drawn_are_not_drawn_in_another_case(open_viewer: Open) -> None:
    viewer = open_viewer()
    viewer.open("ras")
    viewer.page.click("#structures .name:text-is('Sartorius')")
    viewer.look_at([20, 20, 4])
    line_on_its_way(viewer)
    viewer.keys("ArrowUp", " ")  # this one waits for the answer to the first
    viewer.page.click("[data-id=lps]")
    viewer.page.click("dialog[open] button:has-text('Discard changes')")
    viewer.wait_for_case("lps")
    let_go(viewer)
    viewer.page.wait_for_function("() => !vastus.workspace.outlining.asking")
    assert not unsaved(viewer)
    assert viewer.page.evaluate("vastus.scene.map.slices.size") == 0
    assert viewer.page.is_hidden("#message")


def test_nothing_is_drawn_while_a_tool_is_at_work(spiky: Running, open_viewer: Open) -> None:
    viewer = open_viewer()
    viewer.open("one")
    take_brush(viewer)
    dab(viewer, FIRST)
    hold(viewer, "tool")
    smooth(viewer)
    wait_for_answer(viewer)
    dab(viewer, SECOND)  # would not be in the tool's version
    viewer.keys("Control+s")
    assert viewer.page.locator("dialog[open]").count() == 0
    assert value_at(viewer, SECOND) == 0
    assert "Wait" in viewer.text("#message")
    let_go(viewer)
    viewer.page.wait_for_selector("#proposal:visible td")
    # A draft is stored once the change that is only shown has gone.
    viewer.page.evaluate(
        """() => {
            vastus.workspace.on("kept", () => { globalThis.draftKept = true; });
            return vastus.workspace.writeDraft();
        }"""
    )
    assert not viewer.page.evaluate("globalThis.draftKept")
    viewer.page.click("#cancel-proposal")
    viewer.page.wait_for_function("() => globalThis.draftKept", timeout=10_000)
    dab(viewer, SECOND)
    assert value_at(viewer, SECOND) == SARTORIUS_RIGHT


def test_a_tool_of_another_case_shows_and_changes_nothing(spiky: Running, open_viewer: Open) -> None:
    viewer = open_viewer()
    viewer.open("two")
    untouched = viewer.page.evaluate("[...vastus.scene.map.voxels]")
    viewer.open("one")
    take_brush(viewer)
    hold(viewer, "tool")
    smooth(viewer)
    wait_for_answer(viewer)
    viewer.open("two")
    let_go(viewer)
    assert viewer.page.is_hidden("#proposal")
    assert viewer.page.evaluate("[...vastus.scene.map.voxels]") == untouched
    assert viewer.page.is_enabled("#save")

    # Nor does a change that is on screen when another case is opened.
    viewer.open("one")
    smooth(viewer)
    viewer.page.wait_for_selector("#proposal:visible td")
    viewer.open("two")
    assert viewer.page.is_hidden("#proposal")
    assert viewer.page.evaluate("[...vastus.scene.map.voxels]") == untouched
    assert [len(spiky.project.store.versions(case)) for case in ("one", "two")] == [1, 1]


def test_of_two_cases_the_one_asked_for_last_is_shown(server: Running, open_viewer: Open) -> None:
    viewer = open_viewer()
    hold(viewer, "image")
    viewer.page.click("[data-id=ras]")
    wait_for_answer(viewer)
    viewer.open("lps")
    let_go(viewer)
    assert viewer.text("#case-title") == "lps"
    assert grey_sum(viewer) == float(to_ras(server.project.image("lps")).array.sum(dtype=float))


def test_labels_of_the_network_do_not_replace_what_was_drawn_meanwhile(server: Running, open_viewer: Open) -> None:
    viewer = open_viewer()
    viewer.open("ras")
    take_brush(viewer)
    hold(viewer, "infer")
    viewer.page.click("#tab-models")
    viewer.page.click("#infer")
    wait_for_answer(viewer)
    dab(viewer, FIRST)
    let_go(viewer)
    viewer.page.wait_for_selector("#message:has-text('version 2')")
    assert value_at(viewer, FIRST) == SARTORIUS_RIGHT and unsaved(viewer)
    assert viewer.text("#version-title").startswith("version 1")
    assert viewer.page.is_enabled("#save")

    # In another case they are not shown at all.
    hold(viewer, "infer")
    viewer.page.evaluate("() => { vastus.workspace.setUnsaved(false); }")
    viewer.page.click("#infer")
    wait_for_answer(viewer)
    viewer.page.click("#tab-cases")
    viewer.open("lps")
    let_go(viewer)
    viewer.page.wait_for_selector("#message:has-text('version 3')")
    assert viewer.text("#version-title").startswith("version 1")
    assert viewer.page.evaluate("vastus.workspace.versions.length") == 1
    assert len(server.project.store.versions("ras")) == 3


def test_a_lock_is_taken_after_the_one_before_is_given_back(open_viewer: Open) -> None:
    viewer = open_viewer()
    viewer.open("ras")
    take_brush(viewer)
    dab(viewer, FIRST)
    viewer.page.wait_for_selector("[data-id=ras]:has-text('locked by you')")
    hold(viewer, "unlock")
    viewer.page.evaluate(
        """() => {
            const { api } = vastus.workspace;
            const { lock } = api;
            api.lock = (id) => { globalThis.lockAsked = true; return lock(id); };
            vastus.workspace.release();
        }"""
    )
    wait_for_answer(viewer)
    dab(viewer, SECOND)
    assert not viewer.page.evaluate("globalThis.lockAsked")
    let_go(viewer)
    viewer.page.wait_for_function("() => globalThis.lockAsked", timeout=10_000)


def test_a_version_to_show_beside_is_not_shown_beside_another_case(server: Running, open_viewer: Open) -> None:
    labels = server.project.label_map(server.project.store.version("ras", 1))
    server.project.save("ras", Draft(Kind.HUMAN, "berta", 1), labels)
    viewer = open_viewer()
    viewer.open("ras")
    hold(viewer, "labelVoxels")
    viewer.page.focus("#planes")
    viewer.keys("c")
    wait_for_answer(viewer)
    viewer.open("lps")
    let_go(viewer)
    assert viewer.page.evaluate("vastus.workspace.secondVersion") is None
    assert viewer.page.locator("#canvases.compare").count() == 0


def test_the_uncertainty_of_one_case_is_not_shown_over_another(open_viewer: Open) -> None:
    viewer = open_viewer()
    viewer.open("ras")
    hold(viewer, "uncertaintyImage")
    viewer.page.check("#uncertainty", force=True)
    wait_for_answer(viewer)
    viewer.open("lps")
    let_go(viewer)
    assert viewer.page.evaluate("vastus.scene.overlay") is None
    assert not viewer.page.is_checked("#uncertainty")


def test_a_line_held_when_another_version_comes_is_let_go(server: Running, open_viewer: Open) -> None:
    viewer = open_viewer()
    viewer.open("ras")
    viewer.page.click("#structures .name:text-is('Sartorius')")
    viewer.look_at([20, 13, 4])
    viewer.page.focus("#planes")
    viewer.keys("d")
    viewer.page.wait_for_selector("label:has([name=outline-pen])", state="visible")
    viewer.drawn()
    viewer.stroke([16, 13, 4], [24, 13, 4])
    viewer.page.wait_for_function("() => !vastus.workspace.outlining.asking")
    viewer.page.click("label:has([name=outline-pen][value=edit])")
    viewer.page.mouse.move(*viewer.on_screen([20, 13, 4]))
    viewer.page.mouse.down()
    viewer.page.mouse.move(*viewer.on_screen([20, 14, 4]))
    assert viewer.page.evaluate("vastus.workspace.outlining.held.moved")
    viewer.page.evaluate("() => vastus.workspace.show(1)")
    viewer.page.mouse.move(*viewer.on_screen([20, 16, 4]))
    viewer.page.mouse.up()
    assert not unsaved(viewer)
    assert viewer.page.evaluate("vastus.workspace.outlines.size") == 0
