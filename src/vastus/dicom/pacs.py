"""A PACS by its address: fetch a CT study from it, store results in it, and check that they arrived.

Two kinds of address:

- ``dicomweb://host:8042/dicom-web/studies/1.2.3`` (``dicomwebs://`` for https): QIDO, WADO, STOW.
- ``dicom://CALLED@host:4242/studies/1.2.3?aet=VASTUS``: C-FIND and C-GET; with ``&move=11112`` C-MOVE to that port
  of this machine; C-STORE. ``dicoms://`` is the same over TLS.

``/series/1.2.3.4`` after the study takes that series alone. Names and tokens come from the environment, never from
the address: ``VASTUS_PACS_TOKEN`` (bearer), or ``VASTUS_PACS_USER`` and ``VASTUS_PACS_PASSWORD`` (basic). So do the
files of TLS, see ``vastus.dicom.tls``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import parse_qs, urlsplit

from vastus.dicom.tls import TlsFiles, tls_from_environment
from vastus.errors import PacsError, SettingsError

if TYPE_CHECKING:
    from pydicom import Dataset

SCHEMES: Final = ("dicomweb", "dicomwebs", "dicom", "dicoms")
_PORTS: Final = {"dicomweb": 80, "dicomwebs": 443, "dicom": 104, "dicoms": 2762}
DEFAULT_AET: Final = "VASTUS"
TIMEOUT_S: Final = 30.0
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


@dataclass(frozen=True, slots=True)
class PacsAddress:
    """An address, taken apart.

    Attributes:
        scheme: one of ``SCHEMES``.
        host, port: where.
        base: path of the DICOMweb service, e.g. ``/dicom-web``.
        called_aet: AE title of the PACS (DIMSE).
        aet: our own AE title (DIMSE).
        move_port: where this machine receives for C-MOVE; None: C-GET.
        study, series: UIDs, empty where the address names none.
    """

    scheme: str
    host: str
    port: int
    base: str = ""
    called_aet: str = "ANY-SCP"
    aet: str = DEFAULT_AET
    move_port: int | None = None
    study: str = ""
    series: str = ""

    @property
    def dimse(self) -> bool:
        """Whether it speaks the classic DICOM network, not DICOMweb."""
        return self.scheme in ("dicom", "dicoms")

    def __str__(self) -> str:
        """Where, without UIDs: fit for messages."""
        return f"{self.scheme}://{self.host}:{self.port}{self.base}"


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


def is_pacs(text: str) -> bool:
    """Whether an input is a PACS address, not a file. The one place that knows what such an address looks like."""
    return text.casefold().startswith(tuple(f"{scheme}:/" for scheme in SCHEMES))


def is_dimse(text: str) -> bool:
    """Whether a PACS address speaks the classic DICOM network, not DICOMweb."""
    return text.casefold().startswith(("dicom:", "dicoms:"))


def parse_address(text: str) -> PacsAddress:
    """Take an address apart.

    Raises:
        SettingsError: malformed, a secret inside it, or a UID that is none.
    """
    # A command line that treats it as a path makes one slash of two.
    parts = urlsplit(re.sub(r"^(\w+):/+", r"\1://", text))
    if parts.scheme not in SCHEMES or not parts.hostname:
        raise SettingsError("This is no PACS address.", remedy=f"It begins with {'://, '.join(SCHEMES)}://.")
    if parts.password or (parts.username and parts.scheme not in ("dicom", "dicoms")):
        raise SettingsError(
            "A PACS address holds no user or password.", remedy="Set VASTUS_PACS_USER and VASTUS_PACS_PASSWORD."
        )
    path, study, series = _split_path(parts.path)
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    unknown = set(options) - {"aet", "move"}
    try:
        port = parts.port or _PORTS[parts.scheme]
        move = int(options["move"]) if "move" in options else None
    except ValueError as error:
        raise SettingsError("A port in the PACS address is no port.") from error
    if unknown or (parts.scheme in ("dicom", "dicoms") and path):
        raise SettingsError(f"The PACS address says something unknown: {', '.join(sorted(unknown)) or path}.")
    return PacsAddress(
        parts.scheme,
        parts.hostname,
        port,
        path,
        parts.username or "ANY-SCP",
        options.get("aet", DEFAULT_AET),
        move,
        study,
        series,
    )


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


def file_name(sop_instance_uid: str) -> str:
    """A name made from a UID that no UID can turn into a path."""
    return hashlib.sha256(sop_instance_uid.encode()).hexdigest()[:32] + ".dcm"


def is_uid(text: str) -> bool:
    """Whether a text is a UID: digits and dots, at most 64 characters."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def _split_path(path: str) -> tuple[str, str, str]:
    head, _, tail = path.rstrip("/").partition("/studies/")
    if not tail:
        return head, "", ""
    study, _, series = tail.partition("/series/")
    if not is_uid(study) or (series and not is_uid(series)):
        raise SettingsError("The PACS address holds a study or series that is no UID.")
    return head, study, series
