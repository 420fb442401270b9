"""The groups in which a machine's points are shown: state and production first, then by quantity.

A group follows from the point's meaning (`Roles`), from words of its name, or from its unit, so that a plant needs no
further configuration.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.dashboard.live.points import PointInfo
    from gateway.dashboard.live.roles import Roles

GROUPS = (
    "state", "production", "part", "alarms", "temperature", "pressure", "force", "position", "speed", "flow", "mass",
    "electrical", "energy", "time", "ratio", "signals",
)  # fmt: skip
"""The groups with a name of their own, in their order; further groups follow, named by the first word of a point."""

OTHER = "other"
"""The last group."""

TOGETHER = 3
"""Points with the same first word from which on they are a group."""

_WORDS = {
    "state": {"state", "mode", "phase", "step", "status"},
    "production": {"count", "cycle", "cycles", "order", "recipe", "program", "output", "target", "good", "reject"},
    "part": {"serial", "part", "result", "grade", "barcode", "verdict"},
    "alarms": {"alarm", "alarms", "fault", "warning", "error", "interlock"},
}
"""Words of names, for points whose unit says nothing."""

_UNITS = {
    "temperature": "Cel K [degF]",
    "pressure": "bar mbar Pa kPa MPa hPa [psi]",
    "force": "N kN N.m kN.m MN",
    "position": "mm m um cm deg rad",
    "speed": "r/min m/min m/s mm/s Hz kHz /min 1/min",
    "flow": "m3/h l/min L/min kg/h g/s l/h L/h mL/min",
    "mass": "kg g t mg",
    "electrical": "V kV mV A mA kA kW W MW Ohm MOhm mOhm kOhm",
    "energy": "kW.h W.h J kJ MJ",
    "time": "s ms min h us",
    "ratio": "%",
}
_GROUP_OF_UNIT = {unit: group for group, units in _UNITS.items() for unit in units.split()}

_PRODUCTION = ("good", "reject", "cycles", "cycle_time", "order", "recipe")

_SPLIT = re.compile(r"[^0-9A-Za-z]+|(?<=[a-z0-9])(?=[A-Z])")


def grouped(points: Iterable[PointInfo], roles: Roles) -> list[tuple[str, list[int]]]:
    """Return the groups of a machine's points that have any, in their order, with the positions of their points."""
    points = tuple(points)
    own = {getattr(roles, role): "production" for role in _PRODUCTION}
    own |= {roles.state: "state", roles.mode: "state", roles.serial: "part"}
    words = [_words(point.name) for point in points]
    first = Counter(some[0] for some in words if some)
    groups: dict[str, list[int]] = {}
    for at, point in enumerate(points):
        groups.setdefault(own.get(at) or _group_of(point, words[at], first), []).append(at)
    return sorted(groups.items(), key=lambda group: _order(group[0], list(groups)))


def _group_of(point: PointInfo, words: list[str], first: Counter[str]) -> str:
    if point.unit in _GROUP_OF_UNIT and not set(words) & {"cycle"}:
        return _GROUP_OF_UNIT[point.unit]
    for group, some in _WORDS.items():
        if not some.isdisjoint(words):
            return group
    if point.type == "bool":
        return "signals"
    if words and first[words[0]] >= TOGETHER:
        return words[0]
    return OTHER


def _words(name: str) -> list[str]:
    return [word.lower() for word in _SPLIT.split(name) if word]


def _order(group: str, seen: list[str]) -> tuple[int, int]:
    if group in GROUPS:
        return 0, GROUPS.index(group)
    return (2, 0) if group == OTHER else (1, seen.index(group))
