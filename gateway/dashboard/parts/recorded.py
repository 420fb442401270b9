"""The recorded history of a part, and the parts that a lot went into, out of a store."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from gateway.stores.part_history import history, where_used

if TYPE_CHECKING:
    from gateway.dashboard.stored import Source
    from gateway.stores.part_history import Find, OperationRecord, Uses

MOST_SHOWN = 1_000
"""Parts that a lot went into which the page shows."""


def recorded(source: Source, serial: str) -> list[OperationRecord]:
    """Return the operations of a part at the machines of a store. Raises `StoreError`, and `TimedOut`."""
    return [one for one in history(_finder(source), serial) if source.owns(one.path)]


def used(source: Source, lot: str) -> Uses:
    """Return the parts that a lot went into at the machines of a store. Raises `StoreError`, and `TimedOut`."""
    uses = where_used(_finder(source), lot, most=MOST_SHOWN)
    return replace(uses, found=[one for one in uses.found if source.owns(one.path)])


def _finder(source: Source) -> Find:
    return partial(source.store.store.lookup, check=source.stop.check)


def as_dict(one: OperationRecord) -> dict[str, Any]:
    """Return an operation as the page shows it; times are in microseconds since the epoch."""
    return {
        "path": str(one.path), "serial": one.serial, "operation": one.operation, "run": one.run, "place": one.place,
        "from": one.began, "to": one.ended, "time": one.time, "result": one.result, "missing": one.missing,
        "facts": {name: text for name in ("lot", "recipe", "tool", "operator") if (text := getattr(one, name))},
        "values": [value._asdict() for value in one.values],
        "materials": [material._asdict() for material in one.materials],
        "curves": list(one.curves),
    }  # fmt: skip
