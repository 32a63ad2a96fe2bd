from __future__ import annotations

import numpy as np
import pytest

from vastus.morphometry.field_of_view import Truncation, find_field_of_view, find_truncations
from vastus.morphometry.voxels import row_of_value, tally_labels
from vastus.volume import Volume

SHAPE = (96, 96, 12)


def round_scan(padding: int, radius: float = 46.0) -> np.ndarray:
    ct = np.random.default_rng(0).normal(-1000, 20, SHAPE).astype(np.int16)
    x, y = np.meshgrid(np.arange(96), np.arange(96), indexing="ij")
    ct[np.hypot(x - 47.5, y - 47.5) > radius] = padding
    return ct


def truncation_of(box: tuple[slice, ...], ct: np.ndarray | None) -> Truncation:
    labels = np.zeros(SHAPE, np.uint8)
    labels[box] = 101
    volume = Volume(labels, np.eye(4))
    view = find_field_of_view(SHAPE, ct)
    return find_truncations(volume, tally_labels(labels, ct), view)[row_of_value()[101]]


@pytest.mark.parametrize("ct", [None, round_scan(-2000)])
@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((slice(40, 50), slice(40, 50), slice(2, 9)), Truncation()),
        ((slice(40, 50), slice(40, 50), slice(0, 9)), Truncation(below=True)),
        ((slice(40, 50), slice(40, 50), slice(5, 12)), Truncation(above=True)),
        ((slice(0, 10), slice(44, 50), slice(2, 9)), Truncation(in_plane=True)),
        ((slice(40, 50), slice(90, 96), slice(2, 9)), Truncation(in_plane=True)),
    ],
)
def test_edges_of_the_scan(ct: np.ndarray | None, box: tuple[slice, ...], expected: Truncation) -> None:
    assert truncation_of(box, ct) == expected


@pytest.mark.parametrize("padding", [-2000, -1024, -3024, 0])
def test_the_rim_of_the_reconstruction_circle_cuts(padding: int) -> None:
    at_rim = (slice(78, 84), slice(72, 80), slice(4, 8))  # about 46 pixels from the centre
    assert truncation_of(at_rim, round_scan(padding)).in_plane
    assert not truncation_of(at_rim, None).in_plane
    inside = (slice(70, 74), slice(64, 70), slice(4, 8))
    assert not truncation_of(inside, round_scan(padding)).any


def test_a_circle_cropped_on_one_side_is_still_found() -> None:
    ct = round_scan(-2000)[20:]
    edge = find_field_of_view(ct.shape, ct).edge
    x, y = np.meshgrid(np.arange(20, 96), np.arange(96), indexing="ij")
    assert edge[np.hypot(x - 47.5, y - 47.5) > 46].all()
    assert not edge[5:-5, 5:-5][np.hypot(x - 47.5, y - 47.5)[5:-5, 5:-5] < 42].any()


def test_noise_free_air_around_a_body_is_no_circle() -> None:
    ct = np.full(SHAPE, -1000, np.int16)
    ct[20:76, 35:60] = 50
    assert not find_field_of_view(SHAPE, ct).edge[1:-1, 1:-1].any()


def test_padding_slices_do_not_count_as_scan() -> None:
    ct = round_scan(-2000)
    ct[:, :, :3] = -2000
    view = find_field_of_view(SHAPE, ct)
    assert (view.first_slice, view.last_slice) == (3, 11)
    assert truncation_of((slice(40, 50), slice(40, 50), slice(3, 9)), ct).below
