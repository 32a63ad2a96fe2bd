"""``Project``: all parts of one project's server, and what clients of either protocol ask of them."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np

from vastus.anatomy import BUILT_IN, StructureTable
from vastus.annotation.hosts import LOOPBACK_HOSTS
from vastus.annotation.logs import LOG, LogLines
from vastus.annotation.models.engine import Engine, PacedPredictor, Purpose, RequestKind
from vastus.annotation.models.registry import ModelRegistry
from vastus.annotation.models.trainer import Trainer, TrainerSettings
from vastus.annotation.project.cases import Cases
from vastus.annotation.project.final_labels import FinalLabels
from vastus.annotation.project.layout import Layout
from vastus.annotation.project.review import Review
from vastus.annotation.project.sessions import Sessions
from vastus.annotation.project.store import CaseState, Draft, Kind, Store, Version
from vastus.annotation.project.structure_choice import choose_structures
from vastus.annotation.project.toolbox import Toolbox
from vastus.annotation.project.uncertainty_queue import UncertaintyQueue
from vastus.annotation.project.users import Accounts
from vastus.annotation.refusals import AlreadyThereError, NotReadyError
from vastus.annotation.uploads.intake import occurring
from vastus.errors import VastusError
from vastus.inference.choices import RuntimeOptions
from vastus.io.folder_lock import FolderLock, take_folder_lock
from vastus.io.labels import read_label_map, write_labels
from vastus.volume import Volume, to_ras

if TYPE_CHECKING:
    from vastus.inference.bundle import Bundle
    from vastus.inference.predictor import Segmentation
    from vastus.preprocessing import Preprocessed, PreprocessingSettings

Found = TypeVar("Found")
_IMAGES_KEPT: Final = 2
_LAST_READING_SECONDS: Final = 5.0
"""How long closing waits for a scan that is read ahead."""
_RESERVED_SECONDS: Final = 15 * 60.0


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What the command line decides.

    Attributes:
        root: folder of the project.
        weights: bundle to begin with; None: the one that comes with Vastus.
        runtime: device, runtime, threads of the network.
        training: how trainings run.
        hosts: names by which the server may be called.
        body_limit: bytes of a body.
        voxel_limit: voxels of an uploaded scan.
        structures: table file of the structures to draw; None: those of the project so far, else those of the weights.
    """

    root: Path
    weights: Path | None = None
    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)
    training: TrainerSettings = field(default_factory=TrainerSettings)
    hosts: frozenset[str] = LOOPBACK_HOSTS
    body_limit: int = 1 << 30
    voxel_limit: int = 400_000_000
    structures: Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _MadeReady:
    """A case as the network sees it, made while nobody had asked for its labels yet."""

    case_id: str
    settings: PreprocessingSettings
    seen: Future[Preprocessed]


