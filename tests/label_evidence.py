"""Evidence of a label map, as if a network had been sure of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import STRUCTURES
from vastus.inference.evidence import Evidence, NetworkView, gather_evidence
from vastus.inference.stitch import ScoreMap, uniform_score_map
from vastus.preprocessing import PreprocessingSettings

CLASS_IDS = (0, *(s.class_id for s in STRUCTURES))
SETTINGS = PreprocessingSettings(hu_window=(-150.0, 250.0), gamma=1.0)
AFFINE = np.diag([2.0, 3.0, 4.0, 1.0])


def evidence_of(labels: NDArray[np.uint8], scores: ScoreMap | None = None, hu: float = 50.0) -> Evidence:
    image = np.full(labels.shape, (hu + 150) / 400, np.float32)
    scores = scores or uniform_score_map(labels % 100)
    raw = np.zeros(1, np.uint8), np.zeros(1, np.int64)
    return gather_evidence(labels, raw, CLASS_IDS, scores, NetworkView(image, AFFINE, SETTINGS))
