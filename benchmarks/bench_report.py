"""Time the page of a 512 x 512 x 450 scan: ``python benchmarks/bench_report.py``."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from vastus.anatomy import LABELS, Side
from vastus.io.csv_tables import VolumeRow
from vastus.report.page import PageRecord, write_page
from vastus.synthesis.phantom import make_phantom
from vastus.volume import Volume


def main() -> None:
    scan = make_phantom((3.0, 3.0, 5.0))
    shape = (512, 512, 450)
    # Blown up by repetition and given fresh noise, so that the JPEGs have realistic sizes.
    index = np.ix_(*(np.arange(n) * m // n for n, m in zip(shape, scan.ct.shape, strict=True)))
    noise = np.random.default_rng(0).integers(-40, 40, size=shape[:2], dtype=np.int16)
    ct = np.asfortranarray(scan.ct.array[index] + noise[:, :, None])
    labels = np.asfortranarray(scan.labels.array[index])
    affine = np.diag([0.75, 0.75, 1.4, 1.0])
    rows = [
        VolumeRow("bench", label.structure.key, label.structure.group, label.side, 1e3 * label.value, 50.0, False)
        for label in LABELS
        if label.side is not Side.UNKNOWN
    ]
    record = PageRecord("bench", "none", "nothing.", "CPU", (0.75, 0.75, 1.4))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        for turn in range(3):
            start = time.perf_counter()
            write_page(path, Volume(ct, affine), Volume(labels, affine), rows, record)
            seconds = time.perf_counter() - start
            print(f"run {turn}: {seconds:.2f} s, {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
