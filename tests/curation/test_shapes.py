import numpy as np

from vastus.anatomy import BY_KEY, Side
from vastus.curation.proposals import propose_labels
from vastus.curation.shapes import find_islands
from vastus.curation.suspicion import FindingKind, Suspicion
from vastus.volume import Volume

MUSCLE = BY_KEY["gracilis"].label_value(Side.LEFT)
AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])


def strap(*empty: int) -> np.ndarray:
    """A muscle through 24 of 30 slices, without those named."""
    labels = np.zeros((40, 30, 30), np.uint8)
    labels[10:20, 10:20, 3:27] = MUSCLE
    labels[:, :, list(empty)] = 0
    return labels


def islands(labels: np.ndarray, model: np.ndarray | None = None) -> list[int]:
    return [
        s.value for s in find_islands("c", Volume(labels, AFFINE), None if model is None else Volume(model, AFFINE))
    ]


def test_an_end_that_missing_slices_cut_off_is_no_island() -> None:
    assert islands(strap(22, 23)) == []


def test_what_lies_far_beyond_a_gap_is_an_island_still() -> None:
    assert islands(strap(*range(17, 25))) == [MUSCLE]


def test_an_island_beside_the_muscle_is_one() -> None:
    labels = strap()
    labels[30:34, 10:14, 10:13] = MUSCLE
    assert islands(labels) == [MUSCLE]


def test_a_model_decides_on_the_end_beyond_a_gap() -> None:
    cut = strap(22, 23)
    assert islands(cut, strap()) == []
    assert islands(cut, strap(*range(22, 27))) == [MUSCLE]


def test_the_proposal_takes_the_island_and_leaves_the_end_beyond_a_gap() -> None:
    labels = strap(22, 23)
    labels[30:34, 10:14, 10:13] = MUSCLE
    suspicion = Suspicion("c", MUSCLE, FindingKind.ISLAND, 2.0, "")
    assert np.array_equal(propose_labels(suspicion, Volume(labels, AFFINE), None, None), strap(22, 23))
    agreeing = propose_labels(suspicion, Volume(labels, AFFINE), Volume(strap(), AFFINE), None)
    assert np.array_equal(agreeing, strap(22, 23))
