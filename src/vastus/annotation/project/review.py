"""Labels that look wrong: checked in the background, judged by a person."""

from __future__ import annotations

import json
import re
import shutil
import threading
from enum import Enum
from pathlib import Path
from typing import Any, Final, Protocol

from vastus.anatomy import StructureTable
from vastus.annotation.logs import LOG
from vastus.annotation.project.cases import Cases
from vastus.annotation.project.layout import Layout
from vastus.annotation.project.store import ORIGINAL_TAG, Draft, Kind, Store, Version
from vastus.annotation.refusals import UnknownItemError
from vastus.curation import findings
from vastus.curation.findings import Finding
from vastus.curation.label_noise import CheckOptions, LabelledCase, check_labels
from vastus.errors import VastusError
from vastus.io.atomic import write_text
from vastus.volume import Volume

_CHECKED_FILE: Final = "checked.json"
_FOLDER: Final = "findings"
_KEPT_CHECKS: Final = 2
_ID: Final = re.compile(r"(\d{1,9})-(f\d{4,6})")


class ReviewedProject(Protocol):
    """What a check needs of the project that it checks."""

    layout: Layout
    cases: Cases
    store: Store
    table: StructureTable

    def label_map(self, version: Version) -> Volume:
        """Read the voxels of a version."""
        ...

    def save(self, case_id: str, draft: Draft, labels: Volume) -> Version:
        """Add a version and keep the data set current."""
        ...


class CheckState(Enum):
    """Whether the list belongs to the labels as they are. ``LEFT_OUT``: structures of a lab's own are not checked."""

    NONE = "none"
    RUNNING = "running"
    STALE = "stale"
    CURRENT = "current"
    FAILED = "failed"
    LEFT_OUT = "left out"


