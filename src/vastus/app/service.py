"""``App``: all parts of the app, and what its page asks of them. Thread-safe."""

from __future__ import annotations

import csv
import re
import secrets
import shutil
import tempfile
import threading
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from vastus.annotation.names import name_from
from vastus.annotation.project.project import Project, ServerSettings
from vastus.annotation.project.store import Draft, Kind, Version
from vastus.annotation.project.structure_choice import table_of_weights
from vastus.annotation.refusals import BadNameError, BadRequestError, UnknownItemError
from vastus.app.layout import FACTS_FILE, AppLayout
from vastus.app.person import FIELDS, tidy
from vastus.app.results import Result, Results
from vastus.app.runner import Runner
from vastus.app.tasks import Task, Tasks, TaskState, Work
from vastus.batch.inputs import LIST_SUFFIXES, find_scans
from vastus.batch.scan_names import clean_name
from vastus.errors import MissingInputError, SettingsError, VastusError
from vastus.io.atomic import ensure_private_folder, hidden_path, put_in_place
from vastus.io.csv_tables import write_volume_rows
from vastus.io.edited_tables import TABLE_SUFFIXES
from vastus.io.labels import read_label_map
from vastus.io.own_structures import same_structures
from vastus.io.scans import read_scan
from vastus.io.structure_tables import write_table_beside
from vastus.io.tables import LABELS_FILE, VOLUMES_FILE
from vastus.sarcopenia import criteria_names

_MOST_SCANS: Final = 500
_FEWEST_FOR_COHORT: Final = 2
_LONGEST_PART: Final = 100
_DEEPEST: Final = 12
_STORED: Final = (".gz", ".png", ".parquet", ".pdf")


@dataclass(frozen=True, slots=True)
class AppSettings:
    """What the command line decides: the folder, other weights, threads of the network."""

    root: Path
    weights: Path | None = None
    threads: int | None = None


