"""Stitching: weighted class scores of overlapping windows -> labels and the few best scores of every voxel.

Memory is flat. Scores of all classes are held only for one window's height of the network grid, in a ring: windows
arrive layer by layer, and a plane that no later window reaches is reduced at once to its ``KEPT`` best classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vastus.blocks import in_blocks
from vastus.inference import kernels
from vastus.inference.windows import Shape, WindowPlan, importance

KEPT: Final = 4
"""Best classes kept a voxel. A boundary point has two or three candidates; the fourth is for corners."""

STEPS_PER_LOGIT: Final = 16.0
"""Resolution of a kept score: one step is 1/16 logit, and 255 steps (16 logits below the best) are the floor."""

Scores = NDArray[np.float32] | NDArray[np.uint16]
"""Logits of one window, class last: float32, or bfloat16 as the raw ``uint16``."""


@dataclass(frozen=True, slots=True, eq=False)
class ScoreMap:
    """What the network says on its grid, compactly.

    Attributes:
        channels: uint8, shape (X, Y, Z): best channel of each voxel; 0 where no window lay.
        kept: uint8, shape (X, Y, Z, KEPT): the best channels, best first.
        scores: uint8, same shape: their score, 255 for the best, lower by one for each 1/16 logit behind it.

    All three are views with x fastest in memory.
    """

    channels: NDArray[np.uint8]
    kept: NDArray[np.uint8]
    scores: NDArray[np.uint8]


class Stitcher:
    """Takes windows in the order of a plan and gives the ``ScoreMap``."""

    def __init__(self, shape: Shape, channel_count: int, plan: WindowPlan) -> None:
        x, y, z = shape
        self._plan = plan
        self._factors = importance(plan.window)
        depth = plan.window[2]
        self._sums = np.zeros((x, y, depth, channel_count), np.float32)
        self._weights = np.zeros((x, y, depth), np.float32)
        self._kept = np.zeros((z, y, x, KEPT), np.uint8)
        self._scores = np.zeros((z, y, x, KEPT), np.uint8)
        self._scores[..., 0] = 255  # where no window comes, background is certain
        self._done = 0

    def add(self, scores: Scores, x: int, y: int, z: int) -> None:
        """Add one window that starts at (x, y, z).

        Args:
            scores: shape (*window, channels), C-contiguous, see ``Scores``.
            x, y, z: in voxels; ``z`` never falls below planes already finished.
        """
        flat = scores.reshape(*scores.shape[:2], -1)
        kernel: Any = kernels.add_float32 if scores.dtype == np.float32 else kernels.add_bfloat16
        in_blocks(len(flat), lambda a, b: kernel(self._sums, self._weights, flat, *self._factors, (x, y, z), (a, b)))

    def finish_below(self, z: int) -> None:
        """Reduce all planes below ``z``: no later window reaches them."""
        if z > self._done:
            ring = (self._sums, self._weights, self._kept, self._scores)
            height = (self._done, z, np.float32(STEPS_PER_LOGIT))
            in_blocks(len(self._sums), lambda a, b: kernels.reduce(*ring, *height, (a, b)))
            self._done = z

    def result(self) -> ScoreMap:
        """Finish the rest, free the ring and give the map."""
        last = self._plan.layers[-1].z + self._plan.window[2] if self._plan.layers else 0
        self.finish_below(min(last, self._kept.shape[0]))
        self._sums = np.empty((0, 0, 0, 0), np.float32)
        self._weights = np.empty((0, 0, 0), np.float32)
        channels = np.ascontiguousarray(self._kept[..., 0])
        return ScoreMap(
            channels.transpose(2, 1, 0), self._kept.transpose(2, 1, 0, 3), self._scores.transpose(2, 1, 0, 3)
        )


def uniform_score_map(channels: NDArray[Any]) -> ScoreMap:
    """Make a map that is sure of every voxel, to bring a plain label map to another grid."""
    z_first = np.ascontiguousarray(channels.astype(np.uint8).transpose(2, 1, 0))
    kept = np.zeros((*z_first.shape, KEPT), np.uint8)
    kept[..., 0] = z_first
    scores = np.zeros_like(kept)
    scores[..., 0] = 255
    return ScoreMap(z_first.transpose(2, 1, 0), kept.transpose(2, 1, 0, 3), scores.transpose(2, 1, 0, 3))
