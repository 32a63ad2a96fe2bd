from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from vastus.anatomy import BY_KEY, LABELS, SIDES, STRUCTURES, Group, Side
from vastus.errors import GeometryError, LabelError, SettingsError
from vastus.morphometry import MeasureSettings, ScanMeasures, measure_rows, measure_scan, measure_volumes
from vastus.synthesis.phantom import LabelledScan, make_phantom
from vastus.volume import Volume

# Semi-axes of structures that the phantom draws without overlap, and their centre above the knee.
ELLIPSOIDS = {
    "vastus_lateralis": (15, 30, 160, 200),
    "gluteus_maximus": (45, 22, 80, 420),
    "adductor_magnus": (18, 22, 120, 250),
    "biceps_femoris": (14, 13, 140, 170),
    "femur": (15, 15, 215, 200),
    "rectus_femoris": (16, 12, 150, 240),
}


@pytest.fixture(scope="module")
def phantom() -> LabelledScan:
    return make_phantom((2.0, 2.0, 3.0))


@pytest.fixture(scope="module")
def measured(phantom: LabelledScan) -> ScanMeasures:
    return measure_scan(phantom.ct, phantom.labels, "phantom")


def boxes() -> tuple[Volume, Volume]:
    """Two muscles as boxes in 1 x 2 x 3 mm voxels; the hand-made HU of one are known."""
    labels = np.zeros((20, 20, 20), np.uint8)
    ct = np.random.default_rng(0).integers(-1010, -990, labels.shape).astype(np.int16)
    labels[5:9, 5:9, 5:9] = 101
    labels[11:13, 5:9, 5:9] = 201
    ct[5:9, 5:9, 5:9] = np.repeat([-190, -30, -29, 0, 29, 30, 150, 151], 8).reshape(4, 4, 4)
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    return Volume(ct, affine), Volume(labels, affine)


def test_a_box_has_exactly_known_values() -> None:
    right = measure_scan(*boxes(), "s").structure("sartorius", Side.RIGHT)
    assert right.volume_mm3 == pytest.approx(64 * 6)
    assert right.hu is not None
    values = np.repeat([-190, -30, -29, 0, 29, 30, 150, 151], 8)
    assert right.hu.mean_hu == pytest.approx(values.mean())
    assert right.hu.sd_hu == pytest.approx(values.std(ddof=1))
    for percent, hu in right.hu.percentiles_hu:
        assert hu == pytest.approx(np.percentile(values, percent))
    # Both ends of every range count: -29, 0, 29, 30, 150 are lean; 0, 29 low; -190, -30 fat.
    assert right.hu.lean_mm3 == pytest.approx(5 * 8 * 6)
    assert right.hu.low_attenuation_mm3 == pytest.approx(2 * 8 * 6)
    assert right.hu.fat_mm3 == pytest.approx(2 * 8 * 6)
    assert right.hu.fat_fraction == pytest.approx(2 / 7)
    assert right.extent is None  # no femur, no axis


def test_asymmetry_is_the_difference_by_the_mean() -> None:
    found = measure_scan(*(_larger(volume, 10.0) for volume in boxes()), "s")
    values = {a.name: a.percent for a in found.asymmetries}
    assert values["sartorius"] == pytest.approx(100 * (64 - 32) / 48)
    assert values["femur"] is None


def _larger(volume: Volume, factor: float) -> Volume:
    """The same voxels, each side longer."""
    return Volume(volume.array, np.diag([factor, factor, factor, 1.0]) @ volume.affine)


def test_ellipsoids_have_their_closed_volumes_areas_and_lengths(measured: ScanMeasures) -> None:
    for key, (rx, ry, rz, z) in ELLIPSOIDS.items():
        for side in SIDES:
            found = measured.structure(key, side)
            assert found.volume_mm3 == pytest.approx(4 / 3 * np.pi * rx * ry * rz, rel=0.02), key
            assert found.extent is not None
            assert found.extent.max_area_mm2 == pytest.approx(np.pi * rx * ry, rel=0.06), key
            assert found.extent.max_area_position_mm == pytest.approx(z + 15, abs=12), key
            # The tips of an ellipsoid are thinner than a voxel: some mm are lost at each end.
            assert 2 * rz - 16 < found.extent.length_mm < 2 * rz + 4, key


def test_areas_at_levels_are_those_of_the_ellipsoids(measured: ScanMeasures) -> None:
    checked = 0
    for area in measured.areas:
        if area.name not in ELLIPSOIDS:
            continue
        rx, ry, rz, centre = ELLIPSOIDS[area.name]
        height = (area.level.point_mm[2] - centre) / rz
        if abs(height) < 0.8:
            assert area.area_mm2 == pytest.approx(np.pi * rx * ry * (1 - height**2), rel=0.06), area
            checked += 1
    assert checked > 30
    names = {area.level.name for area in measured.areas}
    assert {"mid_thigh", "ischial_tuberosity", "lesser_trochanter", "femur_30_percent"} <= names


