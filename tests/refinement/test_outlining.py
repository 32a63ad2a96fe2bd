import numpy as np
import pytest

from vastus.anatomy import BY_KEY, UNLABELLED
from vastus.errors import GeometryError, SettingsError
from vastus.refinement.outline import Outline, OutlineSettings, Polygon, Strokes
from vastus.refinement.outlining import Outliner, outline_slice
from vastus.refinement.random_walk import walk
from vastus.refinement.shapes import disc, lines_mask, polygon_mask

SARTORIUS, GRACILIS, FEMUR = (BY_KEY[key].class_id for key in ("sartorius", "gracilis", "femur"))


def thigh(*, septum: bool = True) -> np.ndarray:
    """Two muscles of 50 HU side by side in fat, a septum of fat between them at i = 40, a hollow bone beside them."""
    hu = np.full((80, 70, 3), -1000.0, np.float32)
    hu[4:76, 4:66] = -100
    hu[15:66, 12:40] = 50
    if septum:
        hu[40, 12:40] = -90
    i, j = np.indices((80, 70))
    radius = np.hypot(i - 40, j - 53)
    hu[radius < 9] = 600
    hu[radius < 5] = 20
    return hu


def strokes(**lines: tuple) -> tuple[Strokes, ...]:
    return tuple(Strokes(key, value) for key, value in lines.items())


TWO = strokes(sartorius=(((22, 20), (22, 32)),), gracilis=(((58, 20), (58, 32)),), femur=(((40, 60),),))


def test_strokes_grow_to_the_septum_the_fat_and_the_bone() -> None:
    labels = outline_slice(thigh(), 1, Outline(TWO)).labels
    assert (labels[16:39, 13:39] == SARTORIUS).all()
    assert (labels[42:65, 13:39] == GRACILIS).all()
    assert not np.isin(labels[:, 41:], (SARTORIUS, GRACILIS)).any()
    assert labels[40, 53] == FEMUR  # marrow, too
    assert (labels[:4] == 0).all()


def test_a_cut_is_the_border_where_no_septum_is_seen() -> None:
    cut = (((30, 5), (30, 46)),)
    labels = outline_slice(thigh(septum=False), 1, Outline(TWO, cuts=cut)).labels
    assert (labels[16:29, 13:39] == SARTORIUS).all()
    assert (labels[33:65, 13:39] == GRACILIS).all()


def test_an_undecided_border_becomes_a_band_of_255_and_nothing_else_does() -> None:
    hu, cut = thigh(septum=False), (((30, 5), (30, 46)),)
    sure = outline_slice(hu, 1, Outline(TWO, cuts=cut)).labels
    pair = (("sartorius", "gracilis"),)
    unsure = outline_slice(hu, 1, Outline(TWO, cuts=cut, undecided=pair)).labels
    changed = sure != unsure
    assert (unsure[changed] == UNLABELLED).all()
    assert set(np.flatnonzero(changed.any(axis=1))) <= set(range(28, 33))
    assert changed[29:31, 13:39].all()


def test_a_background_stroke_keeps_a_vessel_out() -> None:
    hu = thigh()
    hu[40, 12:40] = 10  # a septum that can be passed
    without = outline_slice(hu, 1, Outline(TWO[:1])).labels
    bounded = outline_slice(hu, 1, Outline(TWO[:1], background=(((58, 20), (58, 32)),))).labels
    assert (without[42:65, 13:39] == SARTORIUS).all()  # nothing else was there to claim it
    assert (bounded[42:65, 13:39] == 0).all() and (bounded[16:39, 13:39] == SARTORIUS).all()


def test_polygons_drops_the_tumour_and_the_window_have_the_last_word() -> None:
    hu = thigh()
    tumour = np.zeros(hu.shape[:2], bool)
    tumour[18:22, 14:18] = True
    polygons = (
        Polygon(UNLABELLED, ((24, 30), (30, 30), (30, 36), (24, 36))),
        Polygon(0, ((16, 30), (20, 30), (20, 36))),
    )
    spec = Outline(TWO, polygons=polygons, dropped=("gracilis",), window=(10, 80, 0, 70))
    labels = Outliner(hu, 1, tumour).outline(spec).labels
    assert (labels[24:31, 30:37] == UNLABELLED).all()
    assert labels[19, 31] == 0
    assert (labels[42:65, 13:39] == UNLABELLED).all()
    assert (labels[17:23, 14:18] == UNLABELLED).all() and labels[19, 21] == SARTORIUS  # two voxels around it
    assert (labels[:10] == UNLABELLED).all() and (labels[10, :] != UNLABELLED).any()


