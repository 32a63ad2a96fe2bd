"""A scan is read once, however many ask for it, and read ahead when a client fetches it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from vastus.annotation.project.project import Project, ServerSettings
from vastus.errors import UnreadableScanError
from vastus.volume import Volume

if TYPE_CHECKING:
    from annotation_server import Running

SCAN = Volume(np.zeros((2, 2, 2), np.int16), np.eye(4))
PATIENT_SECONDS = 20.0


class SlowCases:
    """Counts readings; each waits until it is let go, and fails if told so."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.began, self.let_go = threading.Event(), threading.Event()
        self.fails = False

    def image(self, case_id: str) -> Volume:
        self.asked.append(case_id)
        self.began.set()
        assert self.let_go.wait(PATIENT_SECONDS)
        if self.fails:
            raise UnreadableScanError("The file is cut off.")
        return SCAN


@pytest.fixture
def reader(project: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Project, SlowCases]]:
    from annotation_server import ONE_THREAD

    opened, cases = Project(ServerSettings(project, model, ONE_THREAD)), SlowCases()
    monkeypatch.setattr(opened.cases, "image", cases.image)
    yield opened, cases
    cases.let_go.set()
    opened.close()


def test_who_asks_during_a_reading_waits_for_it(reader: tuple[Project, SlowCases]) -> None:
    project, cases = reader
    project.read_ahead("one")
    assert cases.began.wait(PATIENT_SECONDS)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(project.image, "one") for _ in range(2)]
        cases.let_go.set()
        assert [future.result(PATIENT_SECONDS) for future in both] == [SCAN, SCAN]
    assert cases.asked == ["one"]


def test_one_scan_is_read_ahead_at_a_time(reader: tuple[Project, SlowCases]) -> None:
    project, cases = reader
    project.read_ahead("one")
    assert cases.began.wait(PATIENT_SECONDS)
    project.read_ahead("two")
    cases.let_go.set()
    assert project.image("one") is SCAN
    assert cases.asked == ["one"]
    assert project.image("two") is SCAN
    assert cases.asked == ["one", "two"]


def test_a_failed_reading_is_told_to_who_asks_and_tried_again(reader: tuple[Project, SlowCases]) -> None:
    project, cases = reader
    cases.fails = True
    project.read_ahead("one")
    assert cases.began.wait(PATIENT_SECONDS)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(project.image, "one")
        cases.let_go.set()
        with pytest.raises(UnreadableScanError):
            waiting.result(PATIENT_SECONDS)
    cases.fails = False
    assert project.image("one") is SCAN


def test_fetching_a_scan_reads_it_ahead(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead: list[str] = []
    monkeypatch.setattr(running.project, "read_ahead", ahead.append)
    case = running.project.cases.all()[0].id
    assert running.client.get(f"/datastore/image?image={case}").status == 200
    assert ahead == [case]
