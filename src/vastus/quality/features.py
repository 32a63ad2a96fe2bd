"""What can be seen of a structure without a reference: some thirty numbers, each with a plain meaning.

They come from ``inference.evidence``: how sure the network is inside and along the border; how much of the structure it
sees outside; size, place and shape against what is usual in the population at that level of the body; density inside
and along the border; pieces, gaps and jumps from slice to slice; what it touches against what it usually touches; and
the other side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BY_KEY, LABELS, STRUCTURES
from vastus.inference.evidence import IMAGE_EDGE, OTHER_SIDE, Count, Evidence
from vastus.quality.levels import LEAST_SIDE_MM2, NEARLY_EVERYBODY, levels, steps_of

Table = NDArray[np.float64]

CLASS_OF_ROW: Final = np.array([label.structure.class_id for label in LABELS])
SIDE_OF_ROW: Final = np.repeat([0, 1, 2], len(STRUCTURES))
_N: Final = len(STRUCTURES)
_FEMUR: Final = BY_KEY["femur"].class_id
_HEIGHT: Final = np.array([np.nan, *(np.nan if s.height_mm is None else s.height_mm for s in STRUCTURES)])
_FEMUR_HEIGHT_MM: Final = 250.0
_BONE: Final = np.array([False, *(not s.is_muscle for s in STRUCTURES)])

USUAL: Final = (
    "share_of_side",
    "to_femur",
    "right_mm",
    "front_mm",
    "border_density",
    "spread",
    "mean_hu",
    "sd_hu",
    "own",
    "soft_dice",
)
"""What is compared with the population at the same level of the body."""
FARTHEST: Final = 12.0
"""SDs; farther off is as odd."""


@dataclass(frozen=True, slots=True, eq=False)
class Population:
    """What is usual of each class in good segmentations.

    Attributes:
        curve: shape (30, len(USUAL), 4): coefficients of 1, t, t^2 with t the level in units of 100 mm from the
            structure's usual height; then the SD around that curve. NaN where not known.
        contact: shape (30, 32): usual share of each neighbour of the border.
        usual_dice: shape (30,).
        presence: shape (30, steps): share of bodies that have the structure at a level (``levels.LEVELS_MM``).
    """

    curve: Table
    contact: Table
    usual_dice: Table
    presence: Table


@dataclass(frozen=True, slots=True, eq=False)
class Sections:
    """Structures, or parts of them, to be judged.

    Attributes:
        rows: shape (N,): rows of ``Evidence``.
        slices: bool, shape (N, Z): which slices of the network's grid count.
    """

    rows: NDArray[np.int64]
    slices: NDArray[np.bool_]


def whole_structures(evidence: Evidence) -> Sections:
    """Every structure that is there, in all its slices."""
    rows = evidence.present()
    return Sections(rows, np.ones((len(rows), evidence.counts.shape[1]), np.bool_))


def single_sections(evidence: Evidence) -> Sections:
    """Every structure in every slice that holds it, each for itself."""
    rows, slices = np.nonzero(evidence.counts[:, :, Count.VOXELS])
    masks = np.zeros((len(rows), evidence.counts.shape[1]), np.bool_)
    masks[np.arange(len(rows)), slices] = True
    return Sections(rows, masks)


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    """Sums over the slices that count of each section: what the features are made of.

    Attributes:
        evidence: of the scan.
        rows: shape (N,).
        mask: shape (N, Z): 1 where a slice counts.
        own: shape (N, 20): sums over these slices; ``whole``: over all slices.
        touch: shape (N, 32): faces in these slices.
        held: bool, shape (N, Z): slices that hold the structure.
    """

    evidence: Evidence
    rows: NDArray[np.int64]
    mask: Table
    own: Table
    whole: Table
    touch: Table
    held: NDArray[np.bool_]

    @classmethod
    def of(cls, evidence: Evidence, sections: Sections) -> _Judged:
        """Sum up."""
        counts, rows = evidence.counts[sections.rows], sections.rows
        mask = sections.slices.astype(np.float64)
        return cls(
            evidence,
            rows,
            mask,
            np.einsum("nk,nkc->nc", mask, counts),
            counts.sum(axis=1),
            np.einsum("nk,nkc->nc", mask, evidence.contacts[rows].astype(np.float64)),
            counts[:, :, Count.VOXELS] > 0,
        )

    @property
    def voxels(self) -> Table:
        """Of every row in every slice, shape (87, Z)."""
        sizes: Table = self.evidence.counts[:, :, Count.VOXELS]
        return sizes

    @property
    def size(self) -> Table:
        """Voxels that count, shape (N,)."""
        sizes: Table = self.own[:, Count.VOXELS]
        return sizes

    @property
    def side(self) -> NDArray[np.int64]:
        """0 right, 1 left, 2 unknown; shape (N,)."""
        sides: NDArray[np.int64] = SIDE_OF_ROW[self.rows]
        return sides


def raw_features(evidence: Evidence, sections: Sections) -> dict[str, Table]:
    """Features before they are held against the population; name -> shape (N,), NaN where there is none."""
    judged = _Judged.of(evidence, sections)
    with np.errstate(divide="ignore", invalid="ignore"):
        out = _sureness(judged) | _size(judged) | _place(judged) | _density(judged) | _shape(judged)
        out["level"] = _level(judged)
    out["neighbours_own"] = _sureness_of_neighbours(judged)
    out["own_to_scan"] = out["own"] - _sure_of_the_scan(evidence)
    return out


def _sureness(judged: _Judged) -> dict[str, Table]:
    own, whole, size = judged.own, judged.whole, judged.size
    inside = size - own[:, Count.BORDER]
    inner = (own[:, Count.OWN] - own[:, Count.BORDER_OWN]) / inside
    return {
        "own": own[:, Count.OWN] / size,
        "entropy": own[:, Count.ENTROPY] / size,
        "margin": own[:, Count.MARGIN] / size,
        "below_four_fifths": own[:, Count.BELOW_FOUR_FIFTHS] / size,
        "border_own": own[:, Count.BORDER_OWN] / own[:, Count.BORDER],
        "inner_own": np.where(inside > 0, inner, np.nan),
        "outside": own[:, Count.OUTSIDE] / size,
        "soft_dice": _soft_dice(own),
        "whole_own": whole[:, Count.OWN] / whole[:, Count.VOXELS],
        "whole_soft_dice": _soft_dice(whole),
    }


def _soft_dice(sums: Table) -> Table:
    """The Dice that would come out if every voxel were as its probability says."""
    dice: Table = 2 * sums[:, Count.OWN] / (sums[:, Count.VOXELS] + sums[:, Count.OWN] + sums[:, Count.OUTSIDE])
    return dice


def _size(judged: _Judged) -> dict[str, Table]:
    n, mask, size, of_side = judged.voxels, judged.mask, judged.size, judged.side
    side = np.stack([n[s == SIDE_OF_ROW].sum(axis=0) for s in range(3)])
    femur = np.sum(mask * n[_row_of(_FEMUR, of_side)], axis=1)
    dx, dy, dz = judged.evidence.spacing_mm
    planes = np.sum(judged.mask * judged.held, axis=1)
    return {
        "log_volume": np.log(size * dx * dy * dz),
        "log_area": np.log(size * dx * dy / planes),
        "share_of_side": np.log(size / np.sum(mask * side[of_side], axis=1)),
        "to_femur": np.where(femur > 0, np.log(size / femur), np.nan),
    }


def _place(judged: _Judged) -> dict[str, Table]:
    n, rows, of_side = judged.voxels, judged.rows, judged.side
    dx, dy, _ = judged.evidence.spacing_mm
    weight = judged.mask * n[rows]
    place = _places(judged.evidence)
    side = np.stack([n[s == SIDE_OF_ROW].sum(axis=0) for s in range(3)])
    scale = np.sqrt(np.maximum(side, 1) * dx * dy)
    away = [(place.own[axis][rows] - place.side[axis][of_side]) / scale[of_side] for axis in (0, 1)]
    return {
        "right_mm": _mean(away[0], weight) * np.where(of_side == 1, -1.0, 1.0),
        "front_mm": _mean(away[1], weight),
        "spread": _mean(place.spread[rows], weight),
        "border_density": _mean(
            judged.evidence.counts[rows][:, :, Count.BORDER] / np.sqrt(np.maximum(n[rows], 1)), weight
        ),
        "jump": _mean(place.jump[rows], weight),
    }


def _density(judged: _Judged) -> dict[str, Table]:
    own, size = judged.own, judged.size
    mean = own[:, Count.HU] / size
    return {
        "fat": own[:, Count.FAT] / size,
        "mean_hu": mean,
        "sd_hu": np.sqrt(np.maximum(own[:, Count.HU_SQUARES] / size - mean**2, 0)),
    }


def _shape(judged: _Judged) -> dict[str, Table]:
    rows, held = judged.rows, judged.held
    change = np.abs(np.diff(judged.voxels, axis=1))
    around = np.pad(change, ((0, 0), (1, 0))) + np.pad(change, ((0, 0), (0, 1)))
    touch = judged.touch
    return {
        "roughness": np.sum(judged.mask * around[rows] * held, axis=1) / judged.size,
        "runs": (np.diff(np.pad(held, ((0, 0), (1, 0))).astype(int), axis=1) == 1).sum(axis=1).astype(float),
        "dissolved": judged.evidence.dissolved[rows],
        "ends": held[:, 0].astype(float) + held[:, -1],
        "touch_edge": touch[:, IMAGE_EDGE] / np.maximum(touch.sum(axis=1), 1),
    }


INPUTS: Final = (
    "own",
    "entropy",
    "margin",
    "below_four_fifths",
    "border_own",
    "inner_own",
    "outside",
    "soft_dice",
    "whole_own",
    "whole_soft_dice",
    "own_to_scan",
    "roughness",
    "jump",
    "runs",
    "dissolved",
    "ends",
    "touch_edge",
    "odd_neighbours",
    "lacking_neighbours",
    "usual_dice",
    "far_out",
    "odd_level",
    "gaps_due",
    "neighbours_own",
    "log_volume",
    "log_area",
    "fat",
    *(f"{name}_off" for name in USUAL),
)
"""What the chance of being wrong is made of, in this order; ``_off``: how far from the usual, in SDs, either way."""


def features(evidence: Evidence, sections: Sections, population: Population) -> Table:
    """Values of shape (N, len(INPUTS)), NaN where there is none."""
    raw = raw_features(evidence, sections)
    classes = CLASS_OF_ROW[sections.rows]
    found = dict(raw)
    level = raw["level"]
    t = np.where(np.isfinite(level), level, 0.0) / 100.0
    for number, name in enumerate(USUAL):
        a, b, c, sd = population.curve[classes, number].T
        found[f"{name}_off"] = np.minimum(np.abs((raw[name] - (a + b * t + c * t * t)) / sd), FARTHEST)
    share = contact_shares(evidence, sections)
    usual = population.contact[classes]
    found["odd_neighbours"] = -(share * np.log(usual + 0.003)).sum(axis=1)
    found["lacking_neighbours"] = np.maximum(usual - share, 0.0)[:, 1:OTHER_SIDE].sum(axis=1)
    found["usual_dice"] = population.usual_dice[classes]
    found |= _against_presence(_Judged.of(evidence, sections), population)
    told = ("share_of_side", "right_mm", "front_mm", "border_density", "mean_hu")
    found["far_out"] = np.max([np.nan_to_num(found[f"{name}_off"]) for name in told], axis=0)
    return np.stack([found[name] for name in INPUTS], axis=1)


RARE: Final = 0.03
"""Added to the share of bodies that have a structure at a level: a level at which nobody has it is no proof."""


def _against_presence(judged: _Judged, population: Population) -> dict[str, Table]:
    """How unlikely the levels are at which a structure lies, and how much is missing where nearly everybody has it."""
    evidence, rows = judged.evidence, judged.rows
    pixel = evidence.spacing_mm[0] * evidence.spacing_mm[1]
    step = np.stack([steps_of(levels(evidence, side)) for side in range(3)])[judged.side, CLASS_OF_ROW[rows] - 1]
    usual = population.presence[CLASS_OF_ROW[rows][:, None], np.maximum(step, 0)]
    side = np.stack([judged.voxels[s == SIDE_OF_ROW].sum(axis=0) for s in range(3)])[judged.side]
    due = (step >= 0) & (side * pixel >= LEAST_SIDE_MM2) & (usual >= NEARLY_EVERYBODY)
    count = due.sum(axis=1)
    weight = np.where(step >= 0, judged.mask * judged.voxels[rows], 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "odd_level": _mean(-np.log(usual + RARE), weight),
            "gaps_due": np.where(count > 0, (due & ~judged.held).sum(axis=1) / count, np.nan),
        }


def contact_shares(evidence: Evidence, sections: Sections) -> Table:
    """Share of each neighbour, shape (N, 32): for the population."""
    touch = np.einsum("nk,nkc->nc", sections.slices.astype(float), evidence.contacts[sections.rows].astype(float))
    shares: Table = touch / np.maximum(touch.sum(axis=1, keepdims=True), 1)
    return shares


@dataclass(frozen=True, slots=True, eq=False)
class _Places:
    """Centres in mm: of each row (2, 87, Z) and of each side's labels (2, 3, Z); spread and jumps by own size."""

    own: Table
    side: Table
    spread: Table
    jump: Table


