"""Would the network be surer if the body lay otherwise? Asked where it is not sure.

The network has never seen a body that is turned, and it is surest of one that lies as it should: of 29 real scans of
hips and thighs turned head to feet, front to back or both, nearly all got a higher mean probability once turned back.
One window costs a quarter of a second, so that only the fullest one of a scan is looked at, and only in doubt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vastus.inference.body_lie import Turn, turned
from vastus.inference.remarks import Remark
from vastus.inference.stitch import Scores
from vastus.inference.windows import WindowPlan
from vastus.preprocessing import FloatImage

DOUBTFUL: Final = 0.91
"""Mean probability over a scan: bodies that are turned have less, so do few others."""
SURER: Final = 0.01
"""By so much the mean probability must rise; of bodies that lie rightly it never rose by more than 0.005."""
LEAST_VOXELS: Final = 15_000
"""Of a window that are labelled: fewer show hardly a thigh (a calf, a knee), of which this was not tried."""

STEP: Final = 2
"""Every how many voxels along each axis one is looked at: a mean needs no more."""


def fullest(plan: WindowPlan, channels: NDArray[np.uint8]) -> tuple[int, int, int] | None:
    """Find the start of the window with the most labelled voxels; None where all hold few.

    Args:
        plan: windows of a scan.
        channels: best channel of each voxel, as in ``ScoreMap``.
    """
    a, b, c = plan.window
    starts = [(x, y, layer.z) for layer in plan.layers for x, y in layer.starts]
    counts = [int(np.count_nonzero(channels[x : x + a, y : y + b, z : z + c])) for x, y, z in starts]
    if not counts or max(counts) < LEAST_VOXELS:
        return None
    return starts[counts.index(max(counts))]


def turns_of(window: FloatImage) -> Iterator[FloatImage]:
    """Give a window as it is, then turned in every way of ``Turn``."""
    yield np.ascontiguousarray(window)
    for turn in Turn:
        yield np.ascontiguousarray(np.flip(window, turn.value))


def said_of_turns(scores: Iterable[Scores]) -> tuple[Remark, ...]:
    """Say that the body is turned if the network is surer of it then.

    Args:
        scores: of the windows of ``turns_of``, in their order.
    """
    own, *others = (sureness(one) for one in scores)
    best = int(np.argmax(others))
    if others[best] < own + SURER:
        return ()
    why = f"turned over, the network is surer of it ({others[best]:.2f} against {own:.2f})"
    return (turned(list(Turn)[best], why),)


def sureness(scores: Scores) -> float:
    """Compute the mean probability of the best class over the voxels that are not background; 0 where these are few.

    Args:
        scores: logits of a window, class last; float32, or bfloat16 as ``uint16``.
    """
    few = np.ascontiguousarray(scores[::STEP, ::STEP, ::STEP])
    logits = few if few.dtype == np.float32 else (few.astype(np.uint32) << 16).view(np.float32)
    flat = logits.reshape(-1, logits.shape[-1])
    flat = flat[flat.argmax(axis=1) > 0]
    if len(flat) * STEP**3 < LEAST_VOXELS:
        return 0.0
    return float((1.0 / np.exp(flat - flat.max(axis=1, keepdims=True)).sum(axis=1)).mean())