class Review:
    """The checks of a project's current labels. Each has a folder of its own; the newest whole one counts."""

    def __init__(self, project: ReviewedProject) -> None:
        self._project = project
        self._thread: threading.Thread | None = None
        self._failed = False
        self._guard = threading.Lock()
        self._judging = threading.Lock()

    def state(self) -> CheckState:
        """Whether a check is running, and whether the labels have changed since the last one."""
        if not self._project.table.is_built_in:
            return CheckState.LEFT_OUT
        if self._thread is not None and self._thread.is_alive():
            return CheckState.RUNNING
        if self._failed:
            return CheckState.FAILED
        newest = self._newest()
        if newest is None:
            return CheckState.NONE
        return CheckState.CURRENT if _checked(self._folder(newest)) == self._now() else CheckState.STALE

    def start(self, wait_s: float = 0.0) -> None:
        """Begin a check unless one is running, and wait for it a while.

        It knows how the built-in structures lie and how large they are; others are left alone.
        """
        if not self._project.table.is_built_in:
            return
        with self._guard:
            if self._thread is None or not self._thread.is_alive():
                self._failed = False
                self._thread = threading.Thread(target=self._check, name="review", daemon=True)
                self._thread.start()
            thread = self._thread
        if wait_s:
            thread.join(wait_s)

    def refresh(self, wait_s: float) -> None:
        """Begin a check if there is none of the labels as they are; wait for the very first one a while."""
        state = self.state()
        if state is CheckState.NONE and self._now():
            self.start(wait_s)
        elif state is CheckState.STALE:
            self.start()

    def rows(self) -> list[dict[str, Any]]:
        """The findings of the newest check, the most suspicious first."""
        newest = self._newest()
        if newest is None:
            return []
        return [_row(newest, finding) for finding in findings.read_findings(self._folder(newest))]

    def picture(self, finding_id: str) -> Path:
        """The picture of a finding.

        Raises:
            UnknownItemError: no such finding, or it has none.
        """
        folder, finding = self._find(finding_id)
        path = findings.picture_path(folder, finding.id)
        if not path.is_file():
            raise UnknownItemError("This finding has no picture.")
        return path

    def proposal(self, finding_id: str) -> tuple[str, Volume, Volume]:
        """What accepting a finding would do: a note, the current labels, and the labels after it.

        Raises:
            UnknownItemError: no such finding, or it has no proposal.
        """
        folder, finding = self._find(finding_id)
        before = self._project.store.current(finding.case)
        if before is None or not finding.has_proposal:
            raise UnknownItemError("This finding has no proposal.", remedy="Correct the case by hand.")
        labels = self._project.label_map(before)
        return f"{finding.kind.value}, {finding.name}", labels, findings.propose(folder, finding.id, labels)

    def accept(self, finding_id: str, author: str) -> Version | None:
        """Put the proposed correction into the current label, as a new version.

        Without a proposal the case has to be corrected by hand, and the finding stays open: ``None``.
        """
        with self._judging:
            folder, finding = self._find(finding_id)
            before = self._project.store.current(finding.case)
            if before is None:
                raise UnknownItemError("The case of this finding has no label any more.")
            if not finding.has_proposal:
                return None
            proposed = findings.propose(folder, finding.id, self._project.label_map(before))
            # What was final stays final: a person has agreed to the change.
            note = f"accepted: {finding.kind.value}, {finding.name}"
            version = self._project.save(
                finding.case, Draft(Kind.TOOL, author, before.number, note, before.tag), proposed
            )
            findings.accept(folder, finding.id, proposed, who=author)
            # The check knows of this change: it does not make the list out of date.
            _set_checked(folder, _checked(folder) | {finding.case: version.number})
            return version

    def reject(self, finding_id: str, author: str) -> None:
        """Leave the label as it is, and the finding out of the list of open ones, in later checks too."""
        with self._judging:
            folder, finding = self._find(finding_id)
            findings.reject(folder, finding.id, who=author)

    def _find(self, finding_id: str) -> tuple[Path, Finding]:
        parts = _ID.fullmatch(finding_id)
        folder = self._folder(int(parts[1])) if parts else None
        if parts and folder is not None and (folder / _CHECKED_FILE).is_file():
            for finding in findings.read_findings(folder):
                if finding.id == parts[2]:
                    return folder, finding
        raise UnknownItemError("There is no such finding.", remedy="GET /api/findings lists them.")

    def _check(self) -> None:
        now = self._now()
        newest = self._newest()
        number = max(self._numbers(), default=0) + 1
        folder = self._folder(number)
        try:
            folder.mkdir(parents=True)
            cases = [
                LabelledCase(case, self._project.cases.image_path(case), self._project.store.file(version))
                for case, version in sorted(self._project.store.currents().items())
                if now.get(case) == version.number
            ]
            found = check_labels(cases, folder, CheckOptions(predict=self._prediction))
            with self._judging:
                if newest is not None:
                    _carry_over(self._folder(newest), folder, found)
                _set_checked(folder, now)
            for old in sorted(self._numbers())[:-_KEPT_CHECKS]:
                shutil.rmtree(self._folder(old), ignore_errors=True)
            LOG.info("labels of %d cases checked: %d findings", len(cases), len(found))
        except VastusError as error:
            self._failed = True
            LOG.error("the check of the labels failed: %s", error.problem)
        except Exception as error:
            self._failed = True
            LOG.error("the check of the labels failed: %s", type(error).__name__)

    def _prediction(self, case_id: str, _scan: Volume) -> Volume | None:
        """What a model said of the case before anybody corrected it: it had not been trained on these labels."""
        version = self._project.store.tagged(case_id, ORIGINAL_TAG)
        current = self._project.store.current(case_id)
        if version is None or current is None or current.sha256 == version.sha256:
            return None
        return self._project.label_map(version)

    def _now(self) -> dict[str, int]:
        present = {case.id for case in self._project.cases.all()}
        return {case: v.number for case, v in sorted(self._project.store.currents().items()) if case in present}

    def _folder(self, number: int) -> Path:
        return self._project.layout.state / _FOLDER / f"{number:06d}"

    def _numbers(self) -> list[int]:
        return [int(p.name) for p in (self._project.layout.state / _FOLDER).glob("[0-9]*") if p.name.isdigit()]

    def _newest(self) -> int | None:
        return max((n for n in self._numbers() if (self._folder(n) / _CHECKED_FILE).is_file()), default=None)


def _row(number: int, finding: Finding) -> dict[str, Any]:
    finding_id = f"{number}-{finding.id}"
    return {
        "id": finding_id,
        "case": finding.case,
        "value": finding.value,
        "kind": finding.kind.value,
        "score": finding.score,
        "picture": f"/api/findings/{finding_id}/picture.png",
        "state": finding.decision.value,
        "text": finding.detail,
        "has_proposal": finding.has_proposal,
        "point_mm": list(finding.point_mm),
        "slice": finding.slice_index,
    }


def _carry_over(old: Path, new: Path, found: tuple[Finding, ...]) -> None:
    """What a person has rejected once is not asked again."""
    rejected = {
        (f.case, f.value, f.kind) for f in findings.read_findings(old) if f.decision is findings.Decision.REJECTED
    }
    for finding in found:
        if (finding.case, finding.value, finding.kind) in rejected:
            findings.reject(new, finding.id, who="an earlier check")


def _checked(folder: Path) -> dict[str, int]:
    return dict(json.loads((folder / _CHECKED_FILE).read_text(encoding="utf-8")))


def _set_checked(folder: Path, checked: dict[str, int]) -> None:
    write_text(folder / _CHECKED_FILE, json.dumps(checked))
