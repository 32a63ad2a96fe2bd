"""What is kept of the expected agreement, and how it ranks."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vastus.anatomy import BUILT_IN
from vastus.annotation.project.uncertainty_queue import _FACTS_FILE, UncertaintyQueue
from vastus.curation.ranking import Strategy

RIGHT_GRACILIS, LEFT_GRACILIS, LEFT_SARTORIUS = 110, 210, 201


def judged(**expected: float) -> dict[str, dict[str, float]]:
    return {
        value.removeprefix("v"): {"expected": e, "low": e, "high": e, "wrong": 1 - e} for value, e in expected.items()
    }


def queue_of(folder: Path, facts: dict[str, dict[str, Any]]) -> UncertaintyQueue:
    """A queue that knows what these files say, and needs no network."""
    for case, one in facts.items():
        kept = folder / case / "uncertainty" / "m"
        kept.mkdir(parents=True)
        plain = {"score": 0.1, "by_value": {}, "features": [1.0]}
        (kept / _FACTS_FILE).write_text(json.dumps(plain | one), encoding="utf-8")
    project: Any = SimpleNamespace(
        registry=SimpleNamespace(selected=lambda: "m"),
        layout=SimpleNamespace(case=lambda case: folder / case),
        to_correct=lambda: sorted(facts),
        states=lambda: dict.fromkeys(facts, "model"),
        table=BUILT_IN,
    )
    return UncertaintyQueue(project)


@pytest.fixture
def queue(tmp_path: Path) -> UncertaintyQueue:
    few = {"judged": judged(v110=0.3), "to_mend": 0.7}
    many = {"judged": judged(v110=0.6, v210=0.2, v201=0.5), "to_mend": 1.7}
    old = {"judged": judged(v110=0.5, v210=0.5)}  # kept by a version that did not sum up
    return queue_of(tmp_path, {"few": few, "many": many, "old": old, "other weights": {}})


def test_most_to_mend_comes_first_and_what_is_not_known_last(queue: UncertaintyQueue):
    ranked, pending = queue.rank(Strategy.AGREEMENT)
    assert [(r.case, r.score) for r in ranked] == [
        ("many", pytest.approx(1.7)),
        ("old", pytest.approx(1.0)),
        ("few", pytest.approx(0.7)),
        ("other weights", 0.0),
    ]
    assert pending == 0


def test_the_structures_of_least_expected_agreement_are_named(queue: UncertaintyQueue):
    named = queue.doubtful("many", 2)
    assert [(row["value"], row["expected"]) for row in named] == [(LEFT_GRACILIS, 0.2), (LEFT_SARTORIUS, 0.5)]
    assert all(row["name"] and row["wrong"] for row in named)
    assert queue.doubtful("few", 3)[0]["value"] == RIGHT_GRACILIS
    assert queue.doubtful("other weights", 3) == []
