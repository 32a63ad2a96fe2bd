"""Structures that do not fit the others of their kind in a folder.

Every quantity of a structure is compared three times: with the same structure in the other scans (both sides pooled),
with the other structures of the same scan (a scan on which the model does badly, or with blurred edges, is no error of
its labels), and with the same structure on the other side. What counts is the geometric mean of the two robust z
(median and 1.4826 MAD), own and against the other side: an error is nearly always made on one side. Medians stand for
what is usual, so that the errors looked for do not hide themselves; each spread has a floor, so that a folder in which
all agree to a hundredth does not flag the one that is off by two.

The boundary of a label is judged by several quantities together. The strongest needs no model: across the boundary of a
muscle HU fall from muscle to fat, and where the boundary lies beside the true one they do not.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BY_KEY, SIDES, STRUCTURES, Side
from vastus.curation.facts import ROW_OF, VALUES, CaseFacts, Table
from vastus.curation.shapes import worst_jump
from vastus.curation.suspicion import FindingKind, Suspicion

LEAST_SAMPLES: Final = 6
"""Fewer of a kind say nothing about what is usual."""

LEAST_MM3: Final = 500.0
"""Structures smaller than this are not compared: a voxel more or less changes everything."""

MOST_Z: Final = 12.0
"""No single quantity counts for more."""

BOUNDARY_LIMIT: Final = 8.0
"""Of the sum of z - 1 over the quantities of a boundary, with a model."""

BOUNDARY_LIMIT_ALONE: Final = 11.0
"""The same without a model: HU alone can't tell a wrong boundary from one without fat beside it."""

FULL_WORD_Z: Final = 2.0
"""With a model, HU count in full where its boundary is off by this z, less where it is nearer."""

_PAIRS = [(ROW_OF[s.label_value(Side.RIGHT)], ROW_OF[s.label_value(Side.LEFT)]) for s in STRUCTURES]
_RIGHT = np.array([r for r, _ in _PAIRS])
_LEFT = np.array([left for _, left in _PAIRS])
_OPPOSITE = np.arange(len(VALUES))
_OPPOSITE[_RIGHT], _OPPOSITE[_LEFT] = _LEFT, _RIGHT
_SIDED = np.concatenate([_RIGHT, _LEFT])


@dataclass(frozen=True, slots=True)
class Quantity:
    """Something measured of every structure.

    Attributes:
        kind: of a suspicion by it.
        words: for the detail; ``{x}`` is the value, ``{usual}`` the structure's median.
        floor: the least robust SD.
        limit: z at which it counts on its own; infinite: only together with others.
        sign: +1: only high values are suspicious, -1: only low ones, 0: both.
        by_case: whether what is common to the structures of a scan is taken off first.
        logarithmic: the table holds logarithms; the words show what they are logarithms of.
    """

    kind: FindingKind
    words: str
    floor: float
    limit: float = np.inf
    sign: int = 0
    by_case: bool = True
    logarithmic: bool = False


SIGNED = Quantity(FindingKind.BOUNDARY, "on average {x:+.1f} mm from the model's boundary (+ outside)", 0.2)
UNSIGNED = Quantity(
    FindingKind.BOUNDARY, "{x:.1f} mm off the model's boundary (usual {usual:.1f})", 0.1, sign=1, logarithmic=True
)
HU_LEVEL = Quantity(FindingKind.EDGE, "{x:.0f} HU at its boundary (usual {usual:.0f})", 6.0)
HU_FALL = Quantity(
    FindingKind.EDGE, "HU fall by {x:.0f} across its boundary (usual {usual:.0f})", 0.05, sign=-1, logarithmic=True
)
VOLUME = Quantity(
    FindingKind.VOLUME, "{x:.2f} times the volume that fits this body", 0.07, 6.0, by_case=False, logarithmic=True
)
ASYMMETRY = Quantity(FindingKind.ASYMMETRY, "{x:.2f} times its other side", 0.06, 7.0, by_case=False, logarithmic=True)
PLACE = Quantity(FindingKind.POSITION, "centre {x:.0f} mm from where the others have it", 4.0, 7.0, 1, by_case=False)
TOUCH = Quantity(FindingKind.NEIGHBOURS, "{x:.0%} of its surface touches what it usually does not", 0.05, 9.0, 1)
JUMP = Quantity(FindingKind.SLICE_JUMP, "two slices share {x:.0%} less than those around them", 0.1, 6.0, 1)

