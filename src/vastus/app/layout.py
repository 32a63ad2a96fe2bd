"""Where things lie in the folder of the app.

DIR/results/NAME/       what ``vastus segment`` writes for one scan, and beside it:
DIR/results/NAME/app.json      where the scan lies, whose labels these are, what is known of the person
DIR/cohorts/NAME/       what ``vastus cohort`` writes
DIR/scans/NAME/         scans that were dropped in (a scan given by its path stays where it is)
DIR/corrections/        a project of the annotation server: the scans that were opened for correction
DIR/corrections-HASH/   the same for a table of structures of a lab's own; HASH names the table
DIR/app/queue.json      what waits, and what could not be read
DIR/app/incoming/       what is being dropped in
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vastus.anatomy import StructureTable
from vastus.io.atomic import ensure_private_folder
from vastus.io.own_structures import table_digest

FACTS_FILE: Final = "app.json"


@dataclass(frozen=True, slots=True)
class AppLayout:
    """Paths of one app's folder."""

    root: Path

    def make(self) -> list[Path]:
        """Make the folders, for their owner alone; what an earlier run left half dropped in goes.

        Returns:
            Those that were there already and can be read by others.

        Raises:
            OutputError: they can't be written to.
        """
        shutil.rmtree(self.incoming, ignore_errors=True)
        folders = (self.root, self.results, self.cohorts, self.scans, self.corrections, self.state, self.incoming)
        return [folder for folder in folders if ensure_private_folder(folder)]

    @property
    def results(self) -> Path:
        """A folder for each scan."""
        return self.root / "results"

    @property
    def cohorts(self) -> Path:
        """A folder for each comparison of many results."""
        return self.root / "cohorts"

    @property
    def scans(self) -> Path:
        """What was dropped in."""
        return self.root / "scans"

    @property
    def corrections(self) -> Path:
        """The project of the annotation server."""
        return self.root / "corrections"

    def corrections_of(self, table: StructureTable) -> Path:
        """The project of the annotation server for results of a table of structures."""
        own = "" if table.is_built_in else f"-{table_digest(table)[:8]}"
        return self.corrections.with_name(self.corrections.name + own)

    @property
    def state(self) -> Path:
        """What the app keeps for itself."""
        return self.root / "app"

    @property
    def incoming(self) -> Path:
        """What is being dropped in."""
        return self.state / "incoming"

    @property
    def queue(self) -> Path:
        """What waits, and what could not be read."""
        return self.state / "queue.json"

    @property
    def key(self) -> Path:
        """The key of this folder's page; its owner alone can read it."""
        return self.state / "key"

    @property
    def address(self) -> Path:
        """Where the page is served while the app runs."""
        return self.state / "address"

    @property
    def lock(self) -> Path:
        """Held by the running app."""
        return self.state / "lock"
