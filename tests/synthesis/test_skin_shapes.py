"""Outlines of real people on a body: its size stays, its muscles stay covered, the seed decides."""

import numpy as np
import pytest

from synthesis.test_perineum import ANCHORS
from vastus.synthesis.deformation import NodeMap
from vastus.synthesis.kernels import NODE_MM
from vastus.synthesis.skin_shapes import ANGLES, GENITALS_BELOW_MM, LEVELS_MM, SkinShape, reshaped, sample_shape

SHAPE = (80, 60, 60)
ORIGIN = np.array([-240.0, -180.0, 240.0])


def node_map() -> NodeMap:
    return NodeMap(np.zeros((*SHAPE, 3), np.float32), np.ones(SHAPE, np.float32), np.zeros(SHAPE, np.float32), ORIGIN)


def cylinder(radius_mm: float) -> np.ndarray:
    x, y = (ORIGIN[a] + NODE_MM * np.arange(SHAPE[a]) for a in range(2))
    distance = np.hypot(x[:, None], y[None, :]) - radius_mm
    return np.broadcast_to(distance[..., None], SHAPE).astype(np.float32).copy()


def radius(outline: np.ndarray, k: int, direction: tuple[float, float]) -> float:
    """Where a ray from the middle of the world leaves the body (mm)."""
    away = np.arange(0, 170, 0.5)
    at = [np.round((away * d - o) / NODE_MM).astype(int) for d, o in zip(direction, ORIGIN[:2], strict=True)]
    return float(away[np.flatnonzero(outline[at[0], at[1], k] < 0)[-1]])


def test_a_round_shape_changes_nothing() -> None:
    same = reshaped(cylinder(120), cylinder(90), node_map(), ANCHORS, SkinShape(np.ones((len(LEVELS_MM), ANGLES))))
    assert np.abs(same - cylinder(120))[np.abs(cylinder(120)) < 30].max() < 2.0


def test_a_broad_shape_makes_the_body_broad_above_the_seat_and_leaves_the_thighs() -> None:
    angle = 2 * np.pi * np.arange(ANGLES) / ANGLES
    broad = SkinShape(np.broadcast_to(1 - 0.12 * np.cos(2 * angle), (len(LEVELS_MM), ANGLES)))
    outline = reshaped(cylinder(120), cylinder(85), node_map(), ANCHORS, broad)
    k = round((ANCHORS.ischium_z_mm + 80 - ORIGIN[2]) / NODE_MM)
    assert radius(outline, k, (1.0, 0.0)) == pytest.approx(120 * 1.12, abs=7)
    assert radius(outline, k, (0.0, 1.0)) == pytest.approx(120 * 0.88, abs=7)
    below = round((ANCHORS.ischium_z_mm - 40 - ORIGIN[2]) / NODE_MM)
    assert (outline[..., below] == cylinder(120)[..., below]).all()


def test_muscle_stays_covered() -> None:
    deep = cylinder(110)
    for seed in range(6):
        outline = reshaped(cylinder(118), deep, node_map(), ANCHORS, sample_shape(np.random.default_rng(seed)))
        assert (outline[deep < 2.0] < 0).all()


def test_shapes_of_people_are_flat_behind_and_broader_than_deep() -> None:
    ratios = np.array([sample_shape(np.random.default_rng(seed)).ratio for seed in range(40)])
    assert ratios.shape[1:] == (len(LEVELS_MM), ANGLES)
    assert np.allclose(ratios.mean(axis=2), 1.0, atol=0.02)
    quarter = ANGLES // 4
    broad = (ratios[:, 3:, quarter] + ratios[:, 3:, -quarter]).mean()
    deep = (ratios[:, 3:, 0] + ratios[:, 3:, 2 * quarter]).mean()
    assert broad > 1.25 * deep
    # Flat behind: the corner of a square lies further away than that of an ellipse.
    corner = ratios[:, 3:, 3 * ANGLES // 8].mean()
    behind, side = ratios[:, 3:, 2 * quarter].mean(), ratios[:, 3:, quarter].mean()
    ellipse = 1 / np.sqrt((0.5 / behind**2) + 0.5 / side**2)
    assert corner > 1.03 * ellipse
    first = sample_shape(np.random.default_rng(0)).ratio
    assert (first == ratios[0]).all() and (first != ratios[1]).any()


def test_a_woman_has_no_groin_of_a_man_and_else_the_same_outline() -> None:
    """Below the symphysis the front is no further out in the middle than the line between the groins."""
    places = np.arange(-5, 6)
    angle = 2 * np.pi * places / ANGLES
    low = [n for n, level in enumerate(LEVELS_MM) if level < GENITALS_BELOW_MM]
    bulges = []
    for seed in range(60):
        of_man = sample_shape(np.random.default_rng(seed))
        of_woman = of_man.of_woman()
        for shape in (of_man, of_woman):
            forward = shape.ratio[low][:, places] * np.cos(angle)
            chord = np.maximum(forward[:, 0], forward[:, -1])[:, None]
            bulges.append(float((forward[:, 1:-1] / chord).max()))
        outside = np.ones((len(LEVELS_MM), ANGLES), bool)
        outside[np.ix_(low, places)] = False
        assert (of_woman.ratio[outside] == of_man.ratio[outside]).all()
    assert max(bulges[::2]) > 1.08  # mixtures of men have one
    assert max(bulges[1::2]) < 1.05
