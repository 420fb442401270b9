"""The feed of the overview and of the lines: a row for each machine, and the state of brokers and gateways."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from gateway.dashboard.feeds.base import BadArguments
from gateway.dashboard.feeds.machine_rows import RowsFeed, row_of
from gateway.dashboard.live.roles import kind_of
from gateway.dashboard.texts.text import _

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.dashboard.live.machine import LiveMachine, Transition
    from gateway.dashboard.live.plant import Plant
    from gateway.dashboard.plants import Plants

STRIP = 30 * 60 * 1_000_000
"""Microseconds of the state timeline that a new page receives, if the lines do not ask for more."""

MAX_STRIP = 24 * 60 * 60 * 1_000_000
"""Microseconds of the longest state timeline."""


class OverviewFeed(RowsFeed):
    """Rows of machines; `path` chooses those below a site, an area or a line, `strip` the seconds of the timelines.

    The rows of `machines` have `strip`, their timeline. `brokers` has the connections to brokers when one changed.
    """

    def __init__(self, plants: Plants) -> None:
        super().__init__(plants)
        self._strip = STRIP
        self._links: list[dict[str, Any]] = []

    def choose(self, arguments: dict[str, Any]) -> None:
        strip = arguments.get("strip", STRIP // 1_000_000)
        if not isinstance(strip, int | float):
            raise BadArguments(_("strip is a number of seconds"))
        super().choose(arguments)
        self._strip = min(max(int(strip * 1_000_000), 0), MAX_STRIP)

    def row(self, plant: Plant, machine: LiveMachine) -> dict[str, Any]:
        return row_of(self.plants, plant, machine)

    def first(self, machine: LiveMachine, row: dict[str, Any]) -> dict[str, Any]:
        return row | {"strip": self._timeline(machine)}

    def changes(self) -> dict[str, Any] | None:
        content = super().changes() or {}
        links = [_link(plant) for plant in self.plants.plants]
        if links != self._links:
            self._links = content["brokers"] = links
        return content or None

    def _timeline(self, machine: LiveMachine) -> list[list[Any]]:
        """Return the states of production since the beginning of the timeline, as begin, state and kind."""
        return timeline(machine.production, time.time_ns() // 1000 - self._strip)


def timeline(transitions: Iterable[Transition], since: int) -> list[list[Any]]:
    """Return the states since a time, oldest first, as `[begin, state, kind]`; the first may have begun before."""
    found: list[list[Any]] = []
    for one in transitions:
        if one.time <= since:
            found.clear()
        found.append([one.time, one.state, kind_of(one.state)])
    return found


def _link(plant: Plant) -> dict[str, Any]:
    """Return the state of the connection to a broker."""
    link = plant.link
    if link is None:
        return {"broker": plant.broker.url, "connected": False, "since": 0, "error": "", "denied": []}
    return {
        "broker": link.broker, "connected": link.connected, "since": link.since, "error": link.error,
        "denied": list(plant.denied),
    }  # fmt: skip
