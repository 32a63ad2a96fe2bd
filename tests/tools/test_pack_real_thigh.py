"""From the readers' short specs to the data set: one run of the program on two small scans."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from programs import load_program
from two_muscles import LPS, two_muscles
from vastus.anatomy import BY_KEY, STRUCTURES, UNLABELLED, ThighLevel
from vastus.datasets.building import BuildOptions, build_dataset
from vastus.datasets.layout import read_open_set
from vastus.datasets.split import Split
from vastus.io.labels import read_labels
from vastus.refinement.outline import OutlineSettings, Polygon, Strokes
from vastus.refinement.outline_files import read_outline
from vastus.refinement.outlining import outline_slice
from vastus.synthesis.dataset import write_image
from vastus.volume import Volume, to_ras

TOOL = Path(__file__).parents[2] / "tools" / "pack_real_thigh.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_program(TOOL)


SPEC = {
    "S": {"sa": "40,20 40,30; 42,25", "gr": "20,20 20,30", "fe": ""},
    "bg": "5,5",
    "cuts": "28,5 28,40",
    "igpair": "sa-gr",
    "poly": [["ig", "12,12 14,12 14,14"], ["bg", "1,1 2,1 2,2; 3,3 4,3 4,4"], ["sa", "9,9 9,8 8,8"]],
    "drop": "",
    "conf": {"sa": 2, "vi": 1},
    "crop": [2, 58, 1, 48],
    "igr": 2,
    "thr": -20,
    "nofill": 1,
    "op": 2,
}


def test_a_short_spec_is_read_in_full(tool: ModuleType) -> None:
    outline = tool.outline_of(SPEC)
    assert outline.strokes == (
        Strokes("sartorius", (((40, 20), (40, 30)), ((42, 25),)), 2),
        Strokes("gracilis", (((20, 20), (20, 30)),)),
    )
    assert outline.background == (((5, 5),),) and outline.cuts == (((28, 5), (28, 40)),)
    assert outline.undecided == (("sartorius", "gracilis"),) and outline.window == (2, 58, 1, 48)
    assert outline.polygons[0] == Polygon(UNLABELLED, ((12, 12), (14, 12), (14, 14)))
    assert [p.label for p in outline.polygons] == [UNLABELLED, 0, 0, BY_KEY["sartorius"].class_id]
    assert outline.settings == OutlineSettings(
        undecided_radius_voxels=2, mask_hu=-20, fill_bones=False, opening_voxels=2
    )
    assert [*tool.SHORT.values()] == [s.key for s in STRUCTURES]


def test_readers_files_become_the_data_set(tool: ModuleType, tmp_path: Path) -> None:
    images = tmp_path / "ct"
    images.mkdir()
    short = {"S": {"sa": "40,20 40,30", "gr": "20,20 20,30"}, "conf": {"gr": 1}, "start": "network"}
    for number, scan in enumerate(("STS_001", "STS_004")):
        write_image(two_muscles(number), images / f"{scan}_CT.nii.gz")
        for reading in ("one", "two") if scan == "STS_004" else ("one",):
            specs, masks = tmp_path / reading / scan, tmp_path / f"{reading}_masks" / scan
            specs.mkdir(parents=True)
            masks.mkdir(parents=True)
            (specs / "k001.json").write_text(json.dumps(short))
            (specs / "k002.json").write_text(json.dumps(short | {"draft": True}))
            (specs / "k003.json").write_text("{ half done")
            mask = outline_slice(to_ras(two_muscles(number)).array, 1, tool.outline_of(short)).labels
            mask[0, 0] ^= scan == "STS_001"
            np.save(masks / "k001.npy", mask)
    tumour = np.zeros((60, 50, 5), np.uint8)
    tumour[20:24, 20:24, 1] = 1
    write_image(Volume(tumour, LPS), images / "STS_001_GTV_mask.nii.gz")
    (tmp_path / "sides.tsv").write_text("id\tregion\nSTS_001\tL mid thigh\nSTS_004\tknee\n")
    done = subprocess.run(
        [
            sys.executable,
            str(TOOL),
            "--first",
            str(tmp_path / "one"),
            str(tmp_path / "one_masks"),
            "--second",
            str(tmp_path / "two"),
            str(tmp_path / "two_masks"),
            "--images",
            str(images),
            "--sides",
            str(tmp_path / "sides.tsv"),
            "-o",
            str(tmp_path / "set"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    source = read_open_set(tmp_path / "set")
    assert [(s.scan, s.slice, s.reading, s.side, s.split) for s in source.slices] == [
        ("STS_001", 1, 1, "left", Split.TRAIN),
        ("STS_004", 1, 1, "unknown", Split.TEST),
        ("STS_004", 1, 2, "unknown", Split.TEST),
    ]
    first = source.slices[0]
    assert (first.structures, first.unsure, first.start) == (("sartorius", "gracilis"), (("gracilis", 1),), "network")
    assert first.level is ThighLevel.DISTAL
    assert read_outline(source.strokes(first)).start == "network"
    labels = to_ras(read_labels(source.labels("STS_001"), partly=True)).array
    assert (labels[:, :, [0, 2, 3, 4]] == UNLABELLED).all()
    assert (labels[36:40, 26:30, 1] == UNLABELLED).all()  # the tumour, in RAS order
    assert "STS_001 k001 reading 1: " in done.stdout and "k003" in done.stdout and "draft" in done.stdout
    assert "STS_004 k001" not in done.stdout
    card = (tmp_path / "set" / "README.md").read_text()
    assert "{{" not in card and "| Sartorius | 1 | 1 | 0 |" in card and "| Gracilis | 1 | 1 | 2 |" in card
    assert "1 slices of 1 scans were drawn twice" in card and "| **all** | 2 | 0 | 1.000 |" in card
    built = build_dataset(source, images, tmp_path / "out", BuildOptions(redraw=True))
    assert built.scans == ("STS_001",)