class Project:
    """One project: scans, history, models, training. Thread-safe."""

    def __init__(self, settings: ServerSettings, accounts: Accounts | None = None) -> None:
        self.settings = settings
        self.accounts = accounts
        self.layout = Layout(settings.root.absolute())
        self.cases = Cases(self.layout)
        self._folder_lock = _folder_lock(self.layout)
        self.store = Store(self.layout)
        self.store.clear_incoming()
        try:
            self.table = choose_structures(
                self.layout.state,
                given=settings.structures,
                weights=settings.weights,
                has_labels=bool(self.store.currents()),
            )
        except VastusError:
            self._folder_lock.release()
            raise
        self.labels = FinalLabels(self.store, self.cases, self.layout.dataset, self.table)
        self.registry = ModelRegistry(self.layout, self.store, settings.weights, self.table)
        self.engine = Engine(settings.runtime)
        self.trainer = Trainer(self.layout, self.labels, self.registry, settings.training)
        self.uncertainty_queue = UncertaintyQueue(self)
        self.tools = Toolbox(self.table)
        self.review = Review(self)
        self.sessions = Sessions(self.layout.temporary / "sessions")
        self.log_lines = LogLines()
        LOG.addHandler(self.log_lines)
        LOG.setLevel(logging.INFO)
        self._images: OrderedDict[str, Volume] = OrderedDict()
        self._reading: dict[str, Future[Volume]] = {}
        self._ahead: threading.Thread | None = None
        self._made_ready: _MadeReady | None = None
        self._names: dict[str, Mapping[str, int]] = {}
        self._reserved: dict[str, tuple[str, float]] = {}
        self._guard = threading.Lock()
        self.labels.refresh_all()

    def close(self) -> None:
        """End trainings and the network's thread."""
        self.trainer.close()
        self.engine.close()
        if self._ahead is not None:
            self._ahead.join(_LAST_READING_SECONDS)
        LOG.removeHandler(self.log_lines)
        self._folder_lock.release()

    def image(self, case_id: str) -> Volume:
        """The voxels of a case; the last two stay in memory. Who asks while they are being read waits for them."""
        with self._guard:
            known = self._images.pop(case_id, None)
            if known is not None:
                self._images[case_id] = known
                return known
            reading = self._reading.get(case_id)
            if reading is None:
                own = self._reading[case_id] = Future()
        return self._read(case_id, own) if reading is None else reading.result()

    def _read(self, case_id: str, result: Future[Volume]) -> Volume:
        try:
            volume = self.cases.image(case_id)
        except BaseException as error:
            with self._guard:
                del self._reading[case_id]
            result.set_exception(error)
            raise
        with self._guard:
            del self._reading[case_id]
            self._images[case_id] = volume
            while len(self._images) > _IMAGES_KEPT:
                self._images.popitem(last=False)
        result.set_result(volume)
        return volume

    def read_ahead(self, case_id: str) -> None:
        """Read a case in the background and make it ready for the network: who fetches it asks for its labels next.

        One at a time. A client that fetches all scans of a folder shall not have all of them read.
        """
        with self._guard:
            busy = self._ahead is not None and self._ahead.is_alive()
            if busy or case_id in self._images or case_id in self._reading:
                return
            self._ahead = threading.Thread(target=self._read_quietly, args=(case_id,), name="read ahead", daemon=True)
        self._ahead.start()

    def _read_quietly(self, case_id: str) -> None:
        with suppress(VastusError, OSError):  # the request that needs the scan says what is wrong with it
            self._make_ready(case_id, self.registry.bundle(None))

    def _make_ready(self, case_id: str, bundle: Bundle) -> None:
        from vastus.inference.predictor import make_ready

        made: Future[Preprocessed] = Future()
        with self._guard:  # before the scan is read: a request that waits for the reading takes this up, too
            self._made_ready = _MadeReady(case_id, bundle.info.preprocessing, made)
        try:
            made.set_result(make_ready(self.image(case_id), bundle.info, self.settings.runtime.threads))
        except BaseException as error:
            with self._guard:  # whoever asks later tries again
                if self._made_ready is not None and self._made_ready.seen is made:
                    self._made_ready = None
            made.set_exception(error)
            raise

    def _take_ready(self, case_id: str, bundle: Bundle) -> Callable[[], Preprocessed] | None:
        """A case that was made ready for these weights, or None; it is taken once, and then out of memory."""
        with self._guard:
            made = self._made_ready
            if made is None or (made.case_id, made.settings) != (case_id, bundle.info.preprocessing):
                return None
            self._made_ready = None
        return made.seen.result

    def label_map(self, version: Version) -> Volume:
        """The voxels of a version; ``UNLABELLED`` where nobody looked."""
        return read_label_map(self.store.file(version), partly=True, table=self.table).volume

    def names_in(self, version: Version) -> Mapping[str, int]:
        """Names and values of the structures in a version; remembered, as versions never change."""
        known = self._names.get(version.sha256)
        if known is None:
            known = self._names[version.sha256] = label_names(occurring(self.label_map(version).array), self.table)
        return known

    def current_labels(self, case_id: str) -> Volume:
        """The voxels of the current version.

        Raises:
            NotReadyError: there is none.
        """
        version = self.store.current(case_id)
        if version is None:
            raise NotReadyError("This case has no label yet.", remedy="Segment it or save one first.")
        return self.label_map(version)

    def save(self, case_id: str, draft: Draft, labels: Volume) -> Version:
        """Add a version and keep the data set current."""
        draft = self._with_drawn(case_id, draft, labels)
        version = self.store.save(
            case_id, draft, lambda path: write_labels(labels, path, partly=True, table=self.table)
        )
        self.labels.refresh(case_id)
        LOG.info("%s: version %d saved (%s, by %s)", case_id, version.number, version.kind.value, version.author)
        return version

    def _with_drawn(self, case_id: str, draft: Draft, labels: Volume) -> Draft:
        """A draft that keeps what was drawn before: outlines of slices that did not change, and the brush's strokes."""
        if draft.outlines is not None and draft.strokes is not None:
            return draft
        before = self.store.current(case_id) if draft.parent is None else self.store.version(case_id, draft.parent)
        if before is None:
            return draft
        outlines, strokes = draft.outlines, draft.strokes
        if outlines is None:
            outlines = self.store.outlines(before)
            if outlines:
                old, new = to_ras(self.label_map(before)).array, to_ras(labels).array
                outlines = {k: text for k, text in outlines.items() if np.array_equal(old[:, :, k], new[:, :, k])}
        return replace(draft, outlines=outlines, strokes=self.store.strokes(before) if strokes is None else strokes)

    def undo(self, case_id: str, author: str) -> Version:
        """Bring back the parent of the current version."""
        self.cases.get(case_id)
        version = self.store.undo(case_id, author)
        self.labels.refresh(case_id)
        LOG.info("%s: version %d undone by %s", case_id, version.number - 1, author)
        return version

    def warm(self) -> None:
        """Load the selected model in the background, with all that a first segmentation waits for."""
        selected = self.registry.selected()
        if selected is not None:
            self.engine.warm(self.registry.bundle(selected))

    def segment(self, case_id: str, model: str | None, who: str = "") -> Future[tuple[str, Segmentation]]:
        """Queue a case for the network; gives the model's name and what it found."""
        return self._queue(case_id, model, who, lambda network, scan, _: network.segment(scan))

    def label(self, case_id: str, model: str | None, who: str = "") -> Future[tuple[str, Volume]]:
        """Queue a case for the network; gives the model's name and the labels, sooner than ``segment``."""
        return self._queue(
            case_id,
            model,
            who,
            lambda network, scan, bundle: network.label(scan, self._take_ready(case_id, bundle)),
        )

    def _queue(
        self, case_id: str, model: str | None, who: str, work: Callable[[PacedPredictor, Volume, Bundle], Found]
    ) -> Future[tuple[str, Found]]:
        bundle = self.registry.bundle(model)
        self.cases.get(case_id)
        return self.engine.submit(
            lambda load: (bundle.folder.name, work(load(bundle), self.image(case_id), bundle)),
            Purpose(RequestKind.LABEL, case_id, who),
        )

    def save_prediction(self, case_id: str, model: str, labels: Volume, author: str) -> Version:
        """Keep what a model found as a version."""
        return self.save(case_id, Draft(Kind.MODEL, author, note=f"model {model}", tag="original"), labels)

    def states(self) -> dict[str, CaseState]:
        """How far each case is."""
        currents = self.store.currents()
        return {
            case.id: currents[case.id].state if case.id in currents else CaseState.UNLABELLED
            for case in self.cases.all()
        }

    def to_correct(self) -> list[str]:
        """Cases that nobody has corrected yet, without those that turned out to be unreadable."""
        waiting = (CaseState.UNLABELLED, CaseState.MODEL)
        return [case for case, state in self.states().items() if state in waiting and not self.cases.problem(case)]

    def reserve_first(self, ranked: list[str], who: str) -> str | None:
        """Hand out the first case that is not with someone else, so that two annotators get different ones."""
        locks = self.store.locks()
        now = time.monotonic()
        with self._guard:
            self._reserved = {c: (w, t) for c, (w, t) in self._reserved.items() if t > now}
            for case in ranked:
                holder = locks[case].holder if case in locks else self._reserved.get(case, (who, 0.0))[0]
                if holder == who:
                    self._reserved[case] = (who, now + _RESERVED_SECONDS)
                    return case
        return None


def label_names(present: Iterable[int], table: StructureTable = BUILT_IN) -> Mapping[str, int]:
    """Names of the values that occur, in the order of the values: 3D Slicer gives the n-th present value the n-th."""
    return {table.by_value[value].name: value for value in sorted(present) if value in table.by_value}


def _folder_lock(layout: Layout) -> FolderLock:
    """Make sure that one server only works on a project; its lock goes with the process, however that ends."""
    layout.make()
    claim = take_folder_lock(layout.state / "server.lock")
    if claim is None:
        raise AlreadyThereError(
            "Another server is working on this folder.", path=layout.root, remedy="Use that one, or stop it."
        )
    return claim
