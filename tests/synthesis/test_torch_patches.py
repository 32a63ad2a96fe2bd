"""The renderer for a GPU, on the CPU: the same patches as the one it mirrors."""

import numpy as np
import pytest

from vastus.synthesis.render import IGNORE, open_pool

torch = pytest.importorskip("torch")

from vastus.synthesis.torch_patches import TorchPool  # noqa: E402  # needs torch

pytestmark = pytest.mark.slow  # bodies are made

THICK = ((32, 32, 16), (6.0, 6.0, 12.0))
CUBIC = ((32, 32, 32), (6.0, 6.0, 6.0))


@pytest.fixture(scope="module")
def folder(pool_folder):
    return pool_folder


@pytest.mark.parametrize("window", [THICK, CUBIC])
def test_patches_are_those_of_the_other_renderer(folder, window):
    ours, theirs = TorchPool(folder, "cpu"), open_pool(folder)
    differ = []
    for index in range(40):
        hu, labels = (t.numpy() for t in ours.patch(4, index, *window))
        true_hu, true_labels = theirs.patch(4, index, *window)
        assert hu.dtype == true_hu.dtype and labels.dtype == true_labels.dtype and hu.shape == true_hu.shape
        # A voxel whose centre falls between two of the body's may go either way.
        assert (labels == true_labels).mean() > 0.999
        differ.append(np.mean(np.abs(hu - true_hu) > 1.0))
        for muscle in (labels > 0) & (labels < 28), labels == 28, labels == 0:
            if muscle.sum() > 50:
                assert hu[muscle].mean() == pytest.approx(true_hu[muscle].mean(), abs=1.0)
                assert hu[muscle].std() == pytest.approx(true_hu[muscle].std(), abs=1.0)
    assert max(differ) < 0.01


def test_a_patch_depends_on_seed_and_index_only(folder):
    pool = TorchPool(folder, "cpu")
    hu, labels = pool.patch(3, 8, *THICK)
    pool.patch(3, 7, *THICK)
    again, same = TorchPool(folder, "cpu").patch(3, 8, *THICK)
    assert (hu == again).all() and (labels == same).all()
    assert (pool.patch(3, 9, *THICK)[0] != hu).any()


def test_no_room_for_bodies_changes_nothing(folder):
    wide, narrow = TorchPool(folder, "cpu"), TorchPool(folder, "cpu", resident_gb=0.0)
    for index in range(4):
        assert (wide.patch(1, index, *THICK)[0] == narrow.patch(1, index, *THICK)[0]).all()
    assert len(narrow._bodies) == 1


def test_outside_the_scan_there_is_air_and_no_label(folder):
    pool = TorchPool(folder, "cpu")
    seen = 0
    for index in range(20):
        hu, labels = pool.patch(6, index, *THICK)
        assert torch.isfinite(hu).all()
        outside = hu == -1024.0
        assert (labels[outside] == IGNORE).all()
        seen += int(outside.any())
    assert seen
