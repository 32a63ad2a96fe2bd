"""How unsure a model is of each case, and which case to correct next.

A case's uncertainty costs several segmentations. It is computed when someone asks for it, or one case after another in
the background once a ranking needs it, and kept for each model.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from vastus.anatomy import BUILT_IN, StructureTable
from vastus.annotation.logs import LOG
from vastus.annotation.models.engine import Engine, PacedPredictor, Priority, Purpose, RequestKind
from vastus.annotation.models.registry import ModelRegistry
from vastus.annotation.project.cases import Cases, write_image
from vastus.annotation.project.layout import Layout
from vastus.annotation.project.store import CaseState, Store
from vastus.annotation.refusals import NotReadyError, StoppedError
from vastus.annotation.structures import name_of_value
from vastus.curation.ranking import Candidate, Ranked, Strategy, case_features, rank_cases
from vastus.curation.uncertainty import Uncertainty, estimate_uncertainty
from vastus.errors import VastusError
from vastus.inference.bundle import Bundle
from vastus.inference.evidence import Evidence
from vastus.io.atomic import atomic_folder
from vastus.quality import Agreement, expect_agreement
from vastus.volume import Volume

_MAP_FILE: Final = "uncertainty.nii.gz"
_FACTS_FILE: Final = "uncertainty.json"


class QueuedProject(Protocol):
    """What the queue needs of the project whose cases it ranks."""

    layout: Layout
    cases: Cases
    store: Store
    registry: ModelRegistry
    engine: Engine
    table: StructureTable

    def image(self, case_id: str) -> Volume:
        """Read the voxels of a case."""
        ...

    def states(self) -> dict[str, CaseState]:
        """Say how far each case is."""
        ...

    def to_correct(self) -> list[str]:
        """List the cases that nobody has corrected yet."""
        ...


@dataclass(frozen=True, slots=True)
class CaseUncertainty:
    """What is kept of a case's uncertainty under a model."""

    model: str
    score: float
    by_value: Mapping[int, float]
    features: tuple[float, ...]
    map_path: Path
    to_mend: float | None = None
    judged: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    table: StructureTable = field(default=BUILT_IN, repr=False)

    def rows(self) -> list[dict[str, object]]:
        """One row a structure, the least sure first."""
        return [
            {"value": value, "name": name_of_value(value, self.table), "uncertainty": round(share, 4)}
            | dict(self.judged.get(value, {}))
            for value, share in sorted(self.by_value.items(), key=lambda item: -item[1])
        ]


