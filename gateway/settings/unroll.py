"""A factory as one plain file, without ranges, names in braces and includes, for who has to change it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.settings.factory import Factory

MACHINES = ("include", "lines")
"""The keys that machines come from."""


def unrolled(factory: Factory) -> dict[str, Any]:
    """Return the factory's data with every machine by itself: as YAML in the same folder, it is the same factory.

    What is shared between machines is shared here; change copies.
    """
    data = {key: value for key, value in factory.written.items() if key not in MACHINES}
    lines: dict[str, Any] = {}
    for machine in factory.machines:
        line = lines.setdefault(machine.path.line, {"area": machine.path.area, "machines": {}})
        line["machines"][machine.path.machine] = dict(machine.written)
    return data | {"lines": lines}
