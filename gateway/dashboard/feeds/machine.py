"""The feed of one machine: its points, and the readings of those that are visible."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from gateway.dashboard.feeds.base import BadArguments, Feed
from gateway.dashboard.feeds.overview import row_of, timeline
from gateway.dashboard.feeds.paths import machine_path
from gateway.dashboard.live.roles import Roles

if TYPE_CHECKING:
    from gateway.dashboard.live.machine import LiveMachine
    from gateway.dashboard.live.plant import Plant
    from gateway.dashboard.plants import Plants
    from gateway.model.path import MachinePath

MAX_VISIBLE = 500
"""Points whose readings one page may see at once."""

MAX_SHOWN = 1_000
"""Characters of a value that are sent."""


class MachineFeed(Feed):
    """A machine; `path` names it, and `visible` has the positions of the points whose readings are sent.

    A message has `points` when they are new, `state` when it changed, `trails` for points that have become visible
    (times and values of the last minutes), and `readings`: position, value, time, quality, reason and code of each
    visible point that changed. The quality is 0 without a reading, 1 good, 2 uncertain, 3 bad.
    """

    def __init__(self, plants: Plants) -> None:
        super().__init__(plants)
        self._path: MachinePath | None = None
        self._visible: list[int] = []
        self._machine: LiveMachine | None = None
        self._points: object = None
        self._state: dict[str, Any] = {}
        self._sent: dict[int, int] = {}  # position -> the version that was sent
        self._missing = False

    def choose(self, arguments: dict[str, Any]) -> None:
        path = machine_path(arguments.get("path"))
        visible = arguments.get("visible", [])
        if not isinstance(visible, list) or len(visible) > MAX_VISIBLE or not all(type(at) is int for at in visible):
            raise BadArguments(f"visible is a list of at most {MAX_VISIBLE} positions of points")
        if path != self._path:
            self._path, self._points, self._state, self._missing = path, None, {}, False
        self._visible = visible
        self._sent = {at: self._sent[at] for at in visible if at in self._sent and self._points is not None}

    def changes(self) -> dict[str, Any] | None:
        found = None if self._path is None else self.plants.find(self._path)
        if found is None:
            if self._missing:
                return None
            self._missing, self._points = True, None
            return {"missing": True}
        self._missing = False
        plant, machine = found
        content: dict[str, Any] = {}
        if machine is not self._machine or machine.points is not self._points:
            self._machine, self._points, self._sent = machine, machine.points, {}
            content |= described(machine)
        state = state_of(plant, machine)
        if state != self._state:
            content["state"] = self._state = state
        if readings := self._readings(machine, content):
            content["readings"] = readings
        return content or None

    def _readings(self, machine: LiveMachine, content: dict[str, Any]) -> list[list[Any]]:
        """Return the readings that changed; add the trails of points that are new on the page."""
        readings, trails = [], {}
        for at in self._visible:
            if not 0 <= at < len(machine.points):
                continue
            if at not in self._sent and at in machine.trails:
                trails[at] = [[time, None if math.isnan(value) else value] for time, value in machine.trails[at]]
            if self._sent.get(at, -1) != machine.versions[at]:
                self._sent[at] = machine.versions[at]
                readings.append(reading_of(machine, at))
        if trails:
            content["trails"] = trails
        return readings


def reading_of(machine: LiveMachine, at: int) -> list[Any]:
    """Return the newest reading of a point: position, value, time, quality, and reason and code where it is not good.

    A long text is cut.
    """
    value = machine.values[at]
    if isinstance(value, str) and len(value) > MAX_SHOWN:
        value = value[:MAX_SHOWN] + "…"
    reading = [at, value, machine.times[at], machine.qualities[at]]
    if at in machine.faults:
        reading += machine.faults[at]
    return reading


def described(machine: LiveMachine) -> dict[str, Any]:
    """Return the description of a machine, as the page needs it once."""
    return {
        "machine": {"path": str(machine.path), "template": machine.template, "protocol": machine.protocol},
        "points": [
            {
                "name": point.name, "type": point.type, "unit": point.unit, "description": point.description,
                "every": point.every,
            }
            | ({"range": point.range} if point.range is not None else {})
            | ({"labels": dict(point.labels)} if point.labels else {})
            | ({"revised": dict(point.revised)} if point.revised else {})
            for point in machine.points
        ],
        "roles": {role: at for role, at in zip(Roles._fields, machine.roles, strict=True) if at is not None},
        "timeline": timeline(machine.production, 0),
        "connection": [[one.time, one.state, one.reason] for one in machine.transitions],
    }  # fmt: skip


def state_of(plant: Plant, machine: LiveMachine) -> dict[str, Any]:
    """Return the row of the machine in the overview, with its gateway and its standing alarms."""
    alarms = [
        {
            "source": one.source, "name": one.name, "severity": one.severity, "priority": one.priority,
            "message": one.message, "active": one.active, "acknowledged": one.acknowledged, "since": one.since,
        }
        for one in plant.alarms.of(machine.path)
    ]  # fmt: skip
    return row_of(plant, machine) | {"gateway": machine.gateway, "standing": alarms}