class UncertaintyQueue:
    """The uncertainties of a project."""

    def __init__(self, project: QueuedProject) -> None:
        self._project = project
        self._running: dict[tuple[str, str], Future[CaseUncertainty]] = {}
        self._wanted: list[str] = []
        self._failed: set[tuple[str, str]] = set()
        self._guard = threading.Lock()

    def ask(
        self, case_id: str, model: str | None = None, *, who: str = "", priority: Priority = Priority.PERSON
    ) -> Future[CaseUncertainty]:
        """The uncertainty of a case, at once if it is kept, else when the network has had its turn.

        Args:
            case_id: which scan.
            model: which network; None: the selected one.
            who: asks.
            priority: whether somebody waits for it, or a ranking needs it.
        """
        bundle = self._project.registry.bundle(model)
        self._project.cases.get(case_id)
        known = self.known(case_id, bundle.folder.name)
        if known is not None:
            done: Future[CaseUncertainty] = Future()
            done.set_result(known)
            return done
        key = (case_id, bundle.folder.name)
        with self._guard:
            running = self._running.get(key)
            if running is None:
                purpose = Purpose(RequestKind.UNCERTAINTY, case_id, who, priority)
                running = self._project.engine.submit(
                    lambda load: self._estimate(case_id, bundle, load(bundle)), purpose
                )
                self._running[key] = running
            elif priority is Priority.PERSON:
                self._project.engine.promote(running)
        running.add_done_callback(lambda _: self._running.pop(key, None))
        return running

    def known(self, case_id: str, model: str) -> CaseUncertainty | None:
        """What is kept, or ``None``."""
        folder = self._folder(case_id, model)
        try:
            facts = json.loads((folder / _FACTS_FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        by_value = {int(value): float(share) for value, share in facts["by_value"].items()}
        judged = {int(value): dict(one) for value, one in facts.get("judged", {}).items()}
        # Kept by an older version: from the structures that it judged.
        older = sum(1.0 - one["expected"] for one in judged.values()) if judged else None
        to_mend = facts.get("to_mend", older)
        return CaseUncertainty(
            model,
            facts["score"],
            by_value,
            tuple(facts["features"]),
            folder / _MAP_FILE,
            to_mend,
            judged,
            self._project.table,
        )

    def rank(self, strategy: Strategy, *, seed: int = 0) -> tuple[tuple[Ranked, ...], int]:
        """Cases that nobody has corrected yet, the one to take first in front; and how many are still unknown.

        What is unknown comes last and is computed in the background.

        Raises:
            NotReadyError: there is no model to be unsure.
        """
        open_cases = self._project.to_correct()
        if strategy is Strategy.RANDOM:
            return rank_cases([Candidate(case) for case in open_cases], strategy, seed=seed), 0
        model = self._project.registry.selected()
        if model is None:
            raise NotReadyError("There is no model to be unsure.", remedy="Choose the strategy random.")
        candidates = [self._candidate(case, model) for case in open_cases]
        corrected = sorted(set(self._project.states()) - set(open_cases))
        known = [self._candidate(case, model) for case in corrected]
        unknown = [c.case for c in candidates if not c.features]
        if strategy is not Strategy.UNCERTAINTY:
            unknown += [c.case for c in known if not c.features]
        unknown = [case for case in unknown if (case, model) not in self._failed]
        self._compute(unknown)
        return rank_cases(candidates, strategy, seed=seed, known=known), len(unknown)

    def doubtful(self, case_id: str, most: int) -> list[dict[str, object]]:
        """Structures of a case of which the least agreement is expected, worst first; none where nothing is known."""
        model = self._project.registry.selected()
        known = None if model is None else self.known(case_id, model)
        judged = {} if known is None else known.judged
        worst = sorted(judged, key=lambda value: judged[value]["expected"])[:most]
        return [{"value": value, "name": name_of_value(value, BUILT_IN)} | dict(judged[value]) for value in worst]

    def _candidate(self, case_id: str, model: str) -> Candidate:
        known = self.known(case_id, model)
        return Candidate(case_id) if known is None else Candidate(case_id, known.score, known.features, known.to_mend)

    def _compute(self, case_ids: list[str]) -> None:
        """See to it that these are computed one after another, whatever else the network does in between."""
        with self._guard:
            idle = not self._wanted
            self._wanted = list(case_ids)
        if idle and case_ids:
            self._next()

    def _next(self) -> None:
        with self._guard:
            case_id = self._wanted[0] if self._wanted else None
        if case_id is None:
            return
        model = self._project.registry.selected()

        def go_on(done: Future[CaseUncertainty]) -> None:
            stopped = done.cancelled() or isinstance(done.exception(), StoppedError)
            if not stopped and done.exception() is not None:
                self._failed.add((case_id, model or ""))
            with self._guard:
                # Who stops one of a ranking's means the ranking; the next one that is asked for goes on.
                self._wanted = [] if stopped else [c for c in self._wanted if c != case_id]
            self._next()

        try:
            self.ask(case_id, priority=Priority.BACKGROUND).add_done_callback(go_on)
        except VastusError:
            # The scan has gone, or the queue is full: the next ranking asks again.
            with self._guard:
                self._wanted = []

    def _estimate(self, case_id: str, bundle: Bundle, predictor: PacedPredictor) -> CaseUncertainty:
        scan = self._project.image(case_id)
        table = self._project.table
        found: Uncertainty = estimate_uncertainty(predictor, scan, table=table)
        features = case_features(scan, found.labels, table)
        name = bundle.folder.name
        target = self._folder(case_id, name)
        # What is expected was fitted to the built-in structures.
        evidence = found.evidence if bundle.info.table.is_built_in else None
        to_mend = _to_mend(evidence)
        judged = {value: _in_numbers(one) for value, one in expect_agreement(evidence, bundle).items()}
        facts = {
            "score": found.score,
            "by_value": {str(v): s for v, s in found.by_value.items()},
            "features": features,
            "to_mend": to_mend,
            "judged": {str(value): one for value, one in judged.items()},
        }
        if not target.is_dir():
            with atomic_folder(target) as folder:
                write_image(found.voxels, folder / _MAP_FILE)
                (folder / _FACTS_FILE).write_text(json.dumps(facts), encoding="utf-8")
        self._project.store.set_score(case_id, name, found.score)
        LOG.info("%s: uncertainty %.3f under %s", case_id, found.score, name)
        return CaseUncertainty(
            name, found.score, dict(found.by_value), features, target / _MAP_FILE, to_mend, judged, table
        )

    def _folder(self, case_id: str, model: str) -> Path:
        return self._project.layout.case(case_id) / "uncertainty" / model


def _in_numbers(one: Agreement) -> dict[str, float]:
    """Expected agreement of a structure, as a row of ``CaseUncertainty.rows`` says it."""
    found = {"expected": one.expected, "low": one.low, "high": one.high, "wrong": one.wrong}
    return {name: round(value, 4) for name, value in found.items()}


def _to_mend(evidence: Evidence | None) -> float | None:
    """Sum of what is lacking to full agreement over a scan's structures; ranks scans, whichever weights were used."""
    if evidence is None:
        return None
    return sum(1.0 - one.expected for one in expect_agreement(evidence, None).values())
