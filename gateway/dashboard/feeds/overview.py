"""The feed of the overview and of the lines: a row for each machine, and the state of brokers and gateways."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from gateway.dashboard.feeds.base import BadArguments, Feed
from gateway.dashboard.live.machine import BAD
from gateway.dashboard.live.roles import kind_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.dashboard.live.machine import LiveMachine, Transition
    from gateway.dashboard.live.plant import Plant
    from gateway.dashboard.plants import Plants

STRIP = 30 * 60 * 1_000_000
"""Microseconds of the state timeline that a new page receives, if the lines do not ask for more."""

MAX_STRIP = 24 * 60 * 60 * 1_000_000
"""Microseconds of the longest state timeline."""


class OverviewFeed(Feed):
    """Rows of machines; `path` chooses those below a site, an area or a line, `strip` the seconds of the timelines.

    The first message has `machines`: all rows in their order, each with `strip`, its timeline. Later messages have
    the rows that changed. When the set of machines changes, all are sent again.
    """

    every = 0.5

    def __init__(self, plants: Plants) -> None:
        super().__init__(plants)
        self._below: tuple[str, ...] = ()
        self._strip = STRIP
        self._sent: dict[str, dict[str, Any]] = {}
        self._links: list[dict[str, Any]] = []

    def choose(self, arguments: dict[str, Any]) -> None:
        path, strip = arguments.get("path", ""), arguments.get("strip", STRIP // 1_000_000)
        if not isinstance(path, str) or not isinstance(strip, int | float):
            raise BadArguments("path is text, as in acme/north, and strip a number of seconds")
        self._below = tuple(filter(None, path.split("/")))
        self._strip = min(max(int(strip * 1_000_000), 0), MAX_STRIP)
        self._sent = {}

    def changes(self) -> dict[str, Any] | None:
        rows = self._rows()
        content: dict[str, Any] = {}
        if rows.keys() != self._sent.keys():
            content["machines"] = [row | {"strip": self._timeline(machine)} for machine, row in rows.values()]
        else:
            changed = [row for path, (_, row) in rows.items() if self._sent[path] != row]
            if changed:
                content["changed"] = changed
        self._sent = {path: row for path, (_, row) in rows.items()}
        links = [_link(plant) for plant in self.plants.plants]
        if links != self._links:
            self._links = content["brokers"] = links
        return content or None

    def _rows(self) -> dict[str, tuple[LiveMachine, dict[str, Any]]]:
        depth = len(self._below)
        return {
            str(machine.path): (machine, row_of(plant, machine))
            for plant in self.plants.plants
            for machine in plant.machines.values()
            if machine.path[:depth] == self._below
        }

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


def row_of(plant: Plant, machine: LiveMachine) -> dict[str, Any]:
    """Return a machine as the overview shows it. Times are in microseconds since the epoch; 0 is unknown.

    `state` is `no gateway` while the gateway of the machine is known to be offline: the machine's own state is then
    the last that the gateway saw.
    """
    row: dict[str, Any] = {
        "path": str(machine.path), "template": machine.template, "state": machine.state, "reason": machine.reason,
        "since": machine.since, "points": len(machine.points), "bad": machine.qualities.count(BAD),
    }  # fmt: skip
    gateway = plant.gateway_state(machine)
    if gateway is not None and gateway.state == "offline":
        row |= {"state": "no gateway", "reason": gateway.reason, "since": gateway.since}
    if machine.production:
        now = machine.production[-1]
        row |= {"production": now.state, "kind": kind_of(now.state), "production_since": now.time}
    for role in ("good", "reject", "order", "recipe", "serial"):
        at = getattr(machine.roles, role)
        if at is not None and machine.values[at] is not None:
            row[role] = machine.values[at]
    if alarms := plant.alarms.of(machine.path):
        row["alarms"] = [sum(alarm.priority == priority for alarm in alarms) for priority in (1, 2, 3, 4)]
        row["alarm"] = alarms[0].message or alarms[0].name
    return row


def _link(plant: Plant) -> dict[str, Any]:
    """Return the state of the connection to a broker."""
    link = plant.link
    if link is None:
        return {"broker": plant.broker.url, "connected": False, "since": 0, "error": "", "denied": []}
    return {
        "broker": link.broker, "connected": link.connected, "since": link.since, "error": link.error,
        "denied": list(plant.denied),
    }  # fmt: skip
