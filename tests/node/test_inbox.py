"""Which images make a revision of a series, also when a kill or a full disk comes between two steps."""

import sqlite3
from pathlib import Path

import pytest

from vastus.node.inbox import Inbox
from vastus.node.queue import Job, JobState, Queue

SERIES = "1.2.3"


@pytest.fixture
def queue(tmp_path):
    queue = Queue(tmp_path / "queue.sqlite", fsync=False)
    yield queue
    queue.close()


def opened(folder: Path, queue: Queue) -> Inbox:
    return Inbox(folder / "incoming", queue, series_instances=100, fsync=False)


def processed(inbox: Inbox, queue: Queue, *images: str) -> Job:
    """A series that was received as a whole and is done."""
    for image in images:
        assert inbox.keep(SERIES, image, b"image")
    (job,) = inbox.complete(0.0)
    assert inbox.claim() is not None
    queue.move(job, JobState.DONE)
    return job


def names(inbox: Inbox, job: Job) -> int:
    return len(list(inbox.folder_of(job).glob("*.dcm")))


def no_room(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "full disk"])
def test_a_revision_to_which_nothing_new_came_is_none(tmp_path, queue, monkeypatch, killed):
    inbox = opened(tmp_path, queue)
    first = processed(inbox, queue, "1.1", "1.2")
    with monkeypatch.context() as patch:
        patch.setattr(inbox, "_write", no_room)
        with pytest.raises(OSError):
            inbox.keep(SERIES, "1.3", b"image")
    if killed:  # after the new revision was begun, before its first image was written
        inbox = opened(tmp_path, queue)
    second = queue.latest(first.series)
    assert second.revision == 2 and names(inbox, second) == 2

    assert inbox.complete(0.0) == []
    assert queue.latest(first.series) == queue.in_state(JobState.DONE)[0]
    assert not inbox.folder_of(second).exists() and names(inbox, first) == 2

    # The sender tries again: now it is one.
    assert inbox.keep(SERIES, "1.3", b"image")
    (again,) = inbox.complete(0.0)
    assert again.revision == 2 and names(inbox, again) == 3


def test_a_later_image_makes_a_revision_with_all(tmp_path, queue):
    inbox = opened(tmp_path, queue)
    processed(inbox, queue, "1.1", "1.2")
    assert inbox.keep(SERIES, "1.3", b"image")
    inbox = opened(tmp_path, queue)  # killed after the image was acknowledged
    (job,) = inbox.complete(0.0)
    assert job.revision == 2 and names(inbox, job) == 3
    assert not inbox.keep(SERIES, "1.3", b"image") and not inbox.keep(SERIES, "1.1", b"image")
    assert inbox.complete(0.0) == []


def test_a_series_without_images_is_forgotten(tmp_path, queue, monkeypatch):
    inbox = opened(tmp_path, queue)
    monkeypatch.setattr(inbox, "_write", no_room)
    with pytest.raises(OSError):
        inbox.keep(SERIES, "1.1", b"image")
    assert inbox.complete(0.0) == [] and not any(queue.counts().values())


def test_images_that_come_while_it_waits_join_it(tmp_path, queue):
    inbox = opened(tmp_path, queue)
    inbox.keep(SERIES, "1.1", b"image")
    (job,) = inbox.complete(0.0)
    assert inbox.keep(SERIES, "1.2", b"image")
    assert inbox.claim() is None, "it is being received again"
    (same,) = inbox.complete(0.0)
    assert same.id == job.id and names(inbox, same) == 2


def test_a_series_begun_without_room_for_its_folder_goes_on_with_all_its_images(tmp_path, queue, monkeypatch):
    inbox = opened(tmp_path, queue)
    processed(inbox, queue, "1.1", "1.2")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", no_room)
        for _ in range(2):
            with pytest.raises(OSError):
                inbox.keep(SERIES, "1.3", b"image")
    assert inbox.keep(SERIES, "1.3", b"image")
    (job,) = inbox.complete(0.0)
    assert job.revision == 2 and names(inbox, job) == 3, "the earlier images are part of it"


def test_a_series_that_cannot_be_queued_stays_open_and_holds_nobody_up(tmp_path, queue, monkeypatch):
    inbox = opened(tmp_path, queue)
    inbox.keep("1.2.3", "1.1", b"image")
    inbox.keep("1.2.4", "2.1", b"image")
    move = queue.move

    def failing(job, state, reason=""):
        if job.id == 1:
            raise sqlite3.OperationalError("database or disk is full")
        move(job, state, reason)

    with monkeypatch.context() as patch:
        patch.setattr(queue, "move", failing)
        with pytest.raises(sqlite3.OperationalError):
            inbox.complete(0.0)
    assert [job.id for job in queue.in_state(JobState.QUEUED)] == [2]
    assert [job.id for job in inbox.complete(0.0)] == [1]
