from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    result = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return folder


def test_every_page_is_of_one_of_the_four_kinds():
    names = [p.name for p in (ROOT / "docs").rglob("*.md") if p.name != "index.md"]
    assert names
    assert [n for n in names if not n.startswith(("start-", "example-", "how-to-", "reference-", "why-"))] == []


def test_every_page_is_built_and_in_the_navigation(site):
    start = (site / "index.html").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        target = page.relative_to(ROOT / "docs").with_suffix(".html")
        assert (site / target).is_file()
        assert f'href="{target.as_posix()}"' in start or page.name == "index.md"


def test_pages_load_nothing_from_elsewhere(site):
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|iframe)[^>]*\bsrc="([^"]+)"|<link[^>]*\bhref="([^"]+)"', text)
        assert loaded
        assert not [a or b for a, b in loaded if re.match(r"(https?:)?//", a or b)]
