from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from vastus.report.pictures import take_picture
from vastus.report.planes import Plane, View, make_scene
from vastus.report.slices import pack_labels, take_slices, unpack_labels
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
