"""Findings of a label check on disk, and what a person decides about them.

A folder of a check holds ``findings.csv`` (ranked), ``decisions.csv`` (appended to, the last line of a finding counts),
``patches/<id>.npz`` (the proposal: a few voxels, not a whole label map) and ``pictures/<id>.png``.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BY_VALUE
from vastus.curation.suspicion import FindingKind
from vastus.errors import GeometryError, MissingInputError, SettingsError
from vastus.io.atomic import atomic_path, ensure_folder, write_text
from vastus.volume import Volume

FINDINGS_FILE = "findings.csv"
DECISIONS_FILE = "decisions.csv"
PATCHES, PICTURES = "patches", "pictures"
COLUMNS = (
    "id",
    "case",
    "value",
    "structure",
    "side",
    "kind",
    "score",
    "slice",
    "x_mm",
    "y_mm",
    "z_mm",
    "detail",
    "proposal",
)
_ID = re.compile(r"f\d{4,6}")


class Decision(Enum):
    """What a person said."""

    OPEN = "open"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Finding:
    """One structure of one scan that is worth a look.

    Attributes:
        id: ``f0001`` is the most suspicious.
        case: name of the scan.
        value: label value; 0 for the scan as a whole.
        kind: the strongest reason.
        score: 1 is the limit; higher is more suspicious.
        slice_index: axial slice to look at, counted from the feet (RAS order).
        point_mm: RAS+ point to look at.
        detail: all reasons in words.
        has_proposal: whether there is a patch.
        decision: the last one.
    """

    id: str
    case: str
    value: int
    kind: FindingKind
    score: float
    slice_index: int
    point_mm: tuple[float, float, float]
    detail: str
    has_proposal: bool
    decision: Decision = Decision.OPEN

    @property
    def name(self) -> str:
        """Name of the structure, e.g. ``femur_left``."""
        return BY_VALUE[self.value].name if self.value else "all structures"


@dataclass(frozen=True, slots=True, eq=False)
class ProposedPatch:
    """A proposed correction, on the grid of the label file.

    Attributes:
        index: (N,) flat (C order) voxel numbers that change.
        before, after: (N,) label values.
        shape, affine: of the grid.
    """

    index: NDArray[np.int64]
    before: NDArray[np.uint8]
    after: NDArray[np.uint8]
    shape: tuple[int, int, int]
    affine: NDArray[np.float64]


def make_patch(before: Volume, after: NDArray[np.uint8]) -> ProposedPatch:
    """What differs between a label map and its correction."""
    index = np.flatnonzero((before.array != after).ravel())
    return ProposedPatch(index, before.array.ravel()[index], after.ravel()[index], before.shape, before.affine)


def write_findings(output: Path, findings: Sequence[Finding]) -> None:
    """Write ``findings.csv``."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for f in findings:
        label = BY_VALUE.get(f.value)
        structure, side = (label.structure.key, label.side.value) if label else ("", "")
        x, y, z = (f"{c:.1f}" for c in f.point_mm)
        writer.writerow(
            [
                f.id,
                f.case,
                f.value,
                structure,
                side,
                f.kind.value,
                f"{f.score:.2f}",
                f.slice_index,
                x,
                y,
                z,
                f.detail,
                "yes" if f.has_proposal else "no",
            ]
        )
    write_text(output / FINDINGS_FILE, stream.getvalue())


def read_findings(output: Path) -> tuple[Finding, ...]:
    """The findings of a check with the decisions so far, most suspicious first.

    Raises:
        MissingInputError: no check was written here.
        SettingsError: a table is malformed.
    """
    path = output / FINDINGS_FILE
    if not path.is_file():
        raise MissingInputError("No label check here.", path=output, remedy="Make one with `vastus check-labels`.")
    decisions = _decisions(output)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            found = [_finding(row) for row in csv.DictReader(file)]
    except (KeyError, ValueError, UnicodeDecodeError) as error:
        raise SettingsError(f"The table of findings is malformed ({error}).", path=path) from error
    return tuple(replace(f, decision=decisions.get(f.id, Decision.OPEN)) for f in found)


