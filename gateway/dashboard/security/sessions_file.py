"""The sessions of the link in a file: a screen goes on when the page is started again, as after an upgrade.

The file has hashes of ids, from which nobody can sign in. Sessions of users are left out: a user signs in again.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import structlog
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from drivers.own_files import ForeignFile, read_own
from gateway.common.atomic_file import replace_file
from gateway.dashboard.security.sessions import MOST, Session

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.dashboard.security.sessions import Sessions
    from gateway.users.roles import Identity

log = structlog.get_logger(__name__)

EVERY = 15.0
"""Seconds after which the last requests of sessions are saved; a new or ended session is saved at once."""

LARGEST = 2**20
"""Bytes of the file."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class _Saved(_Model):
    """A session; times in seconds since the epoch."""

    key: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    created: int
    used: int


class _Content(_Model):
    sessions: Annotated[list[_Saved], Field(max_length=MOST)]


def sessions_file(folder: Path, port: int) -> Path:
    """Return the file with the sessions of the page at a port."""
    return folder / f"dashboard-{port}.sessions"


class SessionsFile:
    """Loads the sessions of the run before, and saves those of the present run."""

    def __init__(self, file: Path, sessions: Sessions, identity: Identity) -> None:
        """Prepare; no I/O. `identity` is that of the link."""
        self._identity = identity
        self._file = file
        self._sessions = sessions
        self._saved = _Content(sessions=[])

    def load(self) -> None:
        """Go on with the sessions of the run before; without a file that can be used there are none."""
        try:
            content = _Content.model_validate_json(read_own(self._file, LARGEST))
        except FileNotFoundError:
            return
        except (OSError, ForeignFile, ValueError, ValidationError) as error:
            text = "it is not a list of sessions" if isinstance(error, ValidationError) else str(error)
            log.warning("dashboard.sessions_not_read", file=str(self._file), error=text)
            return
        self._saved = content
        now, clock = time.time(), self._sessions.now()
        for one in content.sessions:
            if not 0 <= one.created <= one.used <= now:  # the clock was set back: their ages are not known
                continue
            session = Session(bytes.fromhex(one.key), self._identity, "", clock - (now - one.created))
            session.used = clock - (now - one.used)
            self._sessions.restore(session)

    async def run(self) -> None:
        """Save the sessions when one begins or ends, and at intervals. Raises `OSError`."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY):
                    await self._sessions.changed.wait()
            self._sessions.changed.clear()
            await asyncio.to_thread(self._save, self._content())

    def save(self) -> None:
        """Save the sessions at the end of a run."""
        try:
            self._save(self._content())
        except OSError as error:
            log.warning("dashboard.sessions_not_saved", file=str(self._file), error=error.strerror or str(error))

    def _content(self) -> _Content:
        now, clock = time.time(), self._sessions.now()
        return _Content(sessions=[
            _Saved(key=one.key.hex(), created=int(now - (clock - one.created)), used=int(now - (clock - one.used)))
            for one in self._sessions.all() if one.identity.method == self._identity.method
        ])  # fmt: skip

    def _save(self, content: _Content) -> None:
        if content == self._saved:
            return
        replace_file(self._file, [content.model_dump_json().encode()], durable=False)
        self._saved = content
