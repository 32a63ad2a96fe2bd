"""DICOMweb: QIDO, WADO and STOW, on dicomweb-client."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vastus.dicom.extra import need
from vastus.dicom.pacs_address import TIMEOUT_S, PacsAddress, file_name
from vastus.dicom.tls import TlsFiles, client_context
from vastus.errors import PacsError, UnreachablePacsError

if TYPE_CHECKING:
    from pydicom import Dataset

Answer = TypeVar("Answer")
_NO_SUCH = 404
# Password refused, too many requests, a gateway or server that is down: every study would meet the same.
_NOT_NOW = (401, 429, 502, 503, 504)


class WebPacs:
    """A DICOMweb service; see ``pacs.Pacs``."""

    def __init__(self, address: PacsAddress, tls: TlsFiles) -> None:
        need("DICOMweb", "dicomweb_client")
        from dicomweb_client.api import DICOMwebClient

        scheme = "https" if address.encrypted else "http"
        if scheme == "https":
            client_context(tls)  # files that can't be used are named now, not at the first request
        self._address = address
        self._client = DICOMwebClient(f"{scheme}://{address.host}:{address.port}{address.base}", session=_session(tls))
        self._client.set_http_retry_params(retry=False)  # it would repeat for half a minute what is refused at once

    def studies(self, filters: dict[str, str]) -> list[str]:
        """UIDs of the studies that fit the filters of QIDO, all pages of the answer."""
        found: dict[str, None] = {}
        while True:
            search = partial(self._client.search_for_studies, search_filters=filters, offset=len(found))
            page = self._ask(search)
            new = dict.fromkeys(item["0020000D"]["Value"][0] for item in page)
            # Some servers do not know offsets and give the same page again: nothing new is the end, not nothing.
            if new.keys() <= found.keys():
                return list(found)
            found |= new

    def ct_series(self, study: str) -> list[str]:  # noqa: D102
        found = self._ask(lambda: self._client.search_for_series(study, search_filters={"Modality": "CT"}))
        return [item["0020000E"]["Value"][0] for item in found]

    def fetch(self, study: str, series: str, folder: Path) -> int:  # noqa: D102
        def run() -> int:
            count = 0
            for dataset in self._client.iter_series(study, series):
                dataset.save_as(folder / file_name(str(dataset.SOPInstanceUID)), enforce_file_format=True)
                count += 1
            return count

        return self._ask(run)

    def store(self, datasets: Sequence[Dataset]) -> None:  # noqa: D102
        answer = self._ask(lambda: self._client.store_instances(list(datasets)))
        failed = len(answer.get("FailedSOPSequence") or ())
        if failed:
            raise PacsError(f"{self._address} refused {failed} of {len(datasets)} objects.")

    def holds(self, study: str, series: str) -> set[str]:  # noqa: D102
        found = self._ask(lambda: self._client.search_for_instances(study, series))
        return {item["00080018"]["Value"][0] for item in found}

    def _ask(self, call: Callable[[], Answer]) -> Answer:
        from requests.exceptions import HTTPError, RequestException

        try:
            return call()
        except HTTPError as error:
            status = 0 if error.response is None else error.response.status_code
            if status == _NO_SUCH:
                raise PacsError(f"{self._address} holds no such study or series, or is no DICOMweb service.") from error
            remedy = "Set VASTUS_PACS_TOKEN, or VASTUS_PACS_USER and VASTUS_PACS_PASSWORD." if status == 401 else None
            kind = UnreachablePacsError if status in _NOT_NOW else PacsError
            raise kind(f"{self._address} answered with HTTP status {status}.", remedy=remedy) from error
        except RequestException as error:
            raise UnreachablePacsError(f"{self._address} does not answer ({type(error).__name__}).") from error
        except (ValueError, KeyError, TypeError) as error:
            raise PacsError(f"{self._address} gave an answer that is not DICOMweb ({type(error).__name__}).") from error


def _session(tls: TlsFiles) -> Any:
    """With credentials from the environment, certificates, and a time limit on every request."""
    import requests

    session: Any = requests.Session()
    session.trust_env = False  # a ~/.netrc or proxy must not decide where patient data go
    session.request = partial(session.request, timeout=TIMEOUT_S)
    if tls.authorities is not None:
        session.verify = str(tls.authorities)
    if tls.certificate is not None:
        session.cert = (str(tls.certificate), str(tls.key)) if tls.key else str(tls.certificate)
    if token := os.environ.get("VASTUS_PACS_TOKEN"):
        session.headers["Authorization"] = f"Bearer {token}"
    elif user := os.environ.get("VASTUS_PACS_USER"):
        session.auth = (user, os.environ.get("VASTUS_PACS_PASSWORD", ""))
    return session
