"""Suspicious readings of a point. Pure: readings in, findings out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from drivers.base import Quality, Reason, ValueType
from gateway.check.results import doubt, wrong

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivers.base import Fault, Value
    from drivers.sampling import Others
    from gateway.check.results import Finding
    from gateway.settings.point import Point

SMALLEST, LARGEST = 1e-3, 1e6
"""The usual size of measured values in a plant, for a point without a range."""

LARGEST_INT = 10_000_000
"""The same for whole numbers; counters and energies get this far."""

ABSURDLY_SMALL = 1e-20
"""A floating-point number closer to 0 than this, or larger than its inverse, is not intended."""

NOTHING = 1e-6
"""The part of a point's range below which a floating-point number is close to zero, and rarely intended."""

CONSTANT_READS = 5
"""So often a measured value has to be read before it can be called constant."""

WORD = 1 << 16

NARROW = 255
"""Numbers with no more room than this come to their end all the time."""


class Taken(NamedTuple):
    """One reading of a point: the raw value of the device, and the value of the gateway.

    `raw` is missing if the device gave nothing; `others` are the values in other byte orders, before scale.
    """

    raw: Value | None
    value: Value | None
    fault: Fault | None
    others: Others = dict


def decisive(readings: Sequence[Taken]) -> Taken:
    """Return the reading that is shown, and judged: the last that is not good, else the last."""
    return next((one for one in reversed(readings) if one.fault is not None), readings[-1])


def flags(point: Point, readings: Sequence[Taken]) -> list[Finding]:
    """Return the findings about the readings of a point, oldest first."""
    if not readings:
        return []
    last = decisive(readings)
    findings = [] if last.fault is None else [wrong(last.fault.reason, _quality(point, last, last.fault))]
    odd = (
        _end_of_range(point, last.raw)
        or _swapped(point, last)
        or (_absurd(point, last) if last.fault is None else None)
    )
    if odd is not None:
        findings.append(odd)
    elif is_constant(point, readings):
        same = f"it was {shown(last.value, point.unit)} in all of {len(readings)} readings"
        findings.append(doubt("constant", f"{same}: is the machine stopped, or is this another register?"))
    return findings


def _quality(point: Point, reading: Taken, fault: Fault) -> str:
    """Return the message for a reading that is not good."""
    if fault.reason is Reason.OUT_OF_RANGE and fault.quality is Quality.UNCERTAIN and point.range is not None:
        low, high = point.range
        return f"{shown(reading.value, point.unit)} is outside its range [{low:g}, {high:g}]"
    if fault.reason is Reason.NOT_A_NUMBER and not fault.code:
        return "not a number (NaN): the device has no value there, or this is not a floating-point number"
    reason = fault.reason.replace("_", " ")
    return f"{reason} ({fault.code})" if fault.code else reason


def _swapped(point: Point, reading: Taken) -> Finding | None:
    """Return the finding that a number's words or bytes are in another order, with what each order would give."""
    raw = reading.raw
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not suspect(point, raw):
        return None
    others = {write: value for write, value in reading.others().items() if isinstance(value, int | float)}
    likely = {write: value for write, value in others.items() if value and not suspect(point, value)}
    if not likely:
        return None
    gives = "; or ".join(
        f"{write}, which gives {shown(_scaled(point, value), point.unit)}" for write, value in likely.items()
    )
    rest = [f"{write} {shown(_scaled(point, value))}" for write, value in others.items() if write not in likely]
    more = f" (not likely: {', '.join(rest)})" if rest else ""
    return wrong("swapped", f"looks like swapped words or bytes: write {gives}{more}")


def suspect(point: Point, raw: float) -> bool:
    """Return whether a raw number is unusual for a sensor, so that its other byte orders are compared."""
    value = _scaled(point, raw)
    if not math.isfinite(value):
        return True
    if point.range is not None:
        low, high = point.range
        nothing = isinstance(raw, float) and raw != 0 and abs(value) < (high - low) * NOTHING
        return nothing or not low <= value <= high
    return not _usual(value, whole=isinstance(raw, int)) or _one_word_only(point, raw)


def _usual(value: float, *, whole: bool) -> bool:
    if whole:
        return abs(value) <= LARGEST_INT
    return value == 0 or SMALLEST <= abs(value) <= LARGEST


def _one_word_only(point: Point, raw: float) -> bool:
    """Return whether only the upper words of a wide number say anything: a small number whose words are swapped."""
    limits = point.source.limits
    if not isinstance(raw, int) or limits is None or limits[1] <= WORD:
        return False
    return (raw % WORD == 0 and raw != 0) or (raw < -WORD and raw % WORD == WORD - 1)


def _end_of_range(point: Point, raw: Value | None) -> Finding | None:
    """Return the finding that a number is the last one there is, by which many devices say that they have none."""
    limits = point.source.limits
    if isinstance(raw, bool) or not isinstance(raw, int) or limits is None or point.labels:
        return None
    if limits[1] <= NARROW or raw not in ({limits[1]} if limits[0] == 0 else set(limits)):
        return None
    text = f"the device holds {raw}, the last number there is: where that means that it has none, write not_available"
    return doubt("end_of_range", f"{text}: {raw}")


def _absurd(point: Point, reading: Taken) -> Finding | None:
    """Return the finding that a floating-point number is of no order of magnitude that anybody measures."""
    raw = reading.raw
    if not isinstance(raw, float) or raw == 0 or ABSURDLY_SMALL <= abs(raw) <= 1 / ABSURDLY_SMALL:
        return None
    return doubt(
        "implausible",
        f"nobody measures {shown(_scaled(point, raw), point.unit)}: is this a floating-point number?",
    )


def is_constant(point: Point, readings: Sequence[Taken]) -> bool:
    """Return whether a measured value did not move at all; states, counters and set points do that all the time."""
    if point.type is not ValueType.FLOAT or len(readings) < CONSTANT_READS:
        return False
    return len({one.value for one in readings}) == 1 and readings[0].value is not None


def _scaled(point: Point, raw: float) -> float:
    return raw * point.scale + point.offset


def shown(value: Value | None, unit: str = "") -> str:
    """Return a value as people read it."""
    text = "-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    return f"{text} {unit}".rstrip()
