"""Sessions: an image that a client sends once and asks about several times, without making it a case."""

from __future__ import annotations

import shutil
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vastus.annotation.refusals import UnknownItemError

DEFAULT_SECONDS: Final = 3600
LONGEST_SECONDS: Final = 24 * 3600
MOST_SESSIONS: Final = 64


@dataclass(slots=True)
class Session:
    """One image on loan."""

    id: str
    folder: Path
    image: Path
    owner: str
    seconds: int
    created: float
    used: float

    def info(self) -> dict[str, Any]:
        """As MONAI Label gives it; no path of this machine."""
        return {
            "name": self.id,
            "path": "",
            "image": self.image.name,
            "meta": {},
            "create_ts": int(self.created),
            "last_access_ts": int(self.used),
            "expiry": self.seconds,
        }


class Sessions:
    """The sessions of a server; they end with it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sessions: dict[str, Session] = {}
        self._guard = threading.Lock()

    def open(self, image: Path, owner: str, seconds: int = DEFAULT_SECONDS) -> Session:
        """Begin a session with an image, which is moved into it; the oldest goes when there are too many."""
        session_id = uuid.uuid4().hex
        folder = self._folder / session_id
        folder.mkdir(mode=0o700, parents=True)
        kept = folder / ("image" + "".join(image.suffixes[-2:]))
        image.replace(kept)
        now = time.time()
        session = Session(session_id, folder, kept, owner, seconds, now, now)
        with self._guard:
            self._forget_expired()
            while len(self._sessions) >= MOST_SESSIONS:
                self._drop(min(self._sessions.values(), key=lambda s: s.used))
            self._sessions[session_id] = session
        return session

    def get(self, session_id: str, owner: str) -> Session:
        """A session of this user.

        Raises:
            UnknownItemError: none of that id, expired, or someone else's.
        """
        with self._guard:
            self._forget_expired()
            session = self._sessions.get(session_id)
            if session is None or session.owner != owner:
                raise UnknownItemError("There is no such session, or it has expired.")
            session.used = time.time()
            return session

    def close(self, session_id: str, owner: str) -> Session:
        """End a session."""
        session = self.get(session_id, owner)
        with self._guard:
            self._drop(session)
        return session

    def _forget_expired(self) -> None:
        now = time.time()
        for session in list(self._sessions.values()):
            if session.used + session.seconds < now:
                self._drop(session)

    def _drop(self, session: Session) -> None:
        self._sessions.pop(session.id, None)
        shutil.rmtree(session.folder, ignore_errors=True)
