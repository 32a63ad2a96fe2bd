"""Foreign labels -> a data set in nnU-Net layout, with a contact sheet and lists of what became of each name."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import UNLABELLED
from vastus.attempts import Attempts, Failure
from vastus.errors import InputError, MissingInputError, OutputError
from vastus.importing.codebook import Codebook
from vastus.importing.dicom_labels import read_dicom_labels, referenced_series
from vastus.importing.discovery import ForeignCase, Kind
from vastus.importing.label_maps import read_label_file, read_mask_folder
from vastus.importing.name_tables import UserTable, is_background, meanings_of, wholly_drawn
from vastus.importing.source_labels import SEVERAL, SourceLabels
from vastus.io.atomic import atomic_folder, write_text
from vastus.io.label_names import split_side
from vastus.io.labels import placed_on
from vastus.io.nifti import read_nifti
from vastus.io.nnunet_layout import (
    BACKGROUND_NAME,
    IGNORE_NAME,
    IMAGES,
    LABELS,
    MERGED,
    image_path,
    labels_path,
    write_description,
)
from vastus.io.scan_types import Scan, ScanFormat
from vastus.io.scans import read_scan, scan_format
from vastus.report.montage import MontageScan, write_contact_sheet
from vastus.synthesis.dataset import write_image

MAPPING_FILE: Final = "mapping.csv"
UNMAPPED_FILE: Final = "not_mapped.csv"
SHEET_FILE: Final = "contact_sheet.png"
_COLUMNS: Final = ("source_value", "source_name", "ours", "value", "cases", "voxels", "ml", "note")
_MOST_SHOWN: Final = 6
_SEVERAL_NAMES: Final = "(several names at once)"
_UNNAMED: Final = "(without a name)"
_NOTHING: Final = "(nothing drawn)"
_SETS_SHOWN: Final = "what was drawn as one has the colour of its first structure"
_UNKNOWN_NOTE: Final = (
    "no structure of ours: nobody can tell (255); if it is background to you, name it with --background"
)


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How labels are brought in.

    Attributes:
        user: the user's own table of names.
        names: of values, for label maps; empty: those that the files bring.
        background: names of the source that are no structure of ours, and known to be background.
        join_sides: left and right become one label.
    """

    user: UserTable = field(default_factory=UserTable)
    names: Mapping[int, str] = field(default_factory=dict)
    background: tuple[str, ...] = ()
    join_sides: bool = False


@dataclass(slots=True)
class NameRow:
    """What became of one name of the source, over all cases.

    Attributes:
        name: of the source.
        ours: what it became, in words.
        value: in the label maps written.
        note: what a person should know.
        mapped: whether it means something of ours, or background.
        values: of the source.
        cases, voxels, mm3: in how many cases it occurs, and how much of it.
    """

    name: str
    ours: str
    value: int
    note: str
    mapped: bool
    values: set[int] = field(default_factory=set)
    cases: int = 0
    voxels: int = 0
    mm3: float = 0.0


@dataclass(frozen=True, slots=True)
class Imported:
    """What was written: cases, what became of each name, the sets, and the cases that failed."""

    cases: tuple[str, ...]
    rows: tuple[NameRow, ...]
    merged: Mapping[str, tuple[str, ...]]
    failures: tuple[Failure, ...]


