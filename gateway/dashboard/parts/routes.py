"""The routes of parts.

GET /api/parts?serial=GTPRESS-01-000107&from=-7d&to=now    where a serial number was seen
GET /api/parts/history?serial=GTPRESS-01-000107            the operations of a part
GET /api/parts/uses?lot=ML123456                           the parts that a lot went into
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.routing import Route

from gateway.dashboard.answers import answered
from gateway.dashboard.live.roles import is_serial
from gateway.dashboard.parts.recorded import as_dict, recorded, used
from gateway.dashboard.parts.stored import reading_of, search_part
from gateway.dashboard.parts.visits import carries_results
from gateway.dashboard.texts.text import _
from gateway.dashboard.trends.errors import BadRequest, NoStore
from gateway.dashboard.trends.selection import clock, span_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from starlette.requests import Request

    from gateway.dashboard.live.machine import LiveMachine
    from gateway.dashboard.parts.stored import FoundPart
    from gateway.dashboard.parts.visits import Visit
    from gateway.dashboard.plants import Plants
    from gateway.dashboard.stored import Source, Stored
    from gateway.dashboard.texts.text import Text
    from gateway.model.reading import Reading

T = TypeVar("T")

SECONDS = 12.0
"""Seconds that each store has."""

MAX_SPAN = 366 * 86_400 * 1_000_000
"""Microseconds of the longest search."""

MAX_SERIAL = 200
"""Characters of a serial number."""

TRENDS = 4
"""Points of a machine that a link to its trends names."""


class PartRoutes:
    """Where a part was seen, as a route for the page."""

    def __init__(self, plants: Plants, stored: Stored) -> None:
        self._plants = plants
        self._stored = stored

    def routes(self) -> list[Route]:
        """Return the routes, for `Page.app`."""
        return [
            Route("/api/parts", answered(self._part)),
            Route("/api/parts/history", answered(self._history)),
            Route("/api/parts/uses", answered(self._uses)),
        ]

    async def _history(self, request: Request) -> dict[str, Any]:
        serial = _text_of(request, "serial")
        found, problems = await self._all(lambda source: recorded(source, serial))
        operations = sorted((one for part in found for one in part), key=lambda one: (one.serial, one.order))
        return {
            "serial": serial, "now": clock(),
            "problems": problems,
            "operations": [as_dict(one) for one in operations], "live": list(self._live(serial)),
        }  # fmt: skip

    async def _uses(self, request: Request) -> dict[str, Any]:
        lot = _text_of(request, "lot")
        found, problems = await self._all(lambda source: used(source, lot))
        uses = [one | {"path": str(one["path"])} for part in found for one in part.as_dicts()]
        return {"lot": lot, "problems": problems, "cut": any(part.cut for part in found), "uses": uses}

    async def _all(self, function: Callable[[Source], T]) -> tuple[list[T], list[Text]]:
        """Ask the stores; without one the page still says where the part is now."""
        try:
            return await self._stored.each(function, SECONDS)
        except NoStore as error:
            return [], [error.text]

    async def _part(self, request: Request) -> dict[str, Any]:
        query = request.query_params
        serial = _text_of(request, "serial")
        now = clock()
        since, until = span_of({"from": query.get("from", "-7d"), "to": query.get("to", "now")}, now, UTC, MAX_SPAN)
        found, problems = await self._ask(serial, since, min(until, now))
        visits = [self._shown(visit, results) for part in found for visit, results in part.visits]
        suggestions = sorted((one for part in found for one in part.suggestions), key=lambda one: -one.time)
        return {
            "serial": serial, "from": since, "to": until, "now": now,
            "problems": problems,
            "known_since": max((part.since for part in found), default=until),
            "machines": sum(part.machines for part in found), "points": sum(part.points for part in found),
            "visits": sorted(visits, key=lambda visit: visit["from"]),
            "suggestions": [{"serial": one.serial, "path": str(one.path), "time": one.time} for one in suggestions],
            "live": list(self._live(serial)),
        }  # fmt: skip

    async def _ask(self, serial: str, since: int, until: int) -> tuple[list[FoundPart], list[Text]]:
        return await self._all(lambda source: search_part(source, serial, since, until))

    def _shown(self, visit: Visit, results: list[Reading]) -> dict[str, Any]:
        found = self._plants.find(visit.path)
        labels: dict[str, Mapping[str, str]] = {}
        trends: list[str] = []
        if found is not None:
            labels = {point.name: point.labels for point in found[1].points}
            trends = trend_points(found[1])
        return {
            "path": str(visit.path), "point": visit.point, "from": visit.begin, "to": visit.end, "lost": visit.lost,
            "result": carries_results(visit.point), "trends": trends,
            "results": [reading_of(one, labels.get(one.point, {})) for one in results],
        }  # fmt: skip

    def _live(self, serial: str) -> Iterator[dict[str, str]]:
        """Yield the machines that name the part now, as the broker delivers it."""
        for machine in self._plants.machines():
            for at in machine.serials:
                if machine.values[at] == serial:
                    yield {"path": str(machine.path), "point": machine.points[at].name}


def _text_of(request: Request, name: str) -> str:
    """Return a parameter that is a serial number or a lot. Raises `BadRequest`."""
    text = request.query_params.get(name, "").strip()
    if not text or len(text) > MAX_SERIAL:
        raise BadRequest(_("{name} is a number of at most {most} characters", name=name, most=MAX_SERIAL))
    return text


def trend_points(machine: LiveMachine) -> list[str]:
    """Return some points of a machine whose course says how a part was made: its measured quantities."""
    roles = {at for at in machine.roles if at is not None}
    found = [
        point.name for at, point in enumerate(machine.points)
        if point.type == "float" and at not in roles and point.unit and not is_serial(point.name)
    ]  # fmt: skip
    ranged = [point.name for point in machine.points if point.name in found and point.range is not None]
    return (ranged or found)[:TRENDS]
