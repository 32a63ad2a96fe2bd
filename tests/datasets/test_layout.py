from pathlib import Path

import numpy as np
import pytest

from vastus.anatomy import ThighLevel
from vastus.datasets.layout import image_checksum, read_open_set
from vastus.datasets.split import Split
from vastus.errors import MissingInputError, SettingsError
from vastus.evaluation.thigh_level import levels_of
from vastus.volume import Volume, to_ras

LPS = np.diag([-1.0, -1.0, 3.0, 1.0])


def test_the_tables_are_read_as_they_were_written(made) -> None:
    source = made.source
    assert source.scans() == ("STS_001", "STS_004")
    assert source.scans(Split.TEST) == ("STS_004",)
    first = source.slices[0]
    assert (first.scan, first.slice, first.unsure, first.reading) == ("STS_001", 1, (("sartorius", 2),), 1)
    assert source.labels("STS_001").is_file() and source.strokes(first).is_file()
    assert source.labels("STS_001", 2).parent.name == "labels_2"


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("index.csv", "distal", "ankle"),
        ("index.csv", "gracilis", "soleus"),
        ("index.csv", "left", "upper"),
        ("index.csv", "sartorius=2", "sartorius"),
        ("index.csv", "scan,", "patient,"),
        ("index.csv", "STS_001", "../1"),
        ("checksums.csv", "60x50x6", "60x50"),
        ("checksums.csv", "STS_001", "STS_009"),
        ("splits.json", "001", "003"),
        ("splits.json", "{", ""),
        ("checksums.csv", ",60x50x6,", ",60x50x6,zz"),
    ],
)
def test_tables_that_are_wrong_or_disagree_are_refused(made, file: str, old: str, new: str) -> None:
    path = made.source.folder / file
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(SettingsError):
        read_open_set(made.source.folder)


def test_a_missing_table_is_named(made, tmp_path: Path) -> None:
    for file in ("splits.json", "checksums.csv", "index.csv"):
        (made.source.folder / file).unlink()
        with pytest.raises(MissingInputError, match=file):
            read_open_set(made.source.folder)


def test_a_checksum_is_of_the_voxels_whatever_their_order_and_type() -> None:
    array = np.random.default_rng(0).integers(-1200, 3500, (7, 6, 5)).astype(np.int16)
    ct = Volume(array, LPS)
    same = image_checksum(ct)
    assert image_checksum(to_ras(ct)) == same
    assert image_checksum(ct.with_array(array.astype(np.float32) + 0.2)) == same
    assert image_checksum(ct.with_array(np.asfortranarray(np.clip(array, -1024, 3071)))) == same
    other = array.copy()
    other[3, 3, 3] = 3000 if other[3, 3, 3] < 100 else 0
    assert image_checksum(ct.with_array(other)) != same
    assert image_checksum(Volume(array.reshape(6, 7, 5), LPS)) != same


def test_levels_rise_from_the_feet_and_never_fall() -> None:
    thigh = (
        ["femur"],
        ["adductor_longus"],
        ["gracilis"],
        ["pectineus", "adductor_longus"],
        ["gluteus_medius"],
        ["femur"],
    )
    assert levels_of(thigh) == (
        ThighLevel.DISTAL,
        ThighLevel.MIDDLE,
        ThighLevel.MIDDLE,
        ThighLevel.PROXIMAL,
        ThighLevel.HIP,
        ThighLevel.HIP,
    )
