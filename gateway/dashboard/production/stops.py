"""The stops of a shift for the page, those without a reason first, and the reasons that operators give.

GET  /api/stops?path=acme/north/curing&shift=2026-11-30/early
POST /api/stops/reason   {"path": ".../press-01", "begin": 1764000000123456, "reason": "bladder", "comment": ""}

A reason is a command to the gateway of the machine, which keeps it with the machine's records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator
from starlette.routing import Route

from gateway.dashboard.answers import answered, posted
from gateway.dashboard.feeds.base import BadArguments
from gateway.dashboard.feeds.paths import MachineText, below, machine_path
from gateway.dashboard.production.shifts import machines_of, shift_of
from gateway.dashboard.texts.text import _
from gateway.dashboard.trends.selection import clock
from gateway.model.command import GIVE_REASON, MAX_STOP_REASON, Order, Target
from gateway.model.production import TimeState
from gateway.model.text import clean_text
from gateway.production.stored import stops_of_shift
from gateway.settings.calendar import calendar_of
from gateway.users.roles import Permission

if TYPE_CHECKING:
    from starlette.requests import Request

    from gateway.dashboard.actions import Actors
    from gateway.dashboard.plants import Plants
    from gateway.dashboard.stored import Source, Stored
    from gateway.model.command import Argument
    from gateway.production.report import StopRow

SECONDS = 20.0
"""Seconds that each store has."""

MOST = 500
"""Stops that are sent; of more, those without a reason, then the newest."""

MAX_COMMENT = 500
"""Characters of a comment."""


class ReasonRequest(BaseModel):
    """The reason of a stop of a machine. `begin` of the stop is in microseconds since the epoch, UTC."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    path: MachineText
    begin: Annotated[int, Field(ge=0, lt=2**53)]
    reason: Annotated[str, Field(max_length=MAX_STOP_REASON)]
    comment: Annotated[str, Field(max_length=MAX_COMMENT)] = ""

    @field_validator("reason")
    @classmethod
    def _is_a_reason(cls, reason: str) -> str:
        if not (cleaned := clean_text(reason, MAX_STOP_REASON)):
            raise BadArguments(_("write a reason"))
        return cleaned

    @field_validator("comment")
    @classmethod
    def _is_plain(cls, comment: str) -> str:
        return clean_text(comment, MAX_COMMENT)


class StopRoutes:
    """Stops and their reasons as routes for the page. `actors` know who may act, and record it."""

    def __init__(self, plants: Plants, stored: Stored, actors: Actors) -> None:
        self._plants = plants
        self._stored = stored
        self._actors = actors

    def routes(self) -> list[Route]:
        """Return the routes, for `Page.app`."""
        return [
            Route("/api/stops", answered(self._stops)),
            Route("/api/stops/reason", posted(ReasonRequest, self._give), methods=["POST"]),
        ]

    async def _stops(self, request: Request) -> dict[str, Any]:
        query = request.query_params
        path, now, wanted = below(query.get("path", "")), clock(), query.get("shift", "current")
        found, problems = await self._stored.each(lambda source: self._of(source, path, wanted, now), SECONDS, path)
        stops = [stop for one in found for stop in one["stops"]]
        stops.sort(key=lambda stop: (not stop["wanted"], -stop["begin"]))
        return {
            "now": now, "problems": problems, "number": len(stops), "stops": stops[:MOST],
            "machines": {path: machine for one in found for path, machine in one["machines"].items()},
        }  # fmt: skip

    def _of(self, source: Source, path: tuple[str, ...], wanted: str, now: int) -> dict[str, Any]:
        """Return the stops of a shift out of a store. Raises `StoreError`, and `BadRequest` without such a shift."""
        machines = machines_of(source, path)
        if not machines:
            return {"stops": [], "machines": {}}
        shift = shift_of(calendar_of(source.factory.calendar), wanted, now)
        stops = stops_of_shift(source.store.store, machines, shift, source.stop.check)
        return {
            "stops": [
                {"path": str(machine.path)} | _described(stop)
                for machine, stop in stops
                if stop.state is not TimeState.UNKNOWN
            ],
            "machines": {
                str(one.path): {
                    "reasons": one.production.production.section.reasons, "may": self._plants.commander.may(one.path),
                }
                for one in machines
                if one.production is not None
            },
        }  # fmt: skip

    async def _give(self, request: Request, wanted: ReasonRequest) -> dict[str, Any]:
        identity = self._actors.person(request, Permission.REASONS)
        path = machine_path(wanted.path)
        arguments: dict[str, Argument] = {
            "begin": wanted.begin, "reason": wanted.reason, "comment": wanted.comment
        }  # fmt: skip
        order = Order(GIVE_REASON, Target(machine=wanted.path), arguments)
        outcome = await self._plants.commander.send(identity, path, order)
        became = {"command": outcome.id, "outcome": outcome.became.value, "text": str(outcome.text)}
        self._actors.record(identity, "stop-reason", wanted.path, None, arguments | became)
        return {
            "outcome": outcome.became.value, "text": outcome.text, "seconds": self._plants.commander.seconds
        }  # fmt: skip


def _described(stop: StopRow) -> dict[str, Any]:
    """Return a stop as the page shows it; `wanted` says that a person should give its reason."""
    return {
        "begin": stop.begin, "end": stop.end, "state": stop.state.value, "label": stop.label, "reason": stop.reason,
        "given": stop.given, "wanted": stop.state is TimeState.DOWN and not (stop.reason or stop.given),
    }  # fmt: skip
