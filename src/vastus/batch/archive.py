"""The archive's tables: appended scan by scan so that a kill at any point loses and doubles nothing.

The ledger knows how many bytes of a table are committed. What lies behind them when a run starts was written by one
that was killed before its commit, and is cut off; if bytes are lacking (a power cut, a hand's edit), the table is
rebuilt from the files of the scans.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from vastus.anatomy import StructureTable
from vastus.batch.ledger import Ledger
from vastus.errors import OutputError
from vastus.io.atomic import atomic_path, remove_old
from vastus.io.structure_tables import write_table_beside
from vastus.io.tables import (
    CONFIDENCE,
    FRAGMENT,
    MEAN_HU,
    SCANS_FOLDER,
    STRUCTURE_TABLE_FILE,
    TRUNCATED,
    VALUE,
    VOLUME_MM3,
)

_NUMBERS = {VOLUME_MM3, VALUE, MEAN_HU, CONFIDENCE}
_FACT = "bytes of "
_PARQUET_FACT = "parquet of "
_FRESH = "fresh"


def keep_table(table: StructureTable, folder: Path) -> None:
    """Keep the table of the structures with the archive, as ``structure_table.csv``; the built-in one needs no file.

    Raises:
        OutputError: it can't be written.
    """
    if table.is_built_in:
        remove_old(folder / STRUCTURE_TABLE_FILE)
    write_table_beside(table, folder)


class ArchiveTable:
    """One CSV of the archive, open for appending."""

    def __init__(self, ledger: Ledger, name: str, header: tuple[str, ...]) -> None:
        self.path = ledger.folder / name
        self._ledger, self._name, self._header = ledger, name, header
        self._file: BinaryIO | None = None

    def open(self) -> None:
        """Bring the file to what the ledger has committed, without rows of scans that are to be done again.

        Raises:
            OutputError: it can't be written.
        """
        try:
            committed = int(self._ledger.fact(_FACT + self._name) or -1)
            size = self.path.stat().st_size if self.path.exists() else -1
            outdated = self._ledger.outdated_names()
            if committed < 0 or size < committed or not self._has_header():
                self._rebuild()
            elif outdated:
                self._drop(outdated, committed)
            elif size > committed:
                os.truncate(self.path, committed)
            self._file = self.path.open("ab")
        except OSError as error:
            raise self._refusal(error) from error

    def append(self, rows: str) -> None:
        """Add rows. They count once ``commit`` is called inside the ledger's transaction.

        Raises:
            OutputError: the disk is full or fails.
        """
        if self._file is None:
            raise RuntimeError("open the table first")
        try:
            self._file.write(rows.encode())
            self._file.flush()
        except OSError as error:
            raise self._refusal(error) from error

    def commit(self) -> None:
        """Note the size, inside a transaction of the ledger."""
        if self._file is not None:
            self._remember(self._file.tell())

    def close(self) -> None:
        """Close the file; bytes that could not be written are dropped, as they were never committed."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None

    def write_parquet(self) -> None:
        """The same rows as parquet, in pieces, if they changed since the last time."""
        target = self.path.with_suffix(".parquet")
        if target.exists() and self._ledger.fact(_PARQUET_FACT + self._name) == _FRESH:
            return
        csv_to_parquet(self.path, target, self._header)
        with self._ledger.transaction():
            self._ledger.remember(_PARQUET_FACT + self._name, _FRESH)

    def _has_header(self) -> bool:
        with self.path.open(encoding="utf-8", newline="") as file:
            return next(csv.reader(file), []) == list(self._header)

    def _rebuild(self) -> None:
        with atomic_path(self.path) as temporary, temporary.open("w", encoding="utf-8", newline="") as out:
            out.write(header_line(self._header))
            for name in self._ledger.done_names(in_table=True):
                out.write(stored_rows(self._ledger.folder / SCANS_FOLDER / name / self._name))
        self._note_size()

    def _drop(self, names: set[str], committed: int) -> None:
        with atomic_path(self.path) as temporary, temporary.open("w", encoding="utf-8", newline="") as out:
            os.truncate(self.path, committed)
            with self.path.open(encoding="utf-8", newline="") as old:
                writer = csv.writer(out, lineterminator="\n")
                writer.writerows(row for row in csv.reader(old) if row and row[0] not in names)
        self._note_size()

    def _note_size(self) -> None:
        with self._ledger.transaction():
            self._remember(self.path.stat().st_size)

    def _remember(self, size: int) -> None:
        self._ledger.remember(_FACT + self._name, str(size))
        self._ledger.remember(_PARQUET_FACT + self._name, "stale")

    def _refusal(self, error: OSError) -> OutputError:
        return OutputError(
            f"The archive's table can't be written ({error.strerror}).",
            path=self.path,
            remedy="Free its rights or space and run again; finished scans are kept.",
        )


def header_line(columns: Iterable[str]) -> str:
    """A CSV header with its line end."""
    return ",".join(columns) + "\n"


def stored_rows(path: Path) -> str:
    """The rows of one scan's table without the header; nothing where the file lacks.

    A table of an older version has no ``fragment`` column: its rows get ``false``, so that all rows are of one length.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return ""
    header, _, rows = text.partition("\n")
    if header.rstrip().endswith(f",{TRUNCATED}"):
        return "".join(f"{row},false\n" for row in rows.splitlines())
    return rows


def rows_as_text(rows: Iterable[Iterable[object]]) -> str:
    """Rows as CSV text."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def csv_to_parquet(source: Path, target: Path, header: tuple[str, ...]) -> None:
    """Convert in pieces of a few megabytes, so that memory does not grow with the archive."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    kinds: Mapping[str, pa.DataType] = {
        name: pa.float64() if name in _NUMBERS else pa.bool_() if name in (TRUNCATED, FRAGMENT) else pa.string()
        for name in header
    }
    options = arrow_csv.ConvertOptions(column_types=kinds, strings_can_be_null=False)
    with atomic_path(target) as temporary:
        reader = arrow_csv.open_csv(
            source, convert_options=options, read_options=arrow_csv.ReadOptions(use_threads=False)
        )
        with reader, parquet.ParquetWriter(temporary, reader.schema, compression="zstd") as writer:
            for batch in reader:
                writer.write_batch(batch)
