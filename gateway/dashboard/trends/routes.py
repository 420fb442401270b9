"""The routes of stored readings. Every answer, also that of an error, is JSON; `/api/export.csv` is CSV.

    /api/trend?point=PATH/POINT&point=...&from=-1h&to=now&width=1000
    /api/bands?machine=PATH&from=-8h
    /api/cycles?point=PATH/POINT&value=load&from=-8h
    /api/points?search=press+pressure&machine=PATH
    /api/export.csv?point=PATH/POINT&from=-1h&every=1m&decimal=comma&zone=Europe/Berlin

`from` and `to` are microseconds since the epoch, ISO 8601, a duration before now (`-1h`), or `now`.
"""

from __future__ import annotations

import asyncio
from datetime import UTC
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from starlette.routing import Route

from gateway.dashboard.answers import answered, refusal
from gateway.dashboard.texts.text import _
from gateway.dashboard.trends.bands import MAX_LANE_SPAN, lanes
from gateway.dashboard.trends.columns import shown
from gateway.dashboard.trends.csv_lines import CsvStyle
from gateway.dashboard.trends.cycles import MAX_CYCLES, MAX_SPAN, beginning_of, newest_cycles
from gateway.dashboard.trends.errors import BadRequest, NoStore, TrendError
from gateway.dashboard.trends.export import Export
from gateway.dashboard.trends.facts import PlantFacts, PointFacts
from gateway.dashboard.trends.query import trend
from gateway.dashboard.trends.readers import Readers
from gateway.dashboard.trends.selection import (
    PointName,
    Selection,
    clock,
    duration,
    machine_of,
    number_of,
    point_of,
    points_of,
    span_of,
    width_of,
)
from gateway.dashboard.trends.stop import Stop
from gateway.users.roles import Permission

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import tzinfo

    from starlette.requests import Request

    from gateway.dashboard.live.points import PointInfo
    from gateway.model.path import MachinePath
    from gateway.settings.factory import Factory

QUERY_SECONDS = 30.0
"""Seconds in which a store has to answer."""

MAX_FOUND, MAX_SEARCH = 200, 100
"""Points that a search finds; characters of a search."""

EXPORTS = 1
"""Files of one factory that are read at a time."""


