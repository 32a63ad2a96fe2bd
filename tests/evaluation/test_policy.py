from __future__ import annotations

import math

import pytest

from vastus.evaluation.policy import EmptyPolicy, Presence, empty_scores, presence_of


def test_presence():
    assert presence_of(1, 1) is Presence.BOTH
    assert presence_of(0, 1) is Presence.MISSED
    assert presence_of(1, 0) is Presence.INVENTED
    assert presence_of(0, 0) is Presence.ABSENT


@pytest.mark.parametrize("presence", [Presence.MISSED, Presence.INVENTED])
@pytest.mark.parametrize("policy", [EmptyPolicy.PENALISE, EmptyPolicy.CREDIT_ABSENT])
def test_what_is_missed_or_invented_scores_the_worst_possible(policy, presence):
    scores = empty_scores(policy, presence, 500.0)
    assert (scores.overlap, scores.distance_mm) == (0.0, 500.0)


def test_absent_structures_are_empty_cells_or_perfect():
    assert math.isnan(empty_scores(EmptyPolicy.PENALISE, Presence.ABSENT, 500.0).overlap)
    credited = empty_scores(EmptyPolicy.CREDIT_ABSENT, Presence.ABSENT, 500.0)
    assert (credited.overlap, credited.distance_mm, credited.ravd_percent) == (1.0, 0.0, 0.0)


@pytest.mark.parametrize("policy", list(EmptyPolicy))
def test_volume_error_of_missed_is_defined_and_of_invented_is_not(policy):
    assert empty_scores(policy, Presence.MISSED, 1.0).ravd_percent == -100.0
    assert math.isnan(empty_scores(policy, Presence.INVENTED, 1.0).ravd_percent)


@pytest.mark.parametrize("policy", list(EmptyPolicy))
@pytest.mark.parametrize("presence", [Presence.MISSED, Presence.INVENTED, Presence.ABSENT])
def test_nothing_is_infinite(policy, presence):
    scores = empty_scores(policy, presence, 700.0)
    assert not any(math.isinf(v) for v in (scores.overlap, scores.distance_mm, scores.ravd_percent))
    if policy is EmptyPolicy.EXCLUDE:
        assert math.isnan(scores.overlap)
        assert math.isnan(scores.distance_mm)
