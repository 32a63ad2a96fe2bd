"""Against independent implementations, on an anisotropic pair of overlapping, deformed, border-touching objects."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from vastus.evaluation.surface import surface_distances

SPACING_MM = (0.8, 0.7, 2.0)


@pytest.fixture(scope="module", params=[0, 1, 2])
def pair(request):
    rng = np.random.default_rng(request.param)
    fields = ndimage.gaussian_filter(rng.standard_normal((3, 44, 40, 24)), (0, 4, 4, 2))
    reference = fields[0] > 0.02
    prediction = fields[0] + 0.5 * fields[1] > 0.02
    assert reference[0].any() and prediction[:, :, -1].any()
    return prediction, reference


def test_scipy_distance_transform(pair):
    prediction, reference = pair
    edges = [mask & ~ndimage.binary_erosion(mask) for mask in pair]
    there = ndimage.distance_transform_edt(~edges[1], sampling=SPACING_MM)[edges[0]]
    back = ndimage.distance_transform_edt(~edges[0], sampling=SPACING_MM)[edges[1]]
    found = surface_distances(prediction, reference, SPACING_MM)
    np.testing.assert_allclose(np.sort(found.from_prediction_mm), np.sort(there), atol=1e-6)
    assert found.assd_mm == pytest.approx(np.concatenate([there, back]).mean(), abs=1e-6)
    assert found.hd95_mm == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)), abs=1e-6)


def test_simpleitk_distance_map_of_label_contours(pair):
    sitk = pytest.importorskip("SimpleITK")
    images = []
    for mask in pair:
        # LabelContour takes no voxel of the image's edge for a border; a margin makes the conventions meet.
        image = sitk.GetImageFromArray(np.pad(mask, 1).transpose(2, 1, 0).astype(np.uint8))
        image.SetSpacing(SPACING_MM)
        images.append(sitk.LabelContour(image, fullyConnected=False))
    maps = [
        sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(i, squaredDistance=False, useImageSpacing=True))
        for i in images
    ]
    inside = [sitk.GetArrayFromImage(i) > 0 for i in images]
    there, back = np.abs(maps[1])[inside[0]], np.abs(maps[0])[inside[1]]
    found = surface_distances(*pair, SPACING_MM)
    assert found.assd_mm == pytest.approx(np.concatenate([there, back]).mean(), abs=1e-3)
    assert found.hausdorff_mm == pytest.approx(max(there.max(), back.max()), abs=1e-3)


def test_monai(pair):
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("monai.metrics")
    prediction, reference = (torch.from_numpy(mask[None, None].astype(np.float32)) for mask in pair)
    found = surface_distances(*pair, SPACING_MM)
    mean = metrics.compute_average_surface_distance(
        prediction, reference, include_background=True, symmetric=True, spacing=SPACING_MM
    )
    largest = metrics.compute_hausdorff_distance(prediction, reference, include_background=True, spacing=SPACING_MM)
    most = metrics.compute_hausdorff_distance(
        prediction, reference, include_background=True, percentile=95, spacing=SPACING_MM
    )
    within = metrics.compute_surface_dice(
        prediction, reference, class_thresholds=[2.0], include_background=True, spacing=SPACING_MM
    )
    assert found.assd_mm == pytest.approx(float(mean), abs=1e-3)
    assert found.hausdorff_mm == pytest.approx(float(largest), abs=1e-3)
    assert found.hd95_mm == pytest.approx(float(most), abs=1e-3)
    assert found.surface_dice(2.0) == pytest.approx(float(within), abs=1e-3)


def test_monais_default_is_one_direction_in_voxels_and_differs(pair):
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("monai.metrics")
    prediction, reference = (torch.from_numpy(mask[None, None].astype(np.float32)) for mask in pair)
    default = float(metrics.compute_average_surface_distance(prediction, reference, include_background=True))
    found = surface_distances(*pair, (1.0, 1.0, 1.0))
    assert default == pytest.approx(found.from_prediction_mm.mean(), abs=1e-3)
    in_mm = surface_distances(*pair, (3.0, 3.0, 3.0))
    assert in_mm.assd_mm > 2 * default
