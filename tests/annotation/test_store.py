import hashlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import annotation_saver
from dicom_factory import series, write_series
from vastus.annotation.project.cases import Cases
from vastus.annotation.project.layout import Layout
from vastus.annotation.project.store import CaseState, Draft, Kind, Store, Version
from vastus.annotation.refusals import LockedCaseError, NothingToUndoError, StaleParentError, UnknownItemError
from vastus.io.labels import read_labels


def written(text: str):
    return lambda path: path.write_text(text)


def save(store: Store, text: str, **said: object) -> Version:
    draft = {"kind": Kind.HUMAN, "author": "anna"} | said
    return store.save("case", Draft(**draft), written(text))  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(Layout(tmp_path))


def test_every_version_stays_with_who_when_and_from_what(store: Store) -> None:
    first = save(store, "a", kind=Kind.MODEL, tag="original", note="model toy")
    second = save(store, "b", author="bert", parent=1)
    assert [(v.number, v.parent, v.author, v.kind) for v in store.versions("case")] == [
        (1, None, "anna", Kind.MODEL),
        (2, 1, "bert", Kind.HUMAN),
    ]
    assert store.file(first).read_text() == "a" and store.file(second).read_text() == "b"
    assert second.sha256 == hashlib.sha256(b"b").hexdigest() and second.created.endswith("+00:00")
    assert Store(store.layout).versions("case") == (first, second)


def test_a_row_of_the_history_can_be_neither_changed_nor_removed(store: Store) -> None:
    save(store, "a")
    with sqlite3.connect(store.layout.history) as connection:
        for command in ("UPDATE versions SET author = 'eve'", "DELETE FROM versions"):
            with pytest.raises(sqlite3.IntegrityError, match="versions never"):
                connection.execute(command)
    assert store.file(store.version("case", 1)).stat().st_mode & 0o222 == 0


def test_a_change_of_an_old_version_is_refused_and_the_same_again_is_not(store: Store) -> None:
    save(store, "a")
    save(store, "b")
    with pytest.raises(StaleParentError, match="current one is 2"):
        save(store, "c", parent=1)
    with pytest.raises(UnknownItemError):
        save(store, "c", parent=7)
    again = save(store, "a", parent=1)
    assert (again.number, again.parent, again.equals) == (3, 2, 1)
    assert len(store.versions("case")) == 3
    assert not list(store.layout.temporary.iterdir()), "refused uploads leave nothing"


def test_undo_walks_back_and_is_itself_kept(store: Store) -> None:
    save(store, "a", kind=Kind.MODEL)
    save(store, "b", tag="final")
    save(store, "c")
    states = []
    for _ in range(2):
        version = store.undo("case", "bert")
        states.append((store.file(version).read_text(), version.state, version.kind))
    assert states == [("b", CaseState.FINAL, Kind.UNDO), ("a", CaseState.MODEL, Kind.UNDO)]
    with pytest.raises(NothingToUndoError):
        store.undo("case", "bert")
    assert [store.file(v).read_text() for v in store.versions("case")] == ["a", "b", "c", "b", "a"]


