"""Which job comes next, and which not any more."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from vastus.node.queue import JobState, Queue


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    queue = Queue(tmp_path / "queue.sqlite", fsync=False)
    yield queue
    queue.close()


def test_an_older_result_waits_for_what_becomes_of_a_newer_revision(queue: Queue) -> None:
    old = queue.begin("a", 1)
    queue.move(old, JobState.SENDING)
    new = queue.begin("a", 2)
    other = queue.begin("b", 1)
    queue.move(other, JobState.SENDING)
    assert queue.drop_superseded() == []
    assert queue.next_to_send() is not None and queue.next_to_send().id == other.id, "it holds nobody else up"
    queue.forget(new)  # no image came
    assert queue.next_to_send().id == old.id


@pytest.mark.parametrize(
    "state", [JobState.QUEUED, JobState.PROCESSING, JobState.SENDING, JobState.DONE, JobState.SET_ASIDE]
)
def test_a_newer_revision_supersedes_what_was_not_sent(queue: Queue, state: JobState) -> None:
    waiting, failed = queue.begin("a", 1), queue.begin("b", 1)
    queue.move(waiting, JobState.SENDING)
    queue.fail(waiting, JobState.SENDING, "down", 600)
    queue.move(failed, JobState.QUEUED)
    for series in ("a", "b"):
        queue.move(queue.begin(series, 2), state)
    assert {job.id for job in queue.drop_superseded()} == {waiting.id, failed.id}
    assert queue.counts()[JobState.SUPERSEDED] == 2 and queue.drop_superseded() == []


def test_done_revisions_are_not_superseded_and_are_found(queue: Queue) -> None:
    first, second, third = (queue.begin("a", revision) for revision in (1, 2, 3))
    for job in (first, second):
        queue.move(job, JobState.DONE)
    queue.move(third, JobState.SENDING)
    assert queue.drop_superseded() == [] and queue.next_to_send().id == third.id
    assert queue.done_before(third).id == second.id and queue.done_before(first) is None


def test_hindered_tries_are_counted_by_themselves(queue: Queue) -> None:
    job = queue.begin("a", 1)
    queue.fail(job, JobState.QUEUED, "disk", 0.0, hindered=True)
    queue.fail(job, JobState.QUEUED, "crash", 0.0)
    found = queue.latest("a")
    assert (found.tries, found.hindered, found.reason) == (2, 1, "crash")
    queue.move(found, JobState.SENDING)
    assert (queue.latest("a").tries, queue.latest("a").hindered) == (0, 0)


def test_a_queue_of_an_older_version_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    with sqlite3.connect(path) as db:
        db.execute(
            "CREATE TABLE jobs (id INTEGER PRIMARY KEY, series TEXT NOT NULL, revision INTEGER NOT NULL, state TEXT NOT"
            " NULL, tries INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '', not_before REAL NOT NULL DEFAULT"
            " 0, created REAL NOT NULL, changed REAL NOT NULL, UNIQUE (series, revision))"
        )
        db.execute("INSERT INTO jobs (series, revision, state, created, changed) VALUES ('a', 1, 'sending', 0, 0)")
    db.close()
    queue = Queue(path, fsync=False)
    assert queue.next_to_send().series == "a" and queue.latest("a").hindered == 0
    queue.close()


def test_only_the_owner_reads_it(tmp_path: Path, queue: Queue) -> None:
    queue.begin("a", 1)
    files = list(tmp_path.glob("queue.sqlite*"))
    assert len(files) == 3 and {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