def import_labels(
    cases: tuple[ForeignCase, ...], output: Path, options: ImportOptions, tell: Callable[[str], None] = lambda _: None
) -> Imported:
    """Write ``imagesTr``, ``labelsTr``, ``dataset.json``, the contact sheet and both lists.

    Args:
        cases: see ``find_cases``.
        output: must not exist, or be empty; nothing is left of it when no case could be read.
        options: see there.
        tell: told one line for each case, and for each warning.

    Raises:
        InputError: no case could be read; of a single one, what was wrong with it.
        OutputError: the folder holds something, or can't be written.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise OutputError("The output folder holds something already.", path=output, remedy="Choose another with -o.")
    run = _Run(options, Codebook(options.join_sides))
    attempts = Attempts(tell)
    with atomic_folder(output) as target:
        for name in (IMAGES, LABELS):
            (target / name).mkdir()
        for number, case in enumerate(cases, start=1):
            tell(f"{number} of {len(cases)}: {case.name}")
            attempt: AbstractContextManager[None] = attempts.of(case.name) if len(cases) > 1 else nullcontext()
            with attempt:
                run.bring_in(case, target, tell)
        if not run.done:
            names = ", ".join(f"{failure.name}: {failure.problem}" for failure in attempts.failures[:5])
            raise InputError(f"No case could be brought in. {names}", path=output)
        run.write_lists(target)
        tell("drawing the contact sheet")
        write_contact_sheet(target / SHEET_FILE, run.pictures(target))
    return Imported(tuple(run.done), tuple(run.rows.values()), dict(run.codes.merged), tuple(attempts.failures))


@dataclass(slots=True)
class _Run:
    options: ImportOptions
    codes: Codebook
    rows: dict[str, NameRow] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)

    def bring_in(self, case: ForeignCase, target: Path, tell: Callable[[str], None]) -> None:
        scan = _read_scan(case)
        source = self._read_labels(case, scan)
        for warning in source.warnings:
            tell(f"{case.name}: {warning}")
        mapped = self._mapped(source)
        image, labels = image_path(target, case.name), labels_path(target, case.name)
        try:
            write_image(scan.volume, image)
            write_image(scan.volume.with_array(mapped), labels)
        except Exception:
            image.unlink(missing_ok=True)
            labels.unlink(missing_ok=True)
            raise
        self.done.append(case.name)

    def _read_labels(self, case: ForeignCase, scan: Scan) -> SourceLabels:
        if case.kind is Kind.MASKS:
            return read_mask_folder(case.labels, scan.volume)
        if case.kind is Kind.DICOM:
            return read_dicom_labels(case.labels, scan)
        found = read_label_file(case.labels, self.options.names)
        placed = placed_on(found.volume, case.labels, scan.volume, scan.source.path)
        return SourceLabels(placed, found.names, found.warnings)

    def _mapped(self, source: SourceLabels) -> NDArray[np.uint8]:
        """The labels with the data set's values; counts what becomes of each name."""
        counts = np.bincount(source.volume.array.ravel(order="K"), minlength=SEVERAL + 1)
        named = {value: name for value, name in source.names.items() if value and not is_background(name)}
        meanings = meanings_of(named.values(), self.options.user)
        nothing = self.codes.background_value(wholly_drawn(meanings.values()))
        table = np.full(SEVERAL + 1, UNLABELLED, np.uint8)
        table[0] = nothing
        cleared = {split_side(name)[0] for name in self.options.background}
        found: dict[str, list[int]] = {}
        for value in sorted({*source.names, *(int(v) for v in np.flatnonzero(counts))}):
            name = self._source_name(value, source.names)
            if name not in self.rows:
                self.rows[name] = NameRow(name, IGNORE_NAME, UNLABELLED, _UNKNOWN_NOTE, mapped=False)
            row = self.rows[name]
            if name == _NOTHING:
                row.ours, row.value, row.note, row.mapped = (
                    self.codes.name_of(nothing) or BACKGROUND_NAME,
                    nothing,
                    "",
                    True,
                )
            elif name in meanings:
                row.value, row.mapped = self.codes.value_for(name, meanings[name]), True
                row.ours, row.note = " or ".join(meanings[name].members), meanings[name].note
            elif split_side(name)[0] in cleared:
                row.ours, row.value, row.note, row.mapped = BACKGROUND_NAME, 0, "by --background", True
            elif name == _SEVERAL_NAMES:
                row.note = "nobody can tell which name is right (255)"
            table[value] = row.value
            found.setdefault(name, []).append(value)
        voxel_mm3 = source.volume.voxel_volume_mm3
        for name, values in found.items():
            voxels = int(counts[values].sum())
            row = self.rows[name]
            row.values |= set(values) - {SEVERAL}
            row.cases += voxels > 0
            row.voxels += voxels
            row.mm3 += voxels * voxel_mm3
        return table[source.volume.array]

    def _source_name(self, value: int, names: Mapping[int, str]) -> str:
        if value == SEVERAL:
            return _SEVERAL_NAMES
        name = names.get(value, "").strip()
        if value == 0 or (name and is_background(name)):
            return _NOTHING
        return name or f"{_UNNAMED} {value}"

    def write_lists(self, target: Path) -> None:
        values = dict(sorted(self.codes.values.items(), key=lambda item: item[1]))
        notes: dict[str, object] = {"description": "Brought in from other labels; see mapping.csv."}
        if self.codes.merged:
            notes[MERGED] = {name: list(members) for name, members in self.codes.merged.items()}
        write_description(target, values, len(self.done), ignore=UNLABELLED, notes=notes)
        write_text(target / MAPPING_FILE, _csv(self.rows.values()))
        write_text(target / UNMAPPED_FILE, _csv(row for row in self.rows.values() if not row.mapped))

    def pictures(self, target: Path) -> Iterator[MontageScan]:
        shown = np.arange(256, dtype=np.uint8)
        for value, instead in self.codes.shown_values().items():
            shown[value] = instead
        for name in self.done[:_MOST_SHOWN]:
            ct, labels = read_nifti(image_path(target, name)), read_nifti(labels_path(target, name))
            title = f"{name}   ({_SETS_SHOWN})" if self.codes.merged else name
            yield MontageScan(title, ct, labels.with_array(shown[labels.array]))


def _read_scan(case: ForeignCase) -> Scan:
    if case.image is None:
        raise MissingInputError(
            "There is no CT for these labels.", path=case.labels, remedy="Say with --images where it is."
        )
    series = None
    if case.kind is Kind.DICOM and scan_format(case.image) is ScanFormat.DICOM:
        series = referenced_series(case.labels)
    return read_scan(case.image, series=series)


def _csv(rows: Iterable[NameRow]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for row in rows:
        values = " ".join(map(str, sorted(row.values)))
        writer.writerow(
            [values, row.name, row.ours, row.value, row.cases, row.voxels, f"{row.mm3 / 1000:.2f}", row.note]
        )
    return stream.getvalue()