def test_the_final_label_is_the_newest_in_the_line_of_the_current_one(store: Store) -> None:
    assert store.final("case") is None
    save(store, "a", tag="final")
    save(store, "draft")
    assert store.final("case").number == 1
    save(store, "b", tag="final")
    assert store.final("case").number == 3
    undone = store.undo("case", "anna")
    assert store.final("case").number == 1 and undone.state is CaseState.CORRECTED
    store.undo("case", "anna")
    assert store.file(store.final("case")).read_text() == "a"


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(["save", "final", "undo"]), min_size=1, max_size=9))
def test_undo_equals_a_stack(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    """The texts seen by walking back are those that were there, as on a stack of a text editor."""
    store = Store(Layout(tmp_path_factory.mktemp("stack")))
    stack: list[tuple[str, str]] = []
    for number, step in enumerate(steps):
        if step == "undo":
            if len(stack) < 2:
                with pytest.raises(NothingToUndoError):
                    store.undo("case", "anna")
                continue
            stack.pop()
            store.undo("case", "anna")
        else:
            tag = "final" if step == "final" else ""
            stack.append((f"{number}", tag))
            save(store, f"{number}", tag=tag)
        current = store.current("case")
        assert current is not None and (store.file(current).read_text(), current.tag) == stack[-1]
        finals = [text for text, tag in stack if tag]
        final = store.final("case")
        assert (store.file(final).read_text() if final else None) == (finals[-1] if finals else None)


def test_a_lock_keeps_others_out_until_it_expires(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1e9]
    monkeypatch.setattr(time, "time", lambda: now[0])
    store.lock("case", "anna", seconds=0.3)
    save(store, "a")
    for refused in (
        lambda: save(store, "b", author="bert"),
        lambda: store.undo("case", "bert"),
        lambda: store.lock("case", "bert"),
        lambda: store.unlock("case", "bert"),
    ):
        with pytest.raises(LockedCaseError, match="anna"):
            refused()
    assert store.locks()["case"].holder == "anna"
    now[0] += 0.35
    assert store.locks() == {}
    assert save(store, "b", author="bert").number == 2
    store.lock("case", "bert")
    store.unlock("case", "bert")
    assert save(store, "c").number == 3


def test_many_threads_lose_nothing(store: Store) -> None:
    numbers: list[int] = []

    def work(who: int) -> None:
        numbers.extend(save(store, f"{who} {n}", author=f"u{who}").number for n in range(5))

    threads = [threading.Thread(target=work, args=(who,)) for who in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 61))
    assert {store.file(v).read_text() for v in store.versions("case")} == {
        f"{who} {n}" for who in range(12) for n in range(5)
    }


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kill_9_during_a_save_leaves_whole_versions_only(tmp_path: Path) -> None:
    """The process is killed at random moments; what was acknowledged is there, and all that is there is whole."""
    dice = random.Random(4)
    store = Store(Layout(tmp_path))
    acknowledged: dict[int, str] = {}
    program = [sys.executable, annotation_saver.__file__, str(tmp_path)]
    cut_short = 0
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as saver:
        assert saver.stdin is not None and saver.stdout is not None
        seen = 0
        kills, span_s = 0, 0.2
        while kills < 20 or (kills < 150 and (len(acknowledged) <= 10 or cut_short <= 3)):
            kills += 1
            before = len(acknowledged)
            saver.stdin.write("go\n")
            child = int(saver.stdout.readline())
            time.sleep(dice.uniform(0.0, span_s))
            os.kill(child, signal.SIGKILL)
            while (line := saver.stdout.readline()) != "gone\n":
                number, digest = line.split()
                acknowledged[int(number)] = digest
            # Where a machine is busy, saves take longer: so do the pauses between kills.
            span_s *= 0.9 if len(acknowledged) - before > 3 else 1.2 if len(acknowledged) == before else 1.0
            versions = store.versions("case")
            assert [v.number for v in versions] == list(range(1, len(versions) + 1))
            for version in versions[seen:]:
                content = store.file(version).read_bytes()
                assert hashlib.sha256(content).hexdigest() == version.sha256
                assert read_labels(store.file(version)).shape == (40, 40, 40)
            seen = len(versions)
            cut_short += bool(list(store.layout.temporary.iterdir()))
            store.clear_incoming()
        saver.stdin.close()
    found = {v.number: v.sha256 for v in store.versions("case")}
    assert acknowledged.items() <= found.items() and len(acknowledged) > 10
    assert cut_short > 3, "too few kills met a save in progress to mean anything"
    save(store, "and it goes on")


def test_a_folder_that_nobody_may_read_hides_no_other_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("closed", "ct"):
        for path in write_series(tmp_path / name, series()):
            path.write_bytes(path.read_bytes()[128:])  # old scanners write no preamble
    opened = Path.open

    def refuses(self: Path, *args: Any, **options: Any) -> Any:
        if self.parent.name == "closed":
            raise PermissionError(13, "Permission denied")
        return opened(self, *args, **options)

    monkeypatch.setattr(Path, "open", refuses)
    assert [case.id for case in Cases(Layout(tmp_path)).all()] == ["ct"]
