"""The routes of alarms: their history with its statistics, and the notes of operators.

GET  /api/alarms/history?path=acme/north&from=-8h&to=now&priorities=1,2&text=oil&limit=500
POST /api/alarms/notes   {"action": "shelve", "alarms": [{"path": ..., "key": ...}], "comment": ..., "minutes": 60}
"""

from __future__ import annotations

import asyncio
from datetime import UTC
from typing import TYPE_CHECKING, Any

from starlette.routing import Route

from gateway.dashboard.alarms.noting import Noting
from gateway.dashboard.alarms.requests import NoteRequest
from gateway.dashboard.alarms.statistics import chattering, level_of, longest_standing, most_frequent, rates
from gateway.dashboard.alarms.stored import StoredChanges, stored_changes
from gateway.dashboard.answers import answered, posted
from gateway.dashboard.feeds.alarms import Filter, filter_of, shown
from gateway.dashboard.feeds.base import BadArguments
from gateway.dashboard.texts.text import _
from gateway.dashboard.trends.errors import NoStore
from gateway.dashboard.trends.selection import clock, number_of, span_of
from gateway.users.roles import Permission

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.requests import Request

    from gateway.dashboard.actions import Actors
    from gateway.dashboard.live.alarms import Alarm
    from gateway.dashboard.plants import Plants
    from gateway.dashboard.stored import Stored
    from gateway.dashboard.texts.text import Text

SECONDS = 15.0
"""Seconds that each store has for a history."""

MAX_SPAN = 31 * 86_400 * 1_000_000
"""Microseconds of the longest history."""

MAX_EVENTS = 2_000
"""Changes that are sent."""

RANKED = 10
"""Alarms in each list of the statistics."""


class AlarmRoutes:
    """Alarms as routes for the page. `actors` know who may act, and record it."""

    def __init__(self, plants: Plants, stored: Stored, actors: Actors) -> None:
        self._plants = plants
        self._stored = stored
        self._actors = actors
        self._noting = Noting(plants, actors)

    def routes(self) -> list[Route]:
        """Return the routes, for `Page.app`."""
        return [
            Route("/api/alarms/history", answered(self._history)),
            Route("/api/alarms/notes", posted(NoteRequest, self._note), methods=["POST"]),
        ]

    async def _note(self, request: Request, wanted: NoteRequest) -> dict[str, Any]:
        needed = Permission.SHELVE if wanted.action in {"shelve", "remove"} else Permission.ACKNOWLEDGE
        return await self._noting.apply(self._actors.person(request, needed), wanted)

    async def _history(self, request: Request) -> dict[str, Any]:
        query = request.query_params
        now = clock()
        since, until = span_of(query, now, UTC, MAX_SPAN)
        wanted = filter_of({"path": query.get("path", ""), "text": query.get("text", "")} | _priorities(query))
        limit = number_of(query, "limit", 500, MAX_EVENTS)
        found, problems = await self._stored_parts(wanted, since, until)
        heard = [one for plant in self._plants.plants for one in plant.alarms.history]
        standing = [one for plant in self._plants.plants for one in plant.alarms]
        content = await asyncio.to_thread(
            _described, [*(part.changes for part in found), heard], standing, wanted, (since, until), limit
        )
        known = [part.since for part in found] or [self._plants.alarms_since or self._plants.started]
        return content | {"from": since, "to": until, "now": now, "known_since": max(known), "problems": problems}

    async def _stored_parts(self, wanted: Filter, since: int, until: int) -> tuple[list[StoredChanges], list[Text]]:
        """Return the changes in the stores; without a store the page shows the changes that it has heard."""
        try:
            return await self._stored.each(
                lambda source: stored_changes(source, since, until, wanted.path), SECONDS, wanted.path
            )
        except NoStore:
            return [], []


def _priorities(query: Any) -> dict[str, list[int]]:  # noqa: ANN401 - a mapping of Starlette
    written = query.get("priorities")
    if not written:
        return {}
    try:
        return {"priorities": [int(one) for one in written.split(",")]}
    except ValueError:
        raise BadArguments(_("priorities are numbers from 1 to 4, as in 1,2")) from None


def together(parts: Iterable[Iterable[Alarm]]) -> list[Alarm]:
    """Return changes out of several lists, each once, in the order of their times."""
    found = {(one.place, one.time, one.active, one.acknowledged): one for part in parts for one in part}
    return sorted(found.values(), key=lambda one: one.time)


def _described(
    parts: list[Iterable[Alarm]], standing: list[Alarm], wanted: Filter, span: tuple[int, int], limit: int
) -> dict[str, Any]:
    """Return the changes of a span that a filter takes, the newest first, and their statistics."""
    since, until = span
    changes = [one for one in together(parts) if wanted.takes(one, None)]
    within = [one for one in changes if since <= one.time < until]
    found = rates(within, since, until)
    longest = longest_standing((one for one in standing if wanted.takes(one, None)), RANKED)
    return {
        "changes": [shown(one) for one in reversed(within[-limit:])], "number": len(within),
        "rates": found._asdict() | {"level": level_of(found)},
        "frequent": [shown(one.alarm) | {"count": one.times} for one in most_frequent(within, RANKED)],
        "longest": [shown(one) for one in longest],
        "chattering": [shown(one.alarm) | {"count": one.times} for one in chattering(within, RANKED)],
    }  # fmt: skip
