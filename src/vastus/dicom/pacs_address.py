"""The address of a PACS: what it looks like, and how it is taken apart and put together.

Two kinds of address:

- ``dicomweb://host:8042/dicom-web/studies/1.2.3`` (``dicomwebs://`` for https): QIDO, WADO, STOW.
- ``dicom://CALLED@host:4242/studies/1.2.3?aet=VASTUS``: C-FIND and C-GET; with ``&move=11112`` C-MOVE to that port
  of this machine; C-STORE. ``dicoms://`` is the same over TLS.

``/series/1.2.3.4`` after the study takes that series alone. Names and tokens come from the environment, never from
the address.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, parse_qsl, urlsplit

from vastus.errors import SettingsError

SCHEMES: Final = ("dicomweb", "dicomwebs", "dicom", "dicoms")
_DIMSE: Final = ("dicom", "dicoms")
_ENCRYPTED: Final = ("dicomwebs", "dicoms")
_PORTS: Final = {"dicomweb": 80, "dicomwebs": 443, "dicom": 104, "dicoms": 2762}
DEFAULT_AET: Final = "VASTUS"
TIMEOUT_S: Final = 30.0
"""How long a PACS may take to answer."""
_STUDIES: Final = "/studies/"
_SERIES: Final = "/series/"
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
        return self.scheme in _DIMSE

    @property
    def encrypted(self) -> bool:
        """Whether it speaks over TLS."""
        return self.scheme in _ENCRYPTED

    def __str__(self) -> str:
        """Where, without UIDs: fit for messages."""
        return f"{self.scheme}://{self.host}:{self.port}{self.base}"


def is_pacs(text: str) -> bool:
    """Whether an input is a PACS address, not a file. The one place that knows what such an address looks like."""
    return text.casefold().startswith(tuple(f"{scheme}:/" for scheme in SCHEMES))


def is_dimse(text: str) -> bool:
    """Whether a PACS address speaks the classic DICOM network, not DICOMweb."""
    return text.casefold().startswith(tuple(f"{scheme}:" for scheme in _DIMSE))


def parse_address(text: str) -> PacsAddress:
    """Take an address apart.

    Raises:
        SettingsError: malformed, a secret inside it, or a UID that is none.
    """
    # A command line that treats it as a path makes one slash of two.
    parts = urlsplit(re.sub(r"^(\w+):/+", r"\1://", text))
    if parts.scheme not in SCHEMES or not parts.hostname:
        raise SettingsError("This is no PACS address.", remedy=f"It begins with {'://, '.join(SCHEMES)}://.")
    if parts.password or (parts.username and parts.scheme not in _DIMSE):
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
    if unknown or (parts.scheme in _DIMSE and path):
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


def split_query(text: str) -> tuple[str, dict[str, str]]:
    """Take the filters of a query (``?StudyDate=20200101-20201231``) off an address; a DIMSE address has none.

    Returns:
        The address without them, and the filters by DICOM keyword.
    """
    if is_dimse(text):
        return text, {}
    base, _, query = text.partition("?")
    return base, dict(parse_qsl(query))


def with_study(base: str, study: str) -> str:
    """Name a study in the address of a service, which has no options."""
    return f"{base.rstrip('/')}{_STUDIES}{study}"


def with_series(text: str, series: str) -> str:
    """Name one series in the address of a study; its options stay.

    Raises:
        SettingsError: the series is no UID.
    """
    if not is_uid(series):
        raise SettingsError("The series of a study in a PACS must be a Series Instance UID.")
    base, mark, options = text.partition("?")
    return f"{base.rstrip('/')}{_SERIES}{series}{mark}{options}"


def file_name(sop_instance_uid: str) -> str:
    """A name made from a UID that no UID can turn into a path."""
    return hashlib.sha256(sop_instance_uid.encode()).hexdigest()[:32] + ".dcm"


def is_uid(text: str) -> bool:
    """Whether a text is a UID: digits and dots, at most 64 characters."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def _split_path(path: str) -> tuple[str, str, str]:
    head, _, tail = path.rstrip("/").partition(_STUDIES)
    if not tail:
        return head, "", ""
    study, _, series = tail.partition(_SERIES)
    if not is_uid(study) or (series and not is_uid(series)):
        raise SettingsError("The PACS address holds a study or series that is no UID.")
    return head, study, series
