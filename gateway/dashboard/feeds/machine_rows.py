"""Rows of machines: the row of the overview, and feeds that send such rows as they change."""

from __future__ import annotations

import time
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from gateway.dashboard.feeds.base import Feed
from gateway.dashboard.feeds.paths import below
from gateway.dashboard.feeds.standing import attention
from gateway.dashboard.live.machine import BAD
from gateway.dashboard.live.roles import kind_of
from gateway.mqtt.verifier import REPEATED
from gateway.status.fleet import NOT_VERIFIED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.dashboard.live.alarms import Alarm
    from gateway.dashboard.live.machine import LiveMachine
    from gateway.dashboard.live.plant import Plant
    from gateway.dashboard.plants import Plants
    from gateway.mqtt.messages import GatewayState


class RowsFeed(Feed):
    """Rows of the machines below `path`.

    A message has `machines`, all rows in their order, when machines come or go; else `changed`, the rows that
    changed.
    """

    every = 0.5

    def __init__(self, plants: Plants) -> None:
        super().__init__(plants)
        self._below: tuple[str, ...] = ()
        self._sent: dict[str, dict[str, Any]] | None = None

    def choose(self, arguments: dict[str, Any]) -> None:
        self._below, self._sent = below(arguments.get("path", "")), None

    @abstractmethod
    def row(self, plant: Plant, machine: LiveMachine) -> dict[str, Any] | None:
        """Return the row of a machine; None for a machine without one."""

    def first(self, machine: LiveMachine, row: dict[str, Any]) -> dict[str, Any]:
        """Return a row as it is in `machines`."""
        del machine
        return row

    def changes(self) -> dict[str, Any] | None:
        self.plants.end_shelves(time.time_ns() // 1000)
        depth, machines, rows = len(self._below), [], {}
        for plant in self.plants.plants:
            for machine in plant.machines.values():
                if machine.path[:depth] == self._below and (row := self.row(plant, machine)) is not None:
                    machines.append(machine)
                    rows[row["path"]] = row
        before, self._sent = self._sent, rows
        if before is None or before.keys() != rows.keys():
            return {"machines": [self.first(*one) for one in zip(machines, rows.values(), strict=True)]}
        changed = [row for path, row in rows.items() if before[path] is not row and before[path] != row]
        return {"changed": changed} if changed else None


def row_of(plants: Plants, plant: Plant, machine: LiveMachine) -> dict[str, Any]:
    """Return a machine as the overview shows it, which nobody may change: all pages share it until it changes.

    Times are in microseconds since the epoch; 0 is unknown. `state` is `no gateway` while the gateway of the machine
    is known to be offline: the machine's own state is then the last that the gateway saw. It is `not verified` if its
    signature is wrong or old, and no right state is known.
    """
    gateway = plant.gateway_state(machine)
    alarms = plant.alarms.version, plant.gateway_alarms.version, plants.notes.version
    outdated = plant.is_outdated(machine)
    seen = machine.version, machine.since, alarms, gateway, outdated
    if machine.shown is None or machine.shown[0] != seen:
        machine.shown = seen, _row(machine, gateway, attention(plants, plant, machine.path), outdated=outdated)
    return machine.shown[1]


def _row(
    machine: LiveMachine, gateway: GatewayState | None, alarms: Sequence[Alarm], *, outdated: bool
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "path": str(machine.path), "template": machine.template, "state": machine.state, "reason": machine.reason,
        "since": machine.since, "points": len(machine.points), "bad": machine.qualities.count(BAD),
    }  # fmt: skip
    if gateway is not None and gateway.state == "offline":
        row |= {"state": "no gateway", "reason": gateway.reason, "since": gateway.since}
    elif outdated or (machine.fault and machine.state == "unknown"):
        row |= {"state": NOT_VERIFIED, "reason": machine.fault or REPEATED}
    if machine.production:
        now = machine.production[-1]
        row |= {"production": now.state, "kind": kind_of(now.state), "production_since": now.time}
    for role in ("good", "reject", "order", "recipe", "serial", "oee"):
        at = getattr(machine.roles, role)
        if at is not None and machine.values[at] is not None:
            row[role] = machine.values[at]
    if alarms:
        row["alarms"] = [sum(alarm.priority == priority for alarm in alarms) for priority in (1, 2, 3, 4)]
        row["alarm"] = alarms[0].message or alarms[0].name
    return row
