"""Expected agreement (Dice) of each structure with what a reader would draw, and the chance that it is wrong.

The model is fitted for one set of weights (``tools/fit_quality.py``) and lies beside this file; with other weights
nothing is said, since another network is sure of other things.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import LABELS
from vastus.inference.bundle import SAFETENSORS_FILE, Bundle
from vastus.inference.evidence import Evidence
from vastus.io.tables import LIKELY_WRONG
from vastus.quality.features import INPUTS, Population, Sections, features, whole_structures

MODEL_FILE: Final = Path(__file__).parent / "agreement.npz"
WRONG_BELOW: Final = 0.7
"""A structure whose Dice is below this is called wrong."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of one structure.

    Attributes:
        expected: Dice, 0..1.
        low, high: 80 of 100 structures lie between.
        wrong: chance that the Dice is below 0.7.
    """

    expected: float
    low: float
    high: float
    wrong: float

    @property
    def is_likely_wrong(self) -> bool:
        """Whether a reader must look before using a number of it."""
        return self.wrong >= LIKELY_WRONG


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """The fitted model: one sum over the features, and what it meant on scans that it was not fitted on.

    Attributes:
        population: what is usual.
        inputs: shape (F, 5): of each of ``INPUTS`` the value taken where it is missing, the least and the most that
            count, then mean and SD.
        weights: shape (F,): of the standardised features in the log odds of being wrong.
        slope, offset: from the sum to the log odds.
        band: shape (K, 4): the sum, rising; then mean, 10th and 90th percentile of the Dice of structures with it.
        weights_sha256: of the weights it was fitted for.
        digest: SHA-256 of the file.
    """

    population: Population
    inputs: NDArray[np.float64]
    weights: NDArray[np.float64]
    slope: float
    offset: float
    band: NDArray[np.float64]
    weights_sha256: str
    digest: str

    def judge(self, evidence: Evidence, sections: Sections) -> NDArray[np.float64]:
        """Shape (N, 4): expected Dice, low, high, chance of being wrong."""
        return self.judge_features(features(evidence, sections, self.population))

    def judge_features(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same from the features, shape (N, F)."""
        total = standardised(values, self.inputs) @ self.weights
        mean, low, high = (np.interp(total, self.band[:, 0], self.band[:, n]) for n in (1, 2, 3))
        wrong = 1.0 / (1.0 + np.exp(-(self.slope * total + self.offset)))
        return np.stack([mean, low, high, wrong], axis=1)


def standardised(values: NDArray[np.float64], inputs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Features filled where missing, cut off where extreme, and in units of their SD."""
    missing, least, most, mean, sd = inputs.T
    filled = np.clip(np.where(np.isnan(values), missing, values), least, most)
    scaled: NDArray[np.float64] = (filled - mean) / sd
    return scaled


def weights_hash(bundle: Bundle) -> str:
    """What names the weights themselves, whatever the card beside them says."""
    return bundle.info.files.get(SAFETENSORS_FILE, bundle.digest)


@cache
def load_model(path: Path = MODEL_FILE) -> Model:
    """Read a fitted model."""
    raw = path.read_bytes()
    with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
        facts: dict[str, Any] = json.loads(str(arrays["facts"]))
        if tuple(facts["inputs"]) != INPUTS:
            raise ValueError("The model of agreement was fitted with other features: run tools/fit_quality.py again.")
        return Model(
            Population(arrays["curve"], arrays["contact"], arrays["usual_dice"], arrays["presence"]),
            arrays["inputs"],
            arrays["weights"],
            facts["slope"],
            facts["offset"],
            arrays["band"],
            facts["weights_sha256"],
            hashlib.sha256(raw).hexdigest(),
        )


def expect_agreement(
    evidence: Evidence | None, bundle: Bundle | None, model: Model | None = None
) -> dict[int, Agreement]:
    """Label value -> what is expected of it; empty where the model does not belong to the weights.

    Args:
        evidence: of a segmentation.
        bundle: the weights that made it; None: any, good enough to put scans into an order and for no number.
        model: the shipped one if None.
    """
    if evidence is None:
        return {}
    model = model or load_model()
    if bundle is not None and model.weights_sha256 != weights_hash(bundle):
        return {}
    sections = whole_structures(evidence)
    judged = model.judge(evidence, sections)
    return {
        LABELS[row].value: Agreement(*(float(v) for v in line)) for row, line in zip(sections.rows, judged, strict=True)
    }