def test_a_structure_that_does_not_reach_a_level_has_area_0_there(measured: ScanMeasures) -> None:
    area = next(a for a in measured.areas if a.name == "psoas" and a.level.name == "mid_thigh")
    assert area.area_mm2 == 0


def test_group_sums_and_the_posterior_to_anterior_ratio(measured: ScanMeasures) -> None:
    for ratio in measured.ratios:
        sums = dict.fromkeys((Group.POSTERIOR, Group.ANTERIOR), 0.0)
        for s in measured.structures:
            if s.side is ratio.side and s.structure.group in sums:
                sums[s.structure.group] += s.volume_mm3 or 0.0
        assert ratio.posterior_to_anterior == pytest.approx(sums[Group.POSTERIOR] / sums[Group.ANTERIOR])
        for group in measured.groups:
            if group.side is ratio.side and group.group in sums:
                assert group.volume_mm3 == pytest.approx(sums[group.group])


def test_absent_structures_are_empty_never_zero() -> None:
    one_leg = make_phantom((6, 6, 8), sides=(Side.LEFT,))
    found = measure_scan(one_leg.ct, one_leg.labels, "s")
    assert [(s.structure.key, s.side) for s in found.structures] == [
        (s.key, side) for side in SIDES for s in STRUCTURES
    ]
    for s in found.structures:
        if s.side is Side.RIGHT:
            assert (s.volume_mm3, s.hu, s.truncated) == (None, None, False)
    right_groups = [g for g in found.groups if g.side is Side.RIGHT]
    assert {g.volume_mm3 for g in right_groups} == {None}
    assert {a.percent for a in found.asymmetries} == {None}
    assert [leg.side for leg in found.legs] == [Side.LEFT]


def test_what_the_scan_cuts_is_flagged_and_its_ratios_are_empty() -> None:
    cut = make_phantom((4, 4, 4), z_range_mm=(100.0, 610.0))
    found = measure_scan(cut.ct, cut.labels, "s")
    flagged = {s.structure.key for s in found.structures if s.side is Side.LEFT and s.truncated}
    # By the phantom's heights: everything that begins below 100 mm; the obliques and their neighbours end above 600.
    below_100 = {
        "sartorius",
        "rectus_femoris",
        "vastus_lateralis",
        "vastus_intermedius",
        "vastus_medialis",
        "gracilis",
        "semitendinosus",
        "semimembranosus",
        "biceps_femoris",
        "femur",
    }
    assert below_100 <= flagged
    assert not flagged & {"gluteus_maximus", "adductor_longus", "hip_bone", "adductor_magnus"}
    visible = found.structure("vastus_lateralis", Side.LEFT)
    assert visible.volume_mm3 and visible.volume_mm3 > 100_000  # the visible part is kept
    assert {r.posterior_to_anterior for r in found.ratios} == {None}
    assert next(a.percent for a in found.asymmetries if a.name == "vastus_lateralis") is None
    assert next(a.percent for a in found.asymmetries if a.name == "gluteus_maximus") is not None
    assert all(leg.length_mm is None and leg.level("mid_thigh") is None for leg in found.legs)


@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_orientation_changes_nothing(axes: tuple[int, int, int]) -> None:
    scan = make_phantom((5, 5, 6), noise_hu=0)
    expected = measure_rows(measure_scan(scan.ct, scan.labels, "s"))
    turned = []
    for volume in (scan.ct, scan.labels):
        array = volume.array.transpose(axes)[::-1, :, ::-1]
        affine = volume.affine.copy()
        affine[:, :3] = volume.affine[:, list(axes)]
        for axis in (0, 2):
            affine[:, 3] += affine[:, axis] * (array.shape[axis] - 1)
            affine[:, axis] *= -1
        turned.append(Volume(array.copy(), affine))
    found = measure_rows(measure_scan(turned[0], turned[1], "s"))
    for a, b in zip(expected, found, strict=True):
        assert (a.structure, a.side, a.measure, a.truncated) == (b.structure, b.side, b.measure, b.truncated)
        assert a.value == (None if b.value is None else pytest.approx(b.value, rel=1e-6, abs=1e-6)), a


