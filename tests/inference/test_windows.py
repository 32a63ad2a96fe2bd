from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vastus.inference.windows import LEAN_MARGIN_MM, cover, importance, lean_region, pad_to_window, plan_windows


def _mask(n: int, *runs: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(n, bool)
    for a, b in runs:
        mask[a:b] = True
    return mask


def test_a_short_run_gets_one_centred_window() -> None:
    assert cover(_mask(100, (40, 60)), 32, 0.25) == (34,)


def test_a_long_run_is_covered_evenly_from_end_to_end() -> None:
    # 90 voxels, window 40, steps of at most 30: three windows, 25 apart.
    assert cover(_mask(120, (10, 100)), 40, 0.25) == (10, 35, 60)


def test_two_thighs_lying_apart_get_a_window_each() -> None:
    assert cover(_mask(200, (10, 90), (110, 190)), 96, 0.25) == (2, 102)


def test_two_thin_legs_share_a_window() -> None:
    assert cover(_mask(120, (20, 50), (60, 90)), 96, 0.25) == (7,)


def test_air_gets_no_window() -> None:
    assert cover(np.zeros(50, bool), 32, 0.25) == ()
    assert len(plan_windows(np.zeros((40, 40, 40), bool), (32, 32, 32), 0.25)) == 0


@given(st.data())
def test_every_occupied_place_is_covered(data: st.DataObject) -> None:
    window = data.draw(st.integers(1, 12))
    occupied = np.array(data.draw(st.lists(st.booleans(), min_size=window, max_size=60)))
    starts = cover(occupied, window, data.draw(st.sampled_from([0.0, 0.25, 0.5, 0.9])))
    covered = np.zeros(len(occupied), bool)
    for start in starts:
        assert 0 <= start <= len(occupied) - window
        covered[start : start + window] = True
    assert not (occupied & ~covered).any()
    assert list(starts) == sorted(set(starts))


@given(st.integers(0, 2**32 - 1))
def test_a_plan_covers_the_body_in_rising_layers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    window = (7, 6, 5)
    body = rng.random((20, 17, 23)) < rng.choice([0.001, 0.02, 0.5])
    plan = plan_windows(body, window, 0.3)
    covered = np.zeros_like(body)
    for layer in plan.layers:
        for x, y in layer.starts:
            covered[x : x + 7, y : y + 6, layer.z : layer.z + 5] = True
    assert not (body & ~covered).any()
    heights = [layer.z for layer in plan.layers]
    assert heights == sorted(set(heights))


def test_legs_need_fewer_windows_than_the_box_around_them() -> None:
    body = np.zeros((200, 120, 150), bool)
    body[5:90, 30:115, :100] = body[110:195, 30:115, :100] = True
    body[5:195, 5:115, 100:] = True
    # Three layers; only the upper two reach the pelvis (3 x 2 windows each), the box would need 18.
    assert [len(layer.starts) for layer in plan_windows(body, (96, 96, 64), 0.25).layers] == [2, 6, 6]


def test_importance_is_highest_in_the_middle_and_never_zero() -> None:
    fx, fy, fz = importance((8, 9, 10))
    assert fy.argmax() == 4 and fx[3] == fx[4] and fz.min() >= 1e-3


def test_padding_keeps_what_is_there() -> None:
    image = np.ones((3, 5, 4), np.float32)
    padded = pad_to_window(image, (4, 4, 4))
    assert padded.shape == (4, 5, 4) and padded.sum() == image.sum() and (padded[:3, :5, :4] == 1).all()
    assert pad_to_window(padded, (4, 4, 4)) is padded


def test_lean_region_leaves_out_fat_and_skin_but_keeps_a_margin() -> None:
    spacing = (2.0, 2.0, 4.0)
    axes = [(np.arange(n) - n / 2 + 0.5) * s for n, s in zip((150, 150, 20), spacing, strict=True)]
    radius = np.hypot(axes[0][:, None, None], axes[1][None, :, None]) + 0 * axes[2]
    body, muscle = radius < 140, radius < 70
    skin = (radius > 136) & body
    region = lean_region(muscle | skin, body, spacing)
    assert (region[muscle]).all()
    assert region[radius < 70 + LEAN_MARGIN_MM - 4].all()
    assert not region[radius > np.hypot(70, 70) + LEAN_MARGIN_MM * 1.5].any()
    assert region.sum() < 0.75 * body.sum()


def test_without_anything_lean_the_whole_body_is_looked_at() -> None:
    body = np.ones((10, 10, 10), bool)
    assert lean_region(np.zeros_like(body), body, (2.0, 2.0, 4.0)).all()
