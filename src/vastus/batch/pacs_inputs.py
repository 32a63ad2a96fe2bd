"""Studies in a PACS as inputs: one by its address, or all that a DICOMweb query finds. Each worker fetches its own."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from vastus.batch.ledger import FoundScan
from vastus.dicom.pacs import fetch_study
from vastus.dicom.pacs_address import PacsAddress, is_pacs, parse_address, split_query, with_series, with_study
from vastus.dicom.tls import tls_from_environment
from vastus.errors import SettingsError, UnreachablePacsError

PAUSES_S: Final = (1.0, 3.0, 8.0, 20.0)
"""Seconds between the tries to reach a PACS that does not answer."""


def in_pacs(path: Path) -> bool:
    """Whether a scan's path is the address of a study."""
    return is_pacs(str(path))


def find_studies(text: str, name: str = "", series: str = "") -> Iterator[FoundScan]:
    """Find the study of an address, or the CT studies that a query finds.

    ``dicomweb://host/dicom-web?StudyDate=20200101-20201231`` asks with the filters of QIDO.

    Args:
        text: the address.
        name: what a list calls the study; its UID stands in no table then.
        series: the CT series of the study that a list asks for.

    Raises:
        SettingsError: neither a study nor a DICOMweb query; a name or series for a query, which finds many; a series
            that is no UID, or another than that of the address.
        PacsError: no answer.
    """
    base, query = split_query(text)
    address = parse_address(base)
    if address.study:
        yield _study(_narrowed(text, address, series), name or series or address.series or address.study)
        return
    if address.dimse or not query:
        raise SettingsError(
            "This PACS address names neither a study nor a query.",
            remedy="End it with /studies/UID, or a DICOMweb address with ?StudyDate=20200101-20201231.",
        )
    if name or series:
        raise SettingsError(
            "A query finds many studies: one name or series can't belong to all of them.",
            remedy="Leave name and series empty in this row, or give each study a row of its own.",
        )
    from vastus.dicom.web import WebPacs

    filters = {"ModalitiesInStudy": "CT", **query}
    for uid in WebPacs(address, tls_from_environment()).studies(filters):
        yield _study(with_study(base, uid), uid)


def _narrowed(text: str, address: PacsAddress, series: str) -> str:
    """Add the series to the address of a study."""
    if not series or series == address.series:
        return text
    if address.series:
        raise SettingsError("The row names another series than its PACS address does.")
    return with_series(text, series)


def _study(address: str, name: str) -> FoundScan:
    # A study in a PACS has no size or date of change to look at: it counts as unchanged.
    return FoundScan(Path(address), name, "in a PACS")


class StudyFetcher:
    """Fetches studies one after the other, and is patient with a PACS that does not answer.

    That a PACS restarts is no fault of a study. So it is asked again after growing pauses, once for each PACS: while
    it stays silent, further studies of it are asked for once and left for the next run.

    Args:
        pauses_s: seconds to wait between tries.
    """

    def __init__(self, pauses_s: Sequence[float] = PAUSES_S) -> None:
        self._pauses_s = tuple(pauses_s)
        self._silent: set[str] = set()

    @contextmanager
    def fetched_study(self, path: Path) -> Iterator[Path]:
        """Make a temporary folder with the CT series of a study; removed at the end, as it holds patient data.

        Raises:
            UnreachablePacsError: no answer, also after the pauses.
            PacsError: no such CT, or the PACS refused.
        """
        with tempfile.TemporaryDirectory(prefix="vastus-") as name:
            self._fetch(parse_address(str(path)), Path(name))
            yield Path(name)

    def _fetch(self, address: PacsAddress, folder: Path) -> None:
        pauses = () if str(address) in self._silent else self._pauses_s
        for pause_s in (*pauses, None):
            try:
                fetch_study(address, folder)
                self._silent.discard(str(address))
                return
            except UnreachablePacsError:
                if pause_s is None:
                    self._silent.add(str(address))
                    raise
                time.sleep(pause_s)
