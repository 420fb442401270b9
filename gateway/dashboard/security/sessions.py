"""Sessions: kept on the server; of their random ids only hashes are kept (IEC 62443-4-2, CR 2.5 to 2.7)."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from hashlib import sha256
from typing import TYPE_CHECKING

from starlette.requests import cookie_parser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from starlette.datastructures import Headers
    from starlette.responses import Response

    from gateway.dashboard.security.oidc import Subject
    from gateway.users.roles import Identity

MOST, MOST_OF_USER = 1_000, 10
"""Sessions of all users, and of a user; the session without a request for longest ends for another."""

ID_BYTES = 32
"""Random bytes of a session's id."""


class Session:
    """A session. `stamp` is that of the user's password: another password ends the session.

    `subject` is how an identity provider names the user and its own session, None for a password.
    """

    __slots__ = ("created", "csrf_token", "ended", "identity", "key", "stamp", "subject", "used")

    def __init__(
        self, key: bytes, identity: Identity, stamp: str, now: float, subject: Subject | None = None
    ) -> None:
        self.key = key
        self.identity = identity
        self.stamp = stamp
        self.subject = subject
        self.csrf_token = secrets.token_urlsafe(ID_BYTES)
        self.created = self.used = now
        self.ended = asyncio.Event()


class Sessions:
    """All sessions. Times are in seconds."""

    def __init__(self, lasts: float, idle: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._lasts = lasts
        self._idle = idle
        self._clock = clock
        self._sessions: dict[bytes, Session] = {}
        self.changed = asyncio.Event()
        """Set when a session has begun or ended."""

    def __len__(self) -> int:
        return len(self._sessions)

    def begin(self, identity: Identity, stamp: str = "", subject: Subject | None = None) -> tuple[str, Session]:
        """Return the id of a new session, which nobody else knows, and the session."""
        now = self._clock()
        for one in [one for one in self._sessions.values() if self.remaining(one) <= 0]:
            self.end(one)
        self._leave_room([one for one in self._sessions.values() if one.identity.name == identity.name], MOST_OF_USER)
        self._leave_room(self._sessions.values(), MOST)
        id_ = secrets.token_urlsafe(ID_BYTES)
        session = Session(_key(id_), identity, stamp, now, subject)
        self._sessions[session.key] = session
        self.changed.set()
        return id_, session

    def restore(self, session: Session) -> None:
        """Go on with a session of the run before, unless it has expired."""
        if self.remaining(session) > 0 and len(self._sessions) < MOST:
            self._sessions[session.key] = session

    def all(self) -> list[Session]:
        """Return all sessions."""
        return list(self._sessions.values())

    def now(self) -> float:
        """Return the time of the clock of the sessions."""
        return self._clock()

    def _leave_room(self, those: Iterable[Session], most: int) -> None:
        by_use = sorted(those, key=lambda one: one.used)
        for one in by_use[: max(0, len(by_use) - most + 1)]:
            self.end(one)

    def find(self, id_: str) -> Session | None:
        """Return the session of an id, None if there is none or it has expired."""
        session = self._sessions.get(_key(id_)) if len(id_) <= 2 * ID_BYTES else None
        if session is not None and self.remaining(session) <= 0:
            self.end(session)
            return None
        return session

    def use(self, session: Session) -> None:
        """Note a request of a session."""
        session.used = self._clock()

    def remaining(self, session: Session) -> float:
        """Return the seconds until a session expires without another request."""
        return min(session.created + self._lasts, session.used + self._idle) - self._clock()

    def of_subject(self, subject: Subject) -> list[Session]:
        """Return the sessions that an identity provider means by a user, by a session of its own, or by both."""

        def is_meant(own: Subject) -> bool:
            if subject.sub and own.sub != subject.sub:
                return False
            # a provider that names sessions in logout tokens alone means all of the user's
            return not subject.sid or own.sid == subject.sid or (not own.sid and subject.sub != "")

        return [one for one in self._sessions.values() if one.subject is not None and is_meant(one.subject)]

    def end(self, session: Session) -> None:
        """End a session; its WebSockets are closed."""
        self._sessions.pop(session.key, None)
        session.ended.set()
        self.changed.set()


def _key(id_: str) -> bytes:
    return sha256(id_.encode("utf-8", "replace")).digest()


# -- cookies --


def cookie_name(scheme: str, kind: str = "lineside") -> str:
    """Return the name of a cookie; a browser takes one with `__Host-` from this host only, by TLS (RFC 6265bis)."""
    return f"__Host-{kind}" if scheme in {"https", "wss"} else kind


def is_same(found: str, expected: str) -> bool:
    """Compare what a browser has sent, which may be any text, with a secret, in a time that says nothing of it."""
    return hmac.compare_digest(found.encode("utf-8", "replace"), expected.encode())


def cookie_of(headers: Headers, name: str) -> str:
    """Return a cookie of a request, empty if there is none or there are two."""
    found = [value for line in headers.getlist("cookie") for key, value in cookie_parser(line).items() if key == name]
    return found[0] if len(found) == 1 else ""


def set_cookie(
    response: Response, scheme: str, value: str, kind: str = "lineside", *, same_site: str = "Strict", age: int = -1
) -> None:
    """Set a cookie that scripts can't read. An `age` of 0 seconds deletes it; with -1 it goes with the browser."""
    secure = "; Secure" if scheme == "https" else ""
    max_age = f"; Max-Age={age}" if age >= 0 else ""
    text = f"{cookie_name(scheme, kind)}={value}; Path=/; HttpOnly; SameSite={same_site}{secure}{max_age}"
    response.raw_headers.append((b"set-cookie", text.encode("ascii")))
