"""Words of DICOM headers against the axes and each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydicom
import pytest

import dicom_factory as factory
from vastus.anatomy import Side
from vastus.io.scan_types import LyingOn, ScanSource
from vastus.io.scans import read_scan


def source_of(folder: Path, orientation: tuple[float, ...] = factory.HEAD_FIRST_SUPINE, **extra: Any) -> ScanSource:
    factory.write_series(folder, factory.series(orientation=orientation, extra=extra))
    return read_scan(folder).source


@pytest.mark.parametrize(
    ("word", "on"),
    [
        ("HFS", LyingOn.BACK),
        ("FFS", LyingOn.BACK),
        ("HFP", LyingOn.FRONT),
        ("FFP", LyingOn.FRONT),
        ("HFDR", LyingOn.RIGHT),
        ("FFDL", LyingOn.LEFT),
        ("", None),
        ("SITTING", None),
    ],
)
def test_what_lies_on_the_table_is_read(tmp_path: Path, word: str, on: LyingOn | None):
    told = source_of(tmp_path, PatientPosition=word).told
    assert told.on is on
    assert told.on_named == (f"PatientPosition {word}" if on else "")


@pytest.mark.parametrize(
    ("words", "side", "named"),
    [
        ({"Laterality": "R"}, Side.RIGHT, "Laterality R"),
        ({"ImageLaterality": "L"}, Side.LEFT, "ImageLaterality L"),
        ({"ImageLaterality": "B"}, None, ""),
        ({"Laterality": "R", "ImageLaterality": "B"}, None, ""),
        ({"ImageLaterality": "U"}, None, ""),
        ({}, None, ""),
    ],
)
def test_the_side_of_the_scan_is_read(tmp_path: Path, words: dict[str, str], side: Side | None, named: str):
    source = source_of(tmp_path, **words)
    assert (source.told.side, source.told.side_named) == (side, named)
    assert not any("contradict" in warning for warning in source.warnings)


def test_two_sides_at_once_are_told_and_none_is_believed(tmp_path: Path):
    source = source_of(tmp_path, Laterality="R", ImageLaterality="L")
    assert source.told.side is None
    assert any("contradict each other" in warning for warning in source.warnings)


@pytest.mark.parametrize(
    ("orientation", "words", "contradicted"),
    [
        (factory.HEAD_FIRST_SUPINE, ["L", "P"], ""),
        (factory.HEAD_FIRST_SUPINE, ["R", "P"], "rows run to the right by PatientOrientation (R) and to the left"),
        (factory.HEAD_FIRST_SUPINE, ["L", "A"], "columns run to the front by PatientOrientation (A) and to the back"),
        (factory.HEAD_FIRST_SUPINE, ["LPH", "PR"], ""),
        (factory.PRONE, ["R", "A"], ""),
        (factory.PRONE, ["L", "P"], "rows run to the left by PatientOrientation (L) and to the right"),
        (factory.HEAD_FIRST_SUPINE, ["L"], ""),
        (factory.HEAD_FIRST_SUPINE, ["", ""], ""),
        ((0.7071068, 0.7071068, 0.0, -0.7071068, 0.7071068, 0.0), ["R", "A"], ""),
    ],
)
def test_directions_in_words_are_held_against_the_axes(
    tmp_path: Path, orientation: tuple[float, ...], words: list[str], contradicted: str
):
    said = [w for w in source_of(tmp_path, orientation, PatientOrientation=words).warnings if "contradicts" in w]
    assert len(said) == bool(contradicted)
    assert all(contradicted in text and "swapped" in text for text in said)


def test_an_enhanced_ct_says_its_side_in_a_group(tmp_path: Path):
    path = tmp_path / "multi.dcm"
    factory.write_enhanced(path, factory.series())
    dataset = pydicom.dcmread(path)
    dataset.PatientPosition = "FFP"
    anatomy = pydicom.Dataset()
    anatomy.FrameLaterality = "L"
    dataset.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [anatomy]
    dataset.save_as(path)
    told = read_scan(tmp_path).source.told
    assert (told.on, told.side) == (LyingOn.FRONT, Side.LEFT)
