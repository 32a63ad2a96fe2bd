import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vastus.curation.ranking import Candidate, Strategy, case_features, rank_cases
from vastus.errors import SettingsError
from vastus.synthesis.phantom import make_phantom


def names(ranked: tuple) -> list[str]:
    return [r.case for r in ranked]


def test_the_least_sure_comes_first_and_the_unknown_last() -> None:
    cases = [Candidate("a", 0.2), Candidate("b", 0.9), Candidate("c"), Candidate("d", 0.5)]
    assert names(rank_cases(cases, Strategy.UNCERTAINTY)) == ["b", "d", "a", "c"]


def test_diversity_goes_from_the_middle_to_the_far_ends() -> None:
    cases = [Candidate(f"c{x}", None, (float(x), 0.0)) for x in (0, 1, 2, 10, 11)]
    order = names(rank_cases(cases, Strategy.DIVERSITY))
    assert set(order[:3]) == {"c2", "c11", "c0"}


def test_diversity_keeps_away_from_what_is_corrected() -> None:
    cases = [Candidate(f"c{x}", None, (float(x),)) for x in (0, 5, 9)]
    assert names(rank_cases(cases, Strategy.DIVERSITY, known=[Candidate("k", None, (10.0,))]))[0] == "c0"


def test_combined_wants_both() -> None:
    cases = [
        Candidate("near_unsure", 0.9, (0.1,)),
        Candidate("far_sure", 0.1, (6.0,)),
        Candidate("far_unsure", 0.8, (5.0,)),
    ]
    known = [Candidate("k", None, (0.0,))]
    assert names(rank_cases(cases, Strategy.COMBINED, known=known))[0] == "far_unsure"


@given(seed=st.integers(0, 999), count=st.integers(0, 12))
def test_random_is_a_permutation_that_the_seed_gives(seed: int, count: int) -> None:
    cases = [Candidate(f"c{n}") for n in range(count)]
    order = names(rank_cases(cases, Strategy.RANDOM, seed=seed))
    assert sorted(order) == sorted(c.case for c in cases)
    assert order == names(rank_cases(cases[::-1], Strategy.RANDOM, seed=seed))


@pytest.mark.parametrize("strategy", list(Strategy))
def test_every_case_is_ranked_once(strategy: Strategy) -> None:
    rng = np.random.default_rng(3)
    cases = [Candidate(f"c{n}", float(rng.random()), tuple(rng.random(4))) for n in range(9)]
    assert sorted(names(rank_cases(cases, strategy))) == [f"c{n}" for n in range(9)]


def test_features_tell_people_apart_and_have_one_length() -> None:
    whole = make_phantom((6.0, 6.0, 8.0))
    part = make_phantom((6.0, 6.0, 8.0), z_range_mm=(100.0, 300.0))
    one, other = case_features(whole.ct, whole.labels), case_features(part.ct, part.labels)
    assert len(one) == len(other)
    assert np.linalg.norm(np.subtract(one, other)) > 0.5


def test_features_of_different_lengths_are_refused() -> None:
    with pytest.raises(SettingsError):
        rank_cases([Candidate("a", None, (1.0,)), Candidate("b", None, (1.0, 2.0))], Strategy.DIVERSITY)


def test_the_scan_with_most_to_mend_comes_first():
    cases = [Candidate("a", to_mend=0.2), Candidate("b", to_mend=4.7), Candidate("c"), Candidate("d", to_mend=0.4)]
    ranked = rank_cases(cases, Strategy.AGREEMENT)
    assert names(ranked) == ["b", "d", "a", "c"]
    assert ranked[0].score == pytest.approx(4.7)
