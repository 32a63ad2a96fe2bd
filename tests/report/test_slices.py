from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from vastus.report.pictures import take_picture
from vastus.report.planes import Plane, View, make_scene
from vastus.report.slices import _packed, pack_labels, take_slices, unpack_labels
from vastus.volume import Volume


def decoded(layer) -> np.ndarray:
    return np.stack([np.asarray(Image.open(io.BytesIO(one))) for one in layer.ct])


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 7), (2, 40, 900)])
def test_labels_are_packed_without_loss(shape):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, shape, dtype=np.uint8) * 60
    labels[0] = 255
    assert np.array_equal(unpack_labels(pack_labels(labels), shape), labels)
    assert np.array_equal(unpack_labels(pack_labels(np.zeros(shape, np.uint8)), shape), np.zeros(shape, np.uint8))


def test_slices_are_those_of_the_pictures(phantom):
    scene = make_scene(phantom.ct, phantom.labels)
    layer = take_slices(scene)
    labels = unpack_labels(layer.labels, layer.shape)
    k = layer.shape[0] // 3
    plane = Plane(View.AXIAL, scene.frame.stop[2] - 1 - k, "", "")
    picture = take_picture(scene, plane, longest_px=10_000, finest_mm=scene.ct.spacing_mm[0])
    assert picture.grey.shape == labels.shape[1:]
    assert np.array_equal(labels[k] % 100, picture.classes)
    assert np.abs(decoded(layer)[k].astype(int) - picture.grey).mean() < 4
    # Right on the left: labels 101..129 lie in the first columns.
    columns = np.nonzero((labels > 100) & (labels < 130))[2], np.nonzero(labels > 200)[2]
    assert columns[0].max() < columns[1].min()


def test_the_same_scan_stored_another_way_gives_the_same_slices(phantom):
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    flip[0, 3] = phantom.ct.shape[0] - 1
    turned = [Volume(v.array[::-1], v.affine @ flip) for v in (phantom.ct, phantom.labels)]
    one, other = take_slices(make_scene(phantom.ct, phantom.labels)), take_slices(make_scene(*turned))
    assert one.ct == other.ct and one.labels == other.labels
    assert one.origin_mm == pytest.approx(other.origin_mm)


def test_counts_and_places_are_those_of_the_scan(phantom):
    scene = make_scene(phantom.ct, phantom.labels)
    layer = take_slices(scene)
    values, sizes = np.unique(np.asarray(phantom.labels.array), return_counts=True)
    for value, size in zip(values[1:], sizes[1:], strict=True):
        assert layer.counts[:, int(value)].sum() == size
    assert layer.femur is not None
    upper, lower = layer.femur[1], layer.femur[0]
    assert 0 <= upper < lower < layer.shape[0]


def test_whole_numbers_and_decimals_give_the_same_greys(phantom):
    as_float = Volume(phantom.ct.array.astype(np.float32), phantom.ct.affine)
    assert (
        take_slices(make_scene(as_float, phantom.labels)).ct == take_slices(make_scene(phantom.ct, phantom.labels)).ct
    )


def test_more_loss_then_coarser_until_it_fits():
    rng = np.random.default_rng(0)
    ct = Volume(rng.normal(40, 60, (160, 160, 12)).astype(np.int16), np.eye(4))
    labels = np.zeros(ct.shape, np.uint8)
    labels[20:140, 20:140] = 113
    scene = make_scene(ct, Volume(labels, np.eye(4)))
    free = take_slices(scene)
    tight = take_slices(scene, most_bytes=sum(map(len, free.ct)) // 2)
    tiny = take_slices(scene, most_bytes=sum(map(len, free.ct)) // 20)
    assert (free.quality, free.step) == (85, 1)
    assert tight.step == 1 and tight.quality < 85
    assert tiny.step > 1 and tiny.spacing_mm[1:] == (float(tiny.step), float(tiny.step))
    assert sum(map(len, tiny.ct)) <= 1.1 * sum(map(len, free.ct)) / 20
    assert unpack_labels(tiny.labels, tiny.shape).max() == 113
    assert decoded(tiny).shape == tiny.shape


def test_without_labels(phantom):
    layer = take_slices(make_scene(phantom.ct, None))
    assert layer.labels == b"" and layer.femur is None and len(layer.ct) == layer.shape[0]


def doubt_beside(phantom, spot_mm: tuple[float, float, float]) -> Volume:
    """A coarser grid that begins elsewhere, with level 2 in the voxel at a place of the world."""
    affine = np.diag([8.0, 8.0, 16.0, 1.0])
    affine[:3, 3] = phantom.ct.affine[:3, 3] + (3.0, -5.0, 4.0)
    size = [int(n * s // w) for n, s, w in zip(phantom.ct.shape, phantom.ct.spacing_mm, (8, 8, 16), strict=True)]
    levels = np.zeros(size, np.uint8)
    at = np.linalg.inv(affine) @ np.array([*spot_mm, 1.0])
    levels[tuple(np.round(at[:3]).astype(int))] = 2
    return Volume(levels, affine)


def test_doubt_lies_where_its_grid_says(phantom):
    scene = make_scene(phantom.ct, phantom.labels)
    middle = tuple((a + b) // 2 for a, b in zip(scene.frame.start, scene.frame.stop, strict=True))
    spot = (scene.ct.affine @ np.array([*middle, 1.0]))[:3]
    layer = take_slices(scene, doubt=doubt_beside(phantom, tuple(spot)))
    assert layer.doubt is not None
    levels = unpack_labels(layer.doubt.levels, layer.doubt.shape)
    shown = [scene.frame.stop[axis] - 1 - middle[axis] for axis in (2, 1, 0)]  # as the layer counts: from the head down
    at = tuple(round(scale * n + offset) for n, (scale, offset) in zip(shown, layer.doubt.places, strict=True))
    assert levels[at] == 2 and levels.sum() == 2


def test_doubt_on_a_grid_that_lies_askew_is_left_out(phantom):
    doubt = doubt_beside(phantom, (0.0, 0.0, 300.0))
    turned = doubt.affine.copy()
    turned[0, 1] = 2.0
    assert take_slices(make_scene(phantom.ct, phantom.labels), doubt=Volume(doubt.array, turned)).doubt is None


@pytest.mark.parametrize(
    "lying", [np.asarray, np.flip, np.asfortranarray, lambda plane: np.repeat(plane, 2, 1)[:, ::2]]
)
def test_values_are_counted_and_changes_noted_however_a_plane_lies_in_memory(lying):
    plane = lying(np.random.default_rng(2).integers(0, 3, (9, 14), dtype=np.uint8) * 100)
    found = _packed(plane)
    assert np.array_equal(found.counts, np.bincount(plane.ravel(), minlength=256))
    changed = plane.copy()
    changed[1:] ^= plane[:-1]
    rows, columns = np.nonzero(changed)
    assert np.array_equal(found.per_row, np.bincount(rows, minlength=9))
    assert np.array_equal(found.columns, columns)
    assert np.array_equal(found.bits, changed[rows, columns])