def test_soft_tissue_without_a_stroke_is_none_and_is_shown() -> None:
    spec = Outline(TWO[:1], background=(((58, 20), (58, 32)),))
    done = outline_slice(thigh(), 1, spec)
    assert done.unclaimed[43:64, 14:38].all()
    assert not done.unclaimed[done.labels != 0].any()


def test_strokes_off_muscle_or_off_bone_are_remarked() -> None:
    astray = strokes(sartorius=(((8, 10), (8, 40)),), femur=(((20, 20),),))
    done = outline_slice(thigh(), 1, Outline(astray))
    said = {(r.key, r.text.split(" ", 1)[-1]) for r in done.remarks}
    assert ("sartorius", "of its stroke is on muscle-like HU") in said
    assert ("sartorius", "was drawn") in said
    assert ("femur", "stroke does not touch bone") in said


def test_a_section_of_a_few_voxels_is_no_section() -> None:
    hu = np.full((40, 40, 1), -100, np.int16)
    hu[18:22, 18:22] = 60
    spec = Outline(strokes(sartorius=(((19, 19), (20, 20)),)), settings=OutlineSettings(skin_voxels=0))
    done = outline_slice(hu, 0, spec)
    assert set(np.unique(done.labels)) == {0, UNLABELLED}
    assert any("unlabelled" in r.text for r in done.remarks)


def test_the_same_strokes_give_the_same_mask_with_and_without_a_kept_state() -> None:
    rng = np.random.default_rng(3)
    hu = thigh() + rng.normal(0, 12, (80, 70, 3)).astype(np.float32)
    other = Outline(TWO, settings=OutlineSettings(mask_hu=45.0))
    outliner = Outliner(hu, 1)
    first = outliner.outline(Outline(TWO)).labels
    tighter = outliner.outline(other).labels
    assert (tighter != first).any()
    assert np.array_equal(outliner.outline(Outline(TWO)).labels, first)
    assert np.array_equal(outline_slice(hu, 1, Outline(TWO)).labels, first)


def test_fine_voxels_need_no_finer_grid() -> None:
    hu = thigh()
    twice = outline_slice(hu, 1, Outline(TWO)).labels
    once = outline_slice(hu, 1, Outline(TWO, settings=OutlineSettings(grid_factor=1))).labels
    for value in (SARTORIUS, GRACILIS):
        overlap = 2 * ((once == value) & (twice == value)).sum() / ((once == value).sum() + (twice == value).sum())
        assert overlap > 0.97


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(GeometryError):
        Outliner(thigh(), 3)
    with pytest.raises(GeometryError):
        Outliner(thigh(), 1, np.zeros((5, 5), bool))
    for wrong in (
        lambda: Strokes("soleus", (((1, 1),),)),
        lambda: Strokes("sartorius", ()),
        lambda: Strokes("sartorius", ((),)),
        lambda: Strokes("sartorius", (((1, 1),),), confidence=4),
        lambda: Polygon(77, ((0, 0), (1, 0), (1, 1))),
        lambda: Polygon(1, ((0, 0), (1, 0))),
        lambda: Outline(TWO + TWO[:1]),
        lambda: Outline(TWO, dropped=("soleus",)),
        lambda: Outline(TWO, undecided=(("sartorius", "soleus"),)),
        lambda: Outline(TWO, window=(5, 5, 0, 9)),
        lambda: OutlineSettings(neighbour_weight=0.6),
        lambda: OutlineSettings(edge_scale_hu=0),
        lambda: OutlineSettings(grid_factor=3),
        lambda: OutlineSettings(skin_voxels=51),
        lambda: OutlineSettings(mask_hu=float("nan")),
        lambda: Strokes("sartorius", (((1, 1),),), opening_voxels=51),
    ):
        with pytest.raises(SettingsError):
            wrong()


