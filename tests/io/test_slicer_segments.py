from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from vastus.anatomy import BY_VALUE, LABELS
from vastus.io.labels import read_label_map, write_labels
from vastus.volume import Volume

# As in 3D Slicer's vtkSegment: context ~ category ~ type ~ modifier ~ region context ~ region ~ its modifier.
TERM = re.compile(
    r"TerminologyEntry:(?P<context>[^~|]+)~(?P<category>[^~|]+)~(?P<type>[^~|]+)~(?P<modifier>[^~|]+)~[^~|]*~\^\^~\^\^\|"
)


@pytest.fixture(scope="module")
def every_label() -> Volume:
    values = np.zeros((10, 10, 10), np.uint8)
    values.ravel()[: len(LABELS)] = [label.value for label in LABELS]
    affine = np.diag([-0.7, 0.7, 3.0, 1.0])
    affine[:3, 3] = 120.5, -30.25, 800.0
    return Volume(values, affine)


def test_every_segment_has_a_name_a_colour_and_a_term(every_label: Volume, tmp_path: Path) -> None:
    write_labels(every_label, tmp_path / "labels.seg.nrrd")
    image = sitk.ReadImage(str(tmp_path / "labels.seg.nrrd"))
    for number in range(len(LABELS)):
        label = BY_VALUE[int(image.GetMetaData(f"Segment{number}_LabelValue"))]
        assert image.GetMetaData(f"Segment{number}_Name") == label.name
        colour = [float(channel) for channel in image.GetMetaData(f"Segment{number}_Color").split()]
        assert colour == pytest.approx([channel / 255 for channel in label.structure.colour], abs=1e-4)
        term = TERM.fullmatch(image.GetMetaData(f"Segment{number}_Tags"))
        assert term is not None
        assert term["category"] == "SCT^91723000^Anatomical Structure"
        assert term["type"].split("^")[2] == label.structure.english
        assert term["modifier"].split("^")[2] == {"right": "Right", "left": "Left", "unknown": ""}[label.side.value]
    assert not image.HasMetaDataKey(f"Segment{len(LABELS)}_ID")


def test_what_was_written_is_read_back_equal(every_label: Volume, tmp_path: Path) -> None:
    write_labels(every_label, tmp_path / "labels.seg.nrrd")
    found = read_label_map(tmp_path / "labels.seg.nrrd")
    assert found.warnings == ()
    assert found.volume.same_grid(every_label)
    np.testing.assert_array_equal(found.volume.array, every_label.array)
