"""Watches the service level of redundant servers (Part 4, 6.6.2.4), and finds a better server.

A server in maintenance, without data, or degraded is left for a server that is clearly better. Two servers of one
level never take turns: a healthy server is never left, and a change is followed by a pause.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from asyncua import ua

from drivers.base import DriverError, NotConnected
from drivers.opcua.connection.session import opened
from drivers.opcua.errors import REQUEST_ERRORS

if TYPE_CHECKING:
    from drivers.opcua.connection.session import Session
    from drivers.opcua.settings import OpcUaConnection

LOOK_EVERY = 5.0
"""Seconds between two reads of the present server's service level."""

OTHERS_EVERY = 30.0
"""Seconds between two reads of the other servers' levels, while none of them is better."""

DEGRADED_LOOKS = 2
"""Consecutive looks that find a degraded server degraded, before another is used; others are left at once."""

PAUSE = 60.0
"""Seconds after a change to another server in which there is no further change."""

MARGIN = 50
"""The difference between the levels of two degraded servers that is worth a change."""

NO_DATA, DEGRADED, HEALTHY, BEST = 1, 2, 200, 255
"""The first levels of their ranges, and the last; 0 is maintenance (Part 4, Table 105)."""

_LEVEL = [ua.NodeId(ua.Int32(ua.ObjectIds.Server_ServiceLevel))]


class Better(NamedTuple):
    """A better server: its number among the addresses, and the reason for the change."""

    turn: int
    reason: str


async def level_of(session: Session) -> int | None:
    """Return the service level of a session's server, None if it has none. Raises `REQUEST_ERRORS`."""
    [level] = (await session.read(_LEVEL)).values
    return level if type(level) is int else None


def is_better(other: int, present: int) -> bool:
    """Return whether a server of one level is clearly better than a server that is not healthy."""
    if present >= HEALTHY:
        return False
    return _range(other) > _range(present) or other - present >= MARGIN


def _range(level: int) -> int:
    return sum(level >= first for first in (NO_DATA, DEGRADED, HEALTHY))


class Redundancy:
    """The choice among the addresses of one driver."""

    def __init__(self, settings: OpcUaConnection) -> None:
        """Prepare; without a `backup` there is no choice."""
        self._settings = settings
        self._changed_at = -PAUSE

    async def find_better(self, session: Session, turn: int) -> Better | None:
        """Wait until another server is better than that of a session, at the address number `turn`; return it.

        Returns None if the server has no service level, or if the session is lost.
        """
        loop, looks, others_at = asyncio.get_running_loop(), 0, 0.0
        while (level := await self._level_in(session)) is not None:
            looks = looks + 1 if level < HEALTHY else 0
            paused = loop.time() < max(self._changed_at + PAUSE, others_at)
            if not paused and (looks >= DEGRADED_LOOKS or level < DEGRADED):
                others_at = loop.time() + OTHERS_EVERY
                better = await self._best(turn, level)
                if better is not None:
                    self._changed_at = loop.time()
                    return better
            await asyncio.sleep(LOOK_EVERY)
        return None

    async def _level_in(self, session: Session) -> int | None:
        """Return the level of the present server, `BEST` if it does not respond now, None if it can't be watched."""
        try:
            return await level_of(session)
        except REQUEST_ERRORS as error:
            return None if isinstance(session.translated(error), NotConnected) else BEST

    async def _best(self, turn: int, level: int) -> Better | None:
        """Return the best of the other servers, if it is clearly better."""
        found = []
        for other, url in enumerate(self._settings.urls()):
            if other != turn:
                found.append((await self._level_at(url), other, url))
        best, other, url = max(found, default=(-1, turn, ""), key=lambda one: one[0])
        if best < 0 or not is_better(best, level):
            return None
        return Better(other, f"its service level is {level}, and that of {url} is {best}")

    async def _level_at(self, url: str) -> int:
        """Return the service level at an address, -1 if it does not answer; a server without a level is healthy."""
        try:
            session = await opened(self._settings, url)
        except DriverError:
            return -1
        try:
            level = await level_of(session)
        except REQUEST_ERRORS:
            return -1
        finally:
            await session.close()
        return HEALTHY if level is None else level
