"""Expected agreement (Dice) of each structure with what a reader would draw, and the chance that it is wrong.

The model is fitted for one set of weights (``tools/fit_quality.py``) and lies beside this file; with other weights
nothing is said, since another network is sure of other things.
"""

from __future__ import annotations

import hashlib
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
from vastus.quality.features import Population, Sections, features, whole_structures
from vastus.quality.trees import Trees

MODEL_FILE: Final = Path(__file__).parent / "agreement.npz"
WRONG_BELOW: Final = 0.7
"""A structure whose Dice is below this is called wrong."""
HEADS: Final = ("mean", "wrong")


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
    """The fitted model.

    Attributes:
        population: what is usual.
        names: of the features, in order.
        heads: trees for the Dice and for the log odds of being wrong.
        slope, offset: of the log odds, set on scans that the trees had not seen.
        band: shape (K, 4), likewise: what the trees say of the Dice, rising; then the mean, the 10th and the 90th
            percentile of the Dice of structures of which they said so.
        weights_sha256: of the weights it was fitted for.
        digest: SHA-256 of the file.
    """

    population: Population
    names: tuple[str, ...]
    heads: dict[str, Trees]
    slope: float
    offset: float
    band: NDArray[np.float64]
    weights_sha256: str
    digest: str

    def judge(self, evidence: Evidence, sections: Sections) -> NDArray[np.float64]:
        """Shape (N, 4): expected Dice, low, high, chance of being wrong."""
        names, values = features(evidence, sections, self.population)
        if set(names) != set(self.names):
            raise ValueError("The model of agreement was fitted with other features: run tools/fit_quality.py again.")
        return self.judge_features(values[:, [names.index(name) for name in self.names]])

    def judge_features(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same from the features, shape (N, features)."""
        if not len(values):
            return np.zeros((0, 4))
        said, odds = (self.heads[name].sum(values) for name in HEADS)
        mean, low, high = (np.interp(said, self.band[:, 0], self.band[:, n]) for n in (1, 2, 3))
        wrong = 1.0 / (1.0 + np.exp(-(self.slope * odds + self.offset)))
        return np.stack([mean, low, high, wrong], axis=1)


def weights_hash(bundle: Bundle) -> str:
    """What names the weights themselves, whatever the card beside them says."""
    return bundle.info.files.get(SAFETENSORS_FILE, bundle.digest)


@cache
def load_model(path: Path = MODEL_FILE) -> Model:
    """Read a fitted model."""
    raw = path.read_bytes()
    with np.load(path, allow_pickle=False) as arrays:
        facts: dict[str, Any] = json.loads(str(arrays["facts"]))
        population = Population(arrays["curve"], arrays["contact"], arrays["usual_dice"])
        heads = {name: Trees.from_arrays(name, arrays) for name in HEADS}
        band = arrays["band"]
    return Model(
        population,
        tuple(facts["names"]),
        heads,
        facts["slope"],
        facts["offset"],
        band,
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