def test_an_outline_without_strokes_leaves_all_as_none() -> None:
    labels = outline_slice(thigh(), 1, Outline((), background=(((22, 20), (22, 32)),))).labels
    assert not labels.any()


def test_a_walker_agrees_with_the_dense_solution() -> None:
    rng = np.random.default_rng(0)
    cost = rng.uniform(0, 5, (9, 8))
    domain = rng.random((9, 8)) > 0.1
    seeds = np.zeros((9, 8), int)
    seeds[0, :3], seeds[8, 5:], seeds[4, 7] = 1, 2, 3
    seeds[~domain] = 0
    found = walk(cost, domain, seeds)
    # Power iteration of the walk itself: probabilities of meeting each label.
    chance = np.zeros((3, 9, 8))
    for _ in range(30000):
        total, weight = np.zeros((3, 9, 8)), np.zeros((9, 8))
        for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
            near = np.roll(domain, step, axis)
            edge = np.ones((9, 8), bool)
            edge[(0 if step == 1 else -1,) if axis == 0 else (slice(None), 0 if step == 1 else -1)] = False
            ease = np.where(near & domain & edge, np.exp(-np.maximum(cost, np.roll(cost, step, axis))) + 1e-7, 0)
            total += ease * np.roll(chance, step, axis + 1)
            weight += ease
        chance = total / np.maximum(weight, 1e-300)
        for label in (1, 2, 3):
            chance[:, seeds == label] = 0
            chance[label - 1, seeds == label] = 1
    graph = found[domain] > 0
    assert np.array_equal(found[domain][graph], chance.argmax(0)[domain][graph] + 1)
    assert (chance.max(0)[domain][~graph] == 0).all()
    assert not found[~domain].any()


def test_a_part_with_one_label_is_not_solved(monkeypatch: pytest.MonkeyPatch) -> None:
    from vastus.refinement import random_walk

    monkeypatch.setattr(random_walk, "_most_probable", lambda *a: pytest.fail("nothing was contested"))
    domain = np.ones((5, 9), bool)
    domain[:, 4] = False
    seeds = np.zeros((5, 9), int)
    seeds[2, 1], seeds[2, 7] = 2, 5
    found = walk(np.zeros((5, 9)), domain, seeds)
    assert (found[:, :4] == 2).all() and (found[:, 5:] == 5).all() and not found[:, 4].any()
    assert not walk(np.zeros((5, 9)), domain, np.zeros((5, 9), int)).any()


def test_lines_are_those_of_bresenham() -> None:
    drawn = lines_mask((((1, 1), (6, 3)),), (8, 6))
    assert {tuple(map(int, p)) for p in np.argwhere(drawn)} == {(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (6, 3)}
    for i, j in np.random.default_rng(1).integers(-9, 10, (40, 2)):
        line = lines_mask((((10, 10), (10 + i, 10 + j)),), (21, 21))
        assert line.sum() == max(abs(i), abs(j)) + 1 and line[10, 10] and line[10 + i, 10 + j]
        along = np.argwhere(line) - 10
        away = np.abs(along[:, 0] * j - along[:, 1] * i) / max(abs(i), abs(j), 1)
        assert away.max() <= 0.5
    assert lines_mask((((-5, 2), (30, 2)),), (8, 6)).sum() == 8
    assert lines_mask((((2, 2),),), (10, 10), finer=2)[4, 4]


def test_a_polygon_holds_its_inside_and_its_border() -> None:
    square = polygon_mask(((2, 2), (5, 2), (5, 5), (2, 5)), (8, 8))
    assert square.sum() == 16 and square[2:6, 2:6].all()
    triangle = polygon_mask(((0, 0), (6, 0), (6, 6)), (8, 8))
    assert np.array_equal(triangle, np.tril(np.ones((8, 8), bool)) & (np.indices((8, 8)).max(0) <= 6))
    assert not polygon_mask(((20, 20), (25, 20), (25, 25)), (8, 8)).any()
    assert polygon_mask(((-3, -3), (20, -3), (20, 20), (-3, 20)), (8, 8)).all()


def test_a_disc_is_round() -> None:
    assert disc(0).tolist() == [[True]]
    assert disc(1).sum() == 5 and disc(2).sum() == 13 and disc(5).sum() == 81
