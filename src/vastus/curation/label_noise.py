"""Find labels that are not to be trusted, in a folder without a reference.

Two walks over the folder: the first gathers small tables of every scan, from which the detectors tell what does not
fit; the second opens the scans with findings again for proposals and pictures. Nothing is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import UNLABELLED
from vastus.attempts import Attempts
from vastus.curation.facts import CaseFacts, gather
from vastus.curation.findings import PATCHES, PICTURES, Finding, make_patch, write_findings, write_patch
from vastus.curation.outliers import find_outliers
from vastus.curation.page import write_page
from vastus.curation.pictures import write_picture
from vastus.curation.proposals import propose_labels
from vastus.curation.shapes import (
    find_islands,
    find_missing,
    find_missing_slices,
    find_wrong_names,
    find_wrong_sides,
    middle_mm,
    without_usual_islands,
)
from vastus.curation.suspicion import FindingKind, Suspicion
from vastus.errors import GeometryError, MissingInputError
from vastus.io.atomic import ensure_folder
from vastus.io.labels import LABEL_SUFFIXES, read_labels_on
from vastus.io.nnunet_layout import IMAGES, LABELS, case_of, image_name, labels_name
from vastus.io.scans import read_scan
from vastus.volume import Volume, from_ras, place_on, to_ras

IMAGE_FOLDERS: Final = (IMAGES, "images")
LABEL_FOLDERS: Final = (LABELS, "labels")

# When several detectors find the same structure, this order names the finding: what says most about the error first.
_TELLING = tuple(FindingKind)

Predict = Callable[[str, Volume], Volume | None]


@dataclass(frozen=True, slots=True)
class LabelledCase:
    """A scan and its label map, on one grid."""

    name: str
    scan_path: Path
    labels_path: Path


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """How a folder is checked.

    Attributes:
        predict: gives a model's labels of a scan, by its name and CT; asked twice for scans with findings, so that it
            should remember. For scans in the model's training set its labels are too kind: give those of the fold that
            held the scan out. None, or a None result: checked without a model.
        pictures: draw one for each finding.
        most_findings: at most this many get a proposal and a picture; the others are listed too.
        warn: told what a user should know of a label map, e.g. that nobody says what its values mean.
    """

    predict: Predict | None = None
    pictures: bool = True
    most_findings: int = 500
    warn: Callable[[str], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class CheckProgress:
    """Where a check stands."""

    stage: str
    done: int
    total: int


def find_cases(folder: Path, warn: Callable[[str], None] = lambda _: None) -> tuple[LabelledCase, ...]:
    """The labelled scans of a folder: nnU-Net layout (``imagesTr``, ``labelsTr``) or ``images`` and ``labels``.

    Label maps whose scan is missing are left out, and told to ``warn``.

    Raises:
        MissingInputError: no folder, or no pair in it.
    """
    for images, labels in zip(IMAGE_FOLDERS, LABEL_FOLDERS, strict=True):
        if (folder / images).is_dir() and (folder / labels).is_dir():
            scans = {case_of(_stem(p)): p for p in sorted((folder / images).iterdir()) if _stem(p)}
            cases = [
                LabelledCase(_stem(p), scans[_stem(p)], p)
                for p in sorted((folder / labels).iterdir())
                if _stem(p) in scans
            ]
            if cases:
                found = {case.labels_path for case in cases}
                for path in sorted((folder / labels).iterdir()):
                    if _stem(path) and path not in found:
                        warn(f"{path}: its scan is not in {images}; not checked")
                return tuple(cases)
    raise MissingInputError(
        "No labelled scans here.",
        path=folder,
        remedy=f"Expected {IMAGES}/{image_name('case')} and {LABELS}/{labels_name('case')}.",
    )


def _stem(path: Path) -> str:
    """Name without the suffix of an image; empty for other files."""
    return next((path.name[: -len(s)] for s in LABEL_SUFFIXES if path.name.lower().endswith(s)), "")


def check_labels(
    cases: Sequence[LabelledCase],
    output: Path,
    options: CheckOptions = CheckOptions(),
    on_progress: Callable[[CheckProgress], None] | None = None,
    attempts: Attempts | None = None,
) -> tuple[Finding, ...]:
    """Check a folder and write findings, proposals, pictures and a page.

    Comparing scans with each other needs about ten of them; with fewer, only what is wrong by itself is found. Voxels
    of ``UNLABELLED`` are never changed, and a model's labels there say nothing. Where whole slices are unlabelled, what
    needs a whole structure (islands, missing slices, volumes, shapes) is not looked for.

    Args:
        cases: the labelled scans.
        output: folder for the result; findings of an earlier check in it are replaced, decisions too.
        options: see there.
        on_progress: told after each scan.
        attempts: gets the scans that can't be checked, which do not stop the others; without it the first one does.

    Returns:
        The findings, most suspicious first, at most one for each structure of each scan.

    Raises:
        GeometryError: a label map is not on the grid of its scan (without ``attempts``).
        InputError: a file can't be read (without ``attempts``), or none can.
    """
    tell = on_progress or (lambda _: None)
    each = attempts.of if attempts is not None else lambda _: nullcontext()
    ensure_folder(output)
    facts: list[CaseFacts] = []
    dense: list[CaseFacts] = []
    suspicions: list[Suspicion] = []
    sound: list[LabelledCase] = []
    for number, case in enumerate(cases, start=1):
        with each(case.name):
            opened = _open(case, options)
            known = gather(case.name, opened.ct, opened.labels, opened.model)
            own = [*find_wrong_sides(known), *find_wrong_names(known), *find_missing(known)]
            if opened.whole:
                own += [*find_islands(case.name, opened.labels, opened.model), *find_missing_slices(known)]
                dense.append(known)
            sound.append(case)
            facts.append(known)
            suspicions += own
        tell(CheckProgress("read", number, len(cases)))
    if not sound:
        raise MissingInputError("No scan can be checked.", path=cases[0].labels_path.parent if cases else output)
    suspicions = without_usual_islands(suspicions, len(sound)) + (find_outliers(dense) if dense else [])
    groups = _ranked(suspicions)
    _clear(output)
    findings = _describe(sound, facts, groups, (output, options), tell)
    write_findings(output, findings)
    write_page(output, findings, len(sound), with_model=any(f.has_model for f in facts))
    return findings


@dataclass(frozen=True, slots=True, eq=False)
class _Opened:
    """A scan that is checked, in RAS order.

    Attributes:
        ct: in HU.
        labels: 0 where unlabelled.
        model: labels of a model, 0 where ``labels`` has none; None without a model.
        whole: no slice is unlabelled as a whole.
    """

    ct: Volume
    labels: Volume
    model: Volume | None
    whole: bool


def _open(case: LabelledCase, options: CheckOptions) -> _Opened:
    scan = read_scan(case.scan_path).volume
    labels = _labels_of(case, scan, options.warn)
    predicted = options.predict(case.name, scan) if options.predict else None
    if predicted is not None:
        placed = place_on(predicted, scan)
        if placed is None:
            raise GeometryError(
                f"The model's labels are not on the grid of the scan: {scan.difference_to(predicted)}.",
                path=case.scan_path,
            )
        predicted = placed
    # The three affines agree within a part of a voxel; one for all keeps later comparisons simple.
    upright = to_ras(scan)
    own = Volume(to_ras(scan.with_array(labels.array)).array, upright.affine)
    model = None if predicted is None else Volume(to_ras(scan.with_array(predicted.array)).array, upright.affine)
    unlabelled = own.array == UNLABELLED
    if not unlabelled.any():
        return _Opened(upright, own, model, whole=True)
    model = None if model is None else model.with_array(np.where(unlabelled, 0, model.array))
    own = own.with_array(np.where(unlabelled, 0, own.array))
    return _Opened(upright, own, model, whole=not bool(unlabelled.all(axis=(0, 1)).any()))


def _labels_of(case: LabelledCase, scan: Volume, warn: Callable[[str], None]) -> Volume:
    found = read_labels_on(case.labels_path, scan, case.scan_path, partly=True)
    for warning in found.warnings:
        warn(f"{case.labels_path}: {warning}")
    return found.volume


def _original(case: LabelledCase) -> Volume:
    """The label map on the grid of its scan, in the axis order of the files."""
    scan = read_scan(case.scan_path).volume
    return read_labels_on(case.labels_path, scan, case.scan_path, partly=True).volume


@dataclass(frozen=True, slots=True, eq=False)
class _Described:
    """A scan while its findings are described.

    Attributes:
        opened: in RAS order.
        original: its label map as it is in the file.
        known: facts of it.
    """

    opened: _Opened
    original: Volume
    known: CaseFacts


def _ranked(suspicions: Sequence[Suspicion]) -> list[list[Suspicion]]:
    """Suspicions of one structure together, the most telling first; structures by their highest score."""
    groups: dict[tuple[str, int], list[Suspicion]] = {}
    whole = {s.case for s in suspicions if s.value == 0}
    for s in suspicions:
        # In a scan with all sides swapped every structure is off; the one finding says it.
        if s.value == 0 or s.case not in whole or s.kind not in (FindingKind.SIDES, FindingKind.BOUNDARY):
            groups.setdefault((s.case, s.value), []).append(s)
    for group in groups.values():
        group.sort(key=lambda s: (_TELLING.index(s.kind), -s.score))
    return sorted(groups.values(), key=lambda g: (-max(s.score for s in g), g[0].case, g[0].value))


def _describe(
    cases: Sequence[LabelledCase],
    facts: Sequence[CaseFacts],
    groups: Sequence[list[Suspicion]],
    target: tuple[Path, CheckOptions],
    tell: Callable[[CheckProgress], None],
) -> tuple[Finding, ...]:
    """Findings with their patches and pictures, scan by scan, so that each is opened once."""
    output, options = target
    numbered = {id(group): f"f{n:04d}" for n, group in enumerate(groups, start=1)}
    found: dict[str, Finding] = {}
    for number, (case, known) in enumerate(zip(cases, facts, strict=True), start=1):
        own = [group for group in groups if group[0].case == case.name]
        quiet = replace(options, warn=lambda _: None)  # what is to be said of the file was said
        scan = _Described(_open(case, quiet), _original(case), known) if own else None
        for group in own:
            assert scan is not None
            name = numbered[id(group)]
            details = int(name[1:]) <= options.most_findings
            found[name] = _finding(name, group, scan, output, draw=details and options.pictures)
        tell(CheckProgress("propose", number, len(cases)))
    return tuple(found[numbered[id(group)]] for group in groups)


def _finding(
    name: str,
    group: Sequence[Suspicion],
    scan: _Described,
    output: Path,
    *,
    draw: bool,
) -> Finding:
    ct, labels, model = scan.opened.ct, scan.opened.labels, scan.opened.model
    main = group[0]
    proposal = propose_labels(main, labels, model, middle_mm(scan.known))
    index, point = _where_to_look(main, labels, model if proposal is None else labels.with_array(proposal))
    if proposal is not None:
        changed = from_ras(proposal, scan.original).array
        changed = np.where(scan.original.array == UNLABELLED, UNLABELLED, changed).astype(np.uint8)
        write_patch(output, name, make_patch(scan.original, changed))
    if draw:
        ensure_folder(output / PICTURES)
        write_picture(output / PICTURES / f"{name}.png", ct, (labels.array, proposal), main.value, index)
    reasons = dict.fromkeys(reason for s in group for reason in s.detail.split("; "))
    return Finding(
        name,
        main.case,
        main.value,
        main.kind,
        max(s.score for s in group),
        index,
        point,
        "; ".join(reasons),
        proposal is not None,
    )


def _where_to_look(main: Suspicion, labels: Volume, other: Volume | None) -> tuple[int, tuple[float, float, float]]:
    """Slice and point: where most changes, or the middle of the structure."""
    mask: NDArray[np.bool_] = labels.array == main.value if main.value else labels.array > 0
    if other is not None:
        differs = mask != ((other.array == main.value) if main.value else (other.array > 0))
        changed = differs if differs.any() else (other.array != labels.array)
        mask = changed if changed.any() else mask
    if not mask.any():
        mask = np.ones(labels.shape, bool)
    if main.slices and mask[:, :, list(main.slices)].any():
        index = main.slices[len(main.slices) // 2]
        index = index if mask[:, :, index].any() else main.slices[0]
    else:
        index = int(mask.sum(axis=(0, 1)).argmax())
    plane = np.argwhere(mask[:, :, index])
    i, j = plane.mean(axis=0) if len(plane) else (labels.shape[0] / 2, labels.shape[1] / 2)
    x, y, z = (labels.affine @ np.array([i, j, index, 1.0]))[:3]
    return index, (float(x), float(y), float(z))


def _clear(output: Path) -> None:
    """Take an earlier check away: its numbers mean other findings."""
    from vastus.curation.findings import DECISIONS_FILE, FINDINGS_FILE

    for name in (FINDINGS_FILE, DECISIONS_FILE):
        (output / name).unlink(missing_ok=True)
    for folder, pattern in ((PATCHES, "f*.npz"), (PICTURES, "f*.png")):
        for path in (output / folder).glob(pattern):
            path.unlink()
