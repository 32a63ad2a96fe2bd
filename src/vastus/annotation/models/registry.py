"""The networks that the server can use."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from vastus.anatomy import BUILT_IN, StructureTable
from vastus.annotation.names import checked_name
from vastus.annotation.project.layout import Layout
from vastus.annotation.project.store import Store
from vastus.annotation.refusals import UnknownItemError
from vastus.errors import VastusError
from vastus.inference.bundle import INFO_FILE, Bundle, default_bundle_folder, load_bundle
from vastus.io.own_structures import extends

_SELECTED: Final = "selected model"


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model as the server lists it."""

    name: str
    selected: bool
    created: str
    metrics: Mapping[str, float]
    trained_on: str
    classes: tuple[str, ...]


class ModelRegistry:
    """The bundle that comes with Vastus, or the one given on the command line, and those trained in this project.

    Models are those that know the structures of the project, or some of them under the same label values. A training
    may start from any other bundle: layers and rows of structures of the same name are taken over.
    """

    def __init__(
        self, layout: Layout, store: Store, first: Path | None = None, table: StructureTable = BUILT_IN
    ) -> None:
        self._layout, self._table = layout, table
        self._store = store
        self._first = first
        self._checked: dict[Path, Bundle] = {}
        self._guard = threading.Lock()

    def bundles(self) -> dict[str, Bundle]:
        """All usable bundles by name, the newest last; looked up anew every time, so that new ones appear."""
        return {name: one for name, one in self._readable().items() if extends(self._table, one.info.table)}

    def start_of_training(self) -> Bundle | None:
        """What a training continues: the selected model; the first bundle, if it knows other structures; or nothing."""
        bundles = self.bundles()
        selected = self._selected_of(bundles)
        return bundles[selected] if selected is not None else next(iter(self._readable().values()), None)

    def _readable(self) -> dict[str, Bundle]:
        first = self._first or default_bundle_folder()
        folders = [first] if (first / INFO_FILE).is_file() else []
        if self._layout.models.is_dir():
            # Names with a dot are bundles that are being written.
            ready = (p for p in self._layout.models.iterdir() if not p.name.startswith("."))
            folders += sorted(p for p in ready if (p / INFO_FILE).is_file())
        found: dict[str, Bundle] = {}
        for folder in folders:
            try:
                found[folder.name] = self._load(folder)
            except VastusError:
                # A damaged bundle is no model; asking for it by name says so.
                continue
        return found

    def bundle(self, name: str | None = None) -> Bundle:
        """One bundle; without a name the selected one.

        Raises:
            UnknownItemError: none of that name, or none at all.
        """
        bundles = self.bundles()
        chosen_name = name or self._selected_of(bundles)
        if chosen_name is None and self._readable():
            raise UnknownItemError(
                "No model knows the structures of this project yet.",
                remedy="Save a few final labels, then train: POST /api/train",
            )
        if chosen_name is None or chosen_name not in bundles:
            raise UnknownItemError("There is no such model.", remedy="GET /api/models lists them.")
        return bundles[chosen_name]

    def selected(self) -> str | None:
        """Name of the selected model: the chosen one, else the newest."""
        return self._selected_of(self.bundles())

    def select(self, name: str) -> None:
        """Choose the model that is used when none is named."""
        self.bundle(checked_name(name, "model"))
        self._store.set_setting(_SELECTED, name)

    def entries(self) -> list[ModelEntry]:
        """All models for a list."""
        bundles = self.bundles()
        selected = self._selected_of(bundles)
        return [
            ModelEntry(
                name,
                name == selected,
                _time_of(bundle.folder / INFO_FILE),
                dict(bundle.info.metrics),
                bundle.info.trained_on,
                bundle.info.classes,
            )
            for name, bundle in bundles.items()
        ]

    def _selected_of(self, bundles: dict[str, Bundle]) -> str | None:
        chosen = self._store.setting(_SELECTED)
        return chosen if chosen in bundles else next(reversed(bundles), None)

    def _load(self, folder: Path) -> Bundle:
        with self._guard:
            bundle = self._checked.get(folder)
            if bundle is None:
                bundle = self._checked[folder] = load_bundle(folder)
            return bundle


def _time_of(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")


def now_text() -> str:
    """The time as MONAI Label writes it."""
    return time.strftime("%Y-%m-%d %H:%M:%S")
