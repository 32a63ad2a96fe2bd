"""Dice and cross-entropy over class ids, with unlabelled voxels left out.

Where every voxel is labelled and every class occurs, the Dice part equals MONAI's
``DiceLoss(softmax=True, to_onehot_y=True, batch=True, smooth_nr=0, smooth_dr=0)``. MONAI's loss knows neither voxels to
ignore nor absent classes, and its one-hot copy of the labels costs more than the rest of the step.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from vastus.anatomy import UNLABELLED

IGNORE = UNLABELLED
"""Label of a voxel that nobody labelled: it carries no loss."""


def dice_cross_entropy(
    logits: Tensor, labels: Tensor, *, dice_weight: float = 1.0, merged: Tensor | None = None
) -> Tensor:
    """Compute mean cross-entropy plus ``dice_weight`` times (1 - mean soft Dice).

    Dice is taken over the whole batch, over the foreground classes that occur in it; absent classes do not count.

    A **merged label** says that a voxel is one of several classes ("an adductor"). Its probability is the sum of
    theirs, in the cross-entropy and as a class of its own in the Dice. What such a voxel is called among the members
    carries no loss: it is left out of their own Dice.

    Args:
        logits: (B, classes, X, Y, Z).
        labels: (B, X, Y, Z): class ids; ``classes + i`` for merged label i; ``IGNORE`` where unlabelled.
        dice_weight: of the Dice part.
        merged: bool (labels, classes), the members of each merged label.

    Returns:
        A scalar; 0 (with a gradient of 0) if no voxel is labelled.
    """
    classes = logits.shape[1]
    flat = logits.movedim(1, -1).reshape(-1, classes).float()
    target = labels.reshape(-1).long()
    known = target != IGNORE
    if not bool(known.all()):
        flat, target = flat[known], target[known]
    if target.numel() == 0:
        return logits.sum() * 0.0
    log_probability = functional.log_softmax(flat, dim=1)
    if merged is not None and bool((target >= classes).any()):
        return _with_merged(log_probability, target, merged, dice_weight)
    at_label = log_probability.gather(1, target[:, None]).squeeze(1)
    probability = log_probability.exp()
    predicted = probability.sum(0)
    count = torch.bincount(target, minlength=classes).to(predicted.dtype)
    overlap = torch.zeros_like(predicted).index_add(0, target, at_label.exp())
    present = count > 0
    present[0] = False
    loss = -at_label.mean()
    if bool(present.any()):
        dice = 2.0 * overlap[present] / (predicted[present] + count[present])
        loss = loss + dice_weight * (1.0 - dice.mean())
    return loss


def _with_merged(log_probability: Tensor, target: Tensor, merged: Tensor, dice_weight: float) -> Tensor:
    """Compute the loss of voxels (N, classes), some of them with a merged label."""
    classes = log_probability.shape[1]
    probability = log_probability.exp()
    members = merged.to(probability)
    # Cross-entropy: the logarithm of the summed probability, kept finite where all members are out of the question.
    single = target < classes
    at_label = torch.empty_like(target, dtype=probability.dtype)
    at_label[single] = log_probability[single].gather(1, target[single, None]).squeeze(1)
    group = target[~single] - classes
    summed = (probability[~single] * members[group]).sum(1)
    at_label[~single] = summed.clamp_min(1e-7).log()
    loss = -at_label.mean()
    # Dice of the classes without the voxels that may be theirs or a fellow member's; of each merged label as a whole.
    label_count = classes + len(merged)
    count = torch.bincount(target, minlength=label_count).to(probability.dtype)
    overlap = torch.zeros(label_count, dtype=probability.dtype, device=target.device).index_add(
        0, target, at_label.exp()
    )
    predicted = probability.sum(0) - torch.einsum("nc,nc->c", probability[~single], members[group])
    # What lies under another label counts against a merged one; under one of its members it does not.
    by_label = torch.zeros(label_count, classes, dtype=probability.dtype, device=target.device).index_add(
        0, target, probability
    )
    foreign = torch.einsum("sl,lc,sc->s", 1.0 - members, by_label[:classes], members)
    # Where two merged labels share a member, each of them may be it.
    own = by_label[classes:] * members
    predicted_merged = foreign + torch.einsum("lc,sc->s", by_label[classes:] - own, members) + own.sum(1)
    predicted = torch.cat((predicted, predicted_merged))
    present = count > 0
    present[0] = False
    present[classes:] &= ~merged[:, 0].to(present.device)
    if bool(present.any()):
        dice = 2.0 * overlap[present] / (predicted[present] + count[present])
        loss = loss + dice_weight * (1.0 - dice.mean())
    return loss


def reduce_labels(labels: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Labels on a coarser grid, nearest voxel, for auxiliary logits."""
    if tuple(labels.shape[1:]) == shape:
        return labels
    return functional.interpolate(labels[:, None].float(), size=shape, mode="nearest-exact")[:, 0].to(labels.dtype)
