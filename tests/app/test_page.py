"""The page as a person at the keyboard and mouse meets it. An error in a script, or a word to anybody else, fails."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app_server import KEY, RunningApp, phantom_dicom

SIDEWAYS = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture
def open_page(browser: Any, running: RunningApp) -> Iterator[Callable[[int], Any]]:
    pages: list[Any] = []
    errors: list[str] = []
    foreign: list[str] = []

    def heard(message: Any) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:
            errors.append(message.text)

    def asked(request: Any) -> None:
        if not request.url.startswith((running.address, "data:", "blob:")):
            foreign.append(request.url)

    def open_one(width: int) -> Any:
        page = browser.new_page(viewport={"width": width, "height": 800})
        page.set_default_timeout(240_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", heard)
        page.on("request", asked)
        page.goto(f"{running.address}/app?key={KEY}")
        page.wait_for_selector("body[data-ready]")
        pages.append(page)
        return page

    yield open_one
    for page in pages:
        page.close()
    assert errors == []
    assert foreign == []


def drop(page: Any, *paths: Path) -> None:
    """Let go of files over the page, as a hand with a mouse does."""
    files = [(path.name, base64.b64encode(path.read_bytes()).decode()) for path in paths]
    page.evaluate(
        """files => {
            const dataTransfer = new DataTransfer();
            for (const [name, text] of files) {
                const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
                dataTransfer.items.add(new File([bytes], name));
            }
            for (const kind of ["dragover", "drop"]) {
                document.body.dispatchEvent(new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true }));
            }
        }""",
        files,
    )


def tab_to(page: Any, text: str) -> None:
    """Press Tab until the button or link with this text has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.textContent.trim()") == text:
            return
    raise AssertionError(f"Tab does not reach {text!r}")


def test_from_a_scan_to_a_diagnosis_with_the_keyboard_alone(
    running: RunningApp, open_page: Callable[[int], Any], scan: Path
) -> None:
    page = open_page(1366)
    assert "key" not in page.url
    page.keyboard.press("Tab")
    while page.evaluate("() => document.activeElement.id") != "path":
        page.keyboard.press("Tab")
    page.keyboard.type(str(scan))
    page.keyboard.press("Enter")
    page.wait_for_selector("#list [data-name=thigh]")
    page.wait_for_selector("#work", state="hidden")
    tab_to(page, "Person and sarcopenia")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    page.focus("[name=grip_kg]")
    page.keyboard.type("1.5x")
    page.keyboard.press("Enter")
    page.wait_for_selector(".error:not(:empty)")
    assert "Grip strength: this is not a number" in page.inner_text(".error")
    page.fill("[name=grip_kg]", "15,5")
    page.check("[name=sex][value=F]")
    page.fill("[name=smi_kg_m2]", "5.0")
    page.keyboard.press("Enter")
    page.wait_for_selector(".said")
    assert page.inner_text(".said .large") == "Sarcopenia"
    assert "Grip strength: 15.5 is below 18 kg" in page.inner_text(".said")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    page.wait_for_selector("#list .tag[data-stage=sarcopenia]")

    with page.expect_popup() as opened:
        page.click("#list a.button.main")
    result = opened.value
    result.wait_for_load_state()
    assert "thigh" in result.title()
    # The result's own scripts can't reach the app.
    reached = result.evaluate("fetch('/app/state').then(() => 'reached', () => 'refused')")
    assert reached == "refused"
    result.close()

    with page.expect_popup() as opened:
        page.click('text="Correct"')
    viewer = opened.value
    viewer.wait_for_selector("body[data-ready]")
    viewer.wait_for_function("() => document.querySelector('#case-title').textContent === 'thigh'")
    viewer.close()
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "vastus.zip"
    page.click("text=Remove")
    page.click("dialog[open] button[value=yes]")
    page.wait_for_selector("#empty", state="visible")


def test_a_dropped_scan_opens_as_a_result(running: RunningApp, open_page: Callable[[int], Any], scan: Path) -> None:
    page = open_page(1366)
    drop(page, scan)
    page.wait_for_selector("#list [data-name=thigh]")
    page.wait_for_selector("#work", state="hidden")
    with page.expect_popup() as opened:
        page.click("#list a.button.main")
    result = opened.value
    result.wait_for_selector("#slices[data-whole]")
    first = result.inner_text("#slice-where")
    result.focus("#slice-stage")
    result.keyboard.press("ArrowDown")
    assert result.inner_text("#slice-where") != first
    result.close()


def test_a_small_screen_a_folder_and_a_bad_file(
    running: RunningApp, open_page: Callable[[int], Any], tmp_path: Path, scan: Path, browser_name: str
) -> None:
    page = open_page(390)
    assert page.evaluate(SIDEWAYS) == 0
    phantom_dicom(tmp_path / "patient 7")
    if browser_name == "firefox":  # playwright can't choose a folder in it
        page.fill("#path", str(tmp_path / "patient 7"))
        page.keyboard.press("Enter")
    else:
        page.set_input_files("#folder", tmp_path / "patient 7")
    page.wait_for_selector("#tasks li, #list li")
    torn = tmp_path / "torn.nii.gz"
    torn.write_bytes(scan.read_bytes()[:-2000])
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear")
    page.set_input_files("#files", [torn, letter])
    page.wait_for_selector("#message[data-kind=error]")
    assert "letter.txt: There is no CT scan in it" in page.inner_text("#message")
    page.click("#message button")
    page.wait_for_selector("[data-name='patient 7']")
    page.wait_for_selector("#tasks li[data-state=failed]")
    failed = page.locator("#tasks li[data-state=failed]")
    assert "torn" in failed.inner_text()
    assert failed.locator(".problem").inner_text()
    assert page.evaluate(SIDEWAYS) == 0
    page.click("text=Person and sarcopenia")
    page.wait_for_selector("dialog[open] table")
    assert page.evaluate(SIDEWAYS) == 0
    dialog = page.evaluate(
        "() => { const d = document.querySelector('dialog'); return d.scrollWidth - d.clientWidth; }"
    )
    assert dialog <= 0
    page.keyboard.press("Escape")
    page.click("text=Take out of the list")
    page.wait_for_selector("#work", state="hidden")


def test_every_control_has_a_name_that_begins_with_what_is_written_on_it(
    running: RunningApp, open_page: Callable[[int], Any], scan: Path
) -> None:
    running.add(scan)
    running.done()
    page = open_page(1366)
    page.wait_for_selector("#list li")
    controls = page.evaluate(
        """() => [...document.querySelectorAll("button, a, input, select")]
          .filter((c) => c.checkVisibility()).map((c) => ({
            shown: c.textContent.trim(), label: c.getAttribute("aria-label") ?? "",
            named: Boolean(c.textContent.trim() || c.getAttribute("aria-label") || c.labels?.length),
        }))"""
    )
    assert len(controls) > 8
    assert [c for c in controls if not c["named"]] == []
    assert [
        c for c in controls if c["shown"] and c["label"] and c["shown"] != "✕" and not c["label"].startswith(c["shown"])
    ] == []


@pytest.mark.parametrize("width", [390, 1366])
def test_nothing_to_find_for_axe(running: RunningApp, open_page: Callable[[int], Any], scan: Path, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")

    def findings() -> list[tuple[str, str]]:
        found = axe.Axe().run(page).response["violations"]
        return [(one["id"], str(one["nodes"][0]["target"])) for one in found]

    running.add(scan)
    running.done()
    page = open_page(width)
    page.wait_for_selector("#list li")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert findings() == []
    page.click("text=Person and sarcopenia")
    page.wait_for_selector("dialog[open] table")
    assert findings() == []
