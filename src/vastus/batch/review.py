"""Which scans a human should look at first: those that stand out from the archive they belong to.

Robust statistics of the archive itself: a logarithm of volume is compared with the median, in units of the scaled
median absolute deviation. Nothing here says that a scan is wrong, or that the others are right.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BUILT_IN, THIGH_GROUPS, Side, StructureTable
from vastus.io.tables import (
    ALL,
    BOTH_SIDES,
    CONFIDENCE,
    CONFIDENCE_FILE,
    EXPECTED_AGREEMENT,
    FRAGMENT,
    LIKELY_WRONG,
    PROBABILITY_WRONG,
    SIDE,
    STRUCTURE,
    SUBJECT,
    TRUNCATED,
    VOLUME_MM3,
)

FEWEST_SCANS: Final = 20
"""Scans with a whole structure needed before one can stand out from them."""
FAR_OUT: Final = 4.0
"""Scaled median absolute deviations; of 58 normally distributed volumes, one in 270 scans has one beyond that."""
LARGE_ASYMMETRY: Final = 0.5
"""|log(right / left)| that is named even without an archive to compare with: a side 1.6 times the other."""
LOW_CONFIDENCE: Final = 0.7
"""Mean probability over a whole scan that is named even without an archive to compare with."""
_SMALLEST_SPREAD = 0.05
_SMALLEST_SPREAD_LOGIT = 0.25
_SURELY = 0.001
_WRONG_WEIGHT = 10.0
_MAD_TO_SD = 1.4826
_USUALLY_WHOLE = 0.5
_USUALLY_THERE = 0.9


class Reason(Enum):
    """Why a scan is worth a look."""

    TRUNCATED = "truncated"
    ABSENT = "absent"
    VOLUME = "volume"
    ASYMMETRY = "asymmetry"
    CONFIDENCE = "confidence"
    AGREEMENT = "agreement"
    WARNING = "warning"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class ScanToReview:
    """One reason in words, and how far out it is (in deviations where it has any)."""

    reason: Reason
    text: str
    weight: float


@dataclass(frozen=True, slots=True, eq=False)
class Archive:
    """Volumes of all scans; columns are the table's ``whole_labels``: right ones, left ones, then the midline.

    Attributes:
        names: of the scans.
        volume_mm3: shape (scans, columns), NaN where absent or a fragment.
        truncated: the same shape.
        confidence: of the network, shape (scans, columns + 1), the last of the scan as a whole; NaN where not known.
        wrong: chance that a structure is wrong, the same shape; NaN where not known. None: nowhere known.
        expected: agreement that is expected of a structure, likewise.
        table: of the structures.
    """

    names: list[str]
    volume_mm3: NDArray[np.float32]
    truncated: NDArray[np.bool_]
    confidence: NDArray[np.float32]
    wrong: NDArray[np.float32] | None = None
    expected: NDArray[np.float32] | None = None
    table: StructureTable = BUILT_IN

    @property
    def pairs(self) -> int:
        """Number of structures that both sides have: column ``n`` is the right one, ``n + pairs`` the left one."""
        return sum(s.paired for s in self.table.rows)

    @property
    def muscles_mm3(self) -> NDArray[np.float32]:
        """Muscles that are there, shape (scans, 2), right and left.

        Those of the thigh (anterior, medial, posterior); all of a table that lacks some of these.
        """
        paired = [s for s in self.table.rows if s.paired]
        thigh = self.table.has_whole_thigh
        summed = np.array([s.group in THIGH_GROUPS if thigh else s.is_muscle for s in paired], bool)
        sides = (self.volume_mm3[:, : self.pairs], self.volume_mm3[:, self.pairs : 2 * self.pairs])
        sums = [np.where(np.isnan(h[:, summed]).all(1), np.nan, np.nansum(h[:, summed], axis=1)) for h in sides]
        return np.stack(sums, axis=1).astype(np.float32)


STOP_PREFIX: Final = "STOP: "
"""Before a warning after which no number of the scan is to be used."""
_STOP_WEIGHT: Final = 1000.0


def warned(text: str) -> ScanToReview:
    """What a warning of a run says in the list; one that stops a reader comes before everything else."""
    if text.startswith(STOP_PREFIX):
        return ScanToReview(Reason.STOP, text, _STOP_WEIGHT)
    return ScanToReview(Reason.WARNING, text, 0.5)


def read_archive(path: Path, table: StructureTable = BUILT_IN) -> Archive:
    """Read the archive's ``volumes.csv``; a scan's rows lie together.

    Args:
        path: of the table of volumes; that of confidence lies beside it.
        table: of the structures; rows of others are passed over.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    options = arrow_csv.ConvertOptions(
        column_types={
            SUBJECT: pa.string(),
            STRUCTURE: pa.string(),
            SIDE: pa.string(),
            VOLUME_MM3: pa.float32(),
            TRUNCATED: pa.bool_(),
            FRAGMENT: pa.bool_(),
        },
        include_columns=[SUBJECT, STRUCTURE, SIDE, VOLUME_MM3, TRUNCATED, FRAGMENT],
        include_missing_columns=True,
        strings_can_be_null=False,
    )
    names: list[str] = []
    width = len(table.whole_labels)
    volumes = [np.empty((0, width), np.float32)]
    cuts = [np.empty((0, width), np.bool_)]
    with arrow_csv.open_csv(path, convert_options=options) as reader:
        for batch in reader:
            subjects = batch.column(0).dictionary_encode()
            found = subjects.dictionary.to_pylist()
            # The first scan of a piece may be the last one of the piece before.
            goes_on = bool(names) and bool(found) and found[0] == names[-1]
            names.extend(found[goes_on:])
            volume = np.full((len(found), width), np.nan, np.float32)
            cut = np.zeros(volume.shape, np.bool_)
            column = _columns_of(batch.column(1), batch.column(2), table)
            known = (column >= 0) & (column < width)
            cells = subjects.indices.to_numpy()[known], column[known]
            fragment = batch.column(5).fill_null(False).to_numpy(zero_copy_only=False)
            volume[cells] = np.where(fragment, np.nan, batch.column(3).to_numpy(zero_copy_only=False))[known]
            cut[cells] = batch.column(4).to_numpy(zero_copy_only=False)[known]
            if goes_on:
                here = ~np.isnan(volume[0])
                volumes[-1][-1, here], cuts[-1][-1, here] = volume[0, here], cut[0, here]
            volumes.append(volume[goes_on:])
            cuts.append(cut[goes_on:])
    confidence, wrong, expected = (
        _read_confidence(path.with_name(CONFIDENCE_FILE), names, table, value)
        for value in (CONFIDENCE, PROBABILITY_WRONG, EXPECTED_AGREEMENT)
    )
    return Archive(names, np.concatenate(volumes), np.concatenate(cuts), confidence, wrong, expected, table)


