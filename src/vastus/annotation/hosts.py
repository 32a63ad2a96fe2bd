"""By which names a server on this machine alone is called."""

from __future__ import annotations

from typing import Final

LOOPBACK_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})
