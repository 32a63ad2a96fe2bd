"""Who may use the server: a file of users with hashed passwords, and the tokens of those who signed in."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import json
import secrets
import threading
import time
from collections import Counter, OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vastus.annotation.names import checked_name
from vastus.annotation.refusals import BusyError, NotSignedInError, WrongPasswordError
from vastus.errors import SettingsError
from vastus.io.atomic import atomic_path

TOKEN_SECONDS: Final = 12 * 3600.0
SHORTEST_PASSWORD: Final = 8
_LONGEST_PASSWORD: Final = 1024
_COST: Final = (1 << 14, 8, 1)
"""scrypt's n, r, p: about 16 MiB and 50 ms a try."""
_HIGHEST_COST: Final = (1 << 20, 32, 16)
_SALT_BYTES: Final = 16
_TRIES_AT_ONCE: Final = 2
_FAILURES_ALLOWED: Final = 5
_PAUSE_SECONDS: Final = 30.0
_MOST_FAILURES: Final = 10_000
_WAITING_PER_ADDRESS: Final = 4
_MOST_WAITING: Final = 64
_MOST_TOKENS: Final = 10_000


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """A password as it is kept: scrypt with its cost and salt."""

    n: int
    r: int
    p: int
    salt: bytes
    digest: bytes

    @classmethod
    def of(cls, password: str) -> PasswordHash:
        """Hash a password under a new salt."""
        n, r, p = _COST
        salt = secrets.token_bytes(_SALT_BYTES)
        return cls(n, r, p, salt, _scrypt(password, salt, (n, r, p)))

    def matches(self, password: str) -> bool:
        """Whether this is the password, in a time that does not tell how nearly."""
        return hmac.compare_digest(self.digest, _scrypt(password, self.salt, (self.n, self.r, self.p)))

    def to_text(self) -> str:
        """As it stands in the file."""
        return f"scrypt${self.n}${self.r}${self.p}${self.salt.hex()}${self.digest.hex()}"

    @classmethod
    def from_text(cls, text: str) -> PasswordHash:
        """Read what ``to_text`` wrote; ``ValueError`` if it is something else."""
        name, n, r, p, salt, digest = text.split("$")
        cost = (int(n), int(r), int(p))
        if name != "scrypt" or any(not 0 < c <= most for c, most in zip(cost, _HIGHEST_COST, strict=True)):
            raise ValueError("not a scrypt hash")
        return cls(*cost, bytes.fromhex(salt), bytes.fromhex(digest))


def _scrypt(password: str, salt: bytes, cost: tuple[int, int, int]) -> bytes:
    n, r, p = cost
    return hashlib.scrypt(
        password.encode("utf-8", "surrogatepass"), salt=salt, n=n, r=r, p=p, maxmem=256 * n * r + (1 << 20), dklen=32
    )


