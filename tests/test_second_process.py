import errno
import io
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from calls_made_beside import fail_elsewhere, wait_elsewhere, write_for_long, write_id, write_ids, write_loaded
from vastus import second_process
from vastus.second_process import SecondProcess


@pytest.fixture
def importable(monkeypatch):
    """Another process can load the helper modules, too."""
    here = str(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])]))


def make_call(path, *, beside):
    process = SecondProcess(beside=beside)
    try:
        process.call(write_id, path)
        process.finish()
    finally:
        process.close()
    return int(path.read_text())


@pytest.mark.usefixtures("importable")
def test_calls_are_made_by_another_process(tmp_path):
    assert make_call(tmp_path / "a", beside=True) != os.getpid()
    assert make_call(tmp_path / "b", beside=False) == os.getpid()


@pytest.mark.usefixtures("importable")
def test_modules_are_loaded_ahead(tmp_path):
    process = SecondProcess("wave", beside=True)
    process.call(write_loaded, tmp_path / "a", "wave")
    process.finish()
    process.close()
    assert (tmp_path / "a").read_text() == "True"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="copies are made on Linux only")
@pytest.mark.usefixtures("importable")
def test_a_copy_makes_one_call_while_the_second_process_makes_the_next(tmp_path):
    process = SecondProcess(beside=True)
    try:
        process.call(write_ids, tmp_path, "long", 1.0)
        process.call(write_ids, tmp_path, "short", 0.0)
        process.finish()
    finally:
        process.close()
    (long, parent), (short, _) = ((tmp_path / name).read_text().split() for name in ("long", "short"))
    assert parent == short != long


@pytest.mark.usefixtures("importable")
def test_what_a_copy_could_not_do_is_done_here(tmp_path):
    process = SecondProcess(beside=True)
    try:
        process.call(fail_elsewhere, tmp_path / "a", os.getpid())
        process.call(write_id, tmp_path / "b")
        process.finish()
    finally:
        process.close()
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text() == str(os.getpid())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="copies are made on Linux only")
@pytest.mark.usefixtures("importable")
def test_a_second_process_that_fails_waits_for_its_copy(tmp_path):
    process = SecondProcess(beside=True)
    try:
        process.call(write_ids, tmp_path, "long", 0.5)
        process.call(fail_elsewhere, tmp_path / "a", os.getpid())
        assert not process._made_beside()
        assert (tmp_path / "long").exists()
    finally:
        process.close()


@pytest.mark.usefixtures("importable")
def test_where_a_call_can_not_be_sent_the_second_process_ends_before_all_is_done_here(tmp_path):
    process = SecondProcess(beside=True)
    try:
        process.call(wait_elsewhere, tmp_path / "a", os.getpid())
        process.call(lambda: None)
        process.finish()
        assert process._process is not None and process._process.returncode
    finally:
        process.close()
    assert (tmp_path / "a").read_text() == str(os.getpid())


@pytest.mark.skipif(os.name != "posix", reason="Windows ends a process without asking it")
@pytest.mark.usefixtures("importable")
def test_nothing_half_written_is_left_where_it_is_ended(tmp_path):
    process = SecondProcess(beside=True)
    begun = [tmp_path / "begun 1", tmp_path / "begun 2"]
    for file in begun:  # on Linux by the copy and by the process itself
        process.call(write_for_long, tmp_path / "figure.png", file)
    wait_for(lambda: all(file.exists() for file in begun[: 2 if sys.platform.startswith("linux") else 1]))
    process.close()
    wait_for(lambda: not list(tmp_path.glob(".vastus-*")))
    assert not (tmp_path / "figure.png").exists()


def wait_for(what):
    end = time.monotonic() + 20
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def refuse():
    raise OSError(errno.EAGAIN, "too many processes")


def must_not_be_made():
    raise AssertionError


@pytest.mark.parametrize(("platform", "fork"), [("linux", refuse), ("darwin", must_not_be_made)])
def test_without_a_copy_the_second_process_makes_all_calls(tmp_path, monkeypatch, platform, fork):
    calls = b"".join(pickle.dumps((write_id, (tmp_path / name,))) for name in "ab")
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(sys, "argv", ["second_process"])
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(calls)))
    monkeypatch.setattr(os, "fork", fork, raising=False)
    monkeypatch.setattr(second_process, "search_rarely", lambda: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    second_process.main()
    assert [(tmp_path / name).read_text() for name in "ab"] == [str(os.getpid())] * 2


def test_what_a_second_process_could_not_do_is_done_here(tmp_path, monkeypatch):
    def fail(_modules):
        return subprocess.Popen([sys.executable, "-c", "raise SystemExit(1)"], stdin=subprocess.PIPE)

    monkeypatch.setattr(second_process, "_start", fail)
    assert make_call(tmp_path / "a", beside=True) == os.getpid()


def test_where_no_second_process_can_be_started_all_is_done_here(tmp_path, monkeypatch):
    monkeypatch.setattr(second_process, "_start", lambda _: None)
    assert make_call(tmp_path / "a", beside=True) == os.getpid()


def test_an_error_is_told_from_here(tmp_path):
    process = SecondProcess(beside=False)
    process.call(write_id, tmp_path / "no folder" / "a")
    with pytest.raises(FileNotFoundError):
        process.finish()


@pytest.mark.parametrize(("processors", "started"), [(1, 0), (2, 1)])
def test_it_needs_a_second_processor(monkeypatch, processors, started):
    starts = []
    monkeypatch.setattr(second_process, "_start", starts.append)
    monkeypatch.setattr(second_process, "usable_processors", lambda: processors)
    with second_process.second_process():
        pass
    assert len(starts) == started


def test_it_ends_with_what_it_was_opened_for(monkeypatch):
    monkeypatch.setattr(second_process, "usable_processors", lambda: 2)
    with pytest.raises(ZeroDivisionError), second_process.second_process() as process:
        raise ZeroDivisionError
    assert process._process is not None and process._process.returncode is not None
