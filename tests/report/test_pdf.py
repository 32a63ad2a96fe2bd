from __future__ import annotations

import os
import stat
import time

import pytest

from vastus.errors import OutputError, SettingsError
from vastus.report import pdf
from vastus.report.pdf import print_page


def stand_in(folder, text: str) -> str:
    """A program that is called like Chromium."""
    program = folder / "chromium"
    program.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return str(program)


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("<!DOCTYPE html><title>x</title><p>y</p>", encoding="utf-8")
    return path


def test_without_any_printer_it_is_refused_with_a_remedy(tmp_path, page, monkeypatch):
    monkeypatch.setattr(pdf, "find_browser", lambda: None)
    monkeypatch.setattr(pdf, "find_spec", lambda _: None)
    with pytest.raises(SettingsError, match="weasyprint"):
        print_page(page, tmp_path / "report.pdf")
    assert not (tmp_path / "report.pdf").exists()


@pytest.mark.skipif(os.name != "posix", reason="the stand-in is a shell script")
def test_the_browser_prints_into_a_profile_of_its_own(tmp_path, page, monkeypatch):
    program = stand_in(
        tmp_path, 'for a in "$@"; do case $a in --print-to-pdf=*) printf "%s" "$*" > "${a#*=}";; esac; done'
    )
    monkeypatch.setattr(pdf, "find_browser", lambda: program)
    print_page(page, tmp_path / "report.pdf")
    said = (tmp_path / "report.pdf").read_text(encoding="utf-8")
    assert page.as_uri() in said and "--user-data-dir=" in said and "--headless" in said


@pytest.mark.skipif(os.name != "posix", reason="the stand-in is a shell script")
@pytest.mark.parametrize(("text", "words"), [("exit 3", "exit 3"), ("exit 0", "empty"), ("sleep 60", "within 1 s")])
def test_a_browser_that_fails_leaves_nothing(tmp_path, page, monkeypatch, text, words):
    program = stand_in(tmp_path, text)
    monkeypatch.setattr(pdf, "find_browser", lambda: program)
    before = time.monotonic()
    with pytest.raises(OutputError, match=words):
        print_page(page, tmp_path / "report.pdf", seconds=1.0 if "sleep" in text else 20.0)
    assert time.monotonic() - before < 30
    assert sorted(p.name for p in tmp_path.iterdir()) == ["chromium", "report.html"]