class App:
    """The app of one folder."""

    def __init__(self, settings: AppSettings) -> None:
        self.layout = AppLayout(settings.root.absolute())
        self.readable_by_others = self.layout.make()
        self.results = Results(self.layout)
        self.results.tidy()
        self.tasks = Tasks(self.layout.queue)
        options = {"weights": str(settings.weights.absolute()) if settings.weights else "", "threads": settings.threads}
        self.runner = Runner(self.tasks, self._finished, options)
        corrections = self.layout.corrections_of(table_of_weights(settings.weights))
        ensure_private_folder(corrections)
        self.project = Project(ServerSettings(corrections, settings.weights))
        self._uploads: dict[str, dict[str, Path]] = {}
        self._guard = threading.Lock()

    def close(self) -> None:
        """Stop working; what was not done waits for the next start."""
        self.runner.close()

    # scans in

    def add_path(self, text: str) -> list[str]:
        """Queue the scans that a path names: a file, a zip, a folder; returns their names.

        Raises:
            MissingInputError: nothing there, or no scan in it.
        """
        path = Path(text.strip().strip("\"'")).expanduser()
        if not text.strip() or not path.is_absolute():
            raise BadRequestError("This is not a whole path.", remedy="Write it from the top, as /home/me/scan.nii.gz.")
        if not path.exists():
            raise MissingInputError("There is no such file or folder on this computer.", remedy="Look at the spelling.")
        return self._queue_scans(path)

    def open_upload(self) -> str:
        """Begin to take in files that were dropped."""
        upload = secrets.token_hex(8)
        (self.layout.incoming / upload).mkdir(mode=0o700)
        with self._guard:
            self._uploads[upload] = {}
        return upload

    def place_for(self, upload: str, name: str) -> Path:
        """Where a dropped file goes: its own names, without what could lead out of the folder.

        Raises:
            UnknownItemError: no such upload.
            BadRequestError: no name.
        """
        parts = [_safe_part(part) for part in re.split(r"[\\/]+", name) if part.strip(" .")]
        if not parts or len(parts) > _DEEPEST:
            raise BadRequestError("This file has no name that can be used.")
        with self._guard:
            taken = self._uploads.get(upload)
            if taken is None:
                raise UnknownItemError("This upload is over.", remedy="Drop the scan again.")
            stored_name, number = "/".join(parts), 1
            while stored_name in taken:
                number += 1
                stored_name = "/".join([*parts[:-1], f"{number}_{parts[-1]}"])
            path = taken[stored_name] = self.layout.incoming / upload / stored_name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def close_upload(self, upload: str) -> list[str]:
        """All files are there: queue what they hold.

        Raises:
            UnknownItemError: no such upload.
            MissingInputError: no scan among the files.
        """
        with self._guard:
            files = self._uploads.pop(upload, None)
        if files is None:
            raise UnknownItemError("This upload is over.", remedy="Drop the scan again.")
        folder = self.layout.incoming / upload
        try:
            if not files:
                raise MissingInputError("The folder is empty.", remedy="Drop a scan, or a folder with one.")
            top = {name.split("/")[0] for name in files}
            wish = next(iter(top)) if len(top) == 1 else "scan"
            with self._guard:
                kept = _unused(clean_name(wish.split(".")[0] or wish), {p.name for p in self.layout.scans.iterdir()})
                folder.rename(self.layout.scans / kept)
        except VastusError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        place = self.layout.scans / kept
        within = list(place.iterdir())
        try:
            return self._queue_scans(within[0] if len(within) == 1 else place, kept)
        except VastusError:
            shutil.rmtree(place, ignore_errors=True)
            raise

    def drop_upload(self, upload: str) -> None:
        """Forget an upload that was broken off."""
        with self._guard:
            self._uploads.pop(upload, None)
        shutil.rmtree(self.layout.incoming / _safe_part(upload), ignore_errors=True)

    def _queue_scans(self, path: Path, kept: str = "") -> list[str]:
        found = []
        if path.is_dir() or path.suffix.lower() not in LIST_SUFFIXES:  # a letter is no list of scans
            for scan in find_scans([path], self.layout.root):
                found.append(scan)
                if len(found) > _MOST_SCANS:
                    raise BadRequestError(
                        f"The folder holds more than {_MOST_SCANS} scans.", remedy="Take a part, or use `vastus batch`."
                    )
        if not found:
            raise MissingInputError(
                "There is no CT scan in it.", remedy="Give a NIfTI or NRRD file, or a folder or zip of DICOM files."
            )
        names = []
        with self._guard:
            taken = {r.name for r in self.results.all()} | {task.name for task in self.tasks.all()}
            for scan in found:
                # A folder that holds one scan gives it its name, however deep the scan lies.
                name = _unused(clean_name(path.name if len(found) == 1 and path.is_dir() else scan.name), taken)
                taken.add(name)
                request = {
                    "source": str(scan.path),
                    "series": scan.series or "",
                    "folder": str(self.layout.results / name),
                    "subject": name,
                }
                self.tasks.add(Work.SEGMENT, name, request, kept)
                names.append(name)
        return names

    # the list

    def state(self) -> dict[str, Any]:
        """What the page shows: work, results, comparisons."""
        running = self.runner.progress()
        tasks, before = [], 0
        for task in self.tasks.all():
            row: dict[str, Any] = {
                "id": task.id,
                "work": task.work.value,
                "name": task.name,
                "state": task.state.value,
                "problem": task.problem,
                "remedy": task.remedy,
            }
            if running is not None and running["id"] == task.id:
                row |= running
            elif task.state is TaskState.WAITING:
                before += 1
                row["before"] = before
            tasks.append(row)
        results = self.results.rows()
        for row in results:
            row["corrected"] = bool(row["case"]) and self.corrected(row["name"]) is not None
        return {
            "tasks": tasks,
            "mean_seconds": self.runner.mean_seconds(),
            "results": results,
            "cohorts": self.results.cohorts(),
            "folder": str(self.layout.root),
        }

    def cancel(self, task_id: str) -> None:
        """Take a task out of the list, also the running one, with the scan that was kept for it.

        Raises:
            UnknownItemError: it is done already.
        """
        task = self._task(task_id)
        self.runner.cancel(task_id)
        if task.work is Work.SEGMENT:
            folder = self.layout.results / task.name
            if folder.is_dir() and not any(r.name == task.name for r in self.results.all()):
                shutil.rmtree(folder, ignore_errors=True)
        if task.work is Work.COHORT:
            shutil.rmtree(self.layout.cohorts / task.name, ignore_errors=True)
        self._drop_scan(task.kept)

    def retry(self, task_id: str) -> None:
        """Let a failed task wait again.

        Raises:
            UnknownItemError: it is not there.
        """
        self.tasks.retry(self._task(task_id).id)

    def remove(self, name: str) -> None:
        """Remove a result, and the scan if it was dropped in; what was opened for correction stays there."""
        result = self.results.get(name)
        kept = str(result.facts().get("kept", ""))
        # Aside first: on Windows a file that is open would stop the removal half way.
        aside = hidden_path(result.folder.parent)
        put_in_place(result.folder, aside)
        shutil.rmtree(aside, ignore_errors=True)
        self._drop_scan(kept)

    def _task(self, task_id: str) -> Task:
        task = self.tasks.get(task_id)
        if task is None:
            raise UnknownItemError("This is done already.", remedy="Load the page anew.")
        return task

    def _drop_scan(self, kept: str) -> None:
        if kept and not any(task.kept == kept for task in self.tasks.all()) and not self.results.uses(kept):
            shutil.rmtree(self.layout.scans / kept, ignore_errors=True)

    def _finished(self, task: Task) -> Mapping[str, float]:
        if task.work is Work.COHORT:
            return {}
        result = self.results.get(task.name)
        if task.work is Work.MEASURE:
            result.keep({"measured_version": task.request["version"]})
            return {}
        result.keep({"source": task.request["source"], "series": task.request["series"], "kept": task.kept})
        seconds: Mapping[str, float] = result.record().get("seconds", {})
        return seconds

    # the person

    def save_person(self, name: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Keep what is known of a person; gives the result with stage and indices.

        Raises:
            SettingsError: something that can't be.
        """
        result = self.results.get(name)
        result.keep({"person": tidy(values)})
        return self.results.details(result)

    # many results

    def compare(self, names: list[str], criteria: str, table: Path | None = None) -> str:
        """Queue the statistics of many results; gives the name of the comparison.

        Args:
            names: of the results.
            criteria: by which people are divided.
            table: clinical table; None: what was entered for each.

        Raises:
            SettingsError: too few results, or nothing is known of the people, or results of different structures.
        """
        if criteria not in criteria_names():
            raise SettingsError("These criteria are not known.")
        chosen = [self.results.get(name) for name in dict.fromkeys(names)]
        if len(chosen) < _FEWEST_FOR_COHORT:
            raise SettingsError("A comparison needs several results.", remedy="Tick at least two.")
        table_of_all = chosen[0].table
        other = next((result for result in chosen if not same_structures(result.table, table_of_all)), None)
        if other is not None:
            raise SettingsError(
                f"“{other.name}” has other structures than “{chosen[0].name}”, so they can't be compared.",
                remedy="Tick results of the same weights.",
            )
        people = [(result.name, result.facts().get("person", {})) for result in chosen]
        if table is None and not any(person.get("sex") for _, person in people):
            raise SettingsError(
                "Nothing is known of these people yet.",
                remedy="Enter sex and clinical values under “Person”, or give a table.",
            )
        name = _unused(f"comparison {datetime.now():%Y-%m-%d %H.%M}", {p.name for p in self.layout.cohorts.iterdir()})
        folder = self.layout.cohorts / name
        folder.mkdir(mode=0o700)
        write_volume_rows(_all_volumes(chosen), folder / VOLUMES_FILE)
        write_table_beside(table_of_all, folder)
        clinical = folder / f"clinical{table.suffix.lower() if table else '.csv'}"
        if table is None:
            _write_people(people, clinical)
        else:
            shutil.copyfile(table, clinical)
        request = {
            "scans": str(folder / VOLUMES_FILE),
            "clinical": str(clinical),
            "folder": str(folder),
            "criteria": criteria,
        }
        self.tasks.add(Work.COHORT, name, request)
        return name

    # correction

    def open_for_correction(self, name: str) -> str:
        """Put a result into the corrections, once; gives the case that the viewer opens.

        Raises:
            InputError: the scan is not where it was any more.
            SettingsError: it has other structures than the weights that the app was started with.
        """
        result = self.results.get(name)
        if not self._opens_here(result):
            raise SettingsError(
                "This result has other structures than the app's weights, so the viewer can't correct it now.",
                remedy="Start the app with the weights that made it: vastus app --weights ...",
            )
        with self._guard:
            facts = result.facts()
            if facts.get("case"):
                return str(facts["case"])
            scan = read_scan(Path(facts["source"]), series=facts.get("series") or None).volume
            labels = read_label_map(result.folder / LABELS_FILE, table=result.table).volume
            if not labels.same_grid(scan):
                raise BadRequestError(
                    "The scan is not the one any more that was measured.",
                    remedy="Add it again, and correct that result.",
                )
            case = _unused(_case_name(name), {c.id for c in self.project.cases.all()}, "_")
            self.project.cases.add(case, scan)
            self.project.save(case, Draft(Kind.MODEL, "local", note="the result", tag="original"), labels)
            result.keep({"case": case, "measured_version": 1})
        return case

    def corrected(self, name: str) -> Version | None:
        """The label that a person saved since the result was measured; None if there is none."""
        result = self.results.get(name)
        facts = result.facts()
        case = facts.get("case") if self._opens_here(result) else None
        version = self.project.store.current(case) if case else None
        return None if version is None or version.number <= int(facts.get("measured_version", 1)) else version

    def _opens_here(self, result: Result) -> bool:
        """Whether the viewer of this run can show the labels of a result."""
        return same_structures(self.project.table, result.table)

    def measure_again(self, name: str) -> None:
        """Queue the measures of a result anew, from its corrected labels.

        Raises:
            BadRequestError: nothing was corrected since.
        """
        version = self.corrected(name)
        if version is None:
            raise BadRequestError("Nothing was corrected since it was measured.", remedy="Correct and save first.")
        if any(task.work is Work.MEASURE and task.name == name for task in self.tasks.all()):
            return
        request = {
            "scan": str(self.project.cases.image_path(version.case_id)),
            "labels": str(self.project.store.file(version)),
            "folder": str(self.layout.results / name),
            "subject": name,
            "note": f"labels corrected by hand (version {version.number})",
            "version": version.number,
        }
        self.tasks.add(Work.MEASURE, name, request)

    # all of it

    def pack(self, names: list[str] | None = None) -> Path:
        """Write a zip of results (all without names), comparisons, and one table of all; gives its path.

        Scans are not in it, nor what the app keeps for itself.
        """
        chosen = self.results.all() if names is None else [self.results.get(name) for name in names]
        if not chosen:
            raise BadRequestError("There is no result to download yet.")
        made = self.layout.incoming / f"{secrets.token_hex(8)}.zip"
        with zipfile.ZipFile(made, "w") as archive:
            for result in chosen:
                _pack_folder(archive, result.folder, f"results/{result.name}")
            if names is None:
                for row in self.results.cohorts():
                    _pack_folder(archive, self.results.cohort(row["name"]), f"comparisons/{row['name']}")
            with tempfile.TemporaryDirectory(dir=self.layout.incoming) as folder:
                volumes, people = Path(folder) / VOLUMES_FILE, Path(folder) / "people.csv"
                write_volume_rows(_all_volumes(chosen), volumes)
                _write_people([(r.name, r.facts().get("person", {})) for r in chosen], people)
                archive.write(volumes, volumes.name, zipfile.ZIP_DEFLATED)
                archive.write(people, people.name, zipfile.ZIP_DEFLATED)
        return made


def is_table(name: str) -> bool:
    """Whether a file can be a clinical table, by its name."""
    return Path(name).suffix.lower() in TABLE_SUFFIXES


def _pack_folder(archive: zipfile.ZipFile, folder: Path, name: str) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != FACTS_FILE and not path.name.startswith("."):
            kind = zipfile.ZIP_STORED if path.suffix in _STORED else zipfile.ZIP_DEFLATED
            archive.write(path, f"{name}/{path.relative_to(folder).as_posix()}", kind)


def _all_volumes(results: Iterable[Result]) -> list[Any]:
    """The volumes of all, each under its result's name."""
    from dataclasses import replace

    return [replace(row, subject=result.name) for result in results for row in result.volumes()]


def _write_people(people: Iterable[tuple[str, Mapping[str, Any]]], path: Path) -> None:
    columns = ("sex", *FIELDS, "mass_method")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("subject", *columns))
        writer.writerows([name, *(person.get(column, "") for column in columns)] for name, person in people)


def _safe_part(part: str) -> str:
    cleaned = clean_name(part)
    return cleaned[-_LONGEST_PART:].lstrip(".") or "_"


def _unused(base_name: str, taken: Iterable[str], joint: str = " ") -> str:
    """A name that nothing has: the second ``scan`` is ``scan 2``. On some disks case makes no other name."""
    folded = {name.casefold() for name in taken}
    name, number = base_name, 1
    while name.casefold() in folded:
        number += 1
        name = f"{base_name}{joint}{number}"
    return name


def _case_name(name: str) -> str:
    try:
        return name_from(name, "scan")
    except BadNameError:
        return "scan"
