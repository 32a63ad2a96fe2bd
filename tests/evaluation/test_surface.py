from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vastus.errors import GeometryError, LabelError, SettingsError
from vastus.evaluation import kernels
from vastus.evaluation import surface as surface_module
from vastus.evaluation.scan import borders, paired_maps
from vastus.evaluation.surface import (
    assd,
    hausdorff,
    hd95,
    label_surface_distances,
    surface_dice,
    surface_distances,
)


def _ball(shape, centre, radius_mm, spacing_mm=(1.0, 1.0, 1.0)):
    axes = [(np.arange(n) - c) * s for n, c, s in zip(shape, centre, spacing_mm, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    return x**2 + y**2 + z**2 <= radius_mm**2


def _by_definition(prediction, reference, spacing_mm):
    """Border voxels by comparing shifted arrays, distances of every pair: slow, without any library."""
    positions = []
    for mask in (prediction, reference):
        padded = np.pad(mask, 1)
        core = (slice(1, -1),) * 3
        inner = np.ones_like(mask)
        for axis in range(3):
            for step in (-1, 1):
                inner &= np.roll(padded, step, axis)[core]
        positions.append(np.argwhere(mask & ~inner) * np.array(spacing_mm))
    distances = np.linalg.norm(positions[0][:, None] - positions[1][None], axis=-1)
    return np.sort(distances.min(axis=1)), np.sort(distances.min(axis=0))


masks = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).random((2, 6, 5, 4)) < 0.3)
spacings = st.tuples(*[st.sampled_from([0.5, 0.74, 1.0, 2.0, 5.0])] * 3)


def test_single_voxels_lie_apart_by_pythagoras_in_millimetres():
    prediction, reference = np.zeros((9, 9, 9), bool), np.zeros((9, 9, 9), bool)
    prediction[1, 1, 1] = reference[4, 5, 1] = True
    assert hausdorff(prediction, reference, (1, 1, 1)) == pytest.approx(5.0)
    assert assd(prediction, reference, (2, 3, 7)) == pytest.approx(np.hypot(6, 12))


def test_parallel_plates_have_their_gap_as_every_distance():
    prediction, reference = np.zeros((4, 6, 20), bool), np.zeros((4, 6, 20), bool)
    prediction[:, :, 3] = reference[:, :, 13] = True
    found = surface_distances(prediction, reference, (1.0, 1.0, 2.5))
    for value in (found.assd_mm, found.hausdorff_mm, found.hd95_mm):
        assert value == pytest.approx(25.0)
    assert found.surface_dice(24.9) == 0.0
    assert found.surface_dice(25.0) == 1.0


def test_a_cube_shifted_by_one_voxel():
    prediction, reference = np.zeros((12, 8, 8), bool), np.zeros((12, 8, 8), bool)
    prediction[2:6, 2:6, 2:6] = True
    reference[3:7, 2:6, 2:6] = True
    # A 4-cube has 64 - 8 = 56 border voxels. On the leading face all 16 are 1 away; the inner 2 x 2 of the trailing
    # face of the other cube lies inside: 1 away too; all others coincide.
    found = surface_distances(prediction, reference, (1.0, 1.0, 1.0))
    assert len(found.from_prediction_mm) == 56
    assert found.assd_mm == pytest.approx((16 + 4) * 2 / 112)
    assert found.hausdorff_mm == 1.0
    assert found.surface_dice(0.0) == pytest.approx(36 / 56)


def test_the_mean_is_pooled_and_not_the_mean_of_two_means():
    prediction, reference = np.zeros((3, 3, 30), bool), np.zeros((3, 3, 30), bool)
    prediction[1, 1, 0] = True
    reference[1, 1, 0] = reference[1, 1, 10] = True
    # From the prediction: 0. From the reference: 0 and 10. Pooled 10/3; MedPy's mean of means would be 2.5.
    assert assd(prediction, reference, (1, 1, 1)) == pytest.approx(10 / 3)
    assert hd95(prediction, reference, (1, 1, 1)) == pytest.approx(9.5)


