"""The state of the work on parts at one place, which is saved with the records that were made from it.

Times are in microseconds since the epoch, UTC. Fields that end with `_at` or `until` are monotonic seconds: a process
that loads a state begins them again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson
from pydantic import TypeAdapter

Text = str | None


@dataclass(slots=True)
class Sum:
    """The readings of a captured value so far: how many, their result, and the last fault if not all were good."""

    count: int = 0
    value: bool | int | float | str | None = None
    reason: str = ""
    code: str = ""


@dataclass(slots=True)
class Work:
    """A part in work. `serial` is None until its serial number is known, `began` is None if nobody saw the begin.

    `lots` are those of each material so far; `new_lots` were seen last, and count when they stay. `results` are read
    when the serial number of the results names the part. `again` is the time at which work on the next part seems to
    begin, while its serial number is awaited.
    """

    serial: str | None
    began: int | None
    sums: list[Sum]
    lots: dict[str, list[str]] = field(default_factory=dict)
    new_lots: dict[str, tuple[str, float]] = field(default_factory=dict)
    results: dict[str, Any] | None = None
    results_at: float | None = None
    again: int | None = None
    again_at: float = 0.0


@dataclass(slots=True)
class Done:
    """A part whose work has ended, and whose record is not complete.

    `needs` are `results`, `counters` and `end`. `counters` are those of good and rejected parts before the end.
    """

    record: dict[str, Any]
    needs: list[str]
    results_at: float | None = None
    until: float = 0.0
    settled_at: float = 0.0
    counters: tuple[int, int] | None = None


@dataclass(slots=True)
class Candidate:
    """A serial number that does not count yet: it may be half written. `closing` is the record of the part before.

    `since` is when the serial number before was gone, `began` when this was seen first.
    """

    serial: str
    since: int
    began: int
    stable_at: float
    closing: Done | None = None


@dataclass(slots=True)
class PlaceState:
    """All that is known of the parts at one place.

    `shown` is the serial number that counts, None before the first. `last` is that of the part that was finished
    last, `results_of` that of the results. `begin` and `end` are the last known values of the conditions. `seen` is
    the time of the last reading of the serial number; `unsure` says that there was none since, or a bad reading.
    """

    identity: str = ""
    shown: str | None = None
    candidate: Candidate | None = None
    last: str = ""
    results_of: str | None = None
    begin: bool | None = None
    end: bool | None = None
    seen: int = 0
    unsure: bool = False
    work: Work | None = None
    done: list[Done] = field(default_factory=list)


States = dict[str, PlaceState]
"""The states of a machine by place."""

_READER = TypeAdapter(States)


def write_states(states: States) -> bytes:
    """Return states as JSON. Raises `TypeError`."""
    return orjson.dumps(states)


def read_states(saved: bytes) -> States:
    """Return states from JSON. Raises `ValueError` for other content."""
    return _READER.validate_json(saved)
