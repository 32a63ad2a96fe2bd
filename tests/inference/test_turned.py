"""A body that the network is surer of once it is turned."""

from __future__ import annotations

import numpy as np
import pytest

from vastus.inference.body_lie import Turn
from vastus.inference.turned import fullest, said_of_turns, sureness, turns_of
from vastus.inference.windows import Layer, WindowPlan


def scores(gap: float, shape: tuple[int, int, int] = (32, 32, 32)) -> np.ndarray:
    """Logits of a background and two classes, of which the second is ahead of the first by ``gap`` everywhere."""
    logits = np.full((*shape, 3), -50.0, np.float32)
    logits[..., 1], logits[..., 2] = 0.0, gap
    return logits


def test_sureness_is_the_mean_probability_of_what_is_labelled():
    one = scores(2.0)
    one[:16, ..., 0] = 9.0  # background: does not count
    assert sureness(one) == pytest.approx(1 / (1 + np.exp(-2.0)), abs=1e-4)
    halves = (one.view(np.uint32) >> 16).astype(np.uint16)
    assert sureness(halves) == pytest.approx(sureness(one), abs=5e-3)


def test_a_window_with_little_in_it_says_nothing():
    one = scores(2.0)
    one[4:, ..., 0] = 9.0
    assert sureness(one) == 0.0


@pytest.mark.parametrize("turn", list(Turn))
def test_the_way_in_which_the_network_is_surest_is_named(turn: Turn):
    others = [scores(3.0 if turn is t else 1.5) for t in Turn]
    (remark,) = said_of_turns([scores(2.0), *others])
    assert remark.stops and "0.95 against 0.88" in remark.text
    assert ("Head and feet are reversed" in remark.text) == (2 in turn.value)
    assert ("ront and back" in remark.text) == (1 in turn.value)


def test_a_body_that_lies_rightly_is_silent():
    assert said_of_turns([scores(3.0), scores(2.0), scores(2.0), scores(2.0)]) == ()
    assert said_of_turns([scores(3.0), scores(3.05), scores(2.0), scores(2.0)]) == ()  # hardly surer


def test_windows_are_turned_about_the_axes_of_their_turn():
    window = np.arange(24.0, dtype=np.float32).reshape(2, 3, 4)
    own, *others = turns_of(window)
    assert np.array_equal(own, window)
    for turn, found in zip(Turn, others, strict=True):
        assert np.array_equal(np.flip(found, turn.value), window) and found.flags.c_contiguous


def test_the_fullest_window_is_taken_and_none_of_a_scan_with_little():
    plan = WindowPlan((32, 32, 32), (Layer(0, ((0, 0), (32, 0))), Layer(32, ((32, 0),))))
    channels = np.zeros((64, 32, 64), np.uint8)
    assert fullest(plan, channels) is None
    channels[32:, :, 40:] = 3
    assert fullest(plan, channels) == (32, 0, 32)
