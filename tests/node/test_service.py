from __future__ import annotations

import io
import json
import os
import shutil
import socket
import sqlite3
import ssl
import stat
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest

from certificates import make_authority
from node_parts import note_of, running_destination, send, small_series, stub_command
from orthanc_server import free_port
from vastus.dicom.pacs_address import parse_address
from vastus.dicom.tls import TlsFiles
from vastus.errors import SettingsError
from vastus.node.config import Limits, NodeConfig, Peer, Processing
from vastus.node.event_log import EventLog
from vastus.node.queue import Job, JobState
from vastus.node.service import Node

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the node runs on Linux and macOS")


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    return NodeConfig(
        tmp_path / "data",
        port=free_port(),
        status_port=0,
        quiet_s=0.3,
        processing=Processing(command=tuple(stub_command(tmp_path)), timeout_s=20),
    )


@contextmanager
def running(config: NodeConfig) -> Iterator[tuple[Node, io.StringIO]]:
    log = io.StringIO()
    node = Node(config, EventLog(log))
    node.start()
    try:
        yield node, log
    finally:
        node.stop()


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def _to(config: NodeConfig, port: int) -> NodeConfig:
    return replace(config, destination=parse_address(f"dicom://DEST@127.0.0.1:{port}"))


def test_a_series_goes_through_and_comes_out_once(config: NodeConfig, tmp_path: Path) -> None:
    datasets = small_series(tmp_path / "ct", patient="Secret-ID")
    with running_destination() as (destination, port), running(_to(config, port)) as (node, log):
        assert send(config.port, datasets) == [0] * 4
        until(lambda: node.queue.counts()[JobState.DONE] == 1)
        assert list(destination.results.values()) == [note_of(datasets)]
        events = [json.loads(line)["event"] for line in log.getvalue().splitlines()]
        assert events == ["started", "queued", "processed", "done"]
    assert "Secret" not in log.getvalue() and datasets[0].SeriesInstanceUID not in log.getvalue()


def test_the_same_images_again_are_not_processed_again(config: NodeConfig, tmp_path: Path) -> None:
    datasets = small_series(tmp_path / "ct")
    with running(config) as (node, _):
        send(config.port, datasets)
        until(lambda: node.queue.counts()[JobState.DONE] == 1)
        assert send(config.port, datasets) == [0] * 4
        time.sleep(0.6)
        assert sum(node.queue.counts().values()) == 1
        assert node.event_log.counts()["duplicate_objects"] == 4


def test_late_images_are_processed_with_the_earlier_ones(config: NodeConfig, tmp_path: Path) -> None:
    datasets = small_series(tmp_path / "ct", 6)
    with running_destination() as (destination, port), running(_to(config, port)) as (node, _):
        send(config.port, datasets[:3])
        until(lambda: node.queue.counts()[JobState.DONE] == 1)
        send(config.port, datasets[3:])
        until(lambda: node.queue.counts()[JobState.DONE] == 2)
        assert list(destination.results.values()) == [note_of(datasets[:3]), note_of(datasets)]


