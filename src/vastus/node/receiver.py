"""The receiving end: C-STORE of CT images and C-ECHO, for allowed senders, within limits."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from vastus.dicom.extra import need
from vastus.dicom.listener import Doorkeeper, listen, plain_address
from vastus.dicom.network import CT_CLASSES, SYNTAXES, series_uid
from vastus.dicom.pacs_address import is_uid
from vastus.dicom.tls import server_context
from vastus.errors import SettingsError
from vastus.node.config import NodeConfig
from vastus.node.event_log import EventLog
from vastus.node.inbox import Inbox, InboxFullError

_SUCCESS: Final = 0x0000
_OUT_OF_RESOURCES: Final = 0xA700
_NOT_THAT_CLASS: Final = 0xA900
_NOT_UNDERSTOOD: Final = 0xC000
_FREE_BYTES: Final = 512 * 1024**2
_VERIFICATION: Final = "1.2.840.10008.1.1"
_RECEIVE_TIMEOUT_S: Final = 60.0


class Receiver:
    """A DICOM server that puts what it accepts into an inbox."""

    def __init__(self, config: NodeConfig, inbox: Inbox, event_log: EventLog, storage_used: StorageMeter) -> None:
        need("The node", "pynetdicom")
        self._config, self._inbox, self._event_log, self._storage = config, inbox, event_log, storage_used
        self._pace = _Pace(config.limits.instances_per_s)
        self._server: Any = None
        self._refused_at = 0.0

    def start(self) -> None:
        """Listen.

        Raises:
            SettingsError: the port is taken, or the certificates can't be used.
        """
        from pynetdicom import AE, evt

        entity = AE(ae_title=self._config.ae_title)
        entity.maximum_associations = self._config.limits.associations
        entity.maximum_pdu_size = 1024 * 1024
        entity.network_timeout = entity.dimse_timeout = _RECEIVE_TIMEOUT_S
        entity.add_supported_context(_VERIFICATION)
        for uid in CT_CLASSES:
            entity.add_supported_context(uid, list(SYNTAXES))
        handlers: list[Any] = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_REJECTED, self._rejected),
            (evt.EVT_ABORTED, self._aborted),
            (evt.EVT_PDU_RECV, self._pdu),
            (evt.EVT_DIMSE_RECV, self._message),
        ]
        context = None if self._config.tls is None else server_context(self._config.tls)
        try:
            self._server = listen(
                entity, (self._config.listen, self._config.port), self._doorkeeper(), context, handlers
            )
        except OSError as error:
            raise SettingsError(f"Port {self._config.port} can't be opened ({error.strerror}).") from error

    def stop(self) -> None:
        """Stop listening and end all connections."""
        if self._server is not None:
            self._server.shutdown()

    def _doorkeeper(self) -> Doorkeeper:
        titles = {peer.ae_title.strip() for peer in self._config.allow}
        allowed = {
            title: frozenset(
                plain_address(peer.address)
                for peer in self._config.allow
                if peer.address and peer.ae_title.strip() == title
            )
            for title in titles
        }
        return Doorkeeper(self._config.ae_title, allowed, self._refuse)

    def _refuse(self, because: str) -> None:
        """Count all, write down one a second: strangers must not fill the disk with our log."""
        self._event_log.count("refused_senders")
        now = time.monotonic()
        if now - self._refused_at >= 1.0:
            self._refused_at = now
            self._event_log.log("sender refused", because=because)

    def _rejected(self, _event: Any) -> None:
        self._refuse("number of connections")

    def _aborted(self, _event: Any) -> None:
        self._event_log.count("aborted_connections")
        self._event_log.log("connection aborted")

    def _pdu(self, event: Any) -> None:
        """Count the bytes of one message: it is gathered in memory before anyone looks at it."""
        size = getattr(event.assoc, "vastus_bytes", 0) + event.pdu.pdu_length
        event.assoc.vastus_bytes = size
        if size > self._config.limits.instance_mb * 1024**2:
            event.assoc.vastus_bytes = 0
            self._event_log.count("refused_objects")
            self._event_log.log("object refused", because="larger than limits.instance_mb")
            event.assoc.abort()

    def _message(self, event: Any) -> None:
        event.assoc.vastus_bytes = 0

    def _store(self, event: Any) -> int:
        self._pace.wait(event.assoc.requestor.ae_title)
        status, because = self._try_to_keep(event)
        if status != _SUCCESS:
            self._event_log.count("refused_objects")
            self._event_log.log("object refused", because=because)
        return status

    def _try_to_keep(self, event: Any) -> tuple[int, str]:
        request = event.request
        uid = str(request.AffectedSOPInstanceUID or "")
        try:
            series = series_uid(request.DataSet, event.context.transfer_syntax)
        except Exception as error:  # a damaged header makes pydicom raise nearly anything
            return _NOT_UNDERSTOOD, f"unreadable header ({type(error).__name__})"
        if not is_uid(uid) or not is_uid(series):
            return _NOT_UNDERSTOOD, "SOP instance or series UID is none"
        if request.AffectedSOPClassUID not in CT_CLASSES:
            return _NOT_THAT_CLASS, "no CT image"
        try:
            self._keep(series, uid, event.encoded_dataset())
        except InboxFullError as error:
            return _OUT_OF_RESOURCES, str(error)
        except (OSError, sqlite3.Error) as error:
            return _OUT_OF_RESOURCES, f"disk: {getattr(error, 'strerror', None) or type(error).__name__}"
        return _SUCCESS, ""

    def _keep(self, series: str, uid: str, content: bytes) -> None:
        if not self._storage.has_room(len(content)):
            raise InboxFullError("storage quota or disk")
        if self._inbox.keep(series, uid, content):
            self._storage.add(len(content))
            self._event_log.count("received_objects")
            self._event_log.count("received_bytes", len(content))
        else:
            self._event_log.count("duplicate_objects")


class StorageMeter:
    """How much the data folder holds, counted up as objects come and measured anew by housekeeping."""

    def __init__(self, folder: Any, limit_gb: float) -> None:
        self._folder, self._limit = folder, limit_gb * 1024**3
        self._lock = threading.Lock()
        self._used = 0.0
        self._free = 0.0
        self.measure()

    @property
    def used_bytes(self) -> float:
        """Bytes in the folder."""
        return self._used

    def measure(self) -> None:
        """Look at the disk."""
        used = 0
        for folder, _, names in os.walk(self._folder):  # folders may go while they are walked through
            for name in names:
                with suppress(OSError):
                    used += Path(folder, name).stat().st_size
        with self._lock:
            self._used, self._free = used, shutil.disk_usage(self._folder).free

    def add(self, size: int) -> None:
        """An object of so many bytes was kept."""
        with self._lock:
            self._used += size
            self._free -= size

    def has_room(self, size: int) -> bool:
        """Whether so many bytes still fit, with some left for results."""
        return self._used + size <= self._limit and self._free - size > _FREE_BYTES


class _Pace:
    """Slows a sender down to a rate: its next object is taken later, and the network makes it wait."""

    def __init__(self, per_s: float) -> None:
        self._interval = 1.0 / per_s
        self._next: dict[str, float] = {}
        self._lock = threading.Lock()

    def wait(self, sender: str) -> None:
        with self._lock:
            now = time.monotonic()
            # A second's worth may come at once.
            start = max(self._next.get(sender, 0.0), now - 1.0)
            self._next[sender] = start + self._interval
        if start > now:
            time.sleep(start - now)
