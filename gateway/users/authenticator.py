"""Name, password and address to an identity, or a refusal. The event loop never waits for a hash."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from gateway.users.passwords import Busy, Passwords
from gateway.users.roles import Identity
from gateway.users.throttle import FailureTable, Lockout, address_key
from gateway.users.users_file import LONGEST_NAME

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.users.users_file import Users


class Reason(StrEnum):
    """Why an attempt to sign in was refused. A page says `WRONG` for a disabled user as well."""

    WRONG = "wrong"
    DISABLED = "disabled"
    THROTTLED = "throttled"
    BUSY = "busy"


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal; `retry_after` is in seconds. `locked` is set by the failure that begins the delays."""

    reason: Reason
    retry_after: float = 0.0
    locked: bool = False


@dataclass(frozen=True, slots=True)
class Failures:
    """The failures of a name, and the seconds until its next attempt is allowed."""

    number: int
    seconds: float


class Authenticator:
    """Checks passwords against a file of users, and slows down guessing."""

    def __init__(
        self, users: Users, passwords: Passwords | None = None, clock: Callable[[], float] = time.monotonic,
        lockout: Lockout | None = None,
    ) -> None:  # fmt: skip
        """Prepare. Raises `MissingExtra` without argon2-cffi."""
        self.users = users
        self._passwords = passwords or Passwords()
        self._clock = clock
        self._lockout = lockout or Lockout()
        self._names, self._addresses = FailureTable(self._lockout), FailureTable(self._lockout)

    async def authenticate(self, name: str, password: str, address: str) -> Identity | Refused:
        """Check a password. Takes as long for a name that does not exist as for a wrong password.

        An attempt counts as a failure until it has succeeded, so that attempts at the same time count, too. A success
        clears the failures of the name, and only its own of the address: an account of one's own does not help to
        guess those of others.
        """
        now = self._clock()
        name_key, client = _name_key(name), address_key(address)
        wait = max(self._names.wait(name_key, now), self._addresses.wait(client, now))
        if wait > 0:
            return Refused(Reason.THROTTLED, wait)
        counts = self._names.add(name_key, now, client), self._addresses.add(client, now)
        await self.users.refresh()
        user = self.users.get(name)
        try:
            matches = await self._passwords.matches(None if user is None else user.password, password)
        except Busy:
            self._names.take_back(name_key, source=client)
            self._addresses.take_back(client)
            return Refused(Reason.BUSY, 1.0)
        if not matches or user is None or user.disabled:
            now = self._clock()
            wait = max(self._names.wait(name_key, now), self._addresses.wait(client, now))
            reason = Reason.DISABLED if matches else Reason.WRONG
            return Refused(reason, wait, locked=self._lockout.failures in counts)
        self._names.forget(name_key)
        self._addresses.take_back(client)
        return Identity(name, user.role, "password", self.users.permissions(user.role) or frozenset())

    def failures(self, name: str) -> Failures:
        """Return the failures of a name since its last success; those of before its period are forgotten."""
        now, key = self._clock(), _name_key(name)
        return Failures(self._names.count(key, now), self._names.wait(key, now))

    def unlock(self, name: str) -> None:
        """Forget the failures of a name, also where they count for the addresses that they came from."""
        key = _name_key(name)
        for address, number in self._names.sources(key).items():
            self._addresses.take_back(address, number)
        self._names.forget(key)


def _name_key(name: str) -> str:
    return name[: LONGEST_NAME + 1].casefold()
