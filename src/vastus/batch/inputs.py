"""Which scans the inputs name: folders searched through, files, lists (CSV in any common form, .xlsx, parquet)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vastus.batch.ledger import FoundScan
from vastus.batch.scan_names import IMAGE_SUFFIXES, clean_name, fingerprint_of, scan_name
from vastus.errors import MissingInputError, SettingsError
from vastus.io.edited_tables import TABLE_SUFFIXES, plain_name, read_edited_table
from vastus.io.folders import is_there, walk_folders

if TYPE_CHECKING:
    from vastus.batch.dicom_tree import FolderMemory

LIST_SUFFIXES: Final = (*TABLE_SUFFIXES, ".parquet")
LIST_COLUMNS: Final = ("path", "name", "series")
"""Columns of a list: ``path`` is needed (relative ones are meant from the list's folder), the others are optional."""


def find_scans(
    inputs: Sequence[Path], output: Path, memory: FolderMemory | None = None, *, every_series: bool = False
) -> Iterator[FoundScan]:
    """All scans of the inputs, in a steady order.

    Args:
        inputs: folders, image files, zips, lists, addresses in a PACS.
        output: not searched, even inside an input.
        memory: what folders were found to hold by an earlier run.
        every_series: take every CT series that forms a volume; else the best one of each study.

    Raises:
        MissingInputError: an input does not exist or is an empty list.
        SettingsError: a list without the column ``path``.
    """
    from vastus.dicom.pacs_address import is_pacs

    for given in inputs:
        if is_pacs(str(given)):
            yield from _in_pacs(str(given))
            continue
        path = given.absolute()
        if not is_there(path):
            raise MissingInputError("There is no such file or folder.", path=given)
        if path.is_dir():
            yield from _in_folder(path, output.absolute(), memory, every_series)
        elif path.suffix.lower() in LIST_SUFFIXES:
            yield from _in_list(path)
        else:
            yield FoundScan(path, scan_name(path, path.parent), fingerprint_of(path))


def _in_folder(root: Path, output: Path, memory: FolderMemory | None, every_series: bool) -> Iterator[FoundScan]:
    from vastus.batch.dicom_tree import DicomTree

    tree = DicomTree(root, memory, every_series=every_series)
    locked: list[Path] = []
    for here, files in walk_folders(root, skip=output, locked=locked):
        images = [f for f in files if f.lower().endswith(IMAGE_SUFFIXES) and not f.startswith(".")]
        for name in images:
            path = here / name
            yield FoundScan(path, scan_name(path, root), fingerprint_of(path))
        others = sorted(set(files) - set(images))
        if others:
            yield from tree.visit(here, others)
    yield from tree.rest()
    # Entered all the same: its refusal belongs in the ledger, and it must not take the others with it.
    yield from (FoundScan(folder, scan_name(folder, root), "locked") for folder in locked)


def _in_pacs(given: str, name: str = "", series: str = "") -> Iterator[FoundScan]:
    from vastus.batch.pacs_inputs import find_studies

    return find_studies(given, name, series)


def _in_list(path: Path) -> Iterator[FoundScan]:
    from vastus.dicom.pacs_address import is_pacs

    for number, row in _list_rows(path):
        given = (row.get("path") or "").strip()
        if not given:
            raise SettingsError(f"Line {number} of the list has no path.", path=path)
        wish = plain_name(row.get("name") or "")
        name, series = clean_name(wish) if wish else "", (row.get("series") or "").strip()
        if is_pacs(given):
            try:
                yield from _in_pacs(given, name, series)
            except SettingsError as error:
                raise SettingsError(
                    f"Line {number} of the list: {error.problem}", path=path, remedy=error.remedy
                ) from error
            continue
        scan = path.parent / given
        # A file that lacks now is entered all the same: its refusal belongs in the ledger, beside the others.
        yield FoundScan(scan, name or scan_name(scan, scan.parent), fingerprint_of(scan), series or None)


def _list_rows(path: Path) -> Iterator[tuple[int, dict[str, str | None]]]:
    """Give the rows of a list with their lines; columns are known by their names, whatever their case."""
    if path.suffix.lower() == ".parquet":
        yield from enumerate(_parquet_rows(path), start=2)
        return
    table = read_edited_table(path, "list of scans")
    names = [cell.casefold() for cell in table.header]
    _check_columns(names, table.header, path)
    for row in table.rows:
        if len(row.cells) > len(names) and any(row.cells[len(names) :]):
            raise SettingsError(
                f"Line {row.line} of the list has more cells than the first line.",
                path=path,
                remedy="Put a path that holds the separator into quotes.",
            )
        yield row.line, dict(zip(names, row.cells, strict=False))


def _parquet_rows(path: Path) -> Iterator[dict[str, str | None]]:
    from pyarrow import parquet

    file = parquet.ParquetFile(path)
    names = [c for c in LIST_COLUMNS if c in file.schema_arrow.names]
    _check_columns(names, file.schema_arrow.names, path)
    for batch in file.iter_batches(columns=names):
        for row in batch.to_pylist():
            yield {k: None if v is None else str(v) for k, v in row.items()}


def _check_columns(names: Sequence[str], found: Sequence[str], path: Path) -> None:
    if "path" not in names:
        raise SettingsError(
            f"The list has no column 'path'; its first line holds: {', '.join(found)[:200]}.",
            path=path,
            remedy="Columns: path, and if you like name and series.",
        )
