from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from vastus.anatomy import Side
from vastus.morphometry import measure_scan
from vastus.morphometry.fat import pixels_within_mm, squared_distance_mm2
from vastus.volume import Volume

# A leg of cylinders (mm): femur, a ring of fat inside the fascia, a ring of muscle, fat, skin.
BONE, INNER, MUSCLE, FAT, SKIN = 14.0, 30.0, 55.0, 75.0, 77.0
LOW, HIGH = 20.0, 420.0  # femur; the hip bone begins at 340: 15% of 400 is 60, so the thigh is 80..340
HIP = 340.0


@given(
    mask=arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 3))),
    pixel=st.tuples(st.floats(0.5, 4), st.floats(0.5, 4)),
)
@settings(max_examples=80, deadline=None)
def test_distances_are_scipys(mask: np.ndarray, pixel: tuple[float, float]) -> None:
    found = squared_distance_mm2(mask, pixel)
    for k in range(mask.shape[2]):
        if mask[..., k].any():
            expected = ndimage.distance_transform_edt(~mask[..., k], sampling=pixel) ** 2
            assert found[..., k] == pytest.approx(expected, rel=1e-4, abs=1e-4)
        else:
            assert np.isinf(found[..., k]).all()


@given(
    mask=arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 9))),
    pixel=st.tuples(st.sampled_from((0.5, 0.7, 1.0, 1.6, 2.0)), st.sampled_from((0.7, 1.0, 1.5, 2.0))),
    radius=st.sampled_from((0.0, 0.4, 1.0, 2.0, 3.5, 5.0, 50.0)),
)
@settings(max_examples=200, deadline=None)
def test_growth_by_a_disk_is_a_limit_on_the_distance(
    mask: np.ndarray, pixel: tuple[float, float], radius: float
) -> None:
    found = pixels_within_mm(mask, pixel, radius)
    assert np.array_equal(found, squared_distance_mm2(mask, pixel) <= radius**2)


def cylinders(
    centres: dict[Side, float], spacing: tuple[float, float, float] = (2.0, 2.0, 5.0)
) -> tuple[Volume, Volume]:
    shape = (round(360 / spacing[0]), round(200 / spacing[1]), round(440 / spacing[2]))
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [-180 + spacing[0] / 2, -100 + spacing[1] / 2, spacing[2] / 2]
    x, y, z = (affine[a, 3] + np.arange(shape[a]) * spacing[a] for a in range(3))
    hu = np.full(shape, -1000.0)
    labels = np.zeros(shape, np.uint8)
    for side, centre in centres.items():
        r = np.hypot(x[:, None] - centre, y[None, :])[:, :, None] + 0 * z
        height = z + 0 * r
        for radius, value in ((SKIN, 40), (FAT, -100), (MUSCLE, 50), (INNER, -100)):
            hu[r < radius] = value
        labels[(r < MUSCLE) & (r >= INNER)] = side.offset + 6
        hu[(r < BONE) & (height > LOW) & (height < HIGH)] = 400
        labels[(r < BONE) & (height > LOW) & (height < HIGH)] = side.offset + 28
        labels[(r < BONE) & (height > HIGH)] = side.offset + 29
        hip = (np.abs(r - 22) < 4) & (height > HIP)
        labels[hip] = side.offset + 29
        hu[hip] = 400
    return Volume(np.asfortranarray(hu.astype(np.int16)), affine), Volume(np.asfortranarray(labels), affine)


@pytest.mark.parametrize("distance", [100.0, 77.5])
def test_rings_of_fat_have_their_closed_volumes(distance: float) -> None:
    """Apart, and with thighs that touch over the whole length."""
    ct, labels = cylinders({Side.RIGHT: distance, Side.LEFT: -distance})
    found = measure_scan(ct, labels, "s")
    assert len(found.fat) == 2
    for fat in found.fat:
        assert (fat.from_mm, fat.to_mm) == (pytest.approx(60, abs=1), pytest.approx(HIP - LOW, abs=3))
        length = fat.to_mm - fat.from_mm
        assert fat.intermuscular_mm3 == pytest.approx(np.pi * (INNER**2 - BONE**2) * length, rel=0.03)
        assert fat.subcutaneous_mm3 == pytest.approx(np.pi * (FAT**2 - MUSCLE**2) * length, rel=0.03)
        assert fat.muscle_mm3 == pytest.approx(np.pi * (MUSCLE**2 - INNER**2) * length, rel=0.03)
        assert not fat.subcutaneous_truncated and not fat.intermuscular_truncated
    areas = {a.name: a.area_mm2 for a in found.areas if a.level.name == "mid_thigh" and a.side is Side.LEFT}
    assert areas["subcutaneous_fat"] == pytest.approx(np.pi * (FAT**2 - MUSCLE**2), rel=0.03)
    assert areas["intermuscular_fat"] == pytest.approx(np.pi * (INNER**2 - BONE**2), rel=0.03)


def test_one_leg_takes_nothing_of_the_unlabelled_one_beside_it() -> None:
    ct, labels = cylinders({Side.RIGHT: 100.0, Side.LEFT: -100.0})
    alone = labels.with_array(np.where(labels.array > 200, 0, labels.array).astype(np.uint8))
    (fat,) = measure_scan(ct, alone, "s").fat
    assert fat.subcutaneous_mm3 == pytest.approx(np.pi * (FAT**2 - MUSCLE**2) * (fat.to_mm - fat.from_mm), rel=0.03)


def test_a_thigh_cut_at_its_side_or_its_end_is_flagged() -> None:
    ct, labels = cylinders({Side.RIGHT: 115.0})
    (fat,) = measure_scan(ct, labels, "s").fat
    assert fat.subcutaneous_truncated and not fat.intermuscular_truncated
    ct, labels = cylinders({Side.RIGHT: 90.0})
    (fat,) = measure_scan(ct, labels, "s").fat
    assert not fat.subcutaneous_truncated and not fat.intermuscular_truncated
    half = (slice(None), slice(None), slice(30, None))
    (fat,) = measure_scan(Volume(ct.array[half], ct.affine), Volume(labels.array[half], labels.affine), "s").fat
    assert fat.subcutaneous_truncated and fat.intermuscular_truncated
