"""The page as a person meets it, in headless Chromium: scrolled, pointed at, sorted, copied, at phone width."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vastus.anatomy import SIDES, STRUCTURES, Side
from vastus.io.csv_tables import VolumeRow
from vastus.io.tables import EXPECTED_AGREEMENT, EXPECTED_HIGH, EXPECTED_LOW, PROBABILITY_WRONG
from vastus.morphometry.rows import MeasureRow
from vastus.report.page import PageRecord, draw_pictures, write_page
from vastus.synthesis.phantom import LabelledScan
from vastus.volume import Volume

READY = "#slices[data-whole]"
# Firefox keeps some of the width for its scroll bar.
SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def file(
    tmp_path_factory: pytest.TempPathFactory,
    phantom: LabelledScan,
    rows: tuple[VolumeRow, ...],
    record: PageRecord,
    changed: Callable[..., tuple[VolumeRow, ...]],
) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    rows = changed(rows, "sartorius", Side.RIGHT, truncated=True)
    rows = changed(rows, "gracilis", Side.LEFT, volume_mm3=None, mean_hu=None)
    rows = changed(rows, "psoas", Side.RIGHT, volume_mm3=1_234_567.0)
    told = replace(record, warnings=("Pectineus, left: too large.",))
    # Everything in the right half of the body is doubtful, and its upper half is guessed.
    x, _, z = phantom.labels.shape
    levels = np.zeros(phantom.labels.shape, np.uint8)
    levels[x // 2 :] = 1
    levels[x // 2 :, :, z // 2 :] = 2
    pictures = draw_pictures(phantom.ct, phantom.labels, doubt=Volume(levels, phantom.ct.affine))
    write_page(path, phantom.ct, phantom.labels, rows, told, pictures=pictures)
    return path


@pytest.fixture
def opened(browser: Any, file: Path) -> Iterator[Callable[..., Any]]:
    windows: list[Any] = []
    wrong: list[str] = []

    def open_page(**options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1366, "height": 768}, **options})
        windows.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("request", lambda asked: None if asked.url.startswith(("file:", "data:")) else wrong.append(asked.url))
        page.goto(file.as_uri())
        if options.get("java_script_enabled", True):
            page.wait_for_selector(READY)
        return page

    yield open_page
    for window in windows:
        window.close()
    assert wrong == []


def where(page: Any) -> str:
    return str(page.inner_text("#slice-where"))


def colours_of(page: Any, canvas: str) -> int:
    return int(
        page.evaluate(
            """id => { const c = document.getElementById(id);
                const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
                return new Set(new Uint32Array(d.buffer)).size; }""",
            canvas,
        )
    )


def test_all_slices_in_three_planes(opened: Callable[..., Any]) -> None:
    page = opened()
    count = int(page.get_attribute("#slice-index", "max")) + 1
    assert where(page).startswith(f"Axial slice {count // 2 + 1} of {count} · z ")
    assert "% of the visible femur" in where(page)
    page.focus("#slice-stage")
    page.keyboard.press("ArrowDown")
    assert where(page).startswith(f"Axial slice {count // 2 + 2} of ")
    page.keyboard.press("Home")
    assert where(page).startswith("Axial slice 1 of ")
    for plane in ("coronal", "sagittal"):
        page.check(f"input[name=plane][value={plane}]", force=True)
        page.wait_for_timeout(200)
        assert where(page).startswith(plane.capitalize())
        assert "loading" not in where(page)
        assert colours_of(page, "slice-ct") > 3
        # Between the legs of the phantom nothing is labelled.
        assert colours_of(page, "slice-overlay") > 3 or plane == "sagittal"


def test_doubtful_borders_are_hatched_where_they_are_and_only_when_asked_for(opened: Callable[..., Any]) -> None:
    page = opened()

    def yellow() -> list[int]:
        """Hatched pixels in the left and the right half of the picture."""
        return list(
            page.evaluate(
                """() => { const c = document.getElementById("slice-overlay");
                    const d = new Uint32Array(c.getContext("2d").getImageData(0, 0, c.width, c.height).data.buffer);
                    const halves = [0, 0];
                    d.forEach((v, i) => { if (v === 0xff00f0ff) halves[i % c.width < c.width / 2 ? 0 : 1]++; });
                    return halves; }"""
            )
        )

    assert yellow() == [0, 0]
    page.focus("#slice-stage")
    page.keyboard.press("Home")
    page.keyboard.press("d")
    page.wait_for_timeout(200)
    guessed = yellow()
    assert guessed[0] > 1000 and guessed[1] < 0.05 * guessed[0]  # the patient's right is on the left
    page.keyboard.press("End")
    page.wait_for_timeout(200)
    assert 0 < yellow()[0] < 0.7 * guessed[0]
    page.check("input[name=plane][value=coronal]", force=True)
    page.wait_for_timeout(200)
    assert yellow()[0] > 1000
    page.check("input[name=plane][value=axial]", force=True)
    page.uncheck("#slice-doubt", force=True)
    page.wait_for_timeout(200)
    assert yellow() == [0, 0]


def test_pointing_tells_name_and_volume(opened: Callable[..., Any]) -> None:
    page = opened()
    page.click("text=Show Pectineus, left")
    page.wait_for_timeout(200)
    assert page.inner_text("#slice-what") == "Pectineus, left: 90.0 cm³, mean 51.5 HU"
    assert page.get_attribute("#slice-present button[data-value='210']", "aria-pressed") == "true"
    page.check("input[name=plane][value=axial]", force=True)
    box = page.locator("#slice-stage").bounding_box()
    names = set()
    for step in range(30):
        page.mouse.move(box["x"] + box["width"] * (0.3 + 0.4 * step / 30), box["y"] + box["height"] * 0.5)
        names.add(page.inner_text("#slice-what").split(":")[0])
    assert len(names) > 3
    page.focus("#slice-stage")
    page.keyboard.press("l")
    page.wait_for_timeout(200)
    assert colours_of(page, "slice-overlay") == 1
    page.keyboard.press("o")
    page.wait_for_timeout(200)
    assert colours_of(page, "slice-overlay") > 3


def narrowest_voxel(page: Any) -> int:
    """Least length of a run of one grey in the middle row of the picture, in screen pixels; not those at its ends."""
    return int(
        page.evaluate(
            """() => { const c = document.getElementById("slice-ct");
                const d = c.getContext("2d").getImageData(0, c.height >> 1, c.width, 1).data, runs = [1];
                for (let i = 4; i < d.length; i += 4) if (d[i] === d[i - 4]) runs[runs.length - 1]++; else runs.push(1);
                return Math.min(...runs.slice(1, -1)); }"""
        )
    )


def test_pixels_shows_every_voxel_at_six_pixels(opened: Callable[..., Any]) -> None:
    page = opened(viewport={"width": 390, "height": 844})
    page.wait_for_timeout(200)
    assert narrowest_voxel(page) < 5
    page.click("#slice-pixels")
    page.wait_for_timeout(200)
    assert narrowest_voxel(page) >= 5  # one less than six where a border falls between two screen pixels


def test_tables_sort_and_copy_as_numbers(opened: Callable[..., Any]) -> None:
    page = opened(locale="en-GB", permissions=["clipboard-read", "clipboard-write"])
    heading = page.locator("#table-volumes th[data-column='1'] button")
    heading.click()
    names = page.locator("#table-volumes tbody tr:not(.group) th").all_inner_texts()
    assert names[0].strip() == "Psoas major"
    assert page.locator("#table-volumes tr.group").first.is_hidden()
    heading.click()
    heading.click()
    assert page.locator("#table-volumes tbody tr:not(.group) th").first.inner_text().strip() == "Sartorius"
    page.click("button:has-text('Copy for a spreadsheet')")
    page.wait_for_selector("text=Copied.")
    lines = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert lines[0].split("\t") == [
        "Structure",
        "Volume, cm³: Right",
        "Volume, cm³: Left",
        "Volume, cm³: Difference, %",
        "Mean density, HU: Right",
        "Mean density, HU: Left",
        "Remarks",
    ]
    assert lines[1].split("\t") == ["Sartorius", "100", "90", "", "51.5", "51.5", "Right: cut by the scan's edge"]
    assert len(lines) == 30


@pytest.mark.parametrize("width", [390, 1366])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_to_find_for_axe_and_no_sideways_panning(opened: Callable[..., Any], width: int, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = opened(viewport={"width": width, "height": 844}, color_scheme=scheme)
    assert page.evaluate(SIDEWAYS) == 0
    found = axe.Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["target"]) for one in found] == []


@pytest.mark.parametrize("width", [390, 1160, 1366, 1920])
def test_the_widest_table_widens_no_page(
    browser: Any, tmp_path: Path, phantom: LabelledScan, rows: tuple[VolumeRow, ...], record: PageRecord, width: int
) -> None:
    values = {EXPECTED_AGREEMENT: 0.39, EXPECTED_LOW: 0.0, EXPECTED_HIGH: 0.88, PROBABILITY_WRONG: 0.97}
    measures = [
        MeasureRow("s1", s.key, s.group.value, side.value, name, value, "1", False)
        for s in STRUCTURES
        for side in SIDES
        for name, value in values.items()
    ]
    path = tmp_path / "report.html"
    write_page(path, phantom.ct, phantom.labels, rows, record, measures)
    page = browser.new_page(viewport={"width": width, "height": 844})
    page.goto(path.as_uri())
    assert page.locator("#table-volumes").inner_text().count("likely wrong") == 2 * len(STRUCTURES)
    assert page.evaluate(SIDEWAYS) == 0
    bars = page.locator(".bars svg").first.bounding_box()
    assert bars["width"] >= 300 and bars["x"] + bars["width"] <= width
    page.close()


def test_without_scripts_the_pictures_remain(opened: Callable[..., Any], browser_name: str) -> None:
    if browser_name == "firefox":
        pytest.skip("playwright can't turn its scripts off")
    page = opened(java_script_enabled=False)
    assert page.locator("#slices").is_hidden()
    assert page.locator("figure svg.with-labels").first.is_visible()
    page.check("#window-muscle", force=True)
    assert "brightness" in page.locator("image.ct").first.evaluate("e => getComputedStyle(e).filter")
    assert page.locator("button:visible").count() == 0


def sheets(pdf: bytes) -> int:
    """Count the pages of a PDF; Firefox keeps their dictionaries in compressed streams."""
    streams = re.findall(rb"/ObjStm.*?stream\r?\n(.*?)endstream", pdf, re.DOTALL)
    return sum(len(re.findall(rb"/Type /Page\b", part)) for part in [pdf, *map(inflated, streams)])


def inflated(stream: bytes) -> bytes:
    return zlib.decompressobj().decompress(stream)


def test_print_is_two_or_three_pages(opened: Callable[..., Any]) -> None:
    assert 2 <= sheets(opened().pdf(prefer_css_page_size=True)) <= 3


def test_a_page_that_stops_the_reader_prints_as_short(
    browser: Any, browser_name: str, file: Path, tmp_path: Path
) -> None:
    stops = tmp_path / "stops.html"
    words = "6 structures are likely wrong: " + "Adductor brevis, left: 0.31 (0.00 to 0.83), 92%; " * 6
    section = f'<section class="alarm" role="alert"><h2>Stop: likely wrong</h2><p>{words}</p></section>'
    text = file.read_text(encoding="utf-8")
    assert '<dl class="facts">' in text
    stops.write_text(text.replace('<dl class="facts">', section + '<dl class="facts">', 1), encoding="utf-8")
    page = browser.new_page()
    page.goto(stops.as_uri())
    assert sheets(page.pdf(prefer_css_page_size=True)) <= 3
    if browser_name == "chromium":  # the driver of Firefox cannot show a page as it prints
        height = page.evaluate("document.querySelector('.alarm').offsetHeight")
        page.emulate_media(media="print")
        assert page.evaluate("document.querySelector('.alarm').offsetHeight") < 0.75 * height
    page.close()


@pytest.mark.parametrize("lines", [0, 6, 12, 18])
def test_colours_alone_get_no_sheet(browser: Any, browser_name: str, file: Path, tmp_path: Path, lines: int) -> None:
    # With a few lines more above them the colours no longer fit below the pictures: the volumes follow at once.
    longer = tmp_path / "longer.html"
    text = file.read_text(encoding="utf-8")
    longer.write_text(text.replace("<main>", "<p>More is said here.</p>" * lines + "<main>", 1), encoding="utf-8")
    page = browser.new_page()
    page.goto(longer.as_uri())
    count = sheets(page.pdf(prefer_css_page_size=True))
    # This page has no further measures. Firefox may put the title of the volumes at the foot of a sheet.
    assert count == 2 if browser_name == "chromium" else 2 <= count <= 3
    page.close()