TOGETHER: Final = (SIGNED, UNSIGNED, HU_LEVEL, HU_FALL, VOLUME)
"""What is judged together of a boundary."""


def find_outliers(facts: Sequence[CaseFacts]) -> list[Suspicion]:
    """Every structure beyond a limit, by any quantity or by its boundary; all suspicions of a structure are given."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # medians of structures that no scan has
        jumps, at = _jumps(facts)
        level, fall = _boundary_hu(facts)
        volume = _log_volume(facts)
        tables: list[tuple[Quantity, Table]] = [
            (SIGNED, _signed_mm(facts)),
            (UNSIGNED, np.log(_unsigned_mm(facts) + 0.2)),
            (HU_LEVEL, level),
            (HU_FALL, fall),
            (VOLUME, volume),
            (ASYMMETRY, _log_asymmetry(facts)),
            (PLACE, _place_mm(facts)),
            (TOUCH, _unusual_touch(facts)),
            (JUMP, jumps),
        ]
        found: list[Suspicion] = []
        strengths: dict[Quantity, Table] = {}
        for quantity, table in tables:
            z = two_way_z(table, quantity)
            strengths[quantity] = z
            if np.isfinite(quantity.limit):
                for n, row in _beyond(z / quantity.limit):
                    if quantity is ASYMMETRY and abs(volume[n, row]) < abs(volume[n, _OPPOSITE[row]]):
                        continue  # the other side is the odd one
                    slices = (int(at[n, row]),) if quantity is JUMP else ()
                    found.append(
                        Suspicion(
                            facts[n].case,
                            VALUES[row],
                            quantity.kind,
                            float(z[n, row] / quantity.limit),
                            _words(quantity, table, n, row),
                            slices,
                        )
                    )
        found += _boundaries(facts, dict(tables), strengths)
    return found


def _boundaries(
    facts: Sequence[CaseFacts], tables: dict[Quantity, Table], strengths: dict[Quantity, Table]
) -> Iterator[Suspicion]:
    has_model = np.array([f.has_model for f in facts])
    excess = boundary_excess(strengths, has_model)
    score = excess.sum(axis=0) / np.where(has_model, BOUNDARY_LIMIT, BOUNDARY_LIMIT_ALONE)[:, None]
    for n, row in _beyond(score):
        order = np.argsort(-excess[:, n, row])
        reasons = [TOGETHER[i] for i in order if excess[i, n, row] >= 1.0]
        words = "; ".join(_words(q, tables[q], n, row) for q in reasons[:3])
        yield Suspicion(facts[n].case, VALUES[row], reasons[0].kind, float(score[n, row]), words)


def boundary_excess(strengths: dict[Quantity, Table], has_model: NDArray[np.bool_]) -> Table:
    """How much each quantity of ``TOGETHER`` says against a boundary: z - 1, where that is above 0.

    What looks odd in the image but lies where a model has it too lies right: bowel or a neighbour is beside it, no fat.

    Args:
        strengths: z of every quantity, (cases, R).
        has_model: by case.

    Returns:
        (5, cases, R).
    """
    excess = np.stack([np.maximum(np.minimum(np.nan_to_num(strengths[q]), MOST_Z) - 1.0, 0.0) for q in TOGETHER])
    word = np.clip(np.nan_to_num(strengths[UNSIGNED]) / FULL_WORD_Z, 0.0, 1.0)
    for quantity in (HU_LEVEL, HU_FALL):
        excess[TOGETHER.index(quantity)] *= np.where(has_model[:, None], word, 1.0)
    return excess


def _beyond(score: Table) -> Iterator[tuple[int, int]]:
    for n, row in zip(*np.nonzero(np.nan_to_num(score) >= 1.0), strict=True):
        yield int(n), int(row)


def _words(quantity: Quantity, table: Table, n: int, row: int) -> str:
    x, usual = float(table[n, row]), float(np.nanmedian(table[:, [row, _OPPOSITE[row]]]))
    if quantity.logarithmic:
        x, usual = float(np.exp(x)), float(np.exp(usual))
    return quantity.words.format(x=x, usual=usual)


def robust_z(values: Table, floor: float) -> Table:
    """Distance from the median in robust SD (1.4826 MAD, at least ``floor``); NaN where there are too few."""
    known = values[np.isfinite(values)]
    if len(known) < LEAST_SAMPLES:
        return np.full(values.shape, np.nan)
    middle = np.median(known)
    return np.asarray((values - middle) / max(1.4826 * float(np.median(np.abs(known - middle))), floor))


def two_way_z(table: Table, quantity: Quantity) -> Table:
    """How far each structure is off, 0 and up: geometric mean of its own z and that against its other side.

    Where the other side is not known the own z counts alone. Where the two point different ways the result is 0: then
    it is the other side that is off.

    Args:
        table: (cases, R).
        quantity: floor, sign, and whether scans have an effect of their own.
    """
    level = _polished(table) if quantity.by_case else table
    own = _by_structure(level, quantity.floor)
    beside = _by_structure(level - level[:, _OPPOSITE], 1.2 * quantity.floor)
    if quantity.sign:
        own, beside = np.maximum(quantity.sign * own, 0.0), np.maximum(quantity.sign * beside, 0.0)
    alone = ~np.isfinite(beside)
    same_way = np.sign(own) * np.sign(np.where(alone, own, beside)) > 0
    mean = np.sqrt(np.abs(own) * np.abs(np.where(alone, own, beside)))
    return np.where(same_way, mean, np.where(np.isfinite(own), 0.0, np.nan))


def _by_structure(table: Table, floor: float) -> Table:
    z = np.full(table.shape, np.nan)
    for pair in _PAIRS:
        z[:, pair] = robust_z(table[:, pair], floor)
    return z


def _polished(table: Table) -> Table:
    """Take off the medians of structures and of scans in turn (Tukey's median polish, two rounds)."""
    result = table.copy()
    for _ in range(2):
        for pair in _PAIRS:
            result[:, pair] -= np.nanmedian(result[:, pair])
        result -= np.nanmedian(result[:, _SIDED], axis=1, keepdims=True)
    return result


def _stack(facts: Sequence[CaseFacts], of: str) -> Table:
    return np.stack([getattr(f, of) for f in facts])


def _large(facts: Sequence[CaseFacts]) -> NDArray[np.bool_]:
    return _stack(facts, "volume_mm3") >= LEAST_MM3


def _whole(facts: Sequence[CaseFacts]) -> NDArray[np.bool_]:
    return np.asarray(_large(facts) & ~np.stack([f.cut for f in facts]))


def _surface(facts: Sequence[CaseFacts]) -> Table:
    return np.where(_large(facts), _stack(facts, "surface_mm2"), np.nan)


def _with_model(facts: Sequence[CaseFacts], table: Table) -> Table:
    return np.where(np.array([f.has_model for f in facts])[:, None], table, np.nan)


def _signed_mm(facts: Sequence[CaseFacts]) -> Table:
    return _with_model(facts, (_stack(facts, "volume_mm3") - _stack(facts, "model_volume_mm3")) / _surface(facts))


def _unsigned_mm(facts: Sequence[CaseFacts]) -> Table:
    same = np.stack([np.diag(f.joint_mm3) for f in facts])
    either = _stack(facts, "volume_mm3") + _stack(facts, "model_volume_mm3") - 2 * same
    return _with_model(facts, either / _surface(facts))


def _boundary_hu(facts: Sequence[CaseFacts]) -> tuple[Table, Table]:
    """At the faces to the background: mean HU, and the log of the fall from inside to outside (at least 2 HU)."""
    inside, outside = np.moveaxis(_stack(facts, "outwards_hu"), 2, 0)
    level, fall = (inside + outside) / 2, inside - outside
    large = _large(facts)
    return np.where(large, level, np.nan), np.where(large, np.log(np.maximum(fall, 2.0)), np.nan)


def _log_volume(facts: Sequence[CaseFacts]) -> Table:
    """Log of the volume, less the structure's median and what is common to the scan's muscles: the body's size."""
    return _polished(np.log(np.where(_whole(facts), _stack(facts, "volume_mm3"), np.nan)))


def _log_asymmetry(facts: Sequence[CaseFacts]) -> Table:
    """Log of a structure's volume over that of its other side."""
    logs = np.log(np.where(_whole(facts), _stack(facts, "volume_mm3"), np.nan))
    return np.asarray(logs - logs[:, _OPPOSITE])


def _place_mm(facts: Sequence[CaseFacts]) -> Table:
    """Distance of each centroid from where the folder has it, seen from the femur or hip bone of its side.

    Of the two bones the one that the structure keeps the steadier distance to is the landmark. Left is mirrored.
    """
    every = _stack(facts, "centre_mm")
    centre = np.where(_whole(facts)[..., None], every, np.nan)
    result = np.full(centre.shape[:2], np.nan)
    for pair in _PAIRS:
        per_bone = []
        for key in ("femur", "hip_bone"):
            points = np.concatenate(
                [
                    (centre[:, row] - every[:, ROW_OF[BY_KEY[key].label_value(side)]])
                    * ([-1, 1, 1] if side is Side.LEFT else [1, 1, 1])
                    for row, side in zip(pair, SIDES, strict=True)
                ]
            )
            per_bone.append(np.linalg.norm(points - np.nanmedian(points, axis=0), axis=1))
        spread = [np.nanmedian(distances) for distances in per_bone]
        if np.isfinite(spread).any():
            result[:, pair] = np.stack(np.split(per_bone[int(np.nanargmin(spread))], 2), axis=1)
    return result


def _unusual_touch(facts: Sequence[CaseFacts]) -> Table:
    """Share of a structure's surface that touches more of some other structure than the folder's median."""
    contact = _stack(facts, "contact_mm2") / _surface(facts)[..., None]
    result = np.full(contact.shape[:2], np.nan)
    for right, left in _PAIRS:
        both = np.concatenate([contact[:, right], contact[:, left][:, _OPPOSITE]])
        excess = np.maximum(both - np.nanmedian(both, axis=0), 0.0)
        excess[:, 0] = 0.0  # more fat around it is no unusual neighbour
        result[:, right], result[:, left] = np.split(excess.sum(axis=1), 2)
    return np.where(_large(facts), result, np.nan)


def _jumps(facts: Sequence[CaseFacts]) -> tuple[Table, NDArray[np.int64]]:
    """Worst fall of the overlap of two neighbouring slices, less that of the model's labels, and its slice."""
    jumps = np.full((len(facts), len(VALUES)), np.nan)
    at = np.zeros(jumps.shape, np.int64)
    for n, f in enumerate(facts):
        for row in f.present:
            found = worst_jump(f.area_mm2[row], f.shared_mm2[row])
            if found is None:
                continue
            theirs = worst_jump(f.said_area_mm2[row], f.said_shared_mm2[row]) if f.has_model else None
            jumps[n, row] = found[1] - (max(theirs[1], 0.0) if theirs else 0.0)
            at[n, row] = found[0]
    return jumps, at
