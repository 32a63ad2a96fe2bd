"""Which scan to correct next: the one the model is least sure of, the one least like those already corrected, or any.

Diversity is k-center greedy (Sener and Savarese 2018, arXiv 1708.00489) on a few features of a scan that need no
network: volumes of the structures and the HU histogram.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BUILT_IN, StructureTable
from vastus.errors import SettingsError
from vastus.volume import Volume

_HU_EDGES = np.array([-150, -110, -90, -70, -40, -10, 20, 40, 60, 90, 150, 300, 600])
_STEP = 3


class Strategy(Enum):
    """How the next scan is chosen."""

    UNCERTAINTY = "uncertainty"
    DIVERSITY = "diversity"
    COMBINED = "combined"
    AGREEMENT = "agreement"
    RANDOM = "random"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A scan to be ranked.

    Attributes:
        case: its name.
        uncertainty: 0..1 (``Uncertainty.score``); None: not known yet.
        features: ``case_features``; empty: not known yet.
        to_mend: what correcting it is expected to mend: one less the expected agreement (``vastus.quality``), summed
            over its structures. A mean would put few bad structures before many. None: not known yet.
    """

    case: str
    uncertainty: float | None = None
    features: tuple[float, ...] = ()
    to_mend: float | None = None


@dataclass(frozen=True, slots=True)
class Ranked:
    """A scan and how much there is to learn from it by the strategy; higher comes first."""

    case: str
    score: float


def rank_cases(
    candidates: Sequence[Candidate], strategy: Strategy, *, seed: int = 0, known: Sequence[Candidate] = ()
) -> tuple[Ranked, ...]:
    """Put scans into the order in which to correct them.

    Args:
        candidates: not corrected yet.
        strategy: which order. Scans without what it needs (uncertainty, features) come last, by name.
        seed: of the random order.
        known: corrected already, from which diversity keeps away.

    Raises:
        SettingsError: feature lists of different lengths.
    """
    named = sorted(candidates, key=lambda c: c.case)
    if strategy is Strategy.RANDOM:
        order = np.random.default_rng(seed).permutation(len(named))
        return tuple(Ranked(named[i].case, 1.0 - place / len(named)) for place, i in enumerate(order))
    if strategy is Strategy.AGREEMENT:
        told = [Ranked(c.case, c.to_mend) for c in named if c.to_mend is not None]
        told.sort(key=lambda r: (-r.score, r.case))
        return (*told, *(Ranked(c.case, 0.0) for c in named if c.to_mend is None))
    needs_features = strategy is not Strategy.UNCERTAINTY
    needs_uncertainty = strategy is not Strategy.DIVERSITY
    able = [
        c for c in named if (c.features or not needs_features) and (c.uncertainty is not None or not needs_uncertainty)
    ]
    rest = [Ranked(c.case, 0.0) for c in named if c not in able]
    if strategy is Strategy.UNCERTAINTY:
        ranked = sorted((Ranked(c.case, float(c.uncertainty or 0.0)) for c in able), key=lambda r: (-r.score, r.case))
    else:
        ranked = _spread(able, [k for k in known if k.features], weighted=strategy is Strategy.COMBINED)
    return (*ranked, *rest)


def _spread(able: list[Candidate], known: list[Candidate], *, weighted: bool) -> list[Ranked]:
    """k-center greedy; ``weighted``: the distance is multiplied by the uncertainty's rank (0..1)."""
    if not able:
        return []
    everyone = [*able, *known]
    if len({len(c.features) for c in everyone}) > 1:
        raise SettingsError("Features of different lengths can't be compared.", remedy="Make them anew for all scans.")
    points = _standard(np.array([c.features for c in everyone], np.float64))
    mine, theirs = points[: len(able)], points[len(able) :]
    weight = np.ones(len(able))
    if weighted:
        order = np.argsort(np.argsort([c.uncertainty or 0.0 for c in able], kind="stable"), kind="stable")
        weight = (order + 1) / len(able)
    # With nothing corrected yet, the first is the one nearest to the middle: it stands for most of them.
    centres = theirs if len(theirs) else points.mean(axis=0, keepdims=True)
    distance = np.linalg.norm(mine[:, None] - centres[None], axis=2).min(axis=1)
    left = set(range(len(able)))
    ranked: list[Ranked] = []
    while left:
        rows = sorted(left)
        first_of_all = not len(theirs) and not ranked
        gain = (1.0 / (1.0 + distance[rows]) if first_of_all else distance[rows]) * weight[rows]
        chosen = rows[int(gain.argmax())]
        ranked.append(Ranked(able[chosen].case, float(gain.max())))
        left.remove(chosen)
        to_chosen = np.linalg.norm(mine - mine[chosen], axis=1)
        distance = to_chosen if first_of_all else np.minimum(distance, to_chosen)
    return ranked


def _standard(points: NDArray[np.float64]) -> NDArray[np.float64]:
    spread = points.std(axis=0)
    return np.asarray((points - points.mean(axis=0)) / np.where(spread > 1e-9, spread, 1.0))


def case_features(scan: Volume, labels: Volume, table: StructureTable = BUILT_IN) -> tuple[float, ...]:
    """What a scan is like, in numbers: share of each structure in the labelled volume, its size, and the HU inside.

    Args:
        scan: in HU.
        labels: the model's or anyone's, on the same grid.
        table: of the structures.

    Returns:
        One share a structure (square roots), log of the labelled volume in cm3, and the HU histogram of what is
        labelled.
    """
    step = (slice(None, None, _STEP), slice(None, None, _STEP), slice(None))
    values, hu = labels.array[step], scan.array[step]
    counts = np.bincount(values.ravel(), minlength=256)
    by_class = np.array([counts[sorted(set(s.label_values))].sum() for s in table.rows], np.float64)
    total = by_class.sum()
    shares = np.sqrt(by_class / max(total, 1.0))
    volume_cm3 = total * labels.voxel_volume_mm3 * _STEP**2 / 1000.0
    inside = hu[values > 0]
    histogram = np.bincount(np.searchsorted(_HU_EDGES, inside), minlength=len(_HU_EDGES) + 1) / max(inside.size, 1)
    return tuple(float(v) for v in (*shares, np.log1p(volume_cm3), *histogram))
