"""Where DICOM files lie: a folder or a zip, opened the same way. A zip is never unpacked to disk."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

from vastus.errors import UnreadableScanError
from vastus.io.dicom_files import HEAD_BYTES
from vastus.io.folders import walk_folders

MAX_MEMBERS = 50_000
MAX_MEMBER_BYTES = 2 * 1024**3
MAX_TOTAL_BYTES = 16 * 1024**3
"""Limits of a zip, checked before anything is inflated: far above any CT, far below what fills a machine."""
_IGNORED_NAMES = {"dicomdir", "thumbs.db", "desktop.ini"}
_IGNORED_FOLDERS = {"__macosx"}
_IGNORED_SUFFIXES = {".txt", ".csv", ".json", ".xml", ".html", ".htm", ".md", ".pdf", ".png", ".jpg", ".jpeg", ".gif"}


class DicomStore(Protocol):
    """A set of files that may be DICOM."""

    def paths(self) -> list[Path]:
        """List all files except hidden ones, DICOMDIR and obvious documents, sorted by name."""
        ...

    def open(self, path: Path) -> BinaryIO:
        """Open one of the files for reading; the stream can seek."""
        ...

    def size(self, path: Path) -> int:
        """Return the size of one of the files in bytes."""
        ...

    def lost(self) -> list[Path]:
        """List links that lead nowhere, so that their content can't be read."""
        ...


class FolderStore:
    """Files of a folder and its subfolders, or an explicit list of files. Links are followed.

    Files that are documents or hidden by their names are looked into: one that is DICOM all the same is taken.

    Raises:
        UnreadableScanError: a folder that there is no right to read.
    """

    def __init__(self, folder: Path, files: Iterable[Path] | None = None) -> None:
        found = _below(folder) if files is None else files
        self._paths: list[Path] = []
        self._lost: list[Path] = []
        for path in sorted(found):
            named = _wanted(path.relative_to(folder).parts)
            if path.is_file():
                if named or self._is_dicom_all_the_same(path):
                    self._paths.append(path)
            elif named and path.is_symlink():
                self._lost.append(path)

    def paths(self) -> list[Path]:  # noqa: D102
        return self._paths

    def lost(self) -> list[Path]:  # noqa: D102
        return self._lost

    def _is_dicom_all_the_same(self, path: Path) -> bool:
        if path.name.lower() in _IGNORED_NAMES or path.name.startswith("._"):
            return False
        try:
            with path.open("rb") as file:
                return file.read(HEAD_BYTES)[128:] == b"DICM"
        except OSError:
            return False

    def open(self, path: Path) -> BinaryIO:  # noqa: D102
        return path.open("rb")

    def size(self, path: Path) -> int:  # noqa: D102
        return path.stat().st_size


class ZipStore:
    """Members of a zip, read in memory one at a time.

    Raises:
        UnreadableScanError: not a zip, damaged, encrypted, over the limits, or with names that leave the archive.
    """

    def __init__(self, archive: Path) -> None:
        self._archive = archive
        try:
            self._zip = zipfile.ZipFile(archive)
        except (zipfile.BadZipFile, OSError) as error:
            raise UnreadableScanError(f"This zip can't be opened ({error}).", path=archive) from error
        members = [member for member in self._zip.infolist() if not member.is_dir()]
        self._check(members)
        self._members = {archive / m.filename: m for m in members if self._taken(m)}

    def paths(self) -> list[Path]:  # noqa: D102
        return sorted(self._members)

    def open(self, path: Path) -> BinaryIO:  # noqa: D102
        try:
            return io.BytesIO(self._zip.read(self._members[path]))
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise UnreadableScanError(f"This member of the zip is damaged ({error}).", path=path) from error

    def size(self, path: Path) -> int:  # noqa: D102
        return self._members[path].file_size

    def lost(self) -> list[Path]:  # noqa: D102
        return []

    def _taken(self, member: zipfile.ZipInfo) -> bool:
        parts = PurePosixPath(member.filename).parts
        if _wanted(parts):
            return True
        name = parts[-1].lower()
        if name in _IGNORED_NAMES or name.startswith("._") or any(p.lower() in _IGNORED_FOLDERS for p in parts):
            return False
        try:
            with self._zip.open(member) as file:
                return file.read(HEAD_BYTES)[128:] == b"DICM"
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
            return False

    def _check(self, members: list[zipfile.ZipInfo]) -> None:
        total = sum(member.file_size for member in members)
        largest = max((member.file_size for member in members), default=0)
        if len(members) > MAX_MEMBERS or largest > MAX_MEMBER_BYTES or total > MAX_TOTAL_BYTES:
            raise UnreadableScanError(
                f"The zip announces {len(members)} files with {total / 1024**3:.1f} GiB, too many or too large.",
                path=self._archive,
                remedy="Unpack it yourself if you trust it, and give the folder.",
            )
        for member in members:
            parts = PurePosixPath(member.filename.replace("\\", "/")).parts
            if ".." in parts or PurePosixPath(member.filename).is_absolute() or ":" in parts[0]:
                raise UnreadableScanError("The zip holds names that lead out of it.", path=self._archive)
            if member.flag_bits & 0x1:
                raise UnreadableScanError(
                    "The zip is encrypted.", path=self._archive, remedy="Unpack it, and give the folder."
                )


def open_store(path: Path) -> DicomStore:
    """Open the store of a folder, a zip, or the folder of a single file (without subfolders)."""
    if path.is_dir():
        return FolderStore(path)
    if path.suffix.lower() == ".zip":
        return ZipStore(path)
    folder = path.parent
    return FolderStore(folder, [p for p in folder.iterdir() if p.is_file() or p.is_symlink()])


def _below(folder: Path) -> Iterator[Path]:
    for here, files in walk_folders(folder):
        yield from (here / name for name in files)


def _wanted(parts: tuple[str, ...]) -> bool:
    *folders, name = (part.lower() for part in parts)
    if name.startswith(".") or name in _IGNORED_NAMES or any(f in _IGNORED_FOLDERS for f in folders):
        return False
    return PurePosixPath(name).suffix not in _IGNORED_SUFFIXES