def _read_confidence(path: Path, names: list[str], known: StructureTable, value: str) -> NDArray[np.float32]:
    """Shape (scans, columns + 1); NaN where the table says nothing. Its scans may stand in another order."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    confidence = np.full((len(names), len(known.whole_labels) + 1), np.nan, np.float32)
    if not path.exists():
        return confidence
    place = {name: n for n, name in enumerate(names)}
    options = arrow_csv.ConvertOptions(
        column_types={SUBJECT: pa.string(), STRUCTURE: pa.string(), SIDE: pa.string(), value: pa.float32()},
        include_columns=[SUBJECT, STRUCTURE, SIDE, value],
        include_missing_columns=True,
        strings_can_be_null=False,
    )
    with arrow_csv.open_csv(path, convert_options=options) as reader:
        for batch in reader:
            subjects = batch.column(0).dictionary_encode()
            rows = np.array([place.get(name, -1) for name in subjects.dictionary.to_pylist()], np.intp)
            row, column = rows[subjects.indices.to_numpy()], _columns_of(batch.column(1), batch.column(2), known)
            told = (row >= 0) & (column >= 0)
            confidence[row[told], column[told]] = batch.column(3).to_numpy(zero_copy_only=False)[told]
    return confidence


def _columns_of(structures: Any, sides: Any, known: StructureTable) -> NDArray[np.intp]:
    """Column of each row, -1 where the side is not known; the last one of a row of the whole scan."""
    index = {(label.structure.key, label.side.value): n for n, label in enumerate(known.whole_labels)}
    index[ALL, BOTH_SIDES] = len(index)
    structure, side = structures.dictionary_encode(), sides.dictionary_encode()
    table = np.array(
        [
            [index.get((s, which), -1) for which in side.dictionary.to_pylist()]
            for s in structure.dictionary.to_pylist()
        ],
        dtype=np.intp,
    ).reshape(len(structure.dictionary), len(side.dictionary))
    columns: NDArray[np.intp] = table[structure.indices.to_numpy(), side.indices.to_numpy()]
    return columns


def findings(archive: Archive) -> list[list[ScanToReview]]:
    """For every scan what stands out, the farthest first."""
    found: list[list[ScanToReview]] = [[] for _ in archive.names]
    count = len(archive.names)
    if count == 0:
        return found
    there = ~np.isnan(archive.volume_mm3)
    whole = there & ~archive.truncated
    enough = count >= FEWEST_SCANS
    if enough:
        usual = whole.mean(axis=0) >= _USUALLY_WHOLE
        _listed(found, archive, archive.truncated & usual, Reason.TRUNCATED, "cut by the edge of the scan")
        lacking = ~there & (there.mean(axis=0) >= _USUALLY_THERE)
        _listed(found, archive, lacking, Reason.ABSENT, "not found")
    logs = np.where(whole, np.log(np.where(whole, archive.volume_mm3, 1.0)), np.nan)
    for scan, column, z in _far_out(logs):
        found[scan].append(
            ScanToReview(Reason.VOLUME, f"{_name(archive, column)} {'large' if z > 0 else 'small'} ({z:+.1f})", abs(z))
        )
    ratios = logs[:, : archive.pairs] - logs[:, archive.pairs : 2 * archive.pairs]
    for scan, column, z in _far_out(ratios):
        words = f"{_sides(archive, ratios[scan, column], column)} ({z:+.1f})"
        found[scan].append(ScanToReview(Reason.ASYMMETRY, words, abs(z)))
    if not enough:
        for scan, column in np.argwhere(np.abs(np.nan_to_num(ratios)) > LARGE_ASYMMETRY):
            words = _sides(archive, ratios[scan, column], column)
            found[scan].append(ScanToReview(Reason.ASYMMETRY, words, 1.0))
    for scan, finding in _unsure(archive):
        found[scan].append(finding)
    if archive.wrong is not None:
        for scan, finding in _wrong(archive, archive.wrong):
            found[scan].append(finding)
    for each in found:
        each.sort(key=lambda f: -f.weight)
    return found


def _wrong(archive: Archive, chance: NDArray[np.float32]) -> Iterator[tuple[int, ScanToReview]]:
    """Scans with structures that are likely wrong: before all that only stands out."""
    likely = np.nan_to_num(chance[:, :-1]) >= LIKELY_WRONG
    for scan in np.flatnonzero(likely.any(axis=1)):
        columns = sorted(np.flatnonzero(likely[scan]), key=lambda c: -chance[scan, c])
        told = chance if archive.expected is None else archive.expected
        names = ", ".join(f"{_name(archive, int(c))} ({told[scan, c]:.2f})" for c in columns[:3])
        more = f" and {len(columns) - 3} more" if len(columns) > 3 else ""
        what = "likely wrong" if archive.expected is None else "likely wrong (expected agreement)"
        yield int(scan), ScanToReview(Reason.AGREEMENT, f"{what}: {names}{more}", _WRONG_WEIGHT + len(columns))


def _unsure(archive: Archive) -> Iterator[tuple[int, ScanToReview]]:
    """Where the network was less sure than in the archive's other scans, or hardly sure of a scan at all.

    A structure is compared with itself: small and thin ones are mostly boundary, where no network is sure.
    """
    confidence = archive.confidence.astype(np.float64)
    probability = np.clip(confidence, _SURELY, 1 - _SURELY)
    far = {(s, c): z for s, c, z in _far_out(np.log(probability / (1 - probability)), _SMALLEST_SPREAD_LOGIT) if z < 0}
    whole = confidence.shape[1] - 1
    for each in np.flatnonzero(confidence[:, whole] < LOW_CONFIDENCE):
        far.setdefault((int(each), whole), -FAR_OUT)
    for (scan, column), z in far.items():
        of = "the scan" if column == whole else _name(archive, column)
        text = f"the network was not sure of {of} ({confidence[scan, column]:.2f})"
        yield scan, ScanToReview(Reason.CONFIDENCE, text, abs(z))


def _far_out(
    values: NDArray[np.float64], smallest_spread: float = _SMALLEST_SPREAD
) -> Iterator[tuple[int, int, float]]:
    """Scan, column and deviation of what lies far from its column's median."""
    for column in range(values.shape[1]):
        known = np.flatnonzero(~np.isnan(values[:, column]))
        if len(known) < FEWEST_SCANS:
            continue
        middle = np.median(values[known, column])
        spread = max(smallest_spread, _MAD_TO_SD * float(np.median(np.abs(values[known, column] - middle))))
        z = (values[known, column] - middle) / spread
        for scan, far in zip(known[np.abs(z) > FAR_OUT], z[np.abs(z) > FAR_OUT], strict=True):
            yield int(scan), column, float(far)


def _listed(
    found: list[list[ScanToReview]], archive: Archive, where: NDArray[np.bool_], reason: Reason, words: str
) -> None:
    """One finding a scan for all its structures."""
    for scan in np.flatnonzero(where.any(axis=1)):
        columns = np.flatnonzero(where[scan])
        names = ", ".join(_name(archive, int(c)) for c in columns[:3])
        more = f" and {len(columns) - 3} more" if len(columns) > 3 else ""
        found[scan].append(ScanToReview(reason, f"{names}{more} {words}", float(len(columns))))


def _name(archive: Archive, column: int) -> str:
    label = archive.table.whole_labels[column]
    return f"{label.structure.key} {label.side.value}"


def _sides(archive: Archive, log_ratio: float, column: int) -> str:
    larger = Side.RIGHT if log_ratio > 0 else Side.LEFT
    percent = 100 * (np.exp(abs(log_ratio)) - 1)
    return f"{archive.table.whole_labels[column].structure.key} {percent:.0f} % larger on the {larger.value}"
