"""Passwords: their rules, and their Argon2id hashes (RFC 9106).

A password is normalised to NFKC before it is checked or hashed, so that it is the same on every keyboard (NIST SP
800-63B, clause 3.1.1.2).
"""

from __future__ import annotations

import asyncio
import unicodedata
from typing import TYPE_CHECKING

from drivers.extras import require

if TYPE_CHECKING:
    from argon2 import PasswordHasher

SHORTEST, LONGEST = 12, 256
"""Characters of a password; `dashboard.password_length` asks for more than the shortest."""

FEWEST_DIFFERENT = 5
"""Different characters of a password at the least."""

AT_ONCE, WAITING = 2, 16
"""Hashes that are computed at the same time, 64 MiB each, and those that wait for one."""

_COMMON = (
    "password", "passwort", "lineside", "welcome", "letmein", "qwerty", "qwertz", "administrator", "changeme",
    "iloveyou", "industrial", "production", "maintenance", "operator", "engineer",
)  # fmt: skip
"""Words with which most passwords that are guessed begin or end."""

_ROWS = (
    "01234567890123456789",
    "abcdefghijklmnopqrstuvwxyz",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
)
"""Characters in the order of the alphabet and of keyboards."""

_REST = 9
"""Characters that a password must have beside a common word."""


class BadPassword(ValueError):
    """A password does not keep the rules; the text says which, and never repeats the password."""


class Busy(Exception):
    """Too many passwords wait for their check."""


def normalise(password: str) -> str:
    """Return the form of a password that is hashed. Raises `BadPassword` for one that is too long."""
    if len(password) > LONGEST:
        raise BadPassword(f"a password has at most {LONGEST} characters")
    try:
        password.encode()
    except UnicodeEncodeError:
        raise BadPassword("the password is not UTF-8") from None
    return unicodedata.normalize("NFKC", password)


def check_password(password: str, name: str, shortest: int = SHORTEST) -> None:
    """Check a new password, of at least `shortest` characters (IEC 62443-4-2, CR 1.7). Raises `BadPassword`."""
    normal = normalise(password)
    plain, user = normal.casefold(), name.casefold()
    if len(normal) < shortest:
        raise BadPassword(f"a password has at least {shortest} characters; write several words")
    if any(not character.isprintable() for character in normal):
        raise BadPassword("a password has printable characters only")
    if len(set(plain)) < FEWEST_DIFFERENT:
        raise BadPassword(f"a password has at least {FEWEST_DIFFERENT} different characters")
    if user in plain and len(plain.replace(user, "")) < _REST:
        raise BadPassword("the password is the user's name with little more; write another")
    if any(plain in row * 2 or plain in row[::-1] * 2 for row in _ROWS):
        raise BadPassword("the password is a row of the keyboard or the alphabet; write another")
    if any(word in plain and len(plain.replace(word, "")) < _REST for word in _COMMON):
        raise BadPassword("the password is a common word with little more; write another")


class Passwords:
    """Hashes and checks passwords, `AT_ONCE` at a time, in threads."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        """Prepare. Raises `MissingExtra` without argon2-cffi."""
        if hasher is None:
            require("dashboard", "a password")
            from argon2 import PasswordHasher  # noqa: PLC0415 - an extra

            hasher = PasswordHasher()
        self._hasher = hasher
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        self._unknown = ""

    def hash(self, password: str) -> str:
        """Return the hash of a password, as a PHC string. Takes about 0.1 s. Raises `BadPassword`."""
        return self._hasher.hash(normalise(password))

    async def matches(self, hashed: str | None, password: str) -> bool:
        """Return whether a password has a hash; it takes as long without a hash, for a name that does not exist.

        Raises `Busy` if too many others wait.
        """
        if self._waiting >= WAITING:
            raise Busy
        self._waiting += 1
        try:
            async with self._turns:
                return await asyncio.to_thread(self._matches, hashed, password)
        finally:
            self._waiting -= 1

    def _matches(self, hashed: str | None, password: str) -> bool:
        from argon2.exceptions import InvalidHashError, VerificationError  # noqa: PLC0415 - an extra

        if not self._unknown:
            self._unknown = self._hasher.hash("of a name that does not exist")
        try:
            return self._hasher.verify(hashed or self._unknown, normalise(password)) and hashed is not None
        except (VerificationError, InvalidHashError, BadPassword):
            return False