def _places(evidence: Evidence) -> _Places:
    counts = evidence.counts
    dx, dy, _ = evidence.spacing_mm
    n = counts[:, :, Count.VOXELS]
    with np.errstate(divide="ignore", invalid="ignore"):
        own = np.stack([counts[:, :, Count.X] / n * dx, counts[:, :, Count.Y] / n * dy])
        sums = np.stack([counts[:, :, Count.X] * dx, counts[:, :, Count.Y] * dy])
        side = np.stack(
            [
                np.stack([total[s == SIDE_OF_ROW].sum(axis=0) / n[s == SIDE_OF_ROW].sum(axis=0) for s in range(3)])
                for total in sums
            ]
        )
        second = (counts[:, :, Count.X_SQUARES] / n) * dx * dx + (counts[:, :, Count.Y_SQUARES] / n) * dy * dy
        variance = second - (own**2).sum(axis=0)
        spread = np.sqrt(np.maximum(variance, 0) / (n * dx * dy))
        step = np.sqrt((np.diff(own, axis=2) ** 2).sum(axis=0))
        jump = np.fmax(
            np.pad(step, ((0, 0), (1, 0)), constant_values=np.nan),
            np.pad(step, ((0, 0), (0, 1)), constant_values=np.nan),
        )
        jump = jump / np.sqrt(n * dx * dy)
    return _Places(own, side, spread, jump)


