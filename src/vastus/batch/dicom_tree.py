"""DICOM files in a tree of folders, grouped into studies and series by their UIDs; one study is held at a time."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from vastus.batch.ledger import FoundScan
from vastus.batch.scan_names import fingerprint_of, scan_name
from vastus.errors import VastusError
from vastus.io.dicom_choice import choose_stack
from vastus.io.dicom_files import DICOM_SUFFIXES, HEAD_BYTES, is_dicom, is_packed, is_unfinished, suffix_class
from vastus.io.dicom_headers import Inventory, take_inventory
from vastus.io.dicom_store import FolderStore


class FolderMemory(Protocol):
    """Where findings of an earlier run are kept; the ledger is one."""

    def recall_folder(self, path: str, signature: str) -> dict[str, Any] | None: ...  # noqa: D102
    def remember_folder(self, path: str, signature: str, found: dict[str, Any]) -> None: ...  # noqa: D102


@dataclass(slots=True)
class _Study:
    """The CT slices of one study met so far, and the folders they lie in; ``mixed``: with another study in one."""

    inventory: Inventory = field(default_factory=Inventory)
    folders: dict[str, set[Path]] = field(default_factory=dict)
    signatures: dict[Path, str] = field(default_factory=dict)
    mixed: bool = False


class DicomTree:
    """Fed with folders in the order of a walk; gives the scans of a study once a folder without it comes by.

    A study whose folders lie together becomes one scan (its best series) or one for each series. Folders seen by an
    earlier run and unchanged since are not read again.
    """

    def __init__(self, root: Path, memory: FolderMemory | None, *, every_series: bool) -> None:
        self._root, self._memory, self._every = root, memory, every_series
        self._open: dict[str, _Study] = {}
        self._recalled: set[Path] = set()

    def visit(self, folder: Path, files: Sequence[str]) -> Iterator[FoundScan]:
        """Take in one folder's own files; yields what is complete."""
        named = [f for f in files if f.lower().endswith(DICOM_SUFFIXES) or _may_be_dicom(folder / f)]
        if not named:
            return
        if folder in self._recalled:
            return
        signature = self._signature(folder)
        known = self._recall(folder, signature)
        if known is not None:
            yield from self.rest()
            yield from known
            return
        try:
            inventory = take_inventory(FolderStore(folder, [folder / f for f in named]))
        except VastusError:
            # A damaged file: the scan is entered, so that its reading fails with a name in the ledger.
            yield from self.rest()
            yield self._scan(folder, None, signature)
            return
        here = _by_study(inventory)
        for uid in [u for u in self._open if u not in here]:
            yield from self._finish(self._open.pop(uid))
        if not here:
            self._remember({folder: signature}, [])
        for uid, part in here.items():
            study = self._open.setdefault(uid, _Study())
            _merge(study, part, folder)
            study.signatures[folder] = signature
            study.mixed |= len(here) > 1

    def rest(self) -> Iterator[FoundScan]:
        """Whatever is still open."""
        for uid in list(self._open):
            yield from self._finish(self._open.pop(uid))

    def _finish(self, study: _Study) -> Iterator[FoundScan]:
        found = list(self._scans(study))
        if not study.mixed:
            self._remember(study.signatures, found)
        yield from found

    def _scans(self, study: _Study) -> Iterator[FoundScan]:
        place = _common(study)
        if self._every:
            for uid in study.inventory.slices:
                try:
                    choose_stack(study.inventory, place, uid)
                except VastusError:
                    continue
                yield self._series(study, uid)
            return
        try:
            stack, _, _ = choose_stack(study.inventory, place, None)
        except VastusError:
            if study.inventory.slices or study.inventory.without_position:
                # Refused again when read, and named in the ledger then.
                yield self._scan(place, None, " ".join(study.signatures.values()))
            return
        yield self._series(study, stack.first.series_uid)

    def _series(self, study: _Study, uid: str) -> FoundScan:
        folders = sorted(study.folders[uid])
        place = folders[0] if len(folders) == 1 else Path(os.path.commonpath(folders))
        return self._scan(place, uid, " ".join(study.signatures[f] for f in folders))

    def _scan(self, place: Path, series: str | None, fingerprint: str) -> FoundScan:
        return FoundScan(place, scan_name(place, self._root), fingerprint, series)

    def _signature(self, folder: Path) -> str:
        return f"{'every' if self._every else 'best'} {fingerprint_of(folder)}"

    def _remember(self, signatures: dict[Path, str], found: list[FoundScan]) -> None:
        """Under the study's first folder, with the others and what they looked like."""
        if self._memory is None:
            return
        first, *others = signatures
        scans = [{"path": str(s.path), "name": s.name, "fingerprint": s.fingerprint, "series": s.series} for s in found]
        entry = {"scans": scans, "others": {str(folder): signatures[folder] for folder in others}}
        self._memory.remember_folder(str(first), signatures[first], entry)

    def _recall(self, folder: Path, signature: str) -> list[FoundScan] | None:
        known = self._memory.recall_folder(str(folder), signature) if self._memory else None
        if known is None or any(self._signature(Path(f)) != was for f, was in known["others"].items()):
            return None
        self._recalled.update(Path(f) for f in known["others"])
        return [FoundScan(Path(s["path"]), s["name"], s["fingerprint"], s["series"]) for s in known["scans"]]


def _may_be_dicom(path: Path) -> bool:
    """Files of a PACS often have no suffix, or a UID for a name; of others the first bytes tell."""
    if path.name.upper() == "DICOMDIR" or path.name.startswith("."):
        return False
    if not suffix_class(path) or is_packed(path) or is_unfinished(path):
        return True
    try:
        with path.open("rb") as file:
            return is_dicom(file.read(HEAD_BYTES))
    except OSError:
        return False


def _by_study(inventory: Inventory) -> dict[str, Inventory]:
    studies: dict[str, Inventory] = {}
    for uid, slices in inventory.slices.items():
        part = studies.setdefault(slices[0].study_uid, Inventory(left_out=Counter(), warnings=list(inventory.warnings)))
        part.slices[uid] = slices
        part.modality_of[uid] = inventory.modality_of[uid]
        if uid in inventory.left_out_of:
            part.left_out_of[uid] = inventory.left_out_of[uid]
    for uid, path in inventory.without_position.items():
        part = studies.setdefault(f"without position {uid}", Inventory())
        part.without_position[uid] = path
        part.modality_of[uid] = inventory.modality_of[uid]
    return studies


def _merge(study: _Study, part: Inventory, folder: Path) -> None:
    for uid, slices in part.slices.items():
        study.inventory.slices.setdefault(uid, []).extend(slices)
        study.folders.setdefault(uid, set()).add(folder)
    for uid, path in part.without_position.items():
        study.inventory.without_position[uid] = path
        study.folders.setdefault(uid, set()).add(folder)
    for uid, left_out in part.left_out_of.items():
        study.inventory.left_out_of.setdefault(uid, []).extend(left_out)
    study.inventory.modality_of.update(part.modality_of)


def _common(study: _Study) -> Path:
    folders = sorted(set().union(*study.folders.values()))
    return folders[0] if len(folders) == 1 else Path(os.path.commonpath(folders))
