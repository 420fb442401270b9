"""The feed of one machine: its points, the readings of those that are visible, and what its driver knows."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from drivers.base import Reason
from gateway.dashboard.feeds.base import BadArguments, Feed
from gateway.dashboard.feeds.machine_rows import row_of
from gateway.dashboard.feeds.overview import timeline
from gateway.dashboard.feeds.paths import machine_path
from gateway.dashboard.feeds.standing import attention
from gateway.dashboard.live.grouping import grouped
from gateway.dashboard.live.roles import Roles
from gateway.dashboard.texts.text import _

if TYPE_CHECKING:
    from gateway.dashboard.live.machine import LiveMachine, Trail, Transition
    from gateway.dashboard.live.plant import Plant
    from gateway.dashboard.plants import Plants
    from gateway.model.path import MachinePath

MAX_VISIBLE = 500
"""Points whose readings one page may see at once."""

MAX_SHOWN = 1_000
"""Characters of a value that are sent."""

MAX_REFUSED = 100
"""Points that the device refuses, and that are sent with their reasons."""

FAULTS_EVERY, USUAL_EVERY = 1.0, 30.0
"""Seconds between two looks at all points that are not good, and between two messages with usual ranges."""

REFUSED = frozenset({Reason.REFUSED.value, Reason.NOT_FOUND.value, Reason.TYPE_MISMATCH.value})
"""Reasons that last until somebody changes the configuration or the device."""


class MachineFeed(Feed):
    """A machine; `path` names it, and `visible` has the positions of the points whose readings are sent.

    A message has the changes of these parts:

    `machine` `points` `roles` `groups`   the description
    `timeline` `connection`   states of production, and of the connection; `more` has further states of production
    `state`                   the row of the overview, the gateway, the broker, and the standing alarms
    `trails` `usual`          the last minutes, and the usual range, of visible points
    `readings`                position, value, time, quality, reason and code of visible points; the quality is 0
                              without a reading, 1 good, 2 uncertain, 3 bad
    `faults`                  the positions of all points that are not good, the number of each reason, and the points
                              that the device refuses
    `driver`                  the counters of the drivers, as of the gateway
    """

    def __init__(self, plants: Plants) -> None:
        super().__init__(plants)
        self._path: MachinePath | None = None
        self._visible: list[int] = []
        self._machine: LiveMachine | None = None
        self._missing = False
        self._forget()

    def _forget(self) -> None:
        self._points: object = None
        self._parts: dict[str, Any] = {}  # the last message of each part
        self._sent: dict[int, int] = {}  # position -> the version that was sent
        self._connected: Transition | None = None
        self._produced: tuple[Transition | None, Transition | None] = None, None
        self._faults_due = self._usual_due = 0.0

    def choose(self, arguments: dict[str, Any]) -> None:
        path = machine_path(arguments.get("path"))
        visible = arguments.get("visible", [])
        if not isinstance(visible, list) or len(visible) > MAX_VISIBLE or not all(type(at) is int for at in visible):
            raise BadArguments(_("visible is a list of at most {most} positions of points", most=MAX_VISIBLE))
        if path != self._path:
            self._path, self._missing = path, False
            self._forget()
        self._visible = visible
        self._sent = {at: self._sent[at] for at in visible if at in self._sent}

    def changes(self) -> dict[str, Any] | None:
        found = None if self._path is None else self.plants.find(self._path)
        if found is None:
            if self._missing:
                return None
            self._missing = True
            self._forget()
            return {"missing": True}
        self._missing = False
        plant, machine = found
        content: dict[str, Any] = {}
        if machine is not self._machine or machine.points is not self._points:
            self._forget()
            self._machine, self._points = machine, machine.points
            content |= described(machine)
        content |= self._timelines(machine)
        parts = {"state": state_of(self.plants, plant, machine), "driver": driver_of(plant, machine)}
        now = time.monotonic()
        if now >= self._faults_due:
            self._faults_due = now + FAULTS_EVERY
            parts["faults"] = faults_of(machine)
        content |= {part: value for part, value in parts.items() if value != self._parts.get(part)}
        self._parts |= parts
        content |= self._trails(machine, now)
        if readings := self._readings(machine):
            content["readings"] = readings
        return content or None

    def _timelines(self, machine: LiveMachine) -> dict[str, Any]:
        """Return the timelines that are new, and further states of one that was sent."""
        content: dict[str, Any] = {}
        if machine.transitions and machine.transitions[-1] is not self._connected:
            self._connected = machine.transitions[-1]
            content["connection"] = [[one.time, one.state, one.reason] for one in machine.transitions]
        if not machine.production:
            return content
        ends = machine.production[0], machine.production[-1]
        if ends[0] is not self._produced[0]:
            content["timeline"] = timeline(machine.production, 0)
        elif ends[1] is not self._produced[1]:
            last = self._produced[1]
            since = 0 if last is None else last.time
            content["more"] = timeline((one for one in machine.production if one.time > since), 0)
        self._produced = ends
        return content

    def _trails(self, machine: LiveMachine, now: float) -> dict[str, Any]:
        """Return the trails of points that are new on the page, and from time to time the usual ranges of all."""
        some = [at for at in self._visible if at in machine.trails and at < len(machine.points)]
        trails = {at: trail_of(machine.trails[at]) for at in some if at not in self._sent}
        content: dict[str, Any] = {"trails": trails} if trails else {}
        if now >= self._usual_due:
            self._usual_due = now + USUAL_EVERY
        else:
            some = [*trails]
        if usual := {at: _short(*ends) for at in some if (ends := machine.trails[at].usual) is not None}:
            content["usual"] = usual
        return content

    def _readings(self, machine: LiveMachine) -> list[list[Any]]:
        """Return the readings that changed."""
        readings, sent, versions = [], self._sent, machine.versions
        for at in self._visible:
            if 0 <= at < len(versions) and sent.get(at, -1) != versions[at]:
                sent[at] = versions[at]
                readings.append(reading_of(machine, at))
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


def trail_of(trail: Trail) -> list[Any]:
    """Return the last minutes of a point: the first time, the milliseconds since it, and the values; null is bad."""
    readings = list(trail)
    if not readings:
        return [0, [], []]
    first = readings[0][0]
    values = [None if math.isnan(value) else float(f"{value:.6g}") for _, value in readings]
    return [first, [(time - first) // 1000 for time, _ in readings], values]


def _short(*values: float) -> list[float]:
    return [float(f"{value:.4g}") for value in values]


def described(machine: LiveMachine) -> dict[str, Any]:
    """Return the description of a machine, as the page needs it once."""
    return {
        "machine": {"path": str(machine.path), "template": machine.template, "protocol": machine.protocol,
                    "unauthenticated": machine.unauthenticated},
        "points": [
            {
                "name": point.name, "type": point.type, "unit": point.unit, "description": point.description,
                "every": point.every, "quiet": point.at_least_every,
            }
            | ({"range": point.range} if point.range is not None else {})
            | ({"labels": dict(point.labels)} if point.labels else {})
            | ({"revised": dict(point.revised)} if point.revised else {})
            for point in machine.points
        ],
        "roles": {role: at for role, at in zip(Roles._fields, machine.roles, strict=True) if at is not None},
        "groups": grouped(machine.points, machine.roles),
    }  # fmt: skip


def state_of(plants: Plants, plant: Plant, machine: LiveMachine) -> dict[str, Any]:
    """Return the row of the machine in the overview, with its gateway, its broker, and its standing alarms."""
    alarms = [
        {
            "source": one.source, "name": one.name, "severity": one.severity, "priority": one.priority,
            "message": one.message, "active": one.active, "acknowledged": one.acknowledged, "since": one.since,
        }
        for one in attention(plants, plant, machine.path)
    ]  # fmt: skip
    link = plant.link
    broker = {"connected": link is not None and link.connected, "since": 0 if link is None else link.since}
    return row_of(plants, plant, machine) | {"gateway": machine.gateway, "broker": broker, "standing": alarms}


def driver_of(plant: Plant, machine: LiveMachine) -> dict[str, Any]:
    """Return the counters of the drivers of the machine's gateway: sums over all its machines; empty if unknown."""
    seen = plant.fleet.gateway(machine.path.enterprise, machine.path.site, machine.gateway)
    if seen is None or seen.report is None:
        return {}
    report = seen.report
    return {
        "time": report.time, "counters": report.drivers,
        "due": report.schedule.due, "missed": report.schedule.missed,
    }  # fmt: skip


def faults_of(machine: LiveMachine) -> dict[str, Any]:
    """Return which points are not good, how many for each reason, and those that the device refuses.

    `silent` counts the points without a reading, `quiet` those whose first event has not happened yet.
    """
    reasons: dict[tuple[int, str], int] = {}
    refused: list[list[Any]] = []
    for at, fault in machine.faults.items():
        key = machine.qualities[at], fault.reason
        reasons[key] = reasons.get(key, 0) + 1
        if fault.reason in REFUSED and len(refused) < MAX_REFUSED:
            refused.append([at, fault.reason, fault.code])
    quiet = sum(bool(one.content) and not quality
                for one, quality in zip(machine.points, machine.qualities, strict=True))  # fmt: skip
    return {
        "not_good": sorted(machine.faults),
        "reasons": sorted(([*key, count] for key, count in reasons.items()), key=lambda one: (-one[0], -one[2])),
        "refused": refused,
        "silent": machine.qualities.count(0) - quiet,
        "quiet": quiet,
    }
