"""New strokes join the open set: the mask is drawn from them, tables follow, old slices stay."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from two_muscles import LPS, two_muscles
from vastus.anatomy import UNLABELLED, ThighLevel
from vastus.datasets.building import BuildOptions, build_dataset
from vastus.datasets.layout import read_open_set
from vastus.io.labels import read_labels
from vastus.refinement.outline import Outline, Strokes
from vastus.refinement.outline_files import write_outline
from vastus.synthesis.dataset import write_image
from vastus.volume import Volume, to_ras

TOOLS = Path(__file__).parents[2] / "tools"


def run(tool: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, str(TOOLS / tool), *map(str, arguments)]
    return subprocess.run(call, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with CTs (``ct``) and a set (``set``) of a training and a test scan, one slice each."""
    folder = tmp_path_factory.mktemp("extend")
    short = {"S": {"sa": "40,20 40,30", "gr": "20,20 20,30"}}
    for number, scan in enumerate(("STS_001", "STS_004")):
        (folder / "ct").mkdir(exist_ok=True)
        write_image(two_muscles(number), folder / "ct" / f"{scan}_CT.nii.gz")
        (folder / "one" / scan).mkdir(parents=True)
        (folder / "one" / scan / "k001.json").write_text(json.dumps(short))
    tumour = np.zeros((60, 50, 5), np.uint8)
    tumour[20:24, 20:24, 2] = 1
    write_image(Volume(tumour, LPS), folder / "ct" / "STS_001_GTV_mask.nii.gz")
    (folder / "sides.tsv").write_text("id\tregion\nSTS_001\tL mid thigh\nSTS_004\tR knee\n")
    (folder / "masks").mkdir()
    arguments = (
        "--first",
        folder / "one",
        folder / "masks",
        "--images",
        folder / "ct",
        "--sides",
        folder / "sides.tsv",
    )
    done = run("pack_real_thigh.py", *arguments, "-o", folder / "set")
    assert done.returncode == 0, done.stderr
    return folder


def drawn(scan: Path, *slices: int) -> None:
    scan.mkdir(parents=True)
    strokes = (
        Strokes("sartorius", (((40.0, 20.0), (40.0, 30.0)),)),
        Strokes("adductor_longus", (((20.0, 20.0), (20.0, 30.0)),), 2),
    )
    for k in slices:
        write_outline(Outline(strokes, start="neighbour"), scan / f"k{k:03d}.json")


def test_new_slices_join_and_old_ones_stay(packed: Path) -> None:
    before = to_ras(read_labels(packed / "set" / "labels" / "STS_001.nii.gz", partly=True)).array
    drawn(packed / "new" / "STS_001", 1, 2)
    (packed / "new" / "STS_001" / "k003.json").write_text("{ half done")
    done = run(
        "extend_real_thigh.py",
        packed / "new",
        "--images",
        packed / "ct",
        "--reader",
        "vision model D",
        "--set",
        packed / "set",
    )
    assert done.returncode == 0, done.stderr
    assert "k001: drawn already" in done.stdout and "k003: LEFT OUT" in done.stdout
    source = read_open_set(packed / "set")
    assert [(s.scan, s.slice) for s in source.slices] == [("STS_001", 1), ("STS_001", 2), ("STS_004", 1)]
    row = source.slices[1]
    assert (row.structures, row.unsure) == (("sartorius", "adductor_longus"), (("adductor_longus", 2),))
    assert (row.reader, row.start, row.side, row.level) == ("vision model D", "neighbour", "left", ThighLevel.MIDDLE)
    after = to_ras(read_labels(source.labels("STS_001"), partly=True)).array
    assert np.array_equal(after[:, :, [0, 1, 3, 4]], before[:, :, [0, 1, 3, 4]])
    assert (before[:, :, 2] == UNLABELLED).all() and not (after[:, :, 2] == UNLABELLED).all()
    assert (after[36:40, 26:30, 2] == UNLABELLED).all()  # the tumour, in RAS order
    assert "| Adductor longus | 1 | 0 | 1 |" in (packed / "set" / "README.md").read_text(encoding="utf-8")
    built = build_dataset(source, packed / "ct", packed / "out", BuildOptions(redraw=True))
    assert built.scans == ("STS_001",)


def test_a_test_scan_is_refused(packed: Path) -> None:
    drawn(packed / "forbidden" / "STS_004", 2)
    before = (packed / "set" / "labels" / "STS_004.nii.gz").read_bytes()
    done = run(
        "extend_real_thigh.py",
        packed / "forbidden",
        "--images",
        packed / "ct",
        "--reader",
        "D",
        "--set",
        packed / "set",
    )
    assert done.returncode != 0 and "test scan" in done.stderr
    assert (packed / "set" / "labels" / "STS_004.nii.gz").read_bytes() == before


def test_each_reader_gets_the_slices_of_his_list(packed: Path, tmp_path: Path) -> None:
    """Of three drawn slices, two readers drew one each; nobody lists the third; one holds both legs."""
    target = tmp_path / "set"
    shutil.copytree(packed / "set", target)
    scan = tmp_path / "new" / "STS_001"
    drawn(scan, 0, 4)
    legs = (Strokes("sartorius", (((40.0, 20.0), (40.0, 30.0)), ((20.0, 20.0), (20.0, 30.0)))),)
    write_outline(Outline(legs, start="neighbour", middle=29.0), scan / "k003.json")
    (tmp_path / "a.csv").write_text("scan,slice,unsure,start\nSTS_001,3,,neighbour\n")
    (tmp_path / "c.csv").write_text("scan,slice\nSTS_001,4\n")
    lists = ("--drawn", "A2", tmp_path / "a.csv", "--drawn", "C2", tmp_path / "c.csv")
    call = ("extend_real_thigh.py", tmp_path / "new", "--images", packed / "ct", "--set", target)
    done = run(*call, *lists)
    assert done.returncode == 0, done.stderr
    assert "k000: in no reader's list, left out" in done.stdout
    rows = {s.slice: (s.reader, s.side) for s in read_open_set(target).slices if s.scan == "STS_001" and s.slice > 2}
    assert rows == {3: ("A2", "both"), 4: ("C2", "left")}
    assert not (target / "strokes" / "STS_001" / "k000.json").exists()
    card = (target / "README.md").read_text(encoding="utf-8")
    assert "| strokes of a drawn neighbouring slice, moved and corrected |" in card and "{{" not in card
    (tmp_path / "c.csv").write_text("scan,slice\nSTS_001,3\n")
    twice = run(*call, *lists)
    assert twice.returncode != 0 and "both A2 and C2" in twice.stderr


def test_a_slice_without_these_muscles_is_a_verdict_too(packed: Path, tmp_path: Path) -> None:
    target = tmp_path / "set"
    shutil.copytree(packed / "set", target)
    (tmp_path / "new" / "STS_001").mkdir(parents=True)
    nothing = Outline((Strokes("sartorius", (((58.0, 48.0),),)),), start="neighbour")
    write_outline(nothing, tmp_path / "new" / "STS_001" / "k004.json")
    call = ("extend_real_thigh.py", tmp_path / "new", "--images", packed / "ct", "--reader", "D", "--set", target)
    done = run(*call)
    assert done.returncode == 0, done.stderr
    assert "k004: holds none of the structures, kept as such" in done.stdout
    source = read_open_set(target)
    assert [s.structures for s in source.slices if (s.scan, s.slice) == ("STS_001", 4)] == [()]
    mask = to_ras(read_labels(source.labels("STS_001"), partly=True)).array[:, :, 4]
    assert (mask == 0).all()