class Trends:
    """Stored readings of some factories, as routes for the page.

    `published` returns the points that a machine has published, `machines` all machines that are known: those of the
    factories without it. `zone` is the time zone of the plant, empty for that of this machine.
    """

    def __init__(
        self,
        factories: Sequence[Factory],
        published: Callable[[MachinePath], Iterable[PointInfo]] = lambda _: (),
        machines: Callable[[], Iterable[MachinePath]] | None = None,
        *,
        zone: str = "",
    ) -> None:
        self._facts = PlantFacts(factories, published)
        self._machines = machines or (lambda: list(self._places))
        self._readers = [Readers(factory) for factory in factories]
        self._exporters = [Readers(factory, EXPORTS) for factory in factories]
        self._places = {machine.path: n for n, factory in enumerate(factories) for machine in factory.machines}
        self._sites: dict[tuple[str, str], int] = {}
        for n, factory in enumerate(factories):
            self._sites.setdefault((factory.factory.enterprise, factory.factory.site), n)
        self._zone = zone
        self._on_export: Callable[[Request, Selection], None] = lambda *_: None

    def routes(
        self, on_export: Callable[[Request, Selection], None] = lambda *_: None,
        guard: Callable[[Permission], Callable[[Any], Any]] = lambda _: lambda handler: handler,
    ) -> list[Route]:  # fmt: skip
        """Return the routes, for `Page.app`.

        `on_export` notes who takes which readings away, and `guard` lets those through who may.
        """
        self._on_export = on_export
        return [
            Route("/api/trend", guard(Permission.TRENDS)(answered(self._trend))),
            Route("/api/bands", guard(Permission.TRENDS)(answered(self._bands))),
            Route("/api/cycles", guard(Permission.TRENDS)(answered(self._cycles))),
            Route("/api/points", answered(self._points)),
            Route("/api/export.csv", guard(Permission.EXPORT)(answered(self._export))),
        ]

    async def close(self) -> None:
        """Close the connections to the stores, and end their threads."""
        await asyncio.gather(*(readers.close() for readers in (*self._readers, *self._exporters)))

    # -- answers --

    async def _trend(self, request: Request) -> dict[str, Any]:
        query = request.query_params
        now = clock()
        since, until = span_of(query, now, self._zone_of(query))
        selection = Selection(points_of(query.getlist("point")), since, until, width_of(query))
        facts = self._facts_of(selection.points)
        parts = self._by_reader(selection.points)

        async def part(number: int, points: tuple[PointName, ...]) -> list[dict[str, Any]]:
            stop = Stop(QUERY_SECONDS)
            own = selection._replace(points=points, width=selection.width)
            return await self._readers[number].call(lambda store: trend(store, own, facts, stop), stop)

        results = await asyncio.gather(*(part(*one) for one in parts.items()), return_exceptions=True)
        failed = [one for one in results if isinstance(one, BaseException)]
        for problem in failed:
            if len(failed) == len(results) or not isinstance(problem, TrendError):
                raise problem
        problems = [one.text for one in failed if isinstance(one, TrendError)]
        series = [one for result in results if not isinstance(result, BaseException) for one in result]
        order = {str(point): place for place, point in enumerate(selection.points)}
        series.sort(key=lambda one: order[one["point"]])
        found = {one["point"] for one in series}
        return {
            "from": since, "to": until, "now": now, "zone": self._zone, "series": series,
            "missing": [name for name in order if name not in found], "problems": problems,
        }  # fmt: skip

    async def _bands(self, request: Request) -> dict[str, Any]:
        query = request.query_params
        path = machine_of(query.get("machine", ""))
        since, until = span_of(query, clock(), self._zone_of(query), MAX_LANE_SPAN)
        facts, stop = self._facts(path), Stop(QUERY_SECONDS)
        readers = self._readers[self._reader_of(path)]
        found = await readers.call(lambda store: lanes(store, path, facts, (since, until), stop), stop)
        return {"machine": str(path), "from": since, "to": until, "lanes": found}

    async def _cycles(self, request: Request) -> dict[str, Any]:
        query = request.query_params
        point = point_of(query.get("point", ""))
        since, until = span_of(query, clock(), self._zone_of(query), MAX_SPAN)
        most = number_of(query, "limit", MAX_CYCLES, MAX_CYCLES)
        facts = self._facts(point.path).get(point.point)
        beginning, stop = beginning_of(query.get("value"), facts), Stop(QUERY_SECONDS)
        readers = self._readers[self._reader_of(point.path)]
        found, all_of_them = await readers.call(
            lambda store: newest_cycles(store, point, facts, beginning, (since, until), most, stop), stop
        )
        labels = facts.labels if facts else {}
        return {
            "point": str(point), "from": since, "to": until, "begins": shown(beginning),
            "labels": dict(labels), "complete": len(found) == all_of_them, "number": all_of_them,
            "cycles": [one._asdict() | {"value": shown(one.value)} for one in found],
        }  # fmt: skip

    async def _points(self, request: Request) -> dict[str, Any]:
        query = request.query_params
        words = query.get("search", "")[:MAX_SEARCH].lower().split()
        machine = machine_of(query["machine"]) if "machine" in query else None
        most = number_of(query, "limit", MAX_FOUND, MAX_FOUND)
        found = []
        for path in [machine] if machine else self._machines():
            for name, one in self._facts(path).items():
                text = f"{path}/{name} {one.description}".lower()
                if all(word in text for word in words):
                    found.append(_found(path, name, one))
                    if len(found) > most:
                        return {"points": found[:most], "complete": False}
        return {"points": found, "complete": True}

    async def _export(self, request: Request) -> Export:
        query = request.query_params
        zone = self._zone_of(query)
        since, until = span_of(query, clock(), zone)
        selection = Selection(points_of(query.getlist("point")), since, until)
        every = duration(query["every"]) if "every" in query else None
        if every is not None and every < 1:
            raise BadRequest(_("every is a duration, as in 10s or 1m"))
        if query.get("decimal", "point") not in {"point", "comma"}:
            raise BadRequest(_("decimal is point or comma"))
        parts = self._by_reader(selection.points)
        if len(parts) > 1:
            raise BadRequest(_("a file has the points of one factory; choose those of one"))
        style = CsvStyle(query.get("decimal") == "comma", zone)
        self._on_export(request, selection)
        return Export(self._exporters[next(iter(parts))], selection, style, every, partial(refusal, request))

    # -- the meaning of a request --

    def _zone_of(self, query: Mapping[str, str]) -> tzinfo:
        """Return the time zone that a request names, `UTC` without one; `plant` is that of the plant."""
        name = query.get("zone", "UTC")
        if name == "plant":
            if not self._zone:
                return _local_zone()
            name = self._zone
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            wrong = _("{name} is not a time zone; write UTC, plant, or one as Europe/Berlin", name=repr(name[:100]))
            raise BadRequest(wrong) from None

    def _facts_of(self, points: Iterable[PointName]) -> dict[PointName, PointFacts]:
        of_machines = {path: self._facts(path) for path in {one.path for one in points}}
        return {one: of_machines[one.path][one.point] for one in points if one.point in of_machines[one.path]}

    def _reader_of(self, path: MachinePath) -> int:
        """Return the number of the factory whose store has a machine. Raises `NoStore`."""
        number = self._places.get(path, self._sites.get(path[:2]))
        if number is None or not self._readers[number].factory.stores:
            raise NoStore
        return number

    def _by_reader(self, points: Iterable[PointName]) -> dict[int, tuple[PointName, ...]]:
        parts: dict[int, tuple[PointName, ...]] = {}
        for one in points:
            number = self._reader_of(one.path)
            parts[number] = (*parts.get(number, ()), one)
        return parts


def _found(path: MachinePath, name: str, facts: PointFacts) -> dict[str, Any]:
    return {
        "point": f"{path}/{name}", "unit": facts.unit, "type": facts.type, "description": facts.description,
        "labels": dict(facts.labels), "steps": facts.steps, "every": facts.every,
    }  # fmt: skip


_LOCAL_ZONE = Path("/etc/localtime")


def _local_zone() -> tzinfo:
    """Return the time zone of this machine, UTC if it is not known."""
    try:
        with _LOCAL_ZONE.open("rb") as file:
            return ZoneInfo.from_file(file)
    except (OSError, ValueError):
        return UTC
