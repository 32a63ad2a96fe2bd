"""The classic DICOM network: C-FIND, C-GET, C-MOVE and C-STORE, on pynetdicom."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vastus.dicom.extra import need
from vastus.dicom.listener import Doorkeeper, listen
from vastus.dicom.pacs_address import TIMEOUT_S, PacsAddress, file_name
from vastus.dicom.tls import TlsFiles, client_context, server_context
from vastus.errors import PacsError, UnreachablePacsError

if TYPE_CHECKING:
    from pydicom import Dataset

CT_CLASSES: Final = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
_MOVE: Final = "1.2.840.10008.5.1.4.1.2.2.2"
_GET: Final = "1.2.840.10008.5.1.4.1.2.2.3"
_SUCCESS: Final = 0x0000
_PENDING: Final = (0xFF00, 0xFF01)
_OUT_OF_RESOURCES: Final = 0xA700
_NOT_ASKED_FOR: Final = 0xA900
_NOT_UNDERSTOOD: Final = 0xC000
_SERIES: Final = 0x0020000E
SYNTAXES: Final = (
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
)


class DimsePacs:
    """A DICOM node; see ``pacs.Pacs``."""

    def __init__(self, address: PacsAddress, tls: TlsFiles) -> None:
        """Take the address; nothing is sent yet.

        Args:
            address: host, port, AE titles; ``dicoms`` for TLS.
            tls: certificates; not looked at for plain connections.

        Raises:
            SettingsError: the certificates can't be used.
        """
        need("The DICOM network", "pynetdicom")
        self._address = address
        encrypted = address.encrypted
        self._tls = client_context(tls) if encrypted else None
        # For C-MOVE the PACS opens a connection to us, which must not be plain either.
        self._own_tls = server_context(tls) if encrypted and address.move_port is not None else None

    def ct_series(self, study: str) -> list[str]:  # noqa: D102
        query = _query("SERIES", StudyInstanceUID=study, Modality="CT", SeriesInstanceUID="")
        return [str(found.SeriesInstanceUID) for found in self._find(query)]

    def holds(self, study: str, series: str) -> set[str]:  # noqa: D102
        query = _query("IMAGE", StudyInstanceUID=study, SeriesInstanceUID=series, SOPInstanceUID="")
        return {str(found.SOPInstanceUID) for found in self._find(query)}

    def fetch(self, study: str, series: str, folder: Path) -> int:  # noqa: D102
        query = _query("SERIES", StudyInstanceUID=study, SeriesInstanceUID=series)
        kept = _Keeper(folder, series)
        if self._address.move_port is not None:
            self._move(query, kept, self._address.move_port)
        else:
            self._get(query, kept)
        return len(kept.names)

    def store(self, datasets: Sequence[Dataset]) -> None:  # noqa: D102
        contexts = {(str(d.SOPClassUID), str(d.file_meta.TransferSyntaxUID)) for d in datasets}
        with self._association(sorted(contexts)) as association:
            for number, dataset in enumerate(datasets, start=1):
                try:
                    status = association.send_c_store(dataset)
                except ValueError as error:  # no accepted context
                    raise PacsError(f"{self._address} does not take objects of this kind.") from error
                if "Status" not in status or status.Status & 0xF000 not in (_SUCCESS, 0xB000):
                    code = f"status 0x{status.Status:04X}" if "Status" in status else "no answer"
                    raise PacsError(f"{self._address} did not store object {number} of {len(datasets)} ({code}).")

    def _find(self, query: Dataset) -> Iterator[Dataset]:
        with self._association([(_FIND, "")]) as association:
            for status, found in association.send_c_find(query, _FIND):
                self._check(status)
                if found is not None:
                    yield found

    def _get(self, query: Dataset, kept: _Keeper) -> None:
        from pynetdicom import build_role, evt

        roles = [build_role(uid, scp_role=True) for uid in CT_CLASSES]
        contexts = [(_GET, ""), *((uid, syntax) for uid in CT_CLASSES for syntax in SYNTAXES)]
        with self._association(contexts, roles, [(evt.EVT_C_STORE, kept.handle)]) as association:
            for status, _ in association.send_c_get(query, _GET):
                self._check(status)

    def _move(self, query: Dataset, kept: _Keeper, port: int) -> None:
        from pynetdicom import AE, evt

        receiver = AE(ae_title=self._address.aet)
        for uid in CT_CLASSES:
            receiver.add_supported_context(uid, list(SYNTAXES))
        # Everybody can reach this port while it is open. A PACS may send from another title and address than the one
        # that it is called by, so that these can't be asked for; but only the series that was asked for is kept.
        receiver.network_timeout = receiver.dimse_timeout = TIMEOUT_S
        try:
            server = listen(
                receiver, ("", port), Doorkeeper(self._address.aet), self._own_tls, [(evt.EVT_C_STORE, kept.handle)]
            )
        except OSError as error:
            raise PacsError(f"Port {port} for C-MOVE can't be opened ({error.strerror}).") from error
        try:
            with self._association([(_MOVE, "")]) as association:
                for status, _ in association.send_c_move(query, self._address.aet, _MOVE):
                    self._check(status)
        finally:
            server.shutdown()

    def _check(self, status: Dataset) -> None:
        if "Status" not in status:
            raise UnreachablePacsError(f"{self._address} stopped answering.")
        if status.Status not in (_SUCCESS, *_PENDING):
            raise PacsError(f"{self._address} refused the request (status 0x{status.Status:04X}).")

    @contextmanager
    def _association(
        self, contexts: Sequence[tuple[str, str]], roles: Sequence[Any] = (), handlers: Sequence[Any] = ()
    ) -> Iterator[Any]:
        from pynetdicom import AE

        entity = AE(ae_title=self._address.aet)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = TIMEOUT_S
        for uid, syntax in contexts:
            entity.add_requested_context(uid, [syntax] if syntax else None)
        association = entity.associate(
            self._address.host,
            self._address.port,
            ae_title=self._address.called_aet,
            ext_neg=list(roles),
            evt_handlers=list(handlers),
            tls_args=(self._tls, self._address.host) if self._tls else None,
        )
        if not association.is_established:
            raise UnreachablePacsError(
                f"{self._address} does not accept a connection from {self._address.aet}.",
                remedy="Check host, port and both AE titles" + (", and the certificates." if self._tls else "."),
            )
        keep_responses(association)
        try:
            yield association
        except RuntimeError as error:  # what pynetdicom raises when the other side has gone in the meantime
            if association.is_established:
                raise
            raise PacsError(f"{self._address} ended the connection.") from error
        finally:
            if association.is_established:
                association.release()


def keep_responses(association: Any) -> None:
    """Mend a race in pynetdicom's requestor, which on a busy machine loses an answer and then waits for it in vain.

    Its background loop is meant to pause while a request waits for its answer, but it may have passed the check a
    moment before; then it takes the answer off the queue and drops it as unexpected. Here it is put back instead.

    Args:
        association: established, as requestor.
    """
    serve = association._serve_request

    def serve_or_put_back(message: Any, context_id: int) -> None:
        if message.is_valid_request:
            serve(message, context_id)
        else:
            association.dimse.msg_queue.put((context_id, message))

    association._serve_request = serve_or_put_back


class _Keeper:
    """Writes what arrives of one series; the same instance twice is one file."""

    def __init__(self, folder: Path, series: str) -> None:
        self.names: set[str] = set()
        self._folder, self._series = folder, series

    def handle(self, event: Any) -> int:
        """Store one instance; the DICOM status is returned."""
        name = file_name(str(event.request.AffectedSOPInstanceUID))
        try:
            found = series_uid(event.request.DataSet, event.context.transfer_syntax)
        except Exception:  # a damaged header makes pydicom raise nearly anything
            return _NOT_UNDERSTOOD
        if found != self._series:
            return _NOT_ASKED_FOR
        try:
            (self._folder / name).write_bytes(event.encoded_dataset())
        except OSError:
            return _OUT_OF_RESOURCES
        self.names.add(name)
        return _SUCCESS


def _query(level: str, **keys: str) -> Dataset:
    from pydicom import Dataset

    query = Dataset()
    query.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(query, keyword, value)
    return query


def series_uid(stream: io.BytesIO, transfer_syntax: Any) -> str:
    """Read the header only as far as the series."""
    from pydicom.filereader import read_dataset

    stream.seek(0)
    try:
        dataset = read_dataset(
            stream,
            transfer_syntax.is_implicit_VR,
            transfer_syntax.is_little_endian,
            stop_when=lambda tag, _vr, _length: tag > _SERIES,
            specific_tags=None,
        )
    finally:
        stream.seek(0)
    return str(dataset.SeriesInstanceUID)