def test_concentric_spheres_are_apart_by_the_difference_of_radii():
    inner, outer = _ball((60,) * 3, (30, 30, 30), 12.0), _ball((60,) * 3, (30, 30, 30), 20.0)
    found = surface_distances(inner, outer, (1.0, 1.0, 1.0))
    assert found.assd_mm == pytest.approx(8.0, abs=0.5)
    assert found.hausdorff_mm == pytest.approx(8.0, abs=1.0)


def test_a_shifted_sphere_in_anisotropic_voxels_has_the_shift_as_hausdorff_distance():
    spacing_mm = (0.8, 0.8, 2.0)
    reference = _ball((70, 60, 30), (30, 30, 15), 16.0, spacing_mm)
    prediction = np.roll(reference, 5, axis=0)
    assert hausdorff(prediction, reference, spacing_mm) == pytest.approx(4.0, abs=1e-9)


def test_a_shifted_sphere_has_half_the_shift_as_mean_distance():
    reference = _ball((60, 50, 50), (25, 25, 25), 20.0)
    # The mean over a sphere is shift x mean |cos| = shift / 2.
    assert assd(np.roll(reference, 4, axis=0), reference, (1.0, 1.0, 1.0)) == pytest.approx(2.0, abs=0.15)


def test_the_edge_of_the_image_closes_an_object():
    full = np.ones((4, 4, 4), bool)
    shell = borders(full.view(np.uint8))
    assert len(shell.of(1)) == 64 - 8
    assert hausdorff(full, full, (1, 1, 1)) == 0.0


def test_borders_within_a_box_are_those_of_the_whole_map_and_in_order():
    """Many labels, more border voxels than there is room for at first, rows of a length that is odd."""
    rng = np.random.default_rng(0)
    labels = np.zeros((40, 90, 101), np.uint8)
    labels[3:37, 4:88, 5:98] = rng.integers(1, 5, (34, 84, 93))
    labels[6:12, 20:70, 20:80] = 7  # has an inside
    box = (slice(3, 37), slice(4, 88), slice(5, 98))
    whole, boxed = borders(labels), borders(labels, box)
    assert np.array_equal(whole.marked[box], boxed.marked)
    outside = whole.marked.copy()
    outside[box] = 0
    assert not outside.any()
    for found in (whole, boxed):
        for value in range(256):
            assert np.array_equal(found.of(value), np.flatnonzero(found.marked == value) if value else [])
    assert len(boxed.of(7)) == 6 * 50 * 60 - 4 * 48 * 58
    assert len(boxed.index) > 8 * kernels._ROOM  # the list of at least one of eight threads has to grow


def test_an_object_cut_by_the_edge_is_measured_to_the_cut():
    prediction, reference = np.zeros((10, 5, 5), bool), np.zeros((10, 5, 5), bool)
    prediction[:, 2, 2], reference[3:, 2, 2] = True, True
    assert hausdorff(prediction, reference, (2.0, 1.0, 1.0)) == 6.0


@settings(max_examples=30, deadline=None)
@given(masks, spacings)
def test_every_distance_is_that_of_the_definition(pair, spacing_mm):
    prediction, reference = pair
    if prediction.any() and reference.any():
        found = surface_distances(prediction, reference, spacing_mm)
        expected = _by_definition(prediction, reference, spacing_mm)
        np.testing.assert_allclose(np.sort(found.from_prediction_mm), expected[0], atol=1e-9)
        np.testing.assert_allclose(np.sort(found.from_reference_mm), expected[1], atol=1e-9)