def _finding(row: dict[str, str]) -> Finding:
    point = (float(row["x_mm"]), float(row["y_mm"]), float(row["z_mm"]))
    return Finding(
        row["id"],
        row["case"],
        int(row["value"]),
        FindingKind(row["kind"]),
        float(row["score"]),
        int(row["slice"]),
        point,
        row["detail"],
        row["proposal"] == "yes",
    )


def propose(output: Path, finding_id: str, labels: Volume) -> Volume:
    """The label map with the proposal in it; nothing is written.

    Voxels that were changed since the check stay as they are: who corrected them knew more.

    Args:
        output: folder of the check.
        finding_id: of ``read_findings``.
        labels: as it stands now.

    Raises:
        MissingInputError: no such finding, or it has no proposal.
        GeometryError: the labels lie on another grid than those checked.
    """
    patch = read_patch(output, finding_id)
    if labels.shape != patch.shape or not np.allclose(labels.affine, patch.affine, atol=1e-3):
        raise GeometryError("The labels lie on another grid than those that were checked.")
    result = np.array(labels.array, dtype=np.uint8, order="C")
    flat = result.ravel()
    still = flat[patch.index] == patch.before
    flat[patch.index[still]] = patch.after[still]
    return labels.with_array(result)


def accept(output: Path, finding_id: str, labels: Volume, *, who: str = "") -> Volume:
    """``propose``, and the decision is kept. Raises what ``propose`` raises; then nothing is kept."""
    result = propose(output, finding_id, labels)
    _decide(output, finding_id, Decision.ACCEPTED, who)
    return result


def reject(output: Path, finding_id: str, *, who: str = "") -> None:
    """Keep that the labels were right. Raises MissingInputError if there is no such finding."""
    _decide(output, finding_id, Decision.REJECTED, who)


def picture_path(output: Path, finding_id: str) -> Path:
    """Where the picture of a finding lies. Raises MissingInputError for a name that is none."""
    return output / PICTURES / f"{_checked(finding_id, output)}.png"


def write_patch(output: Path, finding_id: str, patch: ProposedPatch) -> None:
    """Store a proposal."""
    ensure_folder(output / PATCHES)
    with atomic_path(output / PATCHES / f"{finding_id}.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file, index=patch.index, before=patch.before, after=patch.after, shape=patch.shape, affine=patch.affine
        )


def read_patch(output: Path, finding_id: str) -> ProposedPatch:
    """Read a proposal. Raises MissingInputError if there is none."""
    path = output / PATCHES / f"{_checked(finding_id, output)}.npz"
    if not path.is_file():
        raise MissingInputError("There is no proposal for this finding.", path=path)
    with np.load(path, allow_pickle=False) as stored:
        i, j, k = (int(n) for n in stored["shape"])
        return ProposedPatch(stored["index"], stored["before"], stored["after"], (i, j, k), stored["affine"])


def _checked(finding_id: str, output: Path) -> str:
    """Ids come from other machines: one that is not of our form never becomes part of a path."""
    if not _ID.fullmatch(finding_id):
        raise MissingInputError("There is no such finding.", path=output)
    return finding_id


def _decide(output: Path, finding_id: str, decision: Decision, who: str) -> None:
    if _checked(finding_id, output) not in {f.id for f in read_findings(output)}:
        raise MissingInputError("There is no such finding.", path=output)
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(
        [finding_id, decision.value, datetime.now(UTC).isoformat(timespec="seconds"), who]
    )
    with (output / DECISIONS_FILE).open("a", encoding="utf-8", newline="") as file:
        file.write(line.getvalue())


def _decisions(output: Path) -> dict[str, Decision]:
    path = output / DECISIONS_FILE
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return {row[0]: Decision(row[1]) for row in csv.reader(file) if row}
    except (ValueError, IndexError) as error:
        raise SettingsError(f"The list of decisions is malformed ({error}).", path=path) from error
