"""The node is killed with -9 at random moments while it receives, processes and sends."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pydicom
import pytest

from node_parts import note_of, running_destination, send, small_series, stub_command
from orthanc_server import free_port

KILLS = 50
# Loads everything once and forks a node for every line it reads: a start takes milliseconds instead of a second.
STARTER = """
import os, sys
from pathlib import Path
import pynetdicom, pydicom.filereader, highdicom
from vastus.dicom import network, pacs
from vastus.node.config import load_config
from vastus.node.service import Node
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        node = Node(load_config(Path(sys.argv[1])))
        node.start()
        print("started", os.getpid(), flush=True)
        node.wait()
    os.waitpid(pid, 0)
    print("ended", flush=True)
"""


class _Sender(threading.Thread):
    """Sends one small series after the other; each is sent again as a whole until every object was acknowledged."""

    def __init__(self, port: int, folder: Path) -> None:
        super().__init__(daemon=True)
        self.acknowledged: list[list[pydicom.Dataset]] = []
        self.enough = threading.Event()
        self._port, self._folder = port, folder

    def run(self) -> None:
        number = 0
        while not self.enough.is_set():
            number += 1
            datasets = small_series(self._folder / str(number), 5)
            while send(self._port, datasets) != [0] * len(datasets):
                time.sleep(0.05)
            self.acknowledged.append(datasets)
            time.sleep(0.15)


class _Lives:
    """Starts nodes one after the other."""

    def __init__(self, config: Path) -> None:
        log = config.with_suffix(".log").open("w")
        self._starter = subprocess.Popen(
            [sys.executable, "-c", STARTER, str(config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )

    def begin(self) -> int:
        self._starter.stdin.write("\n")
        self._starter.stdin.flush()
        word, pid = self._starter.stdout.readline().split()
        assert word == "started"
        return int(pid)

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        assert self._starter.stdout.readline() == "ended\n"

    def close(self) -> None:
        self._starter.kill()
        self._starter.wait()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the worker is tied to the node by the Linux kernel")
def test_fifty_kills_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    port = free_port()
    command = ", ".join(repr(part) for part in stub_command(tmp_path, seconds=0.05))
    with running_destination() as (destination, destination_port):
        config = tmp_path / "node.toml"
        config.write_text(
            f'[node]\ndata = "data"\nport = {port}\nstatus_port = 0\nquiet_s = 0.1\n'
            f'[destination]\nurl = "dicom://DEST@127.0.0.1:{destination_port}"\n'
            f"[process]\ncommand = [{command}]\ntimeout_s = 20.0\n"
        )
        moments = random.Random(20250101)
        sender = _Sender(port, tmp_path / "sent")
        sender.start()
        lives = _Lives(config)
        for number in range(KILLS):
            node = lives.begin()
            # Where a machine is busy, sending takes longer: so do the pauses between kills.
            behind = len(sender.acknowledged) < number / 4
            time.sleep(moments.uniform(0.0, 1.4 if behind else 0.7))
            lives.kill(node)
        node = lives.begin()
        sender.enough.set()
        sender.join(60)
        assert not sender.is_alive()
        expected = {note_of(datasets) for datasets in sender.acknowledged}
        deadline = time.monotonic() + 60
        while not expected <= set(destination.results.values()) and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(1.0)
        lives.kill(node)
        lives.close()
    assert len(expected) >= 10, "too little was sent for the kills to hit anything"
    # Nothing that was acknowledged is lost ...
    assert expected <= set(destination.results.values())
    # ... and nothing was done twice: of one set of images there is one result, whatever was sent how often.
    assert max(Counter(destination.results.values()).values()) == 1