@settings(max_examples=10, deadline=None)
@given(masks, spacings)
def test_the_tree_gives_what_the_shell_gives(pair, spacing_mm):
    prediction, reference = pair
    if prediction.any() and reference.any():
        by_shell = surface_distances(prediction, reference, spacing_mm)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(surface_module, "_SHELL_OFFSETS", 2)
            by_tree = surface_distances(prediction, reference, spacing_mm)
        np.testing.assert_allclose(by_tree.from_prediction_mm, by_shell.from_prediction_mm, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(masks, spacings, st.permutations(range(3)), st.sets(st.integers(0, 2)))
def test_axis_order_flips_and_memory_order_do_not_matter(pair, spacing_mm, order, flips):
    prediction, reference = pair
    if prediction.any() and reference.any():
        turned = [np.flip(mask, tuple(flips)).transpose(order) for mask in pair]
        before = surface_distances(prediction, reference, spacing_mm)
        after = surface_distances(turned[0], np.asfortranarray(turned[1]), tuple(spacing_mm[a] for a in order))
        for name in ("assd_mm", "hausdorff_mm", "hd95_mm"):
            assert getattr(after, name) == pytest.approx(getattr(before, name), abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(masks, spacings)
def test_symmetry_and_identity(pair, spacing_mm):
    prediction, reference = pair
    if prediction.any() and reference.any():
        there = surface_distances(prediction, reference, spacing_mm)
        back = surface_distances(reference, prediction, spacing_mm)
        assert there.assd_mm == pytest.approx(back.assd_mm)
        assert there.hausdorff_mm == back.hausdorff_mm
        assert there.hd95_mm == back.hd95_mm
        assert there.surface_dice(1.0) == back.surface_dice(1.0)
        assert there.hd95_mm <= there.hausdorff_mm
        itself = surface_distances(reference, reference, spacing_mm)
        assert itself.hausdorff_mm == 0.0
        assert itself.surface_dice(0.0) == 1.0


@settings(max_examples=20, deadline=None)
@given(masks, st.sampled_from([0.5, 2.0, 3.0]))
def test_distances_scale_with_the_voxels(pair, factor):
    prediction, reference = pair
    if prediction.any() and reference.any():
        small = assd(prediction, reference, (1.0, 2.0, 3.0))
        assert assd(prediction, reference, (factor, 2 * factor, 3 * factor)) == pytest.approx(factor * small)


def test_a_larger_shift_is_never_better():
    reference = _ball((60, 30, 30), (14, 15, 15), 9.0)
    series = [surface_distances(np.roll(reference, shift, axis=0), reference, (1, 1, 1)) for shift in range(0, 31, 3)]
    assert np.all(np.diff([s.assd_mm for s in series]) > 0)
    assert [s.hausdorff_mm for s in series] == pytest.approx(list(range(0, 31, 3)))
    assert np.all(np.diff([s.surface_dice(2.0) for s in series]) <= 0)


def test_labels_are_measured_as_if_each_were_alone():
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 5, (2, 4, 4, 4))
    prediction, reference = np.kron(coarse, np.ones((1, 3, 3, 3), int)).astype(np.uint8)
    together = dict(label_surface_distances(paired_maps(prediction, reference, (1.0, 2.0, 0.5))))
    assert sorted(together) == [1, 2, 3, 4]
    for value, found in together.items():
        alone = surface_distances(prediction == value, reference == value, (1.0, 2.0, 0.5))
        assert found.assd_mm == pytest.approx(alone.assd_mm, abs=1e-12)
        assert found.hd95_mm == pytest.approx(alone.hd95_mm, abs=1e-12)


def test_refusals_are_named():
    one = np.ones((3, 3, 3), bool)
    with pytest.raises(LabelError, match="empty"):
        assd(one, ~one, (1, 1, 1))
    with pytest.raises(LabelError, match="empty"):
        hausdorff(~one, ~one, (1, 1, 1))
    with pytest.raises(GeometryError, match="shape"):
        assd(one, np.ones((3, 3, 4), bool), (1, 1, 1))
    with pytest.raises(GeometryError, match="spacing"):
        assd(one, one, (1, 0, 1))
    with pytest.raises(SettingsError, match="tolerance"):
        surface_dice(one, one, (1, 1, 1), -1.0)
    with pytest.raises(LabelError, match="whole"):
        paired_maps(one * 0.5, one * 1.0, (1, 1, 1))
