"""Words of a header against the only leg, and against the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from toy_bundle import CLASS_STEP_HU, PAINTED, write_toy_bundle
from vastus.anatomy import BY_KEY, Side
from vastus.inference.choices import RuntimeOptions
from vastus.inference.header_lie import only_side, said_of_header, table_seen
from vastus.inference.predictor import Predictor
from vastus.io.scan_types import LyingOn, ToldLie
from vastus.synthesis.phantom import make_phantom
from vastus.volume import Volume

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
SPACING = np.array([4.0, 4.0, 4.0])


def leg_on(side: LyingOn | None, *, leg: Side = Side.RIGHT) -> tuple[Volume, Volume]:
    """A tapered thigh; a flat table along one side of the image."""
    x, y = np.ogrid[-100:100:4, -100:100:4]
    hu, labels = np.full((50, 50, 40), -1000, np.int16), np.zeros((50, 50, 40), np.uint8)
    for k in range(40):
        hu[:, :, k][np.hypot(x, y) < 50 + k] = 50
        labels[:, :, k][np.hypot(x, y) < 30] = BY_KEY["vastus_intermedius"].label_value(leg)
    if side is not None:
        place = {LyingOn.BACK: (1, 1), LyingOn.FRONT: (1, -2), LyingOn.LEFT: (0, 1), LyingOn.RIGHT: (0, -2)}[side]
        np.moveaxis(hu, place[0], 0)[place[1]] = -150
    return Volume(labels, AFFINE), Volume(hu, AFFINE)


def told(on: LyingOn | None = None, side: Side | None = None) -> ToldLie:
    return ToldLie(on, side, "PatientPosition HFS", "Laterality R")


@pytest.mark.parametrize("seen", LyingOn)
@pytest.mark.parametrize("said", LyingOn)
def test_a_table_elsewhere_than_the_header_says_is_told(seen: LyingOn, said: LyingOn):
    assert table_seen(leg_on(seen)[1].array, SPACING) is seen
    remarks = said_of_header(told(on=said), *leg_on(seen))
    assert len(remarks) == (said is not seen)
    for remark in remarks:
        assert f"lies on the {said.value} (PatientPosition HFS)" in remark.text and not remark.stops


def test_a_body_that_the_image_cuts_flat_lies_on_no_table():
    hu = leg_on(None)[1].array
    cut = hu[:, 8:]
    assert table_seen(cut, SPACING) is None
    assert table_seen(hu[:, ::-1][:, :-8], SPACING) is None


def test_without_a_table_nothing_is_said():
    assert table_seen(leg_on(None)[1].array, SPACING) is None
    assert said_of_header(told(on=LyingOn.FRONT), *leg_on(None)) == ()


@pytest.mark.parametrize(("leg", "other"), [(Side.RIGHT, Side.LEFT), (Side.LEFT, Side.RIGHT)])
def test_a_leg_of_the_other_side_is_told(leg: Side, other: Side):
    assert said_of_header(told(side=leg), *leg_on(None, leg=leg)) == ()
    (remark,) = said_of_header(told(side=other), *leg_on(None, leg=leg))
    assert f"the {other.value} side (Laterality R)" in remark.text and f"those of the {leg.value} one" in remark.text


def test_two_legs_have_no_only_side():
    labels, ct = leg_on(None)
    values = labels.array.copy()
    values[:25] = np.where(values[:25] > 0, values[:25] + 100, 0)
    assert only_side(labels.array, 64.0) is Side.RIGHT and only_side(values, 64.0) is None
    assert said_of_header(told(side=Side.LEFT), Volume(values, AFFINE), ct) == ()
    assert only_side(labels.array[:27, :27], 1.0) is None  # too little to tell


def test_a_silent_header_contradicts_nothing():
    assert said_of_header(ToldLie(), *leg_on(LyingOn.FRONT)) == ()


def test_the_predictor_says_it(tmp_path: Path):
    phantom = make_phantom(PAINTED.spacing_mm, noise_hu=0)
    classes = phantom.labels.array % 100
    outside = np.where(phantom.ct.array > -900, -100.0, -1000.0)
    hu = np.where(classes > 0, classes * CLASS_STEP_HU, outside).astype(np.int16)
    leg = Volume(np.asfortranarray(hu[: hu.shape[0] // 2]), phantom.ct.affine)
    predictor = Predictor(write_toy_bundle(tmp_path), RuntimeOptions(threads=1))
    plain = predictor.segment(leg)
    found = only_side(plain.labels.array, float(np.prod(leg.spacing_mm)))
    assert found in (Side.RIGHT, Side.LEFT)
    other = Side.LEFT if found is Side.RIGHT else Side.RIGHT
    said = predictor.segment(leg, told=told(side=other)).warnings
    assert [w for w in said if w not in plain.warnings and "mirrored" in w]
    assert predictor.segment(leg, told=told(side=found)).warnings == plain.warnings
