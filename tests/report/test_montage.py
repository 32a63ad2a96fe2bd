from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from vastus.anatomy import BY_KEY, STRUCTURES
from vastus.errors import SettingsError
from vastus.report.montage import MontageScan, draw_montage, write_contact_sheet, write_montage
from vastus.volume import crop


def count(pixels: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int(np.all(pixels == colour, axis=-1).sum())


def test_colours_are_those_of_the_anatomy(phantom):
    pixels = draw_montage([MontageScan("", phantom.ct, phantom.labels)])
    # Every legend swatch, and outlines of what six slices and a coronal plane are sure to cut.
    assert all(count(pixels, s.colour) > 100 for s in STRUCTURES)
    assert count(pixels, BY_KEY["femur"].colour) > 1000


def test_ct_alone_has_no_colour(phantom):
    pixels = draw_montage([MontageScan("", phantom.ct)]).astype(int)
    assert np.abs(pixels - pixels.mean(-1, keepdims=True)).max() < 12


def test_one_band_a_scan(phantom):
    one = draw_montage([MontageScan("a", phantom.ct)])
    two = draw_montage([MontageScan("a", phantom.ct), MontageScan("b", phantom.ct)])
    assert two.shape == (2 * one.shape[0], *one.shape[1:])


def test_mixed_sizes_and_a_single_slice(phantom):
    box = (0, 0, 30), (*phantom.ct.shape[:2], 31)
    slim = MontageScan("slice", crop(phantom.ct, *box), crop(phantom.labels, *box))
    pixels = draw_montage([slim, MontageScan("whole", phantom.ct, phantom.labels)])
    assert pixels.dtype == np.uint8
    assert pixels.shape[1] > 6 * 300


def test_no_scan_is_refused():
    with pytest.raises(SettingsError):
        draw_montage([])


def test_written_as_png(tmp_path, phantom):
    write_montage(tmp_path / "one.png", phantom.ct, phantom.labels, title="Phantom")
    write_contact_sheet(tmp_path / "many.png", iter([MontageScan("a", phantom.ct)]))
    assert Image.open(tmp_path / "one.png").format == "PNG"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["many.png", "one.png"]
