"""What ``-f``, ``--send-to`` and a PACS address as input mean on the command line."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vastus.errors import SettingsError, VastusError
from vastus.formats.table import OUTPUT_FORMATS, has_dicom, write_formats
from vastus.io.output_format import choose_formats

if TYPE_CHECKING:
    from vastus.dicom.pacs_address import PacsAddress
    from vastus.io.output_format import OutputFormat
    from vastus.io.scans import Scan
    from vastus.pipeline import SegmentedScan


@dataclass(frozen=True, slots=True)
class FormatWork:
    """Further results to write, and the PACS that gets the DICOM ones; nothing by default."""

    formats: tuple[OutputFormat[Any], ...] = ()
    destination: PacsAddress | None = None

    def check(self, scan: Scan) -> Scan:
        """Check before the network runs whether the results can be made, and add warnings to those of the scan.

        Raises:
            UnsupportedScanError: the results can't be made from this scan.
        """
        if not has_dicom(self.formats):
            return scan
        from vastus.dicom.source import with_checked_headers

        return with_checked_headers(scan)

    def finish(self, done: SegmentedScan) -> None:
        """Write the further results, send the DICOM ones and check that they have arrived.

        Raises:
            PacsError: the PACS does not accept an object, or does not hold it afterwards.
            VastusError: as ``write_formats``.
        """
        if not self.formats:
            return
        written = write_formats(done, self.formats)
        paths = [path for path in written if path.suffix == ".dcm"]
        for path in written:
            typer.echo(f"DICOM: {path}" if path in paths else f"also: {path}", err=True)
        if self.destination is not None:
            from pydicom import dcmread

            from vastus.dicom.pacs import store_checked

            store_checked(self.destination, [dcmread(path) for path in paths])
            typer.echo(f"{len(paths)} DICOM objects are in {self.destination}.", err=True)


def format_work(formats: str | None, send_to: str | None, inputs: Sequence[Path]) -> FormatWork:
    """Check the options before any work; a single input that is not DICOM is refused.

    With several inputs, each is refused when its turn comes, so that one does not stop the others.

    Raises:
        SettingsError: an unknown format, a malformed address, ``--send-to`` without a DICOM format.
        UnsupportedScanError: DICOM results are asked for, and an input is not DICOM.
        MissingExtraError: a library is not installed.
    """
    if formats is None:
        if send_to is not None:
            raise SettingsError("--send-to needs -f: only DICOM results can be sent.")
        return FormatWork()
    from vastus.dicom.pacs_address import parse_address
    from vastus.dicom.source import refuse_unless_dicom
    from vastus.io.folders import is_there
    from vastus.io.scans import ScanSource, scan_format, subject_name

    chosen = choose_formats(formats, OUTPUT_FORMATS)
    if send_to is not None and not has_dicom(chosen):
        raise SettingsError("--send-to needs a DICOM format: only DICOM results can be sent.")
    for path in inputs if len(inputs) == 1 and has_dicom(chosen) else ():
        if is_there(path):
            refuse_unless_dicom(ScanSource(scan_format(path), path, subject_name(path)))
    return FormatWork(chosen, None if send_to is None else parse_address(send_to))


@contextmanager
def fetched(inputs: Sequence[Path]) -> Iterator[list[Path]]:
    """Bring studies named by a PACS address to temporary folders; other inputs stay as they are.

    With several inputs, one that can't be fetched is named, and its folder stays empty: it is refused in its turn.

    The folders hold patient data, so they are removed at the end. A study is called ``pacs_1``, ``pacs_2`` ... in the
    tables.

    Raises:
        PacsError: the PACS does not answer, or has no such study.
    """
    from vastus.dicom.pacs import fetch_study
    from vastus.dicom.pacs_address import is_pacs, parse_address

    if not any(is_pacs(str(path)) for path in inputs):
        yield list(inputs)
        return
    from vastus.io.atomic import cleaned_up

    with (
        tempfile.TemporaryDirectory(prefix="vastus-") as temporary,
        cleaned_up(lambda: shutil.rmtree(temporary, ignore_errors=True)),
    ):
        local: list[Path] = []
        for number, path in enumerate(inputs, start=1):
            if not is_pacs(str(path)):
                local.append(path)
                continue
            folder = Path(temporary) / f"pacs_{number}"
            folder.mkdir()
            try:
                count = fetch_study(parse_address(str(path)), folder)
                typer.echo(f"{count} images fetched", err=True)
            except VastusError as error:
                if len(inputs) == 1:
                    raise
                typer.echo(f"vastus: {type(error).__name__}: {error}", err=True)
            local.append(folder)
        yield local
