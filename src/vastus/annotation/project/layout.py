"""Where things lie in the folder of an annotation project.

DIR/scan1.nii.gz, DIR/patient2/ (DICOM) ...   the scans, as the user put them there; only ever read
DIR/dataset/                                  final labels in nnU-Net layout, for ``vastus train --data DIR/dataset``
DIR/annotation/structure_table.csv            the structures of the project, if they are not the built-in ones
DIR/annotation/history.sqlite                 who made which version of which label from what
DIR/annotation/cases/ID/image.nii.gz          the scan in HU as it is served (made on first use)
DIR/annotation/cases/ID/versions/000001.nii.gz
DIR/annotation/uploaded/ID.nii.gz             scans that came over the network
DIR/annotation/models/NAME/                   bundles trained here
DIR/annotation/runs/NAME/                     their training runs
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vastus.io.atomic import ensure_private_folder

STATE_FOLDER = "annotation"
DATASET_FOLDER = "dataset"
IMAGE_FILE = "image.nii.gz"
CASE_FILE = "case.json"


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths of one project."""

    root: Path

    def make(self) -> list[Path]:
        """Make the two folders that hold patients' data, for the owner alone.

        Returns:
            Those that were there already and can be read by others.

        Raises:
            OutputError: they can't be written to.
        """
        return [folder for folder in (self.state, self.dataset) if ensure_private_folder(folder)]

    @property
    def state(self) -> Path:
        """What the server writes for itself."""
        return self.root / STATE_FOLDER

    @property
    def history(self) -> Path:
        """The data base of versions and locks."""
        return self.state / "history.sqlite"

    @property
    def known_cases(self) -> Path:
        """Which scan has which id."""
        return self.state / "cases.json"

    @property
    def uploaded(self) -> Path:
        """Scans that came over the network."""
        return self.state / "uploaded"

    @property
    def models(self) -> Path:
        """Bundles trained here."""
        return self.state / "models"

    @property
    def runs(self) -> Path:
        """Training runs."""
        return self.state / "runs"

    @property
    def dataset(self) -> Path:
        """Final labels in nnU-Net layout."""
        return self.root / DATASET_FOLDER

    @property
    def temporary(self) -> Path:
        """Uploads in progress; on the same file system as the rest, emptied at every start."""
        return self.state / "incoming"

    def case(self, case_id: str) -> Path:
        """Folder of a case."""
        return self.state / "cases" / case_id

    def versions(self, case_id: str) -> Path:
        """Folder of a case's label versions."""
        return self.case(case_id) / "versions"
