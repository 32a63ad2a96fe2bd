import re
from html.parser import HTMLParser

import pytest

from vastus.anatomy import Group
from vastus.cohort import narrative
from vastus.cohort.page import inline_svg, render_page


class Tags(HTMLParser):
    """Checks that tags nest."""

    VOID = frozenset(("meta", "br", "hr", "img", "link", "input", "path", "use", "rect", "circle"))

    def __init__(self):
        super().__init__()
        self.open, self.faults, self.references = [], [], []

    def handle_starttag(self, tag, attrs):
        self.references += [v for k, v in attrs if k in ("src", "href", "xlink:href") and v and not v.startswith("#")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in self.VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)


@pytest.fixture(scope="module")
def page(results):
    return render_page(results, {}, {"vastus": "0"}, note="Made up.")


def test_page_nests_and_needs_nothing_from_outside(page):
    tags = Tags()
    tags.feed(page)
    assert tags.faults == []
    assert tags.open == []
    assert tags.references == []


def test_page_says_what_it_must(page, results):
    assert "Made up." in page
    assert "43 women (20 with, 23 without sarcopenia) and 26 men (21 with, 5 without sarcopenia)" in page
    assert results.criteria.source.split(".")[0] in page
    assert "One group is tiny" in page
    assert "psoas major, abdominal oblique, rectus abdominis, multifidus" in page
    assert "nan" not in re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL).lower().split()


def test_numbers_in_the_text_are_those_of_the_tables(page, results):
    table = results.status_correlations.set_index(["stratum", "feature"])
    for group in (Group.ANTERIOR, Group.MEDIAL):
        r = narrative.number(table.loc[("Men", f"group:{group.value}"), "r"])
        assert f"{group.title.lower()} {r}" in page


def test_user_text_is_escaped(results):
    assert "<script>" not in render_page(results, {}, {"vastus": "<script>"}, note="<script>")


def test_svg_ids_are_made_unique():
    svg = '<?xml version="1.0"?><svg width="72pt" height="9pt"><defs><path id="a"/></defs><use xlink:href="#a"/></svg>'
    text = str(inline_svg(svg, "flow"))
    assert 'id="flow-a"' in text
    assert 'href="#flow-a"' in text
    assert "width:72pt" in text


def test_p_values_in_words():
    assert narrative.format_p(0.0004) == "p < 0.001"
    assert narrative.format_p(0.0314) == "p = 0.031"
    assert narrative.format_p(0.314) == "p = 0.31"
    assert narrative.format_p(float("nan")) == "–"
    assert narrative.number(-0.456) == "−0.46"
    assert narrative.number(-0.0004) == "0.00"
