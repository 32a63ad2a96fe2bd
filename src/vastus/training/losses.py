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


def dice_cross_entropy(logits: Tensor, labels: Tensor, *, dice_weight: float = 1.0) -> Tensor:
    """Mean cross-entropy plus ``dice_weight`` times (1 - mean soft Dice).

    Dice is taken over the whole batch, over the foreground classes that occur in it; absent classes do not count.

    Args:
        logits: (B, classes, X, Y, Z).
        labels: (B, X, Y, Z), class ids, ``IGNORE`` where unlabelled.

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


def reduce_labels(labels: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Labels on a coarser grid, nearest voxel, for auxiliary logits."""
    if tuple(labels.shape[1:]) == shape:
        return labels
    return functional.interpolate(labels[:, None].float(), size=shape, mode="nearest-exact")[:, 0].to(labels.dtype)
