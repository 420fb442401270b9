"""Compare the stored readings of a point with its configuration. Pure: counts in, findings out."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from drivers.base import Quality, Reason, ValueType
from gateway.check.flags import shown
from gateway.check.hints import why_not_read
from gateway.check.results import Checked, doubt, wrong

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.check.results import Finding
    from gateway.check.tally import Tally, Window
    from gateway.settings.point import Point

TYPES = {
    ValueType.BOOL: bool, ValueType.INT: int, ValueType.FLOAT: float, ValueType.STRING: str, ValueType.JSON: str,
}  # fmt: skip

HELD = 0.8
"""The part of the due readings that have to be there: a machine that tests beside other work is not exact."""

MOVED = 5
"""Changes that a machine showed, of which a store that has only the first value has missed some."""


class Circumstances(NamedTuple):
    """Context of the readings of a point.

    `every`    the period at which it was read here, in seconds
    `missed`   whether its machine missed scans
    `changes`  how often its machine changed it in the time that counts; None where nobody wrote that down
    `compared` whether its readings were compared with the truth log of its machine
    """

    explore: str
    window: Window
    every: float
    missed: bool
    changes: int | None
    compared: bool


def judged(point: Point, tally: Tally, context: Circumstances) -> Checked:
    """Return a point with its stored readings, and the findings about them."""
    one = Checked(point.name, point.unit)
    newest = tally.newest
    if newest is not None:
        one.value, one.quality = newest.value, newest.quality
        one.reason, one.code = newest.reason, newest.code
    one.more = {"stored": tally.stored, "rate": _rate(point, tally, context)}
    if context.compared and tally.good:
        one.more["truth"] = "differs" if tally.differ else "equal"
    if not point.source.events:
        one.findings += _findings(point, tally, context)
    elif one.quality is Quality.BAD:
        one.quality = None
        one.findings.append(doubt("events", f"the simulated machine has no events there ({one.code or one.reason})"))
    return one


def _findings(point: Point, tally: Tally, context: Circumstances) -> Iterator[Finding]:
    newest = tally.newest
    if newest is None:
        yield wrong("missing", f"no reading of it came within {context.window.seconds:.0f} s")
        return
    if tally.faults or newest.quality is not Quality.GOOD:
        yield _fault(point, tally, context)
    if tally.units != {point.unit}:
        yield wrong("unit", f"stored with the unit {', '.join(sorted(tally.units))!r}, and it is {point.unit!r}")
    if tally.types - {TYPES[point.type]}:
        found = ", ".join(sorted(kind.__name__ for kind in tally.types))
        yield wrong("type", f"stored as {found}, and it is {point.type}")
    if tally.differ:
        text = f"{tally.differ} of {tally.good} good readings differ from the value of the machine: {tally.odd}"
        yield wrong("differs", f"{text}; do two machines, or two points, share its place?")
    if (due := _due(point, tally, context)) is not None and tally.inside < HELD * due - 1 and context.missed:
        seconds = context.window.seconds
        text = f"{tally.inside} readings in {seconds:.0f} s, and {due} were due, every {context.every:g} s"
        yield wrong("rate", f"{text}: the machine's scans were not done in time")
    if (context.changes or 0) > MOVED and tally.stored == 1 and not point.dead:
        yield wrong("still", f"the machine changed it {context.changes} times, and only its first value came")


def _fault(point: Point, tally: Tally, context: Circumstances) -> Finding:
    """Return the finding about readings that are not good; the most frequent reason counts."""
    newest = tally.newest
    reason, code = ("", "")
    if tally.faults:
        (reason, code), _ = tally.faults.most_common(1)[0]
    elif newest is not None:
        reason, code = newest.reason, newest.code
    text = f"{reason.replace('_', ' ')} ({code})" if code else reason.replace("_", " ")
    if reason == Reason.OUT_OF_RANGE and point.range is not None and newest is not None:
        text = f"{shown(newest.value, point.unit)}: outside its range [{point.range[0]:g}, {point.range[1]:g}]"
    hint = why_not_read(reason, context.explore)
    count = sum(tally.faults.values())
    many = f" (in {count} of {tally.inside} readings)" if count and count < tally.inside else ""
    return wrong(reason, f"{text}: {hint}{many}" if hint else f"{text}{many}")


def always(point: Point) -> bool:
    """Return whether every reading of a point is sent, and not only changes."""
    return not (point.on_change or point.deadband is not None or point.source.pushed)


def _due(point: Point, tally: Tally, context: Circumstances) -> int | None:
    """Return how many readings were due, None where only changes are sent: faults are sent once, too."""
    if not always(point) or tally.faults:
        return None
    return int(context.window.seconds / context.every)


def _rate(point: Point, tally: Tally, context: Circumstances) -> str:
    seconds = max(context.window.seconds, 1e-6)
    if point.source.events:
        return f"{tally.good} events"
    if not always(point):
        return f"{tally.inside} changes in {seconds:.0f} s"
    slower = "" if context.every == point.every else f" (every {point.every:g} s, read sooner here)"
    return f"{tally.inside / seconds:.2f}/s of {1 / context.every:.2f}/s{slower}"
