"""Labels that are there before anybody opens a case: the first version of each, from a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vastus.annotation.names import name_from
from vastus.annotation.project.project import Project
from vastus.annotation.project.store import Draft, Kind
from vastus.annotation.refusals import BadNameError
from vastus.attempts import Attempts
from vastus.errors import MissingInputError
from vastus.io.labels import LABEL_SUFFIXES, read_labels_on
from vastus.io.nnunet_layout import case_of
from vastus.io.structure_tables import table_beside

AUTHOR = "labels brought along"


def take_first_labels(project: Project, folder: Path, tell: Callable[[str], None] = lambda _: None) -> int:
    """Save the label map of a folder as the first version of each scan of that name which has none yet.

    The structures keep their names: where the folder has another table, the values become those of the project. A label
    of several structures, and what nobody looked at, is unlabelled there (255). A label map that can't be read is told,
    and the others go on.

    Args:
        project: with the scans; ``x_0000`` and ``x`` are called alike.
        folder: label maps, such as ``labelsTr`` of a data set.
        tell: told one line for each label map.

    Returns:
        How many were taken.

    Raises:
        MissingInputError: there is no such folder.
    """
    if not folder.is_dir():
        raise MissingInputError("There is no such folder of label maps.", path=folder)
    files = _named(folder)
    attempts, taken = Attempts(tell), 0
    for case in project.cases.all():
        path = files.get(case_of(case.id)) or files.get(case.id)
        if path is None or project.store.current(case.id) is not None:
            continue
        with attempts.of(case.id):
            scan = project.cases.image(case.id)
            table = table_beside(path, project.table)
            labels = read_labels_on(path, scan, case.source, partly=True, table=table, wanted=project.table).volume
            project.save(case.id, Draft(Kind.MODEL, AUTHOR, note=f"from {folder.name}"), labels)
            taken += 1
            tell(f"{case.id}: labels taken")
    return taken


def _named(folder: Path) -> dict[str, Path]:
    """The label maps of a folder, by the name that a scan of theirs has as a case."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.name.lower().endswith(LABEL_SUFFIXES) and path.is_file():
            try:
                found[name_from(path.name, "label")] = path
            except BadNameError:
                continue
    return found
