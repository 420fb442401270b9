"""The feed of the parts: which serial numbers the machines name now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.dashboard.feeds.machine_rows import RowsFeed, row_of
from gateway.dashboard.parts.visits import carries_results

if TYPE_CHECKING:
    from gateway.dashboard.live.machine import LiveMachine
    from gateway.dashboard.live.plant import Plant

KEPT = ("path", "state", "reason", "since", "production", "kind", "order", "recipe")
"""Keys of the row of the overview that are sent."""

MAX_SHOWN = 200
"""Characters of a text that are sent."""


class PartsFeed(RowsFeed):
    """Rows of the machines below `path` that name parts: `parts` in work, and `results` of parts before."""

    def row(self, plant: Plant, machine: LiveMachine) -> dict[str, Any] | None:
        return _row(row_of(self.plants, plant, machine), machine) if machine.serials else None


def _row(shown: dict[str, Any], machine: LiveMachine) -> dict[str, Any]:
    row = {key: shown[key] for key in KEPT if key in shown}
    named: dict[bool, dict[str, str]] = {False: {}, True: {}}
    for at in machine.serials:
        value, name = machine.values[at], machine.points[at].name
        if isinstance(value, str) and value:
            named[carries_results(name)].setdefault(value[:MAX_SHOWN], name)
    return row | {"parts": list(named[False]), "results": list(named[True])}