def test_a_poison_series_is_set_aside_after_three_tries_and_the_queue_goes_on(
    config: NodeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vastus.node.service._RETRY_S", 0.05)
    poison = small_series(tmp_path / "a", description="POISON")
    refused = small_series(tmp_path / "b", description="REFUSE")
    good = small_series(tmp_path / "c")
    with running(config) as (node, log):
        for datasets in (poison, refused, good):
            send(config.port, datasets)
        until(lambda: (node.queue.counts()[JobState.SET_ASIDE], node.queue.counts()[JobState.DONE]) == (2, 1))
        aside = {job.reason for job in node.queue.in_state(JobState.SET_ASIDE)}
        assert aside == {"the worker ended (exit code 7)", "GeometryError: slices missing"}
        tries = [json.loads(line) for line in log.getvalue().splitlines() if '"tries"' in line]
        assert sorted((t["event"], t["tries"]) for t in tries) == [
            ("failed", 1),
            ("failed", 2),
            ("set aside", 1),
            ("set aside", 3),
        ]


def test_a_worker_that_hangs_is_replaced(config: NodeConfig, tmp_path: Path) -> None:
    slow = replace(config, processing=replace(config.processing, timeout_s=1.0), limits=replace(config.limits, tries=1))
    with running(slow) as (node, _):
        send(config.port, small_series(tmp_path / "a", description="HANG"))
        send(config.port, small_series(tmp_path / "b"))
        until(lambda: node.queue.counts()[JobState.DONE] == 1)
        assert [job.reason for job in node.queue.in_state(JobState.SET_ASIDE)] == ["took longer than 1 s"]


def test_results_wait_for_a_destination_that_is_down(
    config: NodeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vastus.node.service._RETRY_S", 0.02)
    with running_destination() as (destination, port), running(_to(config, port)) as (node, _):
        destination.failing.set()
        send(config.port, small_series(tmp_path / "a"))
        until(lambda: node.event_log.counts().get("failed_sends", 0) >= 2)
        assert node.queue.counts()[JobState.SENDING] == 1
        destination.failing.clear()
        until(lambda: node.queue.counts()[JobState.DONE] == 1)
        assert len(destination.results) == 1


def test_only_allowed_senders_are_served(config: NodeConfig, tmp_path: Path) -> None:
    datasets = small_series(tmp_path / "a", 3)
    allow = (Peer("SENDER", "127.0.0.1"), Peer("FAR", "192.0.2.1"))
    with running(replace(config, allow=allow)) as (node, _):
        assert send(config.port, datasets, aet="OTHER") == []
        assert send(config.port, datasets, aet="FAR") == []
        assert send(config.port, datasets) == [0] * 3
        until(lambda: node.event_log.counts().get("refused_senders") == 2)


def test_limits_refuse_what_is_too_much(config: NodeConfig, tmp_path: Path) -> None:
    datasets = small_series(tmp_path / "a", 5)
    with running(replace(config, limits=Limits(series_instances=3))) as (node, _):
        assert send(config.port, datasets) == [0, 0, 0, 0xA700, 0xA700]
        assert node.event_log.counts()["refused_objects"] == 2
    full = replace(config, data=tmp_path / "full", limits=Limits(storage_gb=1e-9))
    with running(full):
        assert send(config.port, datasets) == [0xA700] * 5
    large = replace(config, data=tmp_path / "large", limits=Limits(instance_mb=0.0002))
    with running(large) as (node, _):
        assert send(config.port, datasets) == []
        assert node.queue.counts()[JobState.RECEIVING] == 0


def test_a_fast_sender_is_slowed_down(config: NodeConfig, tmp_path: Path) -> None:
    datasets = small_series(tmp_path / "a", 30)
    with running(replace(config, limits=Limits(instances_per_s=10.0))):
        start = time.monotonic()
        assert send(config.port, datasets) == [0] * 30
        assert time.monotonic() - start > 1.7  # 30 at 10 a second, a second's worth for free


@pytest.mark.parametrize("uid", ["../../../etc/passwd", "1.2/../3", "1..2", "1" * 70])
def test_path_like_uids_are_refused(config: NodeConfig, tmp_path: Path, uid: str) -> None:
    (dataset,) = small_series(tmp_path / "a", 1)
    dataset.SeriesInstanceUID = uid
    with running(config) as (node, _):
        assert send(config.port, [dataset]) == [0xC000]
        assert node.event_log.counts()["refused_objects"] == 1
    kept = [path for path in (tmp_path / "data" / "incoming").rglob("*") if path.is_file()]
    assert kept == []


def test_status_and_metrics_say_what_happens_on_loopback_only(config: NodeConfig, tmp_path: Path) -> None:
    port = free_port()
    with running(replace(config, status_port=port)) as (node, _):
        send(config.port, small_series(tmp_path / "a", description="REFUSE", patient="Secret-ID"))
        until(lambda: node.queue.counts()[JobState.SET_ASIDE] == 1)
        metrics = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
        assert 'vastus_node_jobs{state="set_aside"} 1' in metrics
        assert "vastus_node_received_objects_total 4" in metrics
        page = urllib.request.urlopen(f"http://localhost:{port}/").read().decode()
        assert "slices missing" in page and "Secret" not in page
        forged = urllib.request.Request(f"http://127.0.0.1:{port}/", headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(forged)


def test_two_nodes_do_not_share_a_folder(config: NodeConfig) -> None:
    with running(config), pytest.raises(SettingsError, match="Another node"):
        Node(config, EventLog(io.StringIO()))


def test_what_was_kept_long_enough_is_deleted(config: NodeConfig, tmp_path: Path) -> None:
    short = replace(config, limits=Limits(keep_done_hours=1e-6))
    with running(short) as (node, _):
        send(config.port, small_series(tmp_path / "a"))
        until(lambda: node.queue.counts()[JobState.DONE] == 1)
        time.sleep(0.05)
        node.tidy()
        assert sum(node.queue.counts().values()) == 0
    assert not list((tmp_path / "data" / "incoming").iterdir())
    assert not list((tmp_path / "data" / "results").iterdir())


def test_tls_lets_in_only_known_certificates(config: NodeConfig, tmp_path: Path) -> None:
    for name in ("server", "client", "stranger"):
        make_authority(tmp_path, name)
    datasets = small_series(tmp_path / "a", 3)
    tls = TlsFiles(tmp_path / "server.pem", tmp_path / "server.key", tmp_path / "client.pem")

    def context(name: str) -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=str(tmp_path / "server.pem"))
        made.check_hostname = False
        made.load_cert_chain(tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
        return made

    with running(replace(config, tls=tls)):
        assert send(config.port, datasets) == []
        assert send(config.port, datasets, tls_args=(context("stranger"), "server")) == []
        assert send(config.port, datasets, tls_args=(context("client"), "server")) == [0] * 3


def test_a_disk_without_room_uses_up_no_try_and_the_series_is_done_afterwards(
    config: NodeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vastus.node.service._RETRY_S", 0.02)
    with running(replace(config, limits=Limits(tries=1))) as (node, log):
        (tmp_path / "data" / "work").rmdir()  # making a folder in it fails with an OSError
        send(config.port, small_series(tmp_path / "a"))
        until(lambda: node.event_log.counts().get("hindered_tries", 0) >= 4)
        assert node.queue.counts()[JobState.PROCESSING] + node.queue.counts()[JobState.QUEUED] == 1
        (tmp_path / "data" / "work").mkdir()
        until(lambda: node.queue.counts()[JobState.DONE] == 1)
        assert '"reason": "FileNotFoundError"' in log.getvalue()


@pytest.mark.parametrize("place", ["_worker.run", "inbox.folder_of", "event_log.log"])
def test_whatever_a_step_raises_no_job_stays_in_processing(
    config: NodeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr("vastus.node.service._RETRY_S", 0.02)
    with running(config) as (node, _):
        owner, name = place.split(".")
        good, left = getattr(getattr(node, owner), name), [2]

        def failing(*args: object, **fields: object) -> object:
            if (
                left[0]
                and (name != "log" or args[0] == "processed")
                and threading.current_thread().name == "_process_one"
            ):
                left[0] -= 1
                raise RuntimeError("nobody thought of it")
            return good(*args, **fields)

        monkeypatch.setattr(getattr(node, owner), name, failing)
        send(config.port, small_series(tmp_path / "a"))
        until(lambda: node.queue.counts()[JobState.DONE] == 1)


def test_an_error_that_cannot_be_written_down_is_made_good_later(
    config: NodeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vastus.node.service._RETRY_S", 0.02)
    with running(config) as (node, _):
        move, left = node.queue.move, [3]

        def full(job: Job, state: JobState, reason: str = "") -> None:
            if state in (JobState.SENDING, JobState.QUEUED) and left[0]:
                left[0] -= 1
                raise sqlite3.OperationalError("database or disk is full")
            move(job, state, reason)

        monkeypatch.setattr(node.queue, "move", full)
        monkeypatch.setattr(node.queue, "fail", lambda *_, **__: full(_[0], JobState.QUEUED))
        send(config.port, small_series(tmp_path / "a"))
        until(lambda: not left[0] and node.queue.counts()[JobState.DONE] == 1)


def test_a_result_that_cannot_be_read_is_set_aside_and_holds_nobody_up(
    config: NodeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vastus.node.service._RETRY_S", 0.02)
    bad = (
        "import json, os, sys\nfor line in sys.stdin:\n    r = json.loads(line)\n    n = r['subject'][4:]\n"
        "    os.makedirs(r['output'] + '/dicom')\n    if n == '1':\n"
        "        open(r['output'] + '/dicom/r.dcm', 'wb').write(b'no DICOM at all')\n"
        "    print(json.dumps({'ok': True}), flush=True)\n"
    )
    command = (sys.executable, "-c", bad)
    with running_destination() as (_, port):
        wrong = replace(_to(config, port), processing=replace(config.processing, command=command))
        with running(wrong) as (node, _):
            send(config.port, small_series(tmp_path / "a"))
            send(config.port, small_series(tmp_path / "b"))
            until(lambda: node.queue.counts()[JobState.SET_ASIDE] == 2)
            reasons = [job.reason for job in node.queue.in_state(JobState.SET_ASIDE)]
    assert reasons == ["the result can't be sent (InvalidDicomError)", "the worker left no DICOM results"]


def test_a_superseded_result_is_never_sent(config: NodeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vastus.node.service._RETRY_S", 0.05)
    datasets = small_series(tmp_path / "ct", 6)
    with running_destination() as (destination, port), running(_to(config, port)) as (node, _):
        destination.failing.set()
        send(config.port, datasets[:3])
        until(lambda: node.event_log.counts().get("failed_sends", 0) >= 1)
        send(config.port, datasets[3:])
        until(lambda: node.queue.counts()[JobState.SUPERSEDED] == 1)
        destination.failing.clear()
        until(lambda: node.queue.counts()[JobState.DONE] == 1)
        assert list(destination.results.values()) == [note_of(datasets)]


def test_a_newer_result_says_what_it_replaces(config: NodeConfig, tmp_path: Path) -> None:
    datasets = small_series(tmp_path / "ct", 6)
    with running(config) as (node, _):
        send(config.port, datasets[:4])
        until(lambda: node.queue.counts()[JobState.DONE] == 1)
        send(config.port, datasets[4:])
        until(lambda: node.queue.counts()[JobState.DONE] == 2)
    said = [pydicom.dcmread(tmp_path / "data" / "results" / n / "dicom" / "result.dcm") for n in ("1", "2")]
    assert [str(d.get("SeriesDescription", "")) for d in said] == ["", "(6 images, replaces 4)"]


def test_what_lies_on_the_disk_is_for_the_owner_alone(config: NodeConfig, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with running(config) as (node, _):
            send(config.port, small_series(tmp_path / "a"))
            until(lambda: node.queue.counts()[JobState.DONE] == 1)
            modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in (tmp_path / "data").rglob("*")}
        (tmp_path / "old").mkdir()
        with running(replace(config, data=tmp_path / "old")) as (_, log):
            assert "Others on this machine can read the data folder" in log.getvalue()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert modes == {(True, 0o700), (False, 0o600)}


def test_a_folder_that_cannot_be_deleted_keeps_its_job_and_holds_nobody_up(
    config: NodeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(replace(config, limits=Limits(keep_done_hours=1e-6))) as (node, _):
        for name in ("a", "b"):
            send(config.port, small_series(tmp_path / name))
        until(lambda: node.queue.counts()[JobState.DONE] == 2)
        rmtree = shutil.rmtree

        def stuck(path: Path, *args: object, **options: object) -> None:
            if path.name.startswith(node.queue.in_state(JobState.DONE)[0].series):
                raise OSError(16, "Device or resource busy")
            rmtree(path, *args, **options)

        time.sleep(0.05)
        with monkeypatch.context() as patch:
            patch.setattr("vastus.node.service.shutil.rmtree", stuck)
            node.tidy()
        assert [job.id for job in node.queue.in_state(JobState.DONE)] == [1]
        node.tidy()
        assert sum(node.queue.counts().values()) == 0


def test_a_log_that_cannot_be_written_stops_no_work(config: NodeConfig, tmp_path: Path) -> None:
    class Full(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError(28, "No space left on device")

    node = Node(config, EventLog(Full()))
    node.start()
    try:
        send(config.port, small_series(tmp_path / "a"))
        until(lambda: node.queue.counts()[JobState.DONE] == 1)
    finally:
        node.stop()


def test_silent_visitors_of_the_status_page_are_sent_away(config: NodeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vastus.node.status._SILENCE_S", 0.3)
    port = free_port()
    with running(replace(config, status_port=port)), socket.create_connection(("127.0.0.1", port)) as silent:
        silent.settimeout(10)
        assert silent.recv(1) == b""
