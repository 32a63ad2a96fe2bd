"""Head and feet, front and back against labels, bones and table."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from toy_bundle import CLASS_STEP_HU, PAINTED, write_toy_bundle
from vastus.anatomy import BY_KEY, Side
from vastus.inference import body_lie
from vastus.inference.body_lie import table_side
from vastus.inference.choices import RuntimeOptions
from vastus.inference.predictor import Predictor
from vastus.synthesis.phantom import LabelledScan, make_phantom
from vastus.volume import Volume

SPACING = (5.0, 5.0, 6.0)


def said_of_lie(labels: Volume, ct: Volume) -> tuple[str, ...]:
    return tuple(remark.text for remark in body_lie.said_of_lie(labels, ct) if remark.stops)


def flipped(scan: LabelledScan, axis: int) -> tuple[Volume, Volume]:
    """The stored voxels turned round; the header says nothing of it."""
    labels, ct = (Volume(np.flip(v.array, axis), v.affine) for v in (scan.labels, scan.ct))
    return labels, ct


@pytest.mark.parametrize("z", [(-20.0, 610.0), (-20.0, 300.0), (60.0, 250.0), (250.0, 610.0), (380.0, 610.0)])
def test_every_stretch_of_an_upright_body_is_silent_and_a_turned_one_is_told(z: tuple[float, float]):
    scan = make_phantom(SPACING, z_range_mm=z)
    assert said_of_lie(scan.labels, scan.ct) == ()
    (warning,) = said_of_lie(*flipped(scan, 2))
    assert "Head and feet are reversed" in warning and "header" in warning


def thigh(*, widens_down: bool) -> tuple[Volume, Volume]:
    """A stretch of one muscle: only its thickness tells which end is the knee's."""
    x, y = np.ogrid[-100:100:4, -100:100:4]
    hu, labels = np.full((50, 50, 40), -1000, np.int16), np.zeros((50, 50, 40), np.uint8)
    for k in range(40):
        radius = 60 + (40 - k if widens_down else k) * 0.8
        inside = np.hypot(x, y) < radius
        hu[:, :, k][inside] = -100
        hu[:, :, k][np.hypot(x, y) < 0.8 * radius] = 50
        labels[:, :, k][np.hypot(x, y) < 30] = BY_KEY["vastus_intermedius"].label_value(Side.RIGHT)
        labels[:, :, k][np.hypot(x, y) < 10] = 128
    # A little of a muscle of the knee, above: what a network makes of a thigh on its head.
    labels[10:12, 10:12, 20:39] = BY_KEY["vastus_medialis"].class_id
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    return Volume(labels, affine), Volume(hu, affine)


def test_a_thigh_that_grows_thicker_downwards_is_told():
    assert any("thicker below" in w for w in said_of_lie(*thigh(widens_down=True)))
    assert said_of_lie(*thigh(widens_down=False)) == ()


def on_table(scan: LabelledScan) -> LabelledScan:
    """The phantom's femora moved forward, a pelvis that is thicker than the legs, and a table behind."""
    ct = scan.ct.array.copy()
    belly = ct[20:-20, 30:48, 50:]
    belly[belly < -500] = -100
    ct[:, 1, :] = np.where(ct[:, 1, :] < -500, -150, ct[:, 1, :])
    return LabelledScan(Volume(ct, scan.ct.affine), scan.labels)


def test_the_table_is_found_on_its_side():
    scan = on_table(make_phantom(SPACING, z_range_mm=(100.0, 610.0)))
    assert table_side(scan.ct.array, np.array(SPACING)) == -1
    assert table_side(scan.ct.array[:, ::-1], np.array(SPACING)) == 1
    assert table_side(make_phantom(SPACING).ct.array, np.array(SPACING)) == 0
    assert table_side(np.full((9, 9, 9), -1000, np.int16), np.array(SPACING)) == 0


def supine() -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
    """A thigh with its femur in the front half, on a table at the back."""
    labels, ct = thigh(widens_down=False)
    values, hu = labels.array.copy(), ct.array.copy()
    values[values == 128] = 0
    values[23:27, 29:33], hu[23:27, 29:33] = 128, 700
    hu[:, 0, :] = -150
    return values, hu


def test_front_and_back_need_the_femur_and_the_table():
    values, hu = supine()
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    assert said_of_lie(Volume(values, affine), Volume(hu, affine)) == ()
    (warning,) = said_of_lie(Volume(values[:, ::-1], affine), Volume(hu[:, ::-1], affine))
    assert "Front and back are reversed" in warning
    # A patient who lies prone, as the header says: the table is in front, and so is the femur.
    hu[:, 0, :], hu[:, -1, :] = -1000, -150
    assert said_of_lie(Volume(values, affine), Volume(hu, affine)) == ()
    # A tumour in front pushes the lean tissue forward: the femur alone is no proof.
    hu[:, -1, :] = -1000
    assert said_of_lie(Volume(values[:, ::-1], affine), Volume(hu[:, ::-1], affine)) == ()


def test_the_predictor_says_it(tmp_path):
    phantom = make_phantom(PAINTED.spacing_mm, noise_hu=0)
    classes = phantom.labels.array % 100
    outside = np.where(phantom.ct.array > -900, -100.0, -1000.0)
    hu = np.where(classes > 0, classes * CLASS_STEP_HU, outside).astype(np.int16)
    predictor = Predictor(write_toy_bundle(tmp_path), RuntimeOptions(threads=1))
    turned = Volume(np.asfortranarray(hu[:, :, ::-1]), phantom.ct.affine)
    assert any("Head and feet are reversed" in w for w in predictor.segment(turned).warnings)
    assert not any("reversed" in w for w in predictor.segment(Volume(hu, phantom.ct.affine)).warnings)
