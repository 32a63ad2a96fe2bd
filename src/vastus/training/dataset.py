"""A labelled data set in nnU-Net layout: read and checked as a whole, every problem named at once.

``imagesTr/case_0000.nii.gz``, ``labelsTr/case.nii.gz`` and ``dataset.json`` with ``labels`` (name -> value). A name is
a structure of the anatomy table, with ``_right`` or ``_left`` appended where the sides have values of their own. Names
of the data set's own make a table of their own (``vastus.io.structure_tables``).

Two additions to that layout: ``ignore`` among the labels names the value of voxels that nobody labelled, and a table
``merged`` says which labels stand for several structures (``"adductors": ["adductor_longus", ...]``); ``background``
may be one of them ("not a muscle, or one of those that nobody drew").
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BACKGROUND_ID, BUILT_IN, Side, StructureTable
from vastus.errors import MissingInputError, SettingsError, TrainingError, VastusError
from vastus.io.label_names import value_of
from vastus.io.labels import read_named_image, read_values
from vastus.io.nnunet_layout import (
    BACKGROUND_NAME,
    CHANNEL,
    DATASET_FILE,
    FILE_ENDING,
    IGNORE_NAME,
    IMAGES,
    LABELS,
    MERGED,
    case_of,
)
from vastus.io.structure_tables import DatasetStructures, dataset_structures
from vastus.io.tables import STRUCTURE_TABLE_FILE
from vastus.training.losses import IGNORE
from vastus.volume import Volume


@dataclass(frozen=True, slots=True)
class TrainingCase:
    """One labelled scan."""

    name: str
    image: Path
    labels: Path


@dataclass(frozen=True, slots=True)
class MergedLabel:
    """A label that stands for several classes: its name, and the keys of the structures (or ``background``)."""

    name: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """A data set as its files say.

    Attributes:
        folder: where it lies.
        cases: sorted by name; only those with both files.
        values: label value -> (structure key, side); background and ignored voxels are not in it.
        ignore_value: value of unlabelled voxels, or ``None``.
        merged: label value -> the structures that it stands for.
        table: of the structures.
        undeclared: keys of own structures of which no table file says more than the name.
    """

    folder: Path
    cases: tuple[TrainingCase, ...]
    values: dict[int, tuple[str, Side]]
    ignore_value: int | None
    merged: dict[int, MergedLabel] = field(default_factory=dict)
    table: StructureTable = BUILT_IN
    undeclared: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """Background and the structures that can be learnt here, in the order of the anatomy table.

        They have a value, or a part in a label of structures. One that is only named as what background may be as well
        ("nobody drew it") is not among them: from this data set alone a network could put it anywhere.
        """
        return self.classes_beside(())

    def classes_beside(self, known: tuple[str, ...]) -> tuple[str, ...]:
        """As ``classes``, with the structures that nobody drew here and that are ``known`` already, from weights."""
        named = {key for key, _ in self.values.values()}
        for label in self.merged.values():
            named |= {name for name in label.members if BACKGROUND_NAME not in label.members or name in known}
        return (BACKGROUND_NAME, *(s.key for s in self.table.rows if s.key in named))

    @property
    def _sets(self) -> tuple[tuple[str, ...], ...]:
        """The different sets of the merged labels: two labels of one set (left, right) are one to a network."""
        return tuple(dict.fromkeys(self.merged[value].members for value in sorted(self.merged)))

    def lookup(self, classes: tuple[str, ...]) -> NDArray[np.uint8]:
        """Table value -> class id (index in ``classes``); structures that are not in ``classes`` become background.

        Where ``classes`` names structures that this data set has no value for, its background may be one of them:
        nobody looked, so that those voxels are ignored.
        """
        ids = {name: i for i, name in enumerate(classes)}
        table = np.zeros(256, dtype=np.uint8)
        if set(classes) - set(self.classes_beside(classes)):
            table[0] = IGNORE
        for value, (key, _) in self.values.items():
            table[value] = ids.get(key, BACKGROUND_ID)
        for value, label in self.merged.items():
            table[value] = len(classes) + self._sets.index(label.members)
        if self.ignore_value is not None:
            table[self.ignore_value] = IGNORE
        return table

    def merged_classes(self, classes: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """List the members of each set of merged labels, in the order of ``lookup``; who is no class is background."""
        known = set(classes)
        listed = []
        for members in self._sets:
            names = {name if name in known else BACKGROUND_NAME for name in members}
            listed.append(tuple(name for name in classes if name in names))
        return tuple(listed)

    def anatomy_lookup(self) -> NDArray[np.uint8]:
        """Value in the files -> label value in the table of structures."""
        lookup = np.zeros(256, dtype=np.uint8)
        for value, (key, side) in self.values.items():
            lookup[value] = self.table.by_key[key].label_value(side)
        unknown = [self.ignore_value] if self.ignore_value is not None else []
        lookup[[*unknown, *self.merged]] = IGNORE
        return lookup


@dataclass(frozen=True, slots=True)
class DatasetReport:
    """What a check found: ``problems`` stop training, ``notices`` do not."""

    problems: tuple[str, ...]
    notices: tuple[str, ...]


def read_dataset(folder: Path) -> TrainingSet:
    """Read the description and the list of cases; nothing is opened but ``dataset.json``.

    Raises:
        MissingInputError: no such folder or no case in it.
        TrainingError: everything wrong with the description and the list, in one message.
    """
    dataset, problems = _read(folder)
    _refuse(problems, folder)
    return dataset


def check_dataset(folder: Path, tell: Callable[[str], None] = lambda _: None) -> DatasetReport:
    """Open every file and list all problems at once: missing pairs, geometry, label values, unreadable scans.

    Args:
        folder: of the data set.
        tell: told which scan is looked at.

    Raises:
        MissingInputError: no such folder or no case in it.
    """
    dataset, problems = _read(folder)
    notices: list[str] = list(_own_notices(dataset))
    seen: set[int] = set()
    for number, case in enumerate(dataset.cases, start=1):
        tell(f"checking {number} of {len(dataset.cases)}: {case.name}")
        found, values = _check_case(case, dataset)
        problems += found
        seen |= values
        if not found and not values & (dataset.values.keys() | dataset.merged.keys()):
            notices.append(f"{case.name}: all background; it only teaches what is no muscle")
    keys = {dataset.values[v][0] for v in seen if v in dataset.values}
    keys |= {name for v in seen if v in dataset.merged for name in dataset.merged[v].members}
    absent = [name for name in dataset.classes[1:] if name not in keys]
    if absent and not problems:
        notices.append(f"never labelled in any case, so not to be learnt from this data set: {', '.join(absent)}")
    return DatasetReport(tuple(problems), tuple(notices))


def _own_notices(dataset: TrainingSet) -> tuple[str, ...]:
    """Say that the data set has structures of its own, and what is taken for granted of them."""
    if not dataset.undeclared:
        return ()
    return (
        f"structures of your own: {', '.join(dataset.undeclared)}; each is taken for a muscle that both sides have."
        f" {STRUCTURE_TABLE_FILE} beside {DATASET_FILE} can say otherwise, and give titles, groups and colours",
    )


def require_sound(folder: Path, tell: Callable[[str], None] = lambda _: None) -> tuple[TrainingSet, tuple[str, ...]]:
    """The data set and the notices, or one ``TrainingError`` that lists every problem."""
    report = check_dataset(folder, tell)
    _refuse(list(report.problems), folder)
    return read_dataset(folder), report.notices


def read_pair(case: TrainingCase) -> tuple[Volume, Volume]:
    """CT in HU and label map with the data set's own values, on one grid.

    Raises:
        GeometryError: the voxels of the two do not coincide; says by how much.
        InputError: a file can't be read.
    """
    from vastus.io.labels import placed_on
    from vastus.io.scans import read_scan

    image = read_scan(case.image).volume
    return image, placed_on(read_values(case.labels), case.labels, image, case.image)


def _refuse(problems: list[str], folder: Path) -> None:
    if problems:
        listed = "\n".join(f"  - {p}" for p in problems)
        raise TrainingError(f"The data set has {len(problems)} problem(s):\n{listed}\n", path=folder)


def _read(folder: Path) -> tuple[TrainingSet, list[str]]:
    if not folder.is_dir():
        raise MissingInputError("There is no such data set.", path=folder)
    problems: list[str] = []
    description = _description(folder, problems)
    ending = str(description.get("file_ending", FILE_ENDING))
    found = _structures(folder, description, problems)
    merged_names = _merged_names(description, found.table, problems)
    values = _values(description, merged_names, found, problems)
    images = _files(folder / IMAGES, ending)
    labels = _files(folder / LABELS, ending)
    if not images and not labels:
        raise MissingInputError(
            f"No cases: looked for {IMAGES}/*{CHANNEL}{ending} and {LABELS}/*{ending}.", path=folder
        )
    others = sorted(name for name in images if not name.endswith(CHANNEL))
    problems += [f"{IMAGES}/{name}{ending}: must end in {CHANNEL}{ending}, one channel" for name in others]
    named = {case_of(name): path for name, path in images.items() if name.endswith(CHANNEL)}
    problems += [f"{name}: an image without labels" for name in sorted(named.keys() - labels.keys())]
    problems += [f"{name}: labels without an image" for name in sorted(labels.keys() - named.keys())]
    cases = tuple(TrainingCase(name, named[name], labels[name]) for name in sorted(named.keys() & labels.keys()))
    return TrainingSet(folder, cases, values.single, values.ignore, values.merged, found.table, found.own), problems


def _description(folder: Path, problems: list[str]) -> dict[str, Any]:
    path = folder / DATASET_FILE
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        problems.append(f"{DATASET_FILE} is missing")
        return {}
    except (OSError, ValueError) as error:
        problems.append(f"{DATASET_FILE} can't be read ({error})")
        return {}
    if not isinstance(description, dict) or not isinstance(description.get("labels"), dict):
        problems.append(f"{DATASET_FILE} has no table 'labels' (name: value)")
        return {}
    return description


def _structures(folder: Path, description: dict[str, Any], problems: list[str]) -> DatasetStructures:
    merged = description.get(MERGED, {})
    try:
        found = dataset_structures(folder, description.get("labels", {}), merged if isinstance(merged, dict) else ())
    except SettingsError as error:
        problems.append(error.problem.strip())
        return DatasetStructures(BUILT_IN, {})
    problems += [f"{DATASET_FILE}: {problem}" for problem in found.problems]
    return found


def _merged_names(
    description: dict[str, Any], table: StructureTable, problems: list[str]
) -> dict[str, tuple[str, ...]]:
    """Read the table ``merged``: name of a label -> keys of the structures that it stands for."""
    merged: dict[str, tuple[str, ...]] = {}
    for name, members in description.get(MERGED, {}).items():
        keys = tuple(members) if isinstance(members, list) else ()
        strange = [key for key in keys if key != "background" and key not in table.by_key]
        if len(keys) < 2 or strange:
            problems.append(f"{DATASET_FILE}: merged {name!r} must list two or more structures, not {members!r}")
        else:
            merged[name] = keys
    problems += [
        f"{DATASET_FILE}: merged {name!r} has no value among the labels"
        for name in merged
        if name not in description.get("labels", {})
    ]
    return merged


@dataclass(frozen=True, slots=True)
class _LabelValues:
    """What the label values of a data set mean.

    Attributes:
        single: value -> structure and side.
        merged: value -> label that stands for several structures.
        ignore: value of voxels that nobody looked at; None: there is none.
    """

    single: dict[int, tuple[str, Side]]
    merged: dict[int, MergedLabel]
    ignore: int | None


def _values(
    description: dict[str, Any],
    merged_names: dict[str, tuple[str, ...]],
    structures: DatasetStructures,
    problems: list[str],
) -> _LabelValues:
    values: dict[int, tuple[str, Side]] = {}
    merged: dict[int, MergedLabel] = {}
    ignore = None
    for name, value in description.get("labels", {}).items():
        if not isinstance(value, int) or not 0 <= value <= 255:
            problems.append(f"{DATASET_FILE}: the value of {name!r} must be a whole number of 0..255, not {value!r}")
        elif name == "background":
            if value != 0:
                problems.append(f"{DATASET_FILE}: the background must be 0, not {value}")
        elif name == IGNORE_NAME:
            ignore = value
        elif value in values or value in merged or value == 0:
            problems.append(f"{DATASET_FILE}: the value {value} has two names")
        elif name in merged_names:
            merged[value] = MergedLabel(name, merged_names[name])
        elif name in structures.meaning:
            values[value] = structures.meaning[name]
    return _LabelValues(values, merged, ignore)


def _files(folder: Path, ending: str) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    return {p.name.removesuffix(ending): p for p in sorted(folder.iterdir()) if p.name.endswith(ending)}


def _check_case(case: TrainingCase, dataset: TrainingSet) -> tuple[list[str], set[int]]:
    try:
        _, labels = read_pair(case)
        header_names = read_named_image(case.labels).names
    except VastusError as error:
        return [f"{case.name}: {error.problem}"], set()
    values = {int(v) for v in np.flatnonzero(np.bincount(labels.array.ravel(order="K"), minlength=256))}
    allowed = {0, *dataset.values, *dataset.merged} | (
        {dataset.ignore_value} if dataset.ignore_value is not None else set()
    )
    unknown = sorted(values - allowed)
    if unknown:
        return [f"{case.name}: label values without a name: {', '.join(map(str, unknown))}"], values
    return _contradicted_names(case, dataset, {v: header_names[v] for v in values if v and v in header_names}), values


def _contradicted_names(case: TrainingCase, dataset: TrainingSet, header_names: Mapping[int, str]) -> list[str]:
    """Values whose name in the file's own header is another one than the data set's."""
    problems = []
    for value, name in header_names.items():
        meant = value_of(name, dataset.table)
        if meant is None or value not in dataset.values:
            continue
        key, side = dataset.values[value]
        structure = dataset.table.by_key[key]
        if dataset.table.class_of_value[meant] != structure.class_id or (
            side is not Side.UNKNOWN and meant != structure.label_value(side)
        ):
            problems.append(
                f"{case.name}: value {value} is {name!r} in the header of {case.labels.name},"
                f" but {key} in {DATASET_FILE}"
            )
    return problems