def read_users(path: Path) -> dict[str, PasswordHash]:
    """Read a users file: JSON, name -> hash.

    Raises:
        SettingsError: missing, malformed, or without a user.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        users = {checked_name(str(name), "user"): PasswordHash.from_text(str(text)) for name, text in values.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise SettingsError(
            f"The users file can't be read ({type(error).__name__}).",
            path=path,
            remedy="Make one: vastus annotate --add-user NAME --users FILE",
        ) from error
    if not users:
        raise SettingsError("The users file names nobody.", path=path)
    return users


def add_user(path: Path, name: str, password: str) -> None:
    """Add a user to the file, or change the password; only the owner of the file may read it.

    Raises:
        SettingsError: the password is too short or too long, or the file is malformed.
    """
    checked_name(name, "user")
    if not SHORTEST_PASSWORD <= len(password) <= _LONGEST_PASSWORD:
        raise SettingsError(f"A password has {SHORTEST_PASSWORD} to {_LONGEST_PASSWORD} characters.")
    users = read_users(path) if path.exists() else {}
    users[name] = PasswordHash.of(password)
    text = json.dumps({user: users[user].to_text() for user in sorted(users)}, indent=2) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    path.chmod(0o600)


@dataclass(slots=True)
class _Failures:
    """Wrong attempts on one name from one address."""

    count: int = 0
    until: float = 0.0


class Accounts:
    """Signs users in and knows their tokens. Tokens live in memory only, as hashes: a restart signs everybody out."""

    def __init__(self, users: dict[str, PasswordHash], token_seconds: float = TOKEN_SECONDS) -> None:
        self._users = users
        self._token_seconds = token_seconds
        self._tokens: dict[bytes, tuple[str, float]] = {}
        self._failures: OrderedDict[bytes, _Failures] = OrderedDict()
        self._waiting: Counter[str] = Counter()
        self._threads = ThreadPoolExecutor(_TRIES_AT_ONCE, thread_name_prefix="sign-in")
        self._guard = threading.Lock()
        self._tries = threading.BoundedSemaphore(_TRIES_AT_ONCE)
        # Compared with when the name is unknown, so that the time does not tell which names exist.
        self._nobody = PasswordHash.of(secrets.token_hex())

    @property
    def token_seconds(self) -> float:
        """How long a token is good for."""
        return self._token_seconds

    async def sign_in_from(self, name: str, password: str, address: str) -> str:
        """As ``sign_in``, for a server: hashing waits in threads of its own, where it keeps nobody else waiting.

        Raises:
            WrongPasswordError, BusyError: see ``sign_in``.
        """
        self._refuse_throttled(_key(name, address))
        place = _place(address)
        if self._waiting[place] >= _WAITING_PER_ADDRESS or self._waiting.total() >= _MOST_WAITING:
            raise BusyError("Too many people are signing in.", remedy="Try again in a moment.")
        self._waiting[place] += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, self.sign_in, name, password, address
            )
        finally:
            self._waiting[place] -= 1
            self._waiting += Counter()  # drops the zeros

    def sign_in(self, name: str, password: str, address: str = "") -> str:
        """Give a token.

        Failures are counted for each name and address, whether such a user exists or not: the answers tell nothing of
        that, and nobody can lock a user out from elsewhere.

        Args:
            name: of the user.
            password: of the user.
            address: where the attempt comes from.

        Raises:
            WrongPasswordError: they do not belong together.
            BusyError: too many failures for this name from there, or too many at the same time.
        """
        key = _key(name, address)
        self._refuse_throttled(key, count=True)
        if not self._tries.acquire(timeout=5.0):
            raise BusyError("Too many people are signing in.", remedy="Try again in a moment.")
        try:
            right = self._users.get(name, self._nobody).matches(password[:_LONGEST_PASSWORD]) and name in self._users
        finally:
            self._tries.release()
        if not right:
            raise WrongPasswordError("User name and password do not belong together.")
        with self._guard:
            self._failures.pop(key, None)
            self._forget_expired()
            token = secrets.token_urlsafe(32)
            self._tokens[_hashed(token)] = (name, time.monotonic() + self._token_seconds)
            return token

    def _refuse_throttled(self, key: bytes, *, count: bool = False) -> None:
        """Count an attempt as failed before it is tried, so that many at the same moment are counted, too."""
        with self._guard:
            failures = self._failures.get(key, _Failures())
            if failures.until > time.monotonic():
                raise BusyError("Too many failed attempts.", remedy=f"Try again in {_PAUSE_SECONDS:.0f} seconds.")
            if count:
                failures.count += 1
                if failures.count >= _FAILURES_ALLOWED:
                    failures.count, failures.until = 0, time.monotonic() + _PAUSE_SECONDS
                self._failures[key] = failures
                self._failures.move_to_end(key)
                while len(self._failures) > _MOST_FAILURES:
                    self._failures.popitem(last=False)

    def user_of(self, token: str) -> str:
        """The user of a token.

        Raises:
            NotSignedInError: unknown or expired.
        """
        with self._guard:
            name, expires = self._tokens.get(_hashed(token), ("", 0.0))
        if expires <= time.monotonic():
            raise NotSignedInError("You are not signed in, or not any more.", remedy="Sign in: POST /auth/token")
        return name

    def sign_out(self, token: str) -> None:
        """Forget a token."""
        with self._guard:
            self._tokens.pop(_hashed(token), None)

    def _forget_expired(self) -> None:
        now = time.monotonic()
        self._tokens = {key: (name, expires) for key, (name, expires) in self._tokens.items() if expires > now}
        while len(self._tokens) >= _MOST_TOKENS:
            self._tokens.pop(next(iter(self._tokens)))


def _hashed(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _key(name: str, address: str) -> bytes:
    return _hashed(f"{_place(address)}\0{name}")


def _place(address: str) -> str:
    """Where somebody is: one machine has a whole network of addresses in IPv6."""
    try:
        known = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(known, ipaddress.IPv6Address):
        return str(known.ipv4_mapped or ipaddress.ip_network((known, 64), strict=False))
    return str(known)
