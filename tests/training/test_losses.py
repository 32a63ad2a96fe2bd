import pytest

pytest.importorskip("torch")
import torch
from monai.losses import DiceLoss

from vastus.training.losses import IGNORE, dice_cross_entropy, reduce_labels


def _case(seed: int = 0, classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, classes, 6, 5, 4, generator=generator)
    labels = torch.randint(0, classes, (2, 6, 5, 4), generator=generator, dtype=torch.uint8)
    return logits, labels


def test_equals_monai_and_torch_where_nothing_is_ignored() -> None:
    logits, labels = _case()
    theirs = DiceLoss(
        softmax=True, to_onehot_y=True, batch=True, include_background=False, smooth_nr=0.0, smooth_dr=0.0
    )
    expected = theirs(logits, labels[:, None]) + torch.nn.functional.cross_entropy(logits, labels.long())
    assert dice_cross_entropy(logits, labels) == pytest.approx(float(expected), rel=1e-5)


def test_ignored_voxels_carry_neither_loss_nor_gradient() -> None:
    logits, labels = _case()
    labels[:, :3] = IGNORE
    logits.requires_grad_()
    dice_cross_entropy(logits, labels).backward()
    assert float(logits.grad[:, :, :3].abs().max()) == 0.0
    assert float(logits.grad[:, :, 3:].abs().min()) > 0.0
    kept = dice_cross_entropy(logits[:, :, 3:], labels[:, 3:])
    assert float(dice_cross_entropy(logits, labels)) == pytest.approx(float(kept), rel=1e-6)


def test_an_absent_class_does_not_count() -> None:
    logits, labels = _case()
    labels[labels == 3] = 2
    without = torch.cat((logits[:, :3], logits[:, 4:]), dim=1)
    relabelled = labels.clone()
    relabelled[labels == 4] = 3
    confident = logits.clone()
    confident[:, 3] = -1e4
    assert float(dice_cross_entropy(confident, labels)) == pytest.approx(
        float(dice_cross_entropy(without, relabelled)), rel=1e-5
    )


def test_nothing_labelled_is_no_loss() -> None:
    logits, labels = _case()
    logits.requires_grad_()
    loss = dice_cross_entropy(logits, torch.full_like(labels, IGNORE))
    loss.backward()
    assert float(loss) == 0.0
    assert float(logits.grad.abs().max()) == 0.0


def test_a_perfect_prediction_costs_nothing() -> None:
    _, labels = _case()
    logits = 100.0 * torch.nn.functional.one_hot(labels.long(), 5).movedim(-1, 1).float()
    assert float(dice_cross_entropy(logits, labels)) == pytest.approx(0.0, abs=1e-6)


def test_reduced_labels_are_nearest_neighbours() -> None:
    labels = torch.arange(8, dtype=torch.uint8).repeat_interleave(2)[None, :, None, None].expand(1, 16, 2, 3)
    reduced = reduce_labels(labels, (8, 1, 3))
    assert reduced[0, :, 0, 0].tolist() == list(range(8))
    assert reduced.dtype == torch.uint8


MERGED = torch.tensor([[False, True, True, False, False], [True, False, False, False, True]])
"""Classes 1 or 2; background or class 4."""


def _by_hand(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """The loss voxel by voxel, from the definition."""
    classes = logits.shape[1]
    probability = torch.softmax(logits.double(), dim=1).movedim(1, -1).reshape(-1, classes)
    target = labels.reshape(-1).long().tolist()
    meant = [torch.eye(classes, dtype=torch.bool)[t] if t < classes else MERGED[t - classes] for t in target]
    at_label = torch.stack([p[m].sum() for p, m in zip(probability, meant, strict=True)])
    entropy = float(-at_label.log().mean())
    scores = []
    for name in range(classes + len(MERGED)):
        members = torch.eye(classes, dtype=torch.bool)[name] if name < classes else MERGED[name - classes]
        if bool(members[0]) or name not in target:
            continue
        overlap = sum(float(a) for a, t in zip(at_label, target, strict=True) if t == name)
        predicted = 0.0
        for p, t in zip(probability, target, strict=True):
            mine = members if t < classes or t == name else members & ~MERGED[t - classes]
            if not (name >= classes and t < classes and bool(members[t])):
                predicted += float(p[mine].sum())
        scores.append(2 * overlap / (predicted + target.count(name)))
    return entropy + 1.0 - sum(scores) / len(scores)


def test_a_merged_label_counts_as_the_sum_of_its_members() -> None:
    logits, labels = _case(seed=3)
    labels[:, :2][labels[:, :2] == 1] = 5
    labels[:, :, :2][labels[:, :, :2] == 0] = 6
    assert {0, 1, 2, 3, 4, 5, 6} == set(labels.unique().tolist())
    loss = dice_cross_entropy(logits, labels, merged=MERGED)
    assert float(loss) == pytest.approx(_by_hand(logits, labels), rel=1e-5)


def test_which_member_is_right_carries_no_loss() -> None:
    labels = torch.full((1, 4, 4, 4), 5, dtype=torch.uint8)
    labels[:, :2] = 3
    sure = torch.full((1, 5, 4, 4, 4), -20.0)
    sure[:, 3, :2] = 20.0
    one, other = sure.clone(), sure.clone()
    one[:, 1, 2:] = 20.0
    other[:, 2, 2:] = 20.0
    wrong = sure.clone()
    wrong[:, 4, 2:] = 20.0
    assert float(dice_cross_entropy(one, labels, merged=MERGED)) == pytest.approx(0.0, abs=1e-4)
    assert float(dice_cross_entropy(other, labels, merged=MERGED)) == pytest.approx(0.0, abs=1e-4)
    assert float(dice_cross_entropy(wrong, labels, merged=MERGED)) > 1.0


def test_a_member_of_two_merged_labels_is_right_under_both() -> None:
    overlapping = torch.tensor([[False, True, True, False, False], [False, False, True, True, False]])
    labels = torch.full((1, 4, 4, 4), 5, dtype=torch.uint8)
    labels[:, :2] = 6
    logits = torch.full((1, 5, 4, 4, 4), -20.0)
    logits[:, 2] = 20.0
    assert float(dice_cross_entropy(logits, labels, merged=overlapping)) == pytest.approx(0.0, abs=1e-4)


def test_merged_labels_that_do_not_occur_change_nothing() -> None:
    logits, labels = _case()
    assert float(dice_cross_entropy(logits, labels, merged=MERGED)) == float(dice_cross_entropy(logits, labels))
