"""Labels that look wrong: checked in the background, judged by a person."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vastus.annotation.logs import LOG
from vastus.annotation.refusals import UnknownItemError
from vastus.annotation.store import Draft, Kind, Version
from vastus.curation import findings as found_labels
from vastus.curation.findings import Finding
from vastus.curation.label_noise import CheckOptions, LabelledCase, check_labels
from vastus.errors import VastusError

if TYPE_CHECKING:
    from vastus.annotation.workshop import Workshop

_CHECKED_FILE: Final = "checked.json"
_FOLDER: Final = "findings"


class CheckState(Enum):
    """Whether the list belongs to the labels as they are."""

    NONE = "none"
    RUNNING = "running"
    STALE = "stale"
    CURRENT = "current"
    FAILED = "failed"


class Review:
    """The check of a project's current labels."""

    def __init__(self, workshop: Workshop) -> None:
        self._shop = workshop
        self._thread: threading.Thread | None = None
        self._failed = False
        self._guard = threading.Lock()

    @property
    def folder(self) -> Path:
        """Where the findings lie."""
        return self._shop.layout.state / _FOLDER

    def state(self) -> CheckState:
        """Whether a check is running, and whether the labels have changed since the last one."""
        if self._thread is not None and self._thread.is_alive():
            return CheckState.RUNNING
        if self._failed:
            return CheckState.FAILED
        checked = self._checked()
        if checked is None:
            return CheckState.NONE
        return CheckState.CURRENT if checked == self._now() else CheckState.STALE

    def start(self, wait_s: float = 0.0) -> None:
        """Begin a check unless one is running, and wait for it a while."""
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
        if state is CheckState.NONE:
            self.start(wait_s)
        elif state is CheckState.STALE:
            self.start()

    def rows(self) -> list[dict[str, Any]]:
        """The findings of the last check, the most suspicious first."""
        return [self._row(finding) for finding in self._findings()]

    def picture(self, finding_id: str) -> Path:
        """The picture of a finding.

        Raises:
            UnknownItemError: no such finding, or it has none.
        """
        path = found_labels.picture_path(self.folder, self._finding(finding_id).id)
        if not path.is_file():
            raise UnknownItemError("This finding has no picture.")
        return path

    def accept(self, finding_id: str, author: str) -> Version | None:
        """Put the proposed correction into the current label, as a new version; ``None`` where there is no proposal."""
        finding = self._finding(finding_id)
        before = self._shop.store.current(finding.case)
        if before is None:
            raise UnknownItemError("The case of this finding has no label any more.")
        labels = self._shop.label_map(before)
        if not finding.has_proposal:
            found_labels.accept(self.folder, finding.id, labels)
            return None
        proposed = found_labels.propose(self.folder, finding.id, labels)
        # What was final stays final: a person has agreed to the change.
        draft = Draft(Kind.TOOL, author, before.number, f"accepted: {finding.kind_text}", before.tag)
        version = self._shop.save(finding.case, draft, proposed)
        found_labels.accept(self.folder, finding.id, labels)
        return version

    def reject(self, finding_id: str) -> None:
        """Leave the label as it is, and the finding out of the list of open ones."""
        found_labels.reject(self.folder, self._finding(finding_id).id)

    def _finding(self, finding_id: str) -> Finding:
        for finding in self._findings():
            if finding.id == finding_id:
                return finding
        raise UnknownItemError("There is no such finding.", remedy="GET /api/findings lists them.")

    def _findings(self) -> tuple[Finding, ...]:
        return tuple(found_labels.read_findings(self.folder)) if self._checked() is not None else ()

    def _row(self, finding: Finding) -> dict[str, Any]:
        return {"id": finding.id, "case": finding.case, "value": finding.value}

    def _check(self) -> None:
        now = self._now()
        cases = []
        try:
            for case_id, version in sorted(self._shop.store.currents().items()):
                if case_id in now:
                    image = self._shop.cases.image_path(case_id)
                    cases.append(LabelledCase(case_id, image, self._shop.store.file(version)))
            check_labels(cases, self.folder, CheckOptions(predict=self._predict()))
            (self.folder / _CHECKED_FILE).write_text(json.dumps(now), encoding="utf-8")
            LOG.info("labels of %d cases checked", len(cases))
        except VastusError as error:
            self._failed = True
            LOG.error("the check of the labels failed: %s", error.problem)

    def _predict(self) -> Callable[..., Any] | None:
        return None

    def _now(self) -> dict[str, int]:
        present = {case.id for case in self._shop.cases.all()}
        return {case: v.number for case, v in sorted(self._shop.store.currents().items()) if case in present}

    def _checked(self) -> dict[str, int] | None:
        try:
            return dict(json.loads((self.folder / _CHECKED_FILE).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
