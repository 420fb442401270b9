"""The feed of the parts: which serial numbers the machines name now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.dashboard.feeds.base import Feed
from gateway.dashboard.feeds.overview import row_of
from gateway.dashboard.feeds.paths import below
from gateway.dashboard.parts.visits import carries_results

if TYPE_CHECKING:
    from gateway.dashboard.live.machine import LiveMachine
    from gateway.dashboard.live.plant import Plant
    from gateway.dashboard.plants import Plants

KEPT = ("path", "state", "reason", "since", "production", "kind", "order", "recipe")
"""Keys of the row of the overview that are sent."""

MAX_SHOWN = 200
"""Characters of a text that are sent."""


class PartsFeed(Feed):
    """Rows of the machines below `path` that name parts: `parts` in work, and `results` of parts before.

    A message has `machines`, all rows, when machines come or go; else `changed`, the rows that changed.
    """

    every = 0.5

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
            if machine.path[:depth] == self._below and machine.serials
        }
        before, self._sent = self._sent, rows
        if before is None or before.keys() != rows.keys():
            return {"machines": list(rows.values())}
        changed = [row for path, row in rows.items() if before[path] != row]
        return {"changed": changed} if changed else None


def _row(plant: Plant, machine: LiveMachine) -> dict[str, Any]:
    row = row_of(plant, machine)
    row = {key: row[key] for key in KEPT if key in row}
    named: dict[bool, dict[str, str]] = {False: {}, True: {}}
    for at in machine.serials:
        value, name = machine.values[at], machine.points[at].name
        if isinstance(value, str) and value:
            named[carries_results(name)].setdefault(value[:MAX_SHOWN], name)
    return row | {"parts": list(named[False]), "results": list(named[True])}
