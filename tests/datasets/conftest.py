"""A small open set of two scans, and a download of their CTs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from vastus.anatomy import UNLABELLED, ThighLevel
from vastus.datasets.layout import (
    CHECKSUMS_FILE,
    INDEX_FILE,
    SPLITS_FILE,
    DrawnSlice,
    ImageRecord,
    OpenSet,
    Split,
    checksums_text,
    image_checksum,
    index_text,
    read_open_set,
    splits_text,
)
from vastus.io.atomic import write_text
from vastus.io.labels import write_labels
from vastus.refinement.outline import Outline, Strokes
from vastus.refinement.outline_files import write_outline
from vastus.refinement.outlining import outline_slice
from vastus.synthesis.dataset import write_image
from vastus.volume import Volume, from_ras, to_ras

LPS = np.array([[-2.0, 0, 0, 70], [0, -1.0, 0, 55], [0, 0, 4.0, -9], [0, 0, 0, 1]])


def make_ct(seed: int) -> Volume:
    """Two muscles in fat, in L, P, S order."""
    hu = np.full((60, 50, 6), -1000, np.int16)
    hu[3:57, 3:47] = -100
    hu[10:27, 10:35] = 55
    hu[30:50, 10:35] = 48
    noise = np.random.default_rng(seed).normal(0, 8, hu.shape)
    return Volume((hu + noise).round().astype(np.int16), LPS)


@dataclass(frozen=True)
class Made:
    source: OpenSet
    download: Path
    cts: dict[str, Volume]


OUTLINE = Outline((Strokes("sartorius", (((40, 20), (40, 30)),), 2), Strokes("gracilis", (((20, 20), (20, 30)),))))


@pytest.fixture
def made(tmp_path: Path) -> Made:
    folder, download = tmp_path / "real", tmp_path / "download" / "deep"
    rows, images, cts = [], [], {}
    for number, (scan, split) in enumerate((("STS_001", Split.TRAIN), ("STS_004", Split.TEST))):
        ct = cts[scan] = make_ct(number)
        download.mkdir(parents=True, exist_ok=True)
        write_image(ct, download / f"{scan}_CT.nii.gz")
        upright = to_ras(ct)
        labels = np.full(upright.shape, UNLABELLED, np.uint8)
        for k in (1, 4):
            labels[:, :, k] = outline_slice(upright.array, k, OUTLINE).labels
            (folder / "strokes" / scan).mkdir(parents=True, exist_ok=True)
            write_outline(OUTLINE, folder / "strokes" / scan / f"k{k:03d}.json")
            rows.append(
                DrawnSlice(
                    scan,
                    k,
                    ThighLevel.DISTAL,
                    "left",
                    ("sartorius", "gracilis"),
                    (("sartorius", 2),),
                    split,
                    "reader",
                    1,
                    "blank",
                )
            )
        (folder / "labels").mkdir(exist_ok=True)
        write_labels(ct.with_array(from_ras(labels, ct).array), folder / "labels" / f"{scan}.nii.gz", partly=True)
        images.append(ImageRecord(scan, "a collection", f"{scan}_CT.nii.gz", ct.shape, image_checksum(ct)))
    write_text(folder / INDEX_FILE, index_text(rows))
    write_text(folder / SPLITS_FILE, splits_text(rows))
    write_text(folder / CHECKSUMS_FILE, checksums_text(images))
    (download / "notes.txt").write_text(json.dumps("nothing"))
    (download / "STS_001_GTV_mask.nii.gz").write_bytes(b"broken")
    return Made(read_open_set(folder), tmp_path / "download", cts)
