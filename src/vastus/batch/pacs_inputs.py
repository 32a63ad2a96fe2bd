"""Studies in a PACS as inputs: one by its address, or all that a DICOMweb query finds. Each worker fetches its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qsl

from vastus.batch.ledger import FoundScan
from vastus.dicom.pacs import fetch_study, is_pacs, parse_address
from vastus.dicom.tls import tls_from_environment
from vastus.errors import SettingsError


def in_pacs(path: Path) -> bool:
    """Whether a scan's path is the address of a study."""
    return is_pacs(str(path))


def find_studies(text: str) -> Iterator[FoundScan]:
    """The study of an address, or the CT studies that a query finds.

    ``dicomweb://host/dicom-web?StudyDate=20200101-20201231`` asks with the filters of QIDO.

    Raises:
        SettingsError: neither a study nor a DICOMweb query.
        PacsError: no answer.
    """
    base, _, query = text.partition("?")
    address = parse_address(text if text.startswith(("dicom:", "dicoms:")) else base)
    if address.study:
        yield _study(text, address.series or address.study)
        return
    if address.dimse or not query:
        raise SettingsError(
            "This PACS address names neither a study nor a query.",
            remedy="End it with /studies/UID, or a DICOMweb address with ?StudyDate=20200101-20201231.",
        )
    from vastus.dicom.web import WebPacs

    filters = {"ModalitiesInStudy": "CT", **dict(parse_qsl(query))}
    for uid in WebPacs(address, tls_from_environment()).studies(filters):
        yield _study(f"{base.rstrip('/')}/studies/{uid}", uid)


def _study(address: str, uid: str) -> FoundScan:
    # A study in a PACS has no size or date of change to look at: it counts as unchanged.
    return FoundScan(Path(address), uid, "in a PACS")


@contextmanager
def fetched_study(path: Path) -> Iterator[Path]:
    """A temporary folder with the CT series of a study; removed at the end, as it holds patient data.

    Raises:
        PacsError: no answer, or no such CT.
    """
    with tempfile.TemporaryDirectory(prefix="vastus-") as name:
        fetch_study(parse_address(str(path)), Path(name))
        yield Path(name)
