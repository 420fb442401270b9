"""The routes of production.

GET /api/production?path=acme/north/curing/curing-1&from=-8h&to=now
GET /api/oee?path=acme/north/curing&shift=2026-11-30/early
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any

from starlette.routing import Route

from gateway.dashboard.answers import answered
from gateway.dashboard.feeds.paths import below
from gateway.dashboard.production.shifts import report_of
from gateway.dashboard.production.stored import stored_production
from gateway.dashboard.trends.selection import clock, span_of

if TYPE_CHECKING:
    from starlette.requests import Request

    from gateway.dashboard.stored import Stored

SECONDS = 20.0
"""Seconds that each store has."""

MAX_SPAN = 7 * 86_400 * 1_000_000
"""Microseconds of the longest span."""


class ProductionRoutes:
    """Production as routes for the page."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored

    def routes(self) -> list[Route]:
        """Return the routes, for `Page.app`."""
        return [Route("/api/production", answered(self._production)), Route("/api/oee", answered(self._oee))]

    async def _oee(self, request: Request) -> dict[str, Any]:
        query = request.query_params
        path, now = below(query.get("path", "")), clock()
        wanted = query.get("shift", "current")
        found, problems = await self._stored.each(lambda source: report_of(source, path, wanted, now), SECONDS, path)
        return {
            "now": now, "problems": problems,
            "factories": [one for one in found if one is not None],
        }  # fmt: skip

    async def _production(self, request: Request) -> dict[str, Any]:
        query = request.query_params
        path = below(query.get("path", ""))
        now = clock()
        since, until = span_of(query, now, UTC, MAX_SPAN)
        until = min(until, now)
        found, problems = await self._stored.each(
            lambda source: stored_production(source, path, since, until), SECONDS, path
        )
        return {
            "from": since, "to": until, "now": now, "known_since": max((one.since for one in found), default=until),
            "witnessed": all(one.witnessed for one in found),
            "problems": problems,
            "machines": [machine for one in found for machine in one.machines],
        }  # fmt: skip