def test_an_oblique_grid_gives_the_same_lengths_and_areas() -> None:
    scan = make_phantom((4, 4, 4))
    angle = np.radians(20)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    straight = measure_scan(scan.ct, scan.labels, "s")
    tilted = measure_scan(
        Volume(scan.ct.array, turn @ scan.ct.affine), Volume(scan.labels.array, turn @ scan.labels.affine), "s"
    )
    for a, b in zip(straight.legs, tilted.legs, strict=True):
        assert b.tilt_degrees == pytest.approx(20, abs=0.5)
        assert a.visible_mm == pytest.approx(b.visible_mm)
    for key in ELLIPSOIDS:
        one, two = (m.structure(key, Side.LEFT).extent for m in (straight, tilted))
        assert one is not None and two is not None
        assert one.max_area_mm2 == pytest.approx(two.max_area_mm2, rel=1e-6)


def test_labels_alone_give_volumes_without_hu(phantom: LabelledScan, measured: ScanMeasures) -> None:
    found = measure_scan(None, phantom.labels, "s")
    assert all(s.hu is None for s in found.structures)
    assert [s.volume_mm3 for s in found.structures] == [s.volume_mm3 for s in measured.structures]
    assert found.fat == ()


def test_quick_volumes_are_the_same(phantom: LabelledScan, measured: ScanMeasures) -> None:
    rows = measure_volumes(phantom.ct, phantom.labels, "phantom")
    assert rows == measured.volume_rows()
    assert len(rows) == len(SIDES) * len(STRUCTURES)


def test_a_structure_of_unknown_side_gets_its_own_row() -> None:
    ct, labels = boxes()
    array = labels.array.copy()
    array[0:1, 12:14, 12:14] = 7
    rows = measure_volumes(ct, labels.with_array(array), "s")
    assert len(rows) == 59
    assert (rows[-1].structure, rows[-1].side, rows[-1].volume_mm3, rows[-1].truncated) == (
        "adductor_brevis",
        Side.UNKNOWN,
        24.0,
        True,
    )
    assert len(LABELS) == 3 * len(STRUCTURES)


def test_refusals() -> None:
    ct, labels = boxes()
    with pytest.raises(GeometryError, match="same grid"):
        measure_scan(ct, Volume(labels.array, np.eye(4)), "s")
    odd = labels.array.copy()
    odd[0, 0, 0] = 99
    with pytest.raises(LabelError, match="99"):
        measure_scan(ct, labels.with_array(odd), "s")
    with pytest.raises(SettingsError, match="lean_hu"):
        MeasureSettings(lean_hu=(150.0, -29.0))


@pytest.fixture(scope="module")
def with_speck(phantom: LabelledScan) -> ScanMeasures:
    """The phantom of which five voxels of the right biceps femoris are left, in the middle of the muscle."""
    key, value = "biceps_femoris", BY_KEY["biceps_femoris"].label_value(Side.RIGHT)
    labels = phantom.labels.array.copy()
    places = np.argwhere(labels == value)
    labels[labels == value] = 0
    labels[tuple(places[np.argsort(np.linalg.norm(places - places.mean(0), axis=1))[:5]].T)] = value
    found = measure_scan(phantom.ct, phantom.labels.with_array(labels), "s")
    assert found.structure(key, Side.RIGHT).volume_mm3 == pytest.approx(5 * 12)
    return found


def test_a_fragment_is_named_and_counts_nowhere(with_speck: ScanMeasures, measured: ScanMeasures) -> None:
    fragments = [(s.structure.key, s.side, s.truncated) for s in with_speck.structures if s.fragment]
    assert fragments == [("biceps_femoris", Side.RIGHT, False)]
    assert not with_speck.structure("biceps_femoris", Side.RIGHT).is_whole
    assert [r.fragment for r in with_speck.volume_rows()].count(True) == 1
    asymmetry = {a.name: a.percent for a in with_speck.asymmetries}
    assert asymmetry["biceps_femoris"] is asymmetry["posterior"] is asymmetry["all_muscles"] is None
    assert asymmetry["anterior"] is not None
    assert [r.posterior_to_anterior is None for r in with_speck.ratios] == [True, False]
    before, after = (
        next(g for g in m.groups if g.group == Group.POSTERIOR and g.side is Side.RIGHT) for m in (measured, with_speck)
    )
    whole = measured.structure("biceps_femoris", Side.RIGHT).volume_mm3
    assert after.truncated and not before.truncated
    assert after.volume_mm3 == pytest.approx(before.volume_mm3 - whole)
    assert after.hu is not None and after.hu.lean_mm3 <= after.volume_mm3


def test_a_group_of_fragments_alone_is_absent() -> None:
    found = measure_scan(*boxes(), "s")
    assert found.structure("sartorius", Side.LEFT).fragment
    assert {(g.volume_mm3, g.hu, g.truncated) for g in found.groups} == {(None, None, False)}


def test_quick_volumes_know_fragments(with_speck: ScanMeasures) -> None:
    ct, labels = boxes()
    assert [r.fragment for r in measure_volumes(ct, labels, "s")].count(True) == 2
