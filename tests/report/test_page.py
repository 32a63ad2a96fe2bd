from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from vastus.anatomy import BY_KEY, STRUCTURES, Side
from vastus.errors import OutputError
from vastus.io.csv_tables import VolumeRow
from vastus.morphometry.rows import MeasureRow, measure_rows
from vastus.morphometry.scan import measure_scan
from vastus.quality import Agreement, agreement_rows, likely_wrong
from vastus.report.measure_lines import LEG_KINDS, MUSCLE_KINDS, set_out_measures
from vastus.report.page import PageRecord, render_page, write_page
from vastus.report.palette import SAFE_COLOURS
from vastus.report.slices import unpack_labels
from vastus.synthesis.phantom import LabelledScan
from vastus.volume import Volume, crop

VOID = {"meta", "link", "input", "br"}


class Reader(HTMLParser):
    """Checks that tags nest; keeps attributes, the text and the table rows by structure."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.cells: dict[str, list[str]] = {}
        self._row: str | None = None
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "tr":
            self._row = dict(attrs).get("data-structure")
        if tag == "td" and self._row:
            self.cells.setdefault(self._row, []).append("")

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data
        if "td" in self.open and self._row:
            self.cells[self._row][-1] += data


@pytest.fixture(scope="module")
def page(
    phantom: LabelledScan,
    rows: tuple[VolumeRow, ...],
    record: PageRecord,
    changed: Callable[..., tuple[VolumeRow, ...]],
) -> str:
    rows = changed(rows, "sartorius", Side.RIGHT, truncated=True)
    rows = changed(rows, "gracilis", Side.LEFT, volume_mm3=None, mean_hu=None)
    return render_page(phantom.ct, phantom.labels, rows, record)


def images(page: str, kind: str) -> list[np.ndarray]:
    found = re.findall(rf'href="data:image/{kind};base64,([^"]+)"', page)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGBA")) for text in found]


def test_nothing_outside_the_page_is_asked_for(page):
    reader = Reader(page)
    links = [value for _, name, value in reader.attributes if name in {"src", "href", "action", "srcset"}]
    assert links
    assert all(value.startswith(("data:", "#")) for value in links)
    bare = re.sub(r'"data:[^"]*"', "", re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL))
    assert re.search(r"https?:|//[a-z]|@import|url\(", bare) is None
    assert "default-src 'none'" in page
    script = scripts(page)[-1]
    assert not re.search(r"https?:|fetch\(|XMLHttpRequest|WebSocket|\beval\b|innerHTML", script)


def scripts(page: str) -> list[str]:
    return re.findall(r"<script[^>]*>(.*?)</script>", page, flags=re.DOTALL)


def test_only_the_own_script_may_run(page):
    digest = base64.b64encode(hashlib.sha256(scripts(page)[-1].encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy and f"script-src 'sha256-{digest}'" in policy[1] and "unsafe-eval" not in policy[1]
    kinds = re.findall(r"<script([^>]*)>", page)
    assert [k for k in kinds if "type=" not in k] == [""]  # all others are data
    assert not any(name.startswith("on") for _, name, _ in Reader(page).attributes)


def test_the_page_carries_every_slice(page, phantom):
    about, labels, ct, _ = scripts(page)
    shape = json.loads(about)["shape"]
    planes = unpack_labels(base64.b64decode(labels), tuple(shape))
    assert set(np.unique(planes)) == set(np.unique(np.asarray(phantom.labels.array)))
    assert len(ct.split("\n")) == shape[0]
    assert Image.open(io.BytesIO(base64.b64decode(ct.split("\n")[0]))).size == (shape[2], shape[1])
    first = json.loads(about)["values"]["101"]
    assert (first["name"], first["said"]) == ("Sartorius, right", "100.0 cm³, mean 51.5 HU, cut by the scan's edge")


def test_warnings_lead_to_the_structures_that_they_name(phantom, rows, record):
    text = "Gracilis, right: 900 mL, more than ... Then Vastus medialis, LEFT and psoas."
    page = render_page(phantom.ct, phantom.labels, rows, replace(record, warnings=(text, "Metal in view.")))
    assert re.findall(r'class="go" data-value="(\d+)" hidden>Show ([^<]+)<', page) == [
        ("109", "Gracilis, right"),
        ("205", "Vastus medialis, left"),
    ]
    gone = phantom.labels.with_array(np.where(phantom.labels.array == 109, 0, phantom.labels.array))
    page = render_page(phantom.ct, gone, rows, replace(record, warnings=(text,)))
    assert re.findall(r'class="go" data-value="(\d+)"', page) == ["205"]


def test_tables_give_bare_numbers(page):
    row = page[page.index('data-structure="sartorius"') :].split("</tr>")[0]
    assert re.findall(r'data-value="([^"]+)"', row) == ["100.0", "90.0", "51.5", "51.5"]
    assert re.findall(r'data-remark="([^"]+)"', row) == ["cut by the scan's edge".replace("'", "&#39;")]


def test_size_stays_small(page):
    assert len(page) < 1_500_000


def test_every_ct_has_its_overlay(page):
    # Once in the colours by group, once in those for colour-blind readers.
    assert 2 * len(images(page, "jpeg")) == len(images(page, "png")) >= 28
    first, second = images(page, "png")[:2]
    assert np.array_equal(first[..., 3], second[..., 3]) and not np.array_equal(first, second)


def test_cut_and_absent_are_marked(page):
    cells = Reader(page).cells
    assert [c.strip() for c in cells["rectus_femoris"]] == ["100.0", "90.0", "+10.5", "51.5", "51.5"]
    assert [" ".join(c.split()) for c in cells["sartorius"]] == [
        "100.0 ▲cut by the scan's edge",
        "90.0",
        "–",
        "51.5",
        "51.5",
    ]
    assert [c.strip() for c in cells["gracilis"]] == ["100.0", "–", "–", "51.5", "–"]
    assert set(cells) == {s.key for s in STRUCTURES}


def test_counts_on_top(page):
    n = len(STRUCTURES)
    facts = re.findall(r"<dt>(Found on the right|Found on the left|Cut by the scan's edge)</dt><dd>(\d+)", page)
    assert facts == [("Found on the right", f"{n}"), ("Found on the left", f"{n - 1}"), ("Cut by the scan's edge", "1")]


def test_legend_colours_are_those_of_the_anatomy(page):
    for structure in STRUCTURES:
        number = structure.class_id
        for place, colour in (
            (":root {", structure.colour),
            (":has(#colours-safe:checked) {", SAFE_COLOURS[structure.key]),
        ):
            red, green, blue = colour
            rule = page[page.index(place) :].split("}")[0]
            assert f"--s{number}: rgb({red}, {green}, {blue});" in rule
        assert f'class="swatch s{number}"></span>{structure.english}' in page
        assert f".s{number} {{ background: var(--s{number});" in page


def test_text_of_the_user_is_escaped(phantom, rows, record):
    nasty = '<img src="x" onerror="alert(1)">&'
    record = replace(
        record,
        subject=nasty,
        weights=nasty,
        trained_on=nasty,
        device=nasty,
        warnings=(nasty,),
        versions={nasty: nasty},
        seconds={nasty: 1.0},
    )
    page = render_page(phantom.ct, phantom.labels, rows, record)
    assert "<img" not in page
    assert Reader(page).text.count(nasty) >= 7


def test_warnings_and_research_note(phantom, rows, record):
    page = render_page(phantom.ct, phantom.labels, rows, replace(record, warnings=("Metal in view.",)))
    text = " ".join(Reader(page).text.split())
    assert text.index("Metal in view.") < text.index("Pictures")
    assert "For research only." in text
    assert "were trained on: phantoms only." in text
    assert 'class="warnings"' not in render_page(phantom.ct, phantom.labels, rows, record)


def test_right_leg_alone_is_on_the_left_of_the_picture(phantom, right_leg, rows, record):
    # The body of two legs frames the labels of one.
    page = render_page(phantom.ct, right_leg.labels, rows, record)
    overlay = images(page, "png")[6]
    ct = images(page, "jpeg")[3]
    labelled = np.nonzero(overlay[..., 3].any(axis=0))[0]
    body = np.nonzero((ct[..., 0] > 30).any(axis=0))[0]
    assert labelled.mean() < body.mean()
    assert page.index('text-anchor="end">L</text>') > page.index(">R</text>")


def test_measures_are_listed(phantom, rows, record):
    measures = [
        MeasureRow("s1", "femur", "bone", "right", "femur_length", 431.26, "mm", False),
        MeasureRow("s1", "subcutaneous_fat", "fat", "left", "volume", 2_345_678.0, "mm3", True),
        MeasureRow("s1", "sartorius", "anterior", "left", "fat_fraction", 0.123, "1", False),
    ]
    page = render_page(phantom.ct, phantom.labels, rows, record, measures)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page[page.index('id="measures-title"') :]))
    assert "Length of the femur mm 431.3 –" in text
    assert "Fat under the skin of the thigh cm³ – 2345.7 ▲ cut by the scan's edge" in text
    assert "Sartorius – – – 12.3 – – – –" in text
    assert 'id="measures-title"' not in render_page(phantom.ct, phantom.labels, rows, record)


def test_measures_of_the_morphometry_fill_every_line(phantom):
    # The names that the page looks for are those that measuring writes.
    written = measure_rows(measure_scan(phantom.ct, phantom.labels, "s1"))
    legs, muscles = set_out_measures(written)
    names = {(r.structure, r.measure) for r in written}
    assert {(kind.structure, kind.measure) for kind in LEG_KINDS} <= names
    assert {kind.measure for kind in MUSCLE_KINDS} <= {measure for _, measure in names}
    assert legs[0].right.value == pytest.approx(430, abs=20)
    assert len(muscles) == 27


def test_side_unknown_is_listed_apart(phantom, rows, record):
    unknown = VolumeRow("s1", "psoas", rows[0].group, Side.UNKNOWN, 12_300.0, 40.0, False)
    page = render_page(phantom.ct, phantom.labels, (*rows, unknown), record)
    assert "Side not known" in page
    assert "12.3" in page


@pytest.mark.parametrize("slices", [1, 2])
def test_very_few_slices(phantom, rows, record, slices):
    box = (0, 0, 30), (*phantom.ct.shape[:2], 30 + slices)
    labels = crop(phantom.labels, *box)
    page = render_page(crop(phantom.ct, *box), labels, rows, record)
    Reader(page)  # tags nest
    about, packed, ct, *_ = scripts(page)
    shape = tuple(json.loads(about)["shape"])
    assert shape[0] == len(ct.split("\n")) == slices
    found = set(np.unique(unpack_labels(base64.b64decode(packed), shape)))
    assert found == set(np.unique(np.asarray(labels.array))) and len(found) > 2


def test_nothing_labelled(phantom, record):
    empty = phantom.labels.with_array(np.zeros_like(phantom.labels.array))
    page = render_page(phantom.ct, empty, [], record)
    assert "nothing labelled here" in page
    assert "share of the visible femur" not in page


def test_float_ct_gives_the_same_page(phantom, rows, record):
    as_float = Volume(phantom.ct.array.astype(np.float32), phantom.ct.affine)
    assert render_page(as_float, phantom.labels, rows, record) == render_page(phantom.ct, phantom.labels, rows, record)


def test_written_atomically(tmp_path, phantom, rows, record):
    write_page(tmp_path / "report.html", phantom.ct, phantom.labels, rows, record)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text(encoding="utf-8").rstrip().endswith("</html>")
    with pytest.raises(OutputError):
        write_page(tmp_path / "report.html" / "below.html", phantom.ct, phantom.labels, rows, record)


def test_a_fragment_is_named_on_the_page(phantom, rows, record, changed):
    plain = render_page(phantom.ct, phantom.labels, rows, record)
    assert "Fragments, not counted" not in plain
    page = render_page(
        phantom.ct, phantom.labels, changed(rows, "biceps_femoris", Side.RIGHT, volume_mm3=30.0, fragment=True), record
    )
    row = page[page.index('<tr data-structure="biceps_femoris"') :].split("</tr>")[0]
    assert '0.0 <span class="cut">fragment</span>' in row and "\u2212200" not in row
    assert "<dt>Fragments, not counted</dt><dd>1</dd>" in page
    assert "<dt>Found on the right</dt><dd>28" in page and "<dt>Found on the left</dt><dd>29" in page


def test_published_values_stand_on_the_page_where_there_are_some(phantom, rows, record):
    def row(structure, group, side, measure, value, unit):
        return MeasureRow("s1", structure, group, side, measure, value, unit, False)

    measures = [
        row("femur", "bone", "right", "thigh_muscle_to_femur", 6.5, "1"),
        row("gracilis", "medial", "left", "volume_of_expected", 61.0, "%"),
    ]
    known = replace(record, context=("Context <b>said</b>.",))
    page = render_page(phantom.ct, phantom.labels, rows, known, measures)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page[page.index('id="measures-title"') :]))
    assert "muscles to the femur 1 6.5 \u2013" in text
    assert "Percent of expected, %" in text and "61.0" in text
    assert "Beside published values" in text and "&lt;b&gt;said" in page
    nobody = render_page(
        phantom.ct, phantom.labels, rows, record, [row("femur", "bone", "left", "femur_length", 1, "mm")]
    )
    assert "Percent of expected" not in nobody
    assert "Beside published values" not in nobody


def test_expected_agreement_has_its_column_and_a_wrong_structure_stops_the_reader(phantom, rows, record):
    found = {
        BY_KEY["gracilis"].label_value(Side.RIGHT): Agreement(0.91, 0.86, 0.94, 0.02),
        BY_KEY["gracilis"].label_value(Side.LEFT): Agreement(0.4, 0.2, 0.65, 0.93),
    }
    measures = agreement_rows("x", found)
    told = replace(record, alarms=likely_wrong(found), warnings=("Metal in view.",))
    page = render_page(phantom.ct, phantom.labels, rows, told, measures)
    cells = Reader(page).cells["gracilis"]
    assert "0.91 (0.86 to 0.94)" in cells[5] and "likely wrong" not in cells[5]
    assert "0.40 (0.20 to 0.65)" in cells[6] and "likely wrong" in cells[6]
    assert "–" in Reader(page).cells["sartorius"][5]
    assert "expected agreement 0.40 (0.20 to 0.65), likely wrong" in page  # where one points into the slices
    assert page.index('class="alarm"') < page.index('class="warnings"')
    assert "chance of being wrong): Gracilis, left: 0.40 (0.20 to 0.65), 93%" in page and "Stop" in page
    plain = render_page(phantom.ct, phantom.labels, rows, record)
    assert 'class="alarm"' not in plain and "Expected agreement" not in plain


def test_a_scan_of_no_use_stops_the_reader_before_and_at_the_numbers(phantom, rows, record):
    stop = "The body lies the other way round than the file says: <why>."
    page = render_page(
        phantom.ct, phantom.labels, rows, replace(record, alarms=(stop,), warnings=(stop, "Metal in view."))
    )
    assert page.count("Use none of these numbers") >= 1 and "Stop: use no number of this scan" in page
    assert "<title>STOP" in page and 'class="volumes unusable"' in page
    assert page.count("The body lies the other way round") == 1  # not told again among the warnings
    assert page.index("The body lies") < page.index("Found on the right") < page.index("Metal in view.")
    doubted = render_page(phantom.ct, phantom.labels, rows, replace(record, alarms=("Gracilis, left: 0.40.",)))
    assert "Stop: likely wrong" in doubted and "unusable" not in doubted.split("</style>")[1]
    assert "Show Gracilis, left" in doubted


def test_a_missed_structure_says_so_in_its_cell(phantom, rows, record, changed):
    gone = changed(rows, "gracilis", Side.LEFT, volume_mm3=None, mean_hu=None)
    page = render_page(phantom.ct, phantom.labels, gone, replace(record, missing=frozenset({("gracilis", "left")})))
    cells = Reader(page).cells["gracilis"]
    assert "missed" in cells[1] and "missed" not in cells[0]
    assert "missed" not in Reader(render_page(phantom.ct, phantom.labels, gone, record)).cells["gracilis"][1]
