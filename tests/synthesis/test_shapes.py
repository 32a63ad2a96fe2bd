"""Simple shapes: distances where the answer is known."""

import numpy as np
import pytest

from vastus.synthesis.shapes import Ball, Cleft, Funnel, Shape, Shell, Together, Tube


def at(shape: Shape, *point: float) -> float:
    x, y, z = (np.array([v], np.float32) for v in point)
    return float(shape.distance_mm(x, y, z)[0])


def test_a_ball_measures_the_way_to_its_surface() -> None:
    ball = Ball((1.0, 2.0, 3.0), (4.0, 4.0, 4.0))
    assert at(ball, 1, 2, 13) == pytest.approx(6.0)
    assert at(ball, 1, 2, 3) == pytest.approx(-4.0)


def test_a_tube_is_as_wide_as_its_radii_say_and_round_at_its_ends() -> None:
    tube = Tube(((0.0, 0.0, 0.0), (0.0, 0.0, 10.0)), (2.0, 4.0))
    assert at(tube, 2, 0, 0) == pytest.approx(0.0, abs=1e-5)
    assert at(tube, 3, 0, 5) == pytest.approx(0.0, abs=1e-5)
    assert at(tube, 0, 0, 15) == pytest.approx(1.0)


def test_a_flat_tube_is_narrower_from_front_to_back() -> None:
    tube = Tube(((0.0, 0.0, 0.0), (0.0, 0.0, 10.0)), (4.0, 4.0), flat=(1.0, 0.5))
    assert at(tube, 3.9, 0, 5) < 0 < at(tube, 0, 2.1, 5)


def test_a_shell_is_hollow() -> None:
    shell = Shell(Ball((0.0, 0.0, 0.0), (10.0, 10.0, 10.0)), 3.0)
    assert at(shell, 8, 0, 0) < 0 < at(shell, 5, 0, 0)
    assert at(shell, 11, 0, 0) > 0


def test_together_fills_the_seam_and_keeps_what_each_holds() -> None:
    two: tuple[Shape, ...] = (Ball((-5.0, 0.0, 0.0), (5.0, 5.0, 5.0)), Ball((5.0, 0.0, 0.0), (5.0, 5.0, 5.0)))
    both = Together(two, 2.0)
    assert at(both, -5, 0, 0) < -4.9
    assert min(at(s, 0, 1, 0) for s in two) > 0 > at(both, 0, 1, 0)


def test_a_funnel_is_a_sheet_that_gets_wider_upwards() -> None:
    funnel = Funnel((0.0, 0.0, 0.0), (0.0, 0.0, 40.0), ((10.0, 10.0), (30.0, 30.0)), 4.0)
    assert at(funnel, 10, 0, 1) < 0 < at(funnel, 0, 0, 1)
    assert at(funnel, 30, 0, 39) < 0 < at(funnel, 10, 0, 39)
    assert at(funnel, 30, 0, 45) > 0


def test_a_cleft_reaches_from_the_back_to_its_depth() -> None:
    cleft = Cleft((0.0, 10.0), (-20.0, -40.0), 1.5, 0.0)
    assert at(cleft, 0, -35, 5) < 0 < at(cleft, 0, -25, 5)
    assert at(cleft, 2, -35, 5) == pytest.approx(0.5)
    assert at(cleft, 0, -35, 12) > 0


@pytest.mark.parametrize(
    "shape",
    [
        Ball((1.0, 2.0, 3.0), (4.0, 2.0, 6.0)),
        Tube(((0.0, 0.0, 0.0), (5.0, 1.0, 10.0)), (2.0, 4.0), (0.5, 1.0)),
        Together((Ball((0.0, 0.0, 0.0), (3.0, 3.0, 3.0)), Ball((4.0, 0.0, 0.0), (3.0, 3.0, 3.0))), 1.0),
        Funnel((0.0, 0.0, 0.0), (0.0, 2.0, 20.0), ((4.0, 5.0), (12.0, 9.0)), 2.0),
    ],
)
def test_nothing_lies_outside_the_box(shape: Shape) -> None:
    points = np.random.default_rng(0).uniform(-30, 30, (20000, 3)).astype(np.float32)
    inside = shape.distance_mm(points[:, 0], points[:, 1], points[:, 2]) < 0
    low, high = shape.box_mm()
    assert inside.any()
    assert (points[inside] >= low).all() and (points[inside] <= high).all()
