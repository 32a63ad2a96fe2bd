import numpy as np

from vastus.anatomy import BY_KEY, Side
from vastus.curation.proposals import propose_labels
from vastus.curation.suspicion import FindingKind, Suspicion
from vastus.volume import Volume

MUSCLE = BY_KEY["sartorius"].label_value(Side.RIGHT)
BONE = BY_KEY["femur"].label_value(Side.RIGHT)
AFFINE = np.diag([2.0, 2.0, 4.0, 1.0])


def column() -> np.ndarray:
    """A muscle that widens upwards, beside a bone."""
    labels = np.zeros((40, 20, 30), np.uint8)
    for k in range(30):
        labels[4 : 10 + k // 2, 5:15, k] = MUSCLE
    labels[26:34, 5:15] = BONE
    return labels


def test_two_gaps_are_filled_each_and_what_lies_between_stays() -> None:
    truth = column()
    labels = truth.copy()
    gaps = (5, 6, 20)
    labels[:, :, list(gaps)] = np.where(labels[:, :, list(gaps)] == MUSCLE, 0, labels[:, :, list(gaps)])
    labels[4, 5, 12] = 0  # a detail between the gaps
    suspicion = Suspicion("c", MUSCLE, FindingKind.MISSING_SLICES, 2.0, "", gaps)
    proposal = propose_labels(suspicion, Volume(labels, AFFINE), None, None)
    assert proposal is not None
    assert np.array_equal(np.delete(proposal, gaps, axis=2), np.delete(labels, gaps, axis=2))
    assert (proposal != truth)[:, :, list(gaps)].mean() < 0.01


def test_the_models_mask_takes_no_bone() -> None:
    labels, model = column(), column()
    model[4:30, 5:15] = MUSCLE
    suspicion = Suspicion("c", MUSCLE, FindingKind.BOUNDARY, 2.0, "")
    proposal = propose_labels(suspicion, Volume(labels, AFFINE), Volume(model, AFFINE), None)
    assert proposal is not None
    assert np.array_equal(proposal == BONE, labels == BONE)
    assert (proposal[4:26, 5:15] == MUSCLE).all()


def test_without_a_model_there_is_no_guess() -> None:
    suspicion = Suspicion("c", MUSCLE, FindingKind.VOLUME, 2.0, "")
    assert propose_labels(suspicion, Volume(column(), AFFINE), None, None) is None
