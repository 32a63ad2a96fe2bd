"""A PACS by its address: fetch a CT study from it, store results in it, and check that they arrived.

What an address looks like: ``vastus.dicom.pacs_address``. Names and tokens come from the environment, never from the
address: ``VASTUS_PACS_TOKEN`` (bearer), or ``VASTUS_PACS_USER`` and ``VASTUS_PACS_PASSWORD`` (basic). So do the files
of TLS, see ``vastus.dicom.tls``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from vastus.dicom.pacs_address import PacsAddress
from vastus.dicom.tls import TlsFiles, tls_from_environment
from vastus.errors import PacsError, SettingsError

if TYPE_CHECKING:
    from pydicom import Dataset


class Pacs(Protocol):
    """What Vastus asks of a PACS."""

    def ct_series(self, study: str) -> list[str]:
        """UIDs of the CT series of a study."""
        ...

    def fetch(self, study: str, series: str, folder: Path) -> int:
        """Write the instances of a series to a folder; return how many."""
        ...

    def store(self, datasets: Sequence[Dataset]) -> None:
        """Send; every single instance must be accepted."""
        ...

    def holds(self, study: str, series: str) -> set[str]:
        """SOP Instance UIDs that it holds of a series."""
        ...


def open_pacs(address: PacsAddress, tls: TlsFiles | None = None) -> Pacs:
    """The client for an address.

    Args:
        address: where.
        tls: certificates for ``dicoms`` and ``dicomwebs``; None: those that the environment names.

    Raises:
        MissingExtraError: its library is not installed.
        SettingsError: the certificates can't be used.
    """
    files = tls_from_environment() if tls is None else tls
    if address.dimse:
        from vastus.dicom.network import DimsePacs

        return DimsePacs(address, files)
    from vastus.dicom.web import WebPacs

    return WebPacs(address, files)


def fetch_study(address: PacsAddress, folder: Path) -> int:
    """Fetch the CT series of a study, or the one series of the address, to a folder.

    Returns:
        Number of files written.

    Raises:
        PacsError: it does not answer, or holds no such CT.
        SettingsError: the address names no study.
    """
    if not address.study:
        raise SettingsError("The PACS address names no study.", remedy="End it with /studies/UID.")
    pacs = open_pacs(address)
    found = [address.series] if address.series else pacs.ct_series(address.study)
    count = sum(pacs.fetch(address.study, series, folder) for series in found)
    if not count:
        raise PacsError(f"{address} holds no CT of this study or series.")
    return count


def store_checked(address: PacsAddress, datasets: Sequence[Dataset], tls: TlsFiles | None = None) -> None:
    """Store results, then ask the PACS for each one and compare; ``tls`` as for ``open_pacs``.

    Raises:
        PacsError: refused, or not there afterwards.
        SettingsError: the certificates can't be used.
    """
    pacs = open_pacs(address, tls)
    pacs.store(datasets)
    by_series: dict[tuple[str, str], set[str]] = {}
    for dataset in datasets:
        key = (str(dataset.StudyInstanceUID), str(dataset.SeriesInstanceUID))
        by_series.setdefault(key, set()).add(str(dataset.SOPInstanceUID))
    missing = sum(len(sent - pacs.holds(*key)) for key, sent in by_series.items())
    if missing:
        raise PacsError(f"{address} accepted all objects but does not hold {missing} of {len(datasets)}.")
