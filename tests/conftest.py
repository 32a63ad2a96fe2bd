"""The order of the tests: files with slow ones first, so that two workers end at the same time; how a worker died.

No example of Hypothesis has a time limit: it would judge how busy the machine is.
"""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest

hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")
os.environ.setdefault("VASTUS_CACHE_DIR", "")  # tests keep no networks in the home of whoever runs them


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move whole files; within a file, and among equals, the order stays."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Tell the exit status of a worker that died; pytest-xdist does not. -9 means killed, often for memory."""
    process = getattr(getattr(node.gateway, "_io", None), "popen", None)
    if error and isinstance(process, subprocess.Popen):
        try:
            status = process.wait(10)
        except subprocess.TimeoutExpired:
            status = None
        print(f"\n{node.gateway.id} ended with exit status {status}", flush=True)


@pytest.fixture(autouse=True)
def no_log_handler_left() -> Iterator[None]:
    """Fail a test whose server leaves its log handler behind: a later test would print into a closed stream."""
    own = logging.getLogger("vastus")
    before = own.handlers[:]
    yield
    after, own.handlers[:] = own.handlers[:], before
    assert after == before


@pytest.fixture(scope="module", params=["chromium", pytest.param("firefox", marks=pytest.mark.slow)])
def browser_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def browser(browser_name: str) -> Iterator[Any]:
    from browser import browser_named

    with browser_named(browser_name) as started:
        yield started
