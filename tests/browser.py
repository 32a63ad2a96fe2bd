"""The machine's own Chromium and Firefox, driven by playwright, without a word to anybody else."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")
XVFB = shutil.which("Xvfb")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# Playwright sets the colour scheme of every new window by a command that Firefox 153 does not know yet. Its answer
# "unknown command" counts as done: the usual scheme is what we want. Loaded by playwright's own process.
COMMANDS_THAT_FIREFOX_MAY_LACK = """
const parse = JSON.parse;
JSON.parse = (...given) => {
    const said = parse(...given);
    const lacks = said?.error === "unknown command" && said.message?.includes("setMediaFeaturesOverride");
    return lacks ? { type: "success", id: said.id, result: {} } : said;
};
"""


@contextmanager
def browser_named(name: str) -> Iterator[Any]:
    """A browser that playwright drives; skips the test where there is none.

    For fixtures of a module: playwright can't be started twice at a time in one process.
    """
    with {"chromium": chromium, "firefox": firefox}[name]() as started:
        yield started


@contextmanager
def chromium() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield started
        started.close()


@contextmanager
def firefox() -> Iterator[Any]:
    """Firefox by WebDriver BiDi. Its WebGL, which the viewer needs, wants a screen: Xvfb's, seen by nobody."""
    if FIREFOX is None or XVFB is None:
        pytest.skip("no firefox, or no Xvfb, on this machine")
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright")
    with tempfile.TemporaryDirectory() as folder, unseen_screen() as display:
        script = Path(folder) / "firefox.cjs"
        script.write_text(COMMANDS_THAT_FIREFOX_MAY_LACK, encoding="utf-8")
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("NODE_OPTIONS", f"--require {script}")
            driving = playwright.sync_playwright()
            driver = driving.__enter__()
        try:
            started = driver.firefox.launch(
                channel="moz-firefox",
                executable_path=FIREFOX,
                firefox_user_prefs={"webgl.force-enabled": True},
                env={**os.environ, "DISPLAY": display},
            )
            yield started
            started.close()
        finally:
            driving.__exit__(None, None, None)


@contextmanager
def unseen_screen() -> Iterator[str]:
    """Name of the display of an X server without a screen."""
    assert XVFB is not None
    reading, writing = os.pipe()
    arguments = [XVFB, "-displayfd", str(writing), "-screen", "0", "1920x1200x24", "-nolisten", "tcp"]
    server = subprocess.Popen(arguments, pass_fds=(writing,), stderr=subprocess.DEVNULL)
    os.close(writing)
    try:
        with os.fdopen(reading, encoding="ascii") as numbers:
            number = numbers.readline().strip()  # written when the server is ready; empty where it died
        if not number:
            pytest.skip("Xvfb does not start on this machine")
        yield f":{number}"
    finally:
        server.terminate()
        server.wait()
