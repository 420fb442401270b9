"""Which points of a machine mean its state, its counters, and the part in work.

Points are found by the names and labels that PackML (OPC 30050) and OPC 40001-1 give them, so that a plant needs no
further configuration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.dashboard.live.points import declared

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drivers.base import Value
    from gateway.dashboard.live.points import PointInfo

PACKML = frozenset({
    "clearing", "stopped", "starting", "idle", "suspended", "execute", "stopping", "aborting", "aborted", "holding",
    "held", "unholding", "suspending", "unsuspending", "resetting", "completing", "complete",
})  # fmt: skip
"""The states of PackML."""

_NEEDED = 3
"""States of PackML among the labels of a point from which on it is a state point."""

KINDS = {
    "execute": "producing", "completing": "producing", "complete": "idle", "idle": "idle", "stopped": "stopped",
    "suspended": "suspended", "held": "held", "aborted": "aborted", "clearing": "changing", "starting": "changing",
    "stopping": "changing", "aborting": "aborted", "holding": "held", "unholding": "changing",
    "suspending": "suspended", "unsuspending": "changing", "resetting": "changing",
}  # fmt: skip
"""How a state is shown: what each kind looks like is in one place of the page."""

_NAMES = {
    "good": ("good_count", "good_parts", "good", "prod_processed_count"),
    "reject": ("reject_count", "rejected_count", "scrap_count", "reject_parts", "prod_defective_count"),
    "cycles": ("cycle_count", "cycle_counter"),
    "cycle_time": ("cycle_time_last", "cycle_time"),
    "serial": ("serial_number",),
    "order": ("order", "production_order", "order_number"),
    "recipe": ("recipe", "recipe_name", "program"),
    "mode": ("mode", "unit_mode"),
    "oee": ("oee",),
}


class Roles(NamedTuple):
    """Positions of points by their meaning; None where the machine has no such point."""

    state: int | None = None
    good: int | None = None
    reject: int | None = None
    cycles: int | None = None
    cycle_time: int | None = None
    serial: int | None = None
    order: int | None = None
    recipe: int | None = None
    mode: int | None = None
    oee: int | None = None


def roles_of(points: Iterable[PointInfo]) -> Roles:
    """Return the points of a machine by their meaning."""
    points = tuple(points)
    index = {point.name.lower(): position for position, point in enumerate(points)}
    found = {role: next((index[name] for name in names if name in index), None) for role, names in _NAMES.items()}
    return Roles(state=next(filter(lambda at: _is_state(points[at]), range(len(points))), None), **found)


def _is_state(point: PointInfo) -> bool:
    return sum(label.lower() in PACKML for label in point.labels.values()) >= _NEEDED


def state_name(point: PointInfo, value: Value | None) -> str:
    """Return the name of the state that a value of a state point means, in lower case."""
    text = str(declared(value, point.type))
    return point.labels.get(text, text).lower()


def kind_of(state: str) -> str:
    """Return how a state of production is shown; `other` for a state that PackML does not have."""
    return KINDS.get(state, "other")


def level_of(state: str) -> str:
    """Return how serious a change to a state of production is, as the journal has it."""
    return "warning" if state in {"aborted", "held", "unknown"} else "info"


def alarm_words_of(points: Iterable[PointInfo]) -> tuple[int, ...]:
    """Return the positions of the points that have a bit for each active alarm."""
    return tuple(
        at for at, point in enumerate(points)
        if point.type == "int" and (point.name.lower() == "alarm_word" or point.name.lower().endswith("_alarm_word"))
    )  # fmt: skip


def is_serial(name: str) -> bool:
    """Return whether a point with text names a part, as in `result_serial_number_left` or `carton_barcode`."""
    return "serial_number" in name.lower() or "barcode" in name.lower()


def serials_of(points: Iterable[PointInfo]) -> tuple[int, ...]:
    """Return the positions of the points that name the parts in a machine, in work or with a result."""
    return tuple(at for at, point in enumerate(points) if point.type == "string" and is_serial(point.name))
