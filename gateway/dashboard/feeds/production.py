"""The feed of production: the state, the order and the counters of each machine now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.dashboard.feeds.machine_rows import RowsFeed, row_of

if TYPE_CHECKING:
    from gateway.dashboard.live.machine import LiveMachine
    from gateway.dashboard.live.plant import Plant

ROLES = ("good", "reject", "cycle_time", "order", "recipe", "serial", "oee")

KEPT = ("path", "state", "reason", "since", "production", "kind", "production_since")
"""Keys of the row of the overview that are sent."""

MAX_SHOWN = 200
"""Characters of a text that are sent."""


class ProductionFeed(RowsFeed):
    """Rows of the machines below `path` that have a state of production or a counter."""

    every = 1.0

    def row(self, plant: Plant, machine: LiveMachine) -> dict[str, Any] | None:
        return _row(row_of(self.plants, plant, machine), machine) if _produces(machine) else None


def _produces(machine: LiveMachine) -> bool:
    return machine.roles.state is not None or machine.roles.good is not None


def _row(shown: dict[str, Any], machine: LiveMachine) -> dict[str, Any]:
    row = {key: shown[key] for key in KEPT if key in shown}
    for role in ROLES:
        at = getattr(machine.roles, role)
        if at is not None and (value := machine.values[at]) is not None:
            row[role] = value[:MAX_SHOWN] if isinstance(value, str) else value
    if machine.roles.cycle_time is not None:
        row["cycle_unit"] = machine.points[machine.roles.cycle_time].unit
    return row
