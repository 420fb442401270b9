"""The production of machines out of a store: one pass over the readings of their states, counters and orders."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from drivers.base import Quality
from gateway.dashboard.live.points import PointInfo, configured_points, declared
from gateway.dashboard.live.roles import Roles, kind_of, roles_of, state_name
from gateway.dashboard.production.counters import Label, by_label, counted, steps
from gateway.dashboard.production.cycle_times import changes, histogram
from gateway.dashboard.production.states import NOT_KNOWN, Gap, drawn, durations, gaps, segments
from gateway.dashboard.stored import RESERVE, Source, backwards
from gateway.model.reading import Reading
from gateway.stores.buckets import QUARTER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gateway.model.counting import Step
    from gateway.model.path import MachinePath
    from gateway.settings.factory import Factory, Machine
    from gateway.settings.point import Point
    from gateway.stores.buckets import Bucket
    from gateway.stores.series import Series, SeriesId

READ = ("state", "good", "reject", "cycle_time", "order", "recipe")
"""The roles whose readings are read."""

BEFORE = 5 * 60 * 1_000_000
"""Microseconds before a span in which the reading is looked for that holds at its beginning."""

LONG_BEFORE = 24 * 3600 * 1_000_000
"""Microseconds before a span in which it is looked for of points that report changes alone."""

MAX_READINGS = 400_000
"""Readings that are used; of a longer span the newest."""

DRAWN = 600
"""Segments of a timeline that are sent."""

ORDERS = 50
"""Orders of a machine that are sent."""

WITNESSES = 3
"""Points that are repeated regularly, and show by their absence that the gateway sent nothing."""

SLACK = 5 * 1_000_000
"""Microseconds that a repeated reading may be late."""


class _Wanted(NamedTuple):
    """The points that are read of a machine with their roles, and the microseconds after which silence is a gap."""

    points: Sequence[PointInfo]
    roles: Roles
    hold: int | None

    def role_of(self, name: str) -> str:
        """Return the role of a point; empty for a point that is a witness alone."""
        for role in READ:
            at = getattr(self.roles, role)
            if at is not None and self.points[at].name == name:
                return role
        return ""


class StoredProduction(NamedTuple):
    """The production of machines. `since` is how far back the store was read, in microseconds since the epoch.

    `witnessed` says whether a time in which the gateway sent nothing can be seen in the store.
    """

    since: int
    witnessed: bool
    machines: list[dict[str, Any]]


def hold_of(point: Point) -> int | None:
    """Return the microseconds after which a point without a reading is silent; None if it reports changes alone."""
    if point.source.events or (point.source.pushed and not point.repeated):
        return None
    period = point.at_least_every if point.on_change or point.deadband is not None else point.every
    return round((period + point.every) * 1.5e6) + SLACK


def stored_production(source: Source, below: tuple[str, ...], since: int, until: int) -> StoredProduction:
    """Return the production of the machines below a path. Raises `StoreError`."""
    wanted = {
        machine.path: _wanted(machine) for machine in source.factory.machines if machine.path[: len(below)] == below
    }
    witnesses = _witnesses(source.factory)
    chosen = source.series(
        lambda one: (
            (one.id.path in wanted and bool(wanted[one.id.path].role_of(one.id.point)))
            or (one.id.path, one.id.point) in witnesses
        )
    )
    found, known = _readings(source, chosen, since, until)
    start = max(since, known)
    missing = [one for one in chosen if not _reaches(found.get((one.id.path, one.id.point)), start)]
    for reading in _before(source, missing, start):
        found.setdefault((reading.path, reading.point), []).insert(0, reading)
    # any reading shows that the gateway was there; the witnesses that there would have been one
    heard = (one.time for own in found.values() for one in own)
    silent = gaps(heard, start, until, max(witnesses.values())) if witnesses else []
    machines = [_machine(path, one, found, (start, until), silent) for path, one in wanted.items()]
    return StoredProduction(start, bool(witnesses), machines)


def _wanted(machine: Machine) -> _Wanted:
    points = configured_points(machine)
    roles = roles_of(points)
    own = [machine.points[at] for role in READ if (at := getattr(roles, role)) is not None]
    holds = [hold for point in own if (hold := hold_of(point)) is not None]
    return _Wanted(points, roles, max(holds) if holds else None)


def _witnesses(factory: Factory) -> dict[tuple[MachinePath, str], int]:
    """Return some points that are repeated regularly, with their holds; those with few readings first."""
    found = [
        (not point.on_change, hold, (machine.path, point.name))
        for machine in factory.machines
        for point in machine.points
        if (hold := hold_of(point)) is not None and hold < BEFORE
    ]
    return {key: hold for _, hold, key in sorted(found)[:WITNESSES]}


_Found = dict[tuple["MachinePath", str], "list[Reading]"]


def _readings(source: Source, chosen: Sequence[Series], since: int, until: int) -> tuple[_Found, int]:
    """Return the readings of series in the order of their times, by machine and point; and since when."""
    found: _Found = {}
    known, number = until, 0
    parts = []
    for part in backwards(source.store.store, chosen, since - BEFORE, until, source.stop):
        parts.append(part.readings)
        known, number = part.since, number + len(part.readings)
        if number > MAX_READINGS:
            break
    for readings in reversed(parts):
        for reading in readings:
            found.setdefault((reading.path, reading.point), []).append(reading)
    return found, known if known > since - BEFORE else since


def _reaches(readings: Sequence[Reading] | None, start: int) -> bool:
    """Return whether readings say what holds at a time."""
    return readings is not None and readings[0].time <= start


def _before(source: Source, series: Sequence[Series], start: int) -> Iterator[Reading]:
    """Yield the last reading of each series before a time, out of the buckets of a day. Raises `StoreError`."""
    last: dict[SeriesId, Bucket] = {}
    if series and source.stop.left > source.stop.seconds * RESERVE:
        for bucket in source.store.store.reduced(series, start - LONG_BEFORE, start, QUARTER):
            last[bucket.series.id] = bucket
    for bucket in last.values():
        if bucket.bad or bucket.last is None:  # a bad reading may be the last: its order is in the readings alone
            end = min(bucket.start + QUARTER, start)
            yield from deque(source.store.store.range([bucket.series], bucket.start, end), maxlen=1)
        else:
            path, point, unit = bucket.series.id
            yield Reading(path, point, min(bucket.start, start - 1), bucket.last, unit, Quality.GOOD)


def _machine(
    path: MachinePath, wanted: _Wanted, found: Mapping[tuple[MachinePath, str], Sequence[Reading]],
    span: tuple[int, int], unwitnessed: Sequence[Gap],
) -> dict[str, Any]:  # fmt: skip
    """Return the production of one machine, as the page shows it."""
    since, until = span

    def of(role: str) -> Sequence[Reading]:
        at = getattr(wanted.roles, role)
        return () if at is None else found.get((path, wanted.points[at].name), ())

    content: dict[str, Any] = {"path": str(path)}
    if wanted.roles.state is not None:
        times = (one.time for role in READ for one in of(role))
        own = gaps(times, since, until, wanted.hold) if wanted.hold is not None else []
        content |= _states(of("state"), wanted.points[wanted.roles.state], span, [*own, *unwitnessed])
    counts = {role: steps(_numbers(of(role))) for role in ("good", "reject") if of(role)}
    for role, all_steps in counts.items():
        content[role] = counted(all_steps, since, until)._asdict()
    labels = [role for role in ("order", "recipe") if of(role)]
    if labels and counts:
        within = {role: [one for one in all_ if since <= one.time < until] for role, all_ in counts.items()}
        content["orders"] = _by_order(within, _labels(of("order")), _labels(of("recipe")))
    cycles = [value for time, value in changes(_numbers(of("cycle_time"))) if time >= since]
    if (bars := histogram(cycles)) is not None:
        content["cycles"] = bars._asdict() | {"unit": wanted.points[wanted.roles.cycle_time or 0].unit}
    return content


def _states(
    readings: Iterable[Reading], point: PointInfo, span: tuple[int, int], silent: Sequence[Gap]
) -> dict[str, Any]:
    states = [(one.time, None if one.value is None else state_name(point, one.value)) for one in readings]
    found = segments(states, *span, silent)
    return {
        "strip": [[one.begin, one.state, _kind(one.state)] for one in drawn(found, DRAWN)],
        "states": [[state, _kind(state), length] for state, length in durations(found).items()],
        "transitions": len(found) - 1,
    }


def _kind(state: str) -> str:
    return "unknown" if state == NOT_KNOWN else kind_of(state)


def _numbers(readings: Iterable[Reading]) -> list[tuple[int, float | None]]:
    return [
        (one.time, None if one.value is None or isinstance(one.value, str) else float(one.value)) for one in readings
    ]


def _labels(readings: Iterable[Reading]) -> list[Label]:
    return [Label(one.time, str(declared(one.value, "int"))) for one in readings if one.value is not None]


def _by_order(
    counts: Mapping[str, Sequence[Step]], orders: Sequence[Label], recipes: Sequence[Label]
) -> list[dict[str, Any]]:
    """Return the parts of each order and recipe, the most first."""
    times = sorted({one.time for one in (*orders, *recipes)})
    pairs = [
        Label(*one)
        for one in zip(
            times, map("\n".join, zip(_held(orders, times), _held(recipes, times), strict=True)), strict=True
        )
    ]
    sums = {role: by_label(found, pairs) for role, found in counts.items()}
    rows: list[tuple[int, dict[str, Any]]] = []
    for key in {key for own in sums.values() for key, parts in own.items() if parts}:
        order, _, recipe = key.partition("\n")
        parts = {role: own.get(key, 0) for role, own in sums.items()}
        rows.append((-parts.get("good", 0), {"order": order, "recipe": recipe} | parts))
    rows.sort(key=lambda row: (row[0], row[1]["order"], row[1]["recipe"]))
    return [row for _, row in rows[:ORDERS]]


def _held(labels: Sequence[Label], times: Iterable[int]) -> list[str]:
    """Return the text that holds at each time; empty before the first."""
    begins = [label.time for label in labels]
    return [labels[at - 1].text if (at := bisect_right(begins, time)) else "" for time in times]
