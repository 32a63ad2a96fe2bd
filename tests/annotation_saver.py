"""Saves label maps as fast as it can, to be killed at any moment: FOLDER.

For every line on standard input a child is forked, which prints its own number and then each version that it saved.
When it has been killed the parent prints ``gone``. (Forked, so that a kill costs no new start of Python.)
"""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from vastus.annotation.project.layout import Layout
from vastus.annotation.project.store import Draft, Kind, Store
from vastus.io.labels import write_labels
from vastus.volume import Volume


def save_on_and_on(folder: Path) -> None:
    store = Store(Layout(folder))
    rng = np.random.default_rng()
    while True:
        array = np.where(rng.random((40, 40, 40)) < 0.5, 128, 201).astype(np.uint8)
        volume = Volume(array, np.eye(4))
        saved = store.save("case", Draft(Kind.HUMAN, "anna"), lambda path, v=volume: write_labels(v, path))
        os.write(1, f"{saved.number} {saved.sha256}\n".encode())


if __name__ == "__main__":
    # Libraries are loaded by the first use: here, once, and not in every child.
    with tempfile.TemporaryDirectory() as elsewhere:
        write_labels(Volume(np.zeros((4, 4, 4), np.uint8), np.eye(4)), Path(elsewhere) / "a.nii.gz")
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            os.write(1, f"{os.getpid()}\n".encode())
            save_on_and_on(Path(sys.argv[1]))
        os.waitpid(child, 0)
        os.write(1, b"gone\n")
