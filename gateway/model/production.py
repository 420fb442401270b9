"""Production of a machine in a span of time: time by category, parts, and the key figures of ISO 22400-2. Pure.

Everything but the key figures adds up: those of a shift are the figures of the sum of its parts. Times are in whole
microseconds, so that sums are exact.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields
from enum import StrEnum
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from gateway.model.cycle_times import CycleTimes

if TYPE_CHECKING:
    from collections.abc import Mapping

SECOND = 1_000_000
"""Microseconds of a second."""

LARGEST = 1e12
"""The largest number in a row that is believed: 1e308 seconds of JSON would be infinite microseconds."""


class TimeState(StrEnum):
    """A category of time of a machine, after the time model for work units of ISO 22400-2.

    Starved, blocked and waiting are parts of its actual unit delay time (ADET).
    """

    PRODUCTION = "production"  # actual production time (APT)
    SETUP = "setup"  # actual unit setup time (AUST)
    IDLE = "idle"  # ready, without work
    STARVED = "starved"  # it waits for parts
    BLOCKED = "blocked"  # it can't get rid of its parts
    WAITING = "waiting"  # starved or blocked: the machine does not say which
    DOWN = "down"  # actual unit down time (ADOT)
    UNKNOWN = "unknown"  # no connection, bad quality, or no gateway
    OFF = "off"  # outside of the planned busy time, and not producing


WAITS = frozenset({TimeState.STARVED, TimeState.BLOCKED, TimeState.WAITING})
"""The categories in which a machine waits for its neighbours."""

MOST_REASONS = 20
"""Reasons of a span of time that are counted apart; the time of further reasons is that of `OTHER`."""

OTHER = "other"

_SUMS = ("good", "reject", "parts", "unknown_parts", "unplanned_parts", "wraps", "resets", "jumps",
         "failures", "micro_stops")  # fmt: skip

_SPANS = ("extra", "planned_production", "repair", "micro_stop_time")

_PLAIN = attrgetter(*_SUMS, *_SPANS)


@dataclass(slots=True)
class Tally:
    """What adds up.

    `times`               microseconds in each category
    `extra`               microseconds of production outside of the plan; they count as planned
    `good`, `reject`, `parts`   parts by their result, and all of them
    `unknown_parts`       parts that were counted over a time that is unknown
    `unplanned_parts`     parts whose planned cycle time is not known
    `planned_production`  microseconds that were planned for the parts of the known time (PRI x PQ)
    `target`              parts that the known busy time was planned for
    `wraps`, `resets`, `jumps`  corrections of counters: those of a reset may have lost parts, a jump is not counted
    `failures`, `repair`  downs that have ended, without micro-stops, and their microseconds
    `micro_stops`, `micro_stop_time`  downs that were shorter than the threshold, and their microseconds
    `reasons`             microseconds of down by reason, without micro-stops once they are over
    `cycles`              the distribution of cycle times
    """

    times: Counter[TimeState] = field(default_factory=Counter)
    extra: int = 0
    good: int = 0
    reject: int = 0
    parts: int = 0
    unknown_parts: int = 0
    unplanned_parts: int = 0
    planned_production: int = 0
    target: float = 0.0
    wraps: int = 0
    resets: int = 0
    jumps: int = 0
    failures: int = 0
    repair: int = 0
    micro_stops: int = 0
    micro_stop_time: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    cycles: CycleTimes = field(default_factory=CycleTimes)

    @property
    def busy(self) -> int:
        """Microseconds of planned busy time (PBT), the unknown time included."""
        return sum(self.times.values()) - self.times[TimeState.OFF]

    @property
    def known(self) -> int:
        """Microseconds of planned busy time whose category is known."""
        return self.busy - self.times[TimeState.UNKNOWN]

    @property
    def empty(self) -> bool:
        """Whether nothing is known of the span: no time in which the machine was to work, and no part."""
        return not (self.known or self.parts or self.unknown_parts)

    def add_reason(self, reason: str, time: int) -> None:
        """Add microseconds of down, or take those of a micro-stop back."""
        known = reason in self.reasons or len(self.reasons) < MOST_REASONS
        name = reason if known else OTHER
        self.reasons[name] += time
        if not self.reasons[name]:
            del self.reasons[name]

    def add(self, other: Tally) -> None:
        """Add another span of time."""
        self.times.update(other.times)
        for name in (*_SUMS, *_SPANS, "target"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for reason, time in other.reasons.items():
            self.add_reason(reason, time)
        self.cycles.add(other.cycles)

    # -- as a row of the table `production`, and as a saved state --

    def as_row(self) -> dict[str, Any]:
        """Return the columns of a row: times in seconds, with the key figures."""
        row: dict[str, Any] = {f"{state}_time": self.times[state] / SECOND for state in TimeState}
        row["busy_time"] = self.busy / SECOND
        row |= {name: getattr(self, name) for name in _SUMS}
        row |= {f"{name.removesuffix('_time')}_time": getattr(self, name) / SECOND for name in _SPANS}
        row["target"] = round(self.target, 3)
        row["reasons"] = {reason: time / SECOND for reason, time in self.reasons.items()}
        row["cycles"] = self.cycles.as_dict()
        return row | self.figures().as_dict()

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Tally:
        """Return the tally of a row as it is stored; a cell that is missing, too large, or no number is 0."""
        found = cls()
        for state in TimeState:
            found.times[state] = _micros(row.get(f"{state}_time"))
        for name in _SUMS:
            setattr(found, name, _whole(row.get(name)))
        for name in _SPANS:
            setattr(found, name, _micros(row.get(f"{name.removesuffix('_time')}_time")))
        found.target = _number(row.get("target"))
        reasons = row.get("reasons")
        for reason, time in reasons.items() if isinstance(reasons, dict) else ():
            found.add_reason(str(reason), _micros(time))
        found.cycles = CycleTimes.of_dict(row.get("cycles"))
        return found

    def save(self) -> list[Any]:
        """Return the state as JSON can hold it."""
        plain = [*_PLAIN(self), self.target]
        times = {state.value: time for state, time in self.times.items()}
        return [times, plain, self.reasons, self.cycles.as_dict()]

    @classmethod
    def load(cls, saved: Any) -> Tally:  # noqa: ANN401 - of a file
        """Return the tally that was saved. Raises `TypeError` or `ValueError`."""
        times, plain, reasons, cycles = saved
        found = cls(Counter({TimeState(state): _strict(time) for state, time in dict(times).items()}))
        for name, value in zip((*_SUMS, *_SPANS), plain[:-1], strict=True):
            setattr(found, name, _strict(value))
        found.target = float(plain[-1])
        for reason, time in dict(reasons).items():
            found.add_reason(str(reason), _strict(time))
        found.cycles = CycleTimes.of_dict(cycles)
        return found

    # -- key figures --

    def figures(self) -> Figures:
        """Return the key figures of the time that is known.

        ISO 22400-2: availability is APT / PBT, performance (effectiveness) PRI x PQ / APT, quality ratio GQ / PQ,
        utilization APT / AUBT, scrap ratio SQ / PQ, throughput PQ / time. Parts of an unknown time count for the
        quality alone: nobody knows how long they took.
        """
        times, known, parts = self.times, self.known, self.parts
        production = times[TimeState.PRODUCTION]
        in_known = parts - self.unknown_parts
        ratios = ratios_of(
            production, known, self.good, parts, self.planned_production, self.target,
            is_planned=not self.unplanned_parts,
        )  # fmt: skip
        return Figures(
            **ratios,
            utilization=_ratio(production, known - times[TimeState.IDLE]),
            mtbf=production / SECOND / self.failures if self.failures else None,
            mttr=self.repair / SECOND / self.failures if self.failures else None,
            scrap_ratio=_ratio(self.reject, parts),
            throughput=in_known / (known / SECOND / 3600) if known else None,
        )


@dataclass(frozen=True, slots=True)
class Figures:
    """Key figures; None where a divisor is 0 or a plan is missing. Ratios are from 0 on, MTBF and MTTR in seconds.

    `throughput` is parts in an hour of the known busy time.
    """

    oee: float | None
    availability: float | None
    performance: float | None
    quality_ratio: float | None
    utilization: float | None
    mtbf: float | None
    mttr: float | None
    scrap_ratio: float | None
    throughput: float | None

    def as_dict(self) -> dict[str, float | None]:
        """Return the figures by name, rounded to six decimals."""
        found = ((one.name, getattr(self, one.name)) for one in fields(self))
        return {name: None if value is None else round(value, 6) for name, value in found}


def ratios_of(
    production: int, known: int, good: int, parts: int, planned: int, target: float, *,
    is_planned: bool,
) -> dict[str, float | None]:  # fmt: skip
    """Return OEE and its factors, None where a divisor is 0 or a plan is missing.

    `production`, `known` and `planned` are microseconds: of production, of the known busy time, and planned for the
    parts of the known time. `is_planned` says whether all parts have a planned cycle time.
    """
    availability, quality = _ratio(production, known), _ratio(good, parts)
    has_plan = is_planned and (planned or target)
    performance = _ratio(planned, production) if has_plan else None
    oee = None
    if availability is not None and performance is not None:
        oee = availability * performance * (1.0 if quality is None else quality)
    return {"oee": oee, "availability": availability, "performance": performance, "quality_ratio": quality}


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and abs(value) <= LARGEST else 0.0


def _whole(value: object) -> int:
    return value if isinstance(value, int) and abs(value) <= LARGEST else 0


def _micros(value: object) -> int:
    return round(_number(value) * SECOND)


def _strict(value: object) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r:.40} is not a whole number")
    return value
