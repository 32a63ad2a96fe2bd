"""What can be seen of a structure without a reference: some sixty numbers, each with a plain meaning.

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
from vastus.inference.body_lie import HEIGHT_MM
from vastus.inference.evidence import CONTACTS, IMAGE_EDGE, OTHER_SIDE, Count, Evidence

Table = NDArray[np.float64]

CLASS_OF_ROW: Final = np.array([label.structure.class_id for label in LABELS])
SIDE_OF_ROW: Final = np.repeat([0, 1, 2], len(STRUCTURES))
_N: Final = len(STRUCTURES)
_FEMUR: Final = BY_KEY["femur"].class_id
_HEIGHT: Final = np.array([np.nan, *(HEIGHT_MM.get(s.key, np.nan) for s in STRUCTURES)])
_FEMUR_HEIGHT_MM: Final = 250.0
_BONE: Final = np.array([False, *(not s.is_muscle for s in STRUCTURES)])
_OTHER_ROW: Final = np.concatenate([np.arange(_N) + _N, np.arange(_N), np.arange(_N) + 2 * _N])

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


@dataclass(frozen=True, slots=True, eq=False)
class Population:
    """What is usual of each class in good segmentations.

    Attributes:
        curve: shape (30, len(USUAL), 4): coefficients of 1, t, t^2 with t the level in units of 100 mm from the
            structure's usual height; then the SD around that curve. NaN where not known.
        contact: shape (30, 32): usual share of each neighbour of the border.
        usual_dice: shape (30,).
    """

    curve: Table
    contact: Table
    usual_dice: Table


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
        out |= _neighbours(judged)
        out["level"] = _level(judged)
    out |= _of_the_scan(evidence, len(judged.rows))
    out["own_to_scan"] = out["own"] - out["scan_own"]
    out["hu_to_scan"] = out["mean_hu"] - out["scan_hu"]
    return out


def _sureness(judged: _Judged) -> dict[str, Table]:
    own, whole, size = judged.own, judged.whole, judged.size
    inside = size - own[:, Count.BORDER]
    inner = (own[:, Count.OWN] - own[:, Count.BORDER_OWN]) / inside
    return {
        "own": own[:, Count.OWN] / size,
        "entropy": own[:, Count.ENTROPY] / size,
        "margin": own[:, Count.MARGIN] / size,
        "below_half": own[:, Count.BELOW_HALF] / size,
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
    dx, dy, dz = judged.evidence.spacing_mm
    side = np.stack([n[s == SIDE_OF_ROW].sum(axis=0) for s in range(3)])
    femur = np.sum(mask * n[_row_of(_FEMUR, of_side)], axis=1)
    other = np.sum(mask * n[_OTHER_ROW[judged.rows]], axis=1)
    other_side = side[1 - np.minimum(of_side, 1)].sum(axis=1)
    return {
        "log_mm3": np.log(judged.whole[:, Count.VOXELS] * dx * dy * dz),
        "log_mm2": np.log(size * dx * dy / np.maximum(1, (mask * judged.held).sum(axis=1))),
        "share_of_side": np.log(size / np.sum(mask * side[of_side], axis=1)),
        "to_femur": np.where(femur > 0, np.log(size / femur), np.nan),
        "to_other_side": np.where(other > 0, np.log(size / other), np.nan),
        "other_side_lacks": ((other == 0) & (other_side > 0)).astype(float),
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
    inside = size - own[:, Count.BORDER]
    inner = np.where(inside > 0, (own[:, Count.HU] - own[:, Count.BORDER_HU]) / inside, np.nan)
    return {
        "mean_hu": mean,
        "sd_hu": np.sqrt(np.maximum(own[:, Count.HU_SQUARES] / size - mean**2, 0)),
        "fat": own[:, Count.FAT] / size,
        "dense": own[:, Count.DENSE] / size,
        "border_hu": own[:, Count.BORDER_HU] / own[:, Count.BORDER] - inner,
        "noise": np.sqrt(own[:, Count.STEP_SQUARES] / np.maximum(own[:, Count.STEPS], 1) / 2),
    }


def _shape(judged: _Judged) -> dict[str, Table]:
    rows, held = judged.rows, judged.held
    change = np.abs(np.diff(judged.voxels, axis=1))
    around = np.pad(change, ((0, 0), (1, 0))) + np.pad(change, ((0, 0), (0, 1)))
    return {
        "roughness": np.sum(judged.mask * around[rows] * held, axis=1) / judged.size,
        "whole_roughness": change[rows].sum(axis=1) / judged.whole[:, Count.VOXELS],
        "runs": (np.diff(np.pad(held, ((0, 0), (1, 0))).astype(int), axis=1) == 1).sum(axis=1).astype(float),
        "slices": held.sum(axis=1) * judged.evidence.spacing_mm[2],
        "parts": judged.evidence.parts[rows].astype(float),
        "dissolved": judged.evidence.dissolved[rows],
        "ends": held[:, 0].astype(float) + held[:, -1],
    }


def _neighbours(judged: _Judged) -> dict[str, Table]:
    share = judged.touch / np.maximum(judged.touch.sum(axis=1, keepdims=True), 1)
    return {
        "touch_nothing": share[:, 0],
        "touch_femur": share[:, _FEMUR],
        "touch_other_side": share[:, OTHER_SIDE],
        "touch_edge": share[:, IMAGE_EDGE],
    }


def features(evidence: Evidence, sections: Sections, population: Population) -> tuple[tuple[str, ...], Table]:
    """Names, and values of shape (N, features)."""
    raw = raw_features(evidence, sections)
    classes = CLASS_OF_ROW[sections.rows]
    found = dict(raw)
    level = raw["level"]
    t = np.where(np.isfinite(level), level, 0.0) / 100.0
    for number, name in enumerate(USUAL):
        a, b, c, sd = population.curve[classes, number].T
        found[f"{name}_z"] = np.clip((raw[name] - (a + b * t + c * t * t)) / sd, -12, 12)
    touch = np.einsum("nk,nkc->nc", sections.slices.astype(float), evidence.contacts[sections.rows].astype(float))
    share = touch / np.maximum(touch.sum(axis=1, keepdims=True), 1)
    found["odd_neighbours"] = -(share * np.log(population.contact[classes] + 0.003)).sum(axis=1)
    lack = np.maximum(population.contact[classes] - share, 0.0)
    found["lacking_neighbours"] = lack[:, 1:OTHER_SIDE].sum(axis=1)
    found["usual_dice"] = population.usual_dice[classes]
    sided = ("share_of_side_z", "right_mm_z", "front_mm_z", "border_density_z", "mean_hu_z")
    found["far_out"] = np.nanmax(np.abs(np.nan_to_num(np.stack([found[name] for name in sided]))), axis=0)
    names = tuple(found)
    return names, np.stack([found[name] for name in names], axis=1)


def contact_shares(evidence: Evidence, sections: Sections) -> Table:
    """Share of each neighbour, shape (N, 32): for the population."""
    touch = np.einsum("nk,nkc->nc", sections.slices.astype(float), evidence.contacts[sections.rows].astype(float))
    shares: Table = touch / np.maximum(touch.sum(axis=1, keepdims=True), 1)
    assert shares.shape[1] == CONTACTS
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


def _of_the_scan(evidence: Evidence, count: int) -> dict[str, Table]:
    """The same for all structures of a scan."""
    totals = evidence.counts.sum(axis=1)
    muscle = ~_BONE[CLASS_OF_ROW] & (totals[:, Count.VOXELS] > 0)
    n = max(1.0, float(totals[muscle, Count.VOXELS].sum()))
    values = {
        "scan_own": totals[muscle, Count.OWN].sum() / n,
        "scan_hu": totals[muscle, Count.HU].sum() / n,
        "scan_noise": np.sqrt(
            totals[muscle, Count.STEP_SQUARES].sum() / max(1.0, float(totals[muscle, Count.STEPS].sum())) / 2
        ),
        "scan_outside": totals[muscle, Count.OUTSIDE].sum() / n,
        "scan_structures": float(muscle.sum()),
        "scan_mm": evidence.counts.shape[1] * evidence.spacing_mm[2],
        "scan_dissolved": float(evidence.dissolved[muscle].mean()) if muscle.any() else 0.0,
    }
    return {name: np.full(count, float(value)) for name, value in values.items()}


def _row_of(class_id: int, side: NDArray[np.int64]) -> NDArray[np.int64]:
    """Row of a class on each of the sides given."""
    rows: NDArray[np.int64] = side * _N + (class_id - 1)
    return rows
