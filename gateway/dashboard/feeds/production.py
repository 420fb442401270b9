"""The feed of production: the state, the order and the counters of each machine now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.dashboard.feeds.base import Feed
from gateway.dashboard.feeds.overview import row_of
from gateway.dashboard.feeds.paths import below

if TYPE_CHECKING:
    from gateway.dashboard.live.machine import LiveMachine
    from gateway.dashboard.live.plant import Plant
    from gateway.dashboard.plants import Plants

ROLES = ("good", "reject", "cycle_time", "order", "recipe", "serial")

KEPT = ("path", "state", "reason", "since", "production", "kind", "production_since")
"""Keys of the row of the overview that are sent."""

MAX_SHOWN = 200
"""Characters of a text that are sent."""


class ProductionFeed(Feed):
    """Rows of the machines below `path` that have a state of production or a counter.

    A message has `machines`, all rows, when machines come or go; else `changed`, the rows that changed.
    """

    every = 1.0

    def __init__(self, plants: Plants) -> None:
        super().__init__(plants)
        self._below: tuple[str, ...] = ()
        self._sent: dict[str, dict[str, Any]] | None = None

    def choose(self, arguments: dict[str, Any]) -> None:
        self._below, self._sent = below(arguments.get("path", "")), None

    def changes(self) -> dict[str, Any] | None:
        depth = len(self._below)
        rows = {
            str(machine.path): _row(plant, machine)
            for plant in self.plants.plants
            for machine in plant.machines.values()
            if machine.path[:depth] == self._below and _produces(machine)
        }
        before, self._sent = self._sent, rows
        if before is None or before.keys() != rows.keys():
            return {"machines": list(rows.values())}
        changed = [row for path, row in rows.items() if before[path] != row]
        return {"changed": changed} if changed else None


def _produces(machine: LiveMachine) -> bool:
    return machine.roles.state is not None or machine.roles.good is not None


def _row(plant: Plant, machine: LiveMachine) -> dict[str, Any]:
    row = row_of(plant, machine)
    row = {key: row[key] for key in KEPT if key in row}
    for role in ROLES:
        at = getattr(machine.roles, role)
        if at is not None and (value := machine.values[at]) is not None:
            row[role] = value[:MAX_SHOWN] if isinstance(value, str) else value
    if machine.roles.cycle_time is not None:
        row["cycle_unit"] = machine.points[machine.roles.cycle_time].unit
    return row