def _mean(values: Table, weight: Table) -> Table:
    """Weighted mean over slices of what is known."""
    known = np.isfinite(values) & (weight > 0)
    total = np.where(known, weight, 0.0).sum(axis=1)
    mean = np.where(known, values * weight, 0.0).sum(axis=1) / np.maximum(total, 1e-9)
    return np.where(total > 0, mean, np.nan)


def _level(judged: _Judged) -> Table:
    """How much higher in the body, by what else the slices hold, than the structure usually lies; mm."""
    n, mask, rows = judged.voxels, judged.mask, judged.rows
    usual = _HEIGHT[CLASS_OF_ROW]
    known = np.isfinite(usual)
    amount = np.sqrt(n)  # large muscles alone would decide
    total, moment = mask @ amount[known].sum(axis=0), mask @ (amount[known] * usual[known][:, None]).sum(axis=0)
    mine = np.sum(mask * amount[rows], axis=1) * known[rows]
    total, moment = total - mine, moment - mine * np.nan_to_num(usual[rows])
    at = np.where(total > 0, moment / total, np.nan)
    level: Table = at - np.where(known[rows], usual[rows], _FEMUR_HEIGHT_MM)
    return level


def _sure_of_the_scan(evidence: Evidence) -> float:
    """Mean probability of the label given, over all muscles."""
    totals = evidence.counts.sum(axis=1)[~_BONE[CLASS_OF_ROW]]
    return float(totals[:, Count.OWN].sum() / max(1.0, float(totals[:, Count.VOXELS].sum())))


def _sureness_of_neighbours(judged: _Judged) -> Table:
    """Mean probability of the labels that a structure touches, by how much it touches each."""
    totals = judged.evidence.counts.sum(axis=1)
    own = totals[:, Count.OWN] / np.maximum(totals[:, Count.VOXELS], 1)
    touch = judged.touch[:, 1:OTHER_SIDE]
    around = own.reshape(3, _N)[judged.side]
    total = touch.sum(axis=1)
    sure: Table = np.where(total > 0, (touch * around).sum(axis=1) / np.maximum(total, 1), np.nan)
    return sure


def _row_of(class_id: int, side: NDArray[np.int64]) -> NDArray[np.int64]:
    """Row of a class on each of the sides given."""
    rows: NDArray[np.int64] = side * _N + (class_id - 1)
    return rows
