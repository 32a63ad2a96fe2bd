"""``DIR/dataset``: the final labels in nnU-Net layout, kept current, for ``vastus train --data DIR/dataset``.

Files are hard links to the immutable versions and images (copies where the file system has none), so that the folder
costs no space. ``splits_final.json`` deals cases out in the order in which they became final and never moves one: a
scan that was held out in one round is held out in all of them.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vastus.anatomy import BUILT_IN, UNLABELLED, StructureTable
from vastus.annotation.logs import LOG
from vastus.annotation.project.cases import Cases
from vastus.annotation.project.store import Store
from vastus.annotation.refusals import UnknownCaseError
from vastus.errors import VastusError
from vastus.io.atomic import put_in_place
from vastus.io.nnunet_layout import FILE_ENDING, SPLITS_FILE, image_path, labels_path, write_description, write_splits
from vastus.io.nnunet_layout import LABELS as LABEL_MAPS
from vastus.io.structure_tables import write_table_beside

FOLDS: Final = 5
_ORDER: Final = "order of becoming final"


@dataclass(frozen=True, slots=True)
class FinalCase:
    """A scan with a final label: the two files."""

    case_id: str
    image: Path
    labels: Path


class FinalLabels:
    """The data set of a project."""

    def __init__(self, store: Store, cases: Cases, folder: Path, table: StructureTable = BUILT_IN) -> None:
        self._store = store
        self._cases = cases
        self.folder, self._table = folder, table
        self._guard = threading.Lock()

    def refresh(self, case_id: str) -> None:
        """Bring the files of one case in line with its history."""
        with self._guard:
            order = self._order()
            final = self._final(case_id)
            if final is None:
                if case_id in order:
                    remove_pair(self.folder, case_id)
                    self._describe([c for c in order if c != case_id])
                return
            place_pair(self.folder, final)
            if case_id not in order:
                self._describe([*order, case_id])

    def refresh_all(self) -> None:
        """Bring all files in line with the history, as after a crash."""
        with self._guard:
            finals = {final.case_id: final for final in self.finals()}
            order = [c for c in self._order() if c in finals]
            order += sorted(set(finals) - set(order))
            for case_id in self._present() - set(finals):
                remove_pair(self.folder, case_id)
            for final in finals.values():
                place_pair(self.folder, final)
            if order or self.folder.is_dir():
                self._describe(order)

    def finals(self) -> list[FinalCase]:
        """All scans with a final label."""
        found = (self._final(case_id) for case_id in sorted(self._store.currents()))
        return [final for final in found if final is not None]

    def snapshot(self, folder: Path) -> int:
        """Lay out the final labels as they are now, for a training that later saves must not disturb.

        Returns:
            The number of cases.
        """
        with self._guard:
            finals = {final.case_id: final for final in self.finals()}
            order = [c for c in self._order() if c in finals]
            order += sorted(set(finals) - set(order))
        for final in finals.values():
            place_pair(folder, final)
        describe(folder, order, self._table)
        return len(finals)

    def _final(self, case_id: str) -> FinalCase | None:
        version = self._store.final(case_id)
        if version is None:
            return None
        try:
            return FinalCase(case_id, self._cases.image_path(case_id), self._store.file(version))
        except UnknownCaseError:
            # The scan was taken out of the folder; its history stays.
            return None
        except VastusError as error:
            LOG.error("%s: final, but its scan can't be read: %s", case_id, error.problem)
            return None

    def _order(self) -> list[str]:
        known = self._store.setting(_ORDER)
        return [str(c) for c in json.loads(known)] if known else []

    def _describe(self, order: list[str]) -> None:
        self._store.set_setting(_ORDER, json.dumps(order))
        describe(self.folder, order, self._table)

    def _present(self) -> set[str]:
        return {p.name.removesuffix(FILE_ENDING) for p in (self.folder / LABEL_MAPS).glob(f"*{FILE_ENDING}")}


def describe(folder: Path, order: Iterable[str], table: StructureTable = BUILT_IN) -> None:
    """Write ``dataset.json`` with every value of the table, the table file if it is not built in, and the folds."""
    folder.mkdir(parents=True, exist_ok=True)
    names = list(order)
    write_description(folder, table.value_of_name, len(names), ignore=UNLABELLED)
    write_table_beside(table, folder)
    if len(names) < 2:
        # Nothing can be held out yet.
        (folder / SPLITS_FILE).unlink(missing_ok=True)
        return
    folds = []
    for fold in range(min(FOLDS, len(names))):
        held_out = names[fold::FOLDS]
        folds.append((sorted(set(names) - set(held_out)), sorted(held_out)))
    write_splits(folder, folds)


def place_pair(folder: Path, final: FinalCase) -> None:
    """Put image and labels of a case into a data set: the image first, so that no label lacks one."""
    _place(final.image, image_path(folder, final.case_id))
    _place(final.labels, labels_path(folder, final.case_id))


def remove_pair(folder: Path, case_id: str) -> None:
    """Take a case out of a data set."""
    labels_path(folder, case_id).unlink(missing_ok=True)
    image_path(folder, case_id).unlink(missing_ok=True)


def _place(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and target.samefile(source):
        return
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".vastus-") as folder:
        temporary = Path(folder) / target.name
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copy2(source, temporary)
        put_in_place(temporary, target)
