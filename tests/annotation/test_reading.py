"""A scan is read once, however many ask for it, and read ahead when a client fetches it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
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


def test_a_fetched_scan_is_made_ready_for_the_network_before_labels_are_asked_for(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, case = running.project, running.project.cases.all()[0].id
    plain = project.label(case, None).result(PATIENT_SECONDS)[1]
    project.read_ahead(case)
    assert project._made_ready is None, "its voxels are in memory: nothing is to be read"
    project._images.clear()
    project.read_ahead(case)
    assert project._ahead is not None
    project._ahead.join(PATIENT_SECONDS)

    def refuse(*_: object) -> None:
        raise AssertionError("made ready once more")

    monkeypatch.setattr("vastus.inference.predictor.preprocess", refuse)
    assert np.array_equal(project.label(case, None).result(PATIENT_SECONDS)[1].array, plain.array)
    assert project._made_ready is None
    with pytest.raises(AssertionError, match="once more"):  # what was made ready serves one request
        project.label(case, None).result(PATIENT_SECONDS)


def test_a_reading_ahead_that_failed_spoils_no_later_request(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    project, case = running.project, running.project.cases.all()[0].id
    read, failures = project.cases.image, [OSError("a share that is away for a moment")]

    def image(case_id: str) -> Volume:
        if failures:
            raise failures.pop()
        return read(case_id)

    monkeypatch.setattr(project.cases, "image", image)
    project.read_ahead(case)
    assert project._ahead is not None
    project._ahead.join(PATIENT_SECONDS)
    assert not failures and project._made_ready is None
    assert project.label(case, None).result(PATIENT_SECONDS)[1].array.any()


def test_what_was_made_ready_for_other_weights_or_another_case_is_not_used(running: Running) -> None:
    project, case = running.project, running.project.cases.all()[0].id
    project.read_ahead(case)
    assert project._ahead is not None
    project._ahead.join(PATIENT_SECONDS)
    bundle = project.registry.bundle(None)
    other = replace(bundle, info=replace(bundle.info, preprocessing=replace(bundle.info.preprocessing, gamma=2.0)))
    assert project._take_ready("another", bundle) is None
    assert project._take_ready(case, other) is None
    assert project._take_ready(case, bundle) is not None
