"""Totals of counters: a count that wraps or is reset becomes a number that never falls.

A count that falls has wrapped if the counter was in its last quarter and is in its first quarter now. Any other fall
is a reset: the counter began again at 0, and what it counted between the last reading and the reset is unknown.

The last counts are kept in a file, so that a total continues after a restart of the gateway. A counter that wraps
more than once while it is not read has the right total but for these turns.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from drivers.base import Reason, bad
from gateway.common.atomic_file import JsonEntries

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from drivers.base import Fault, Scan
    from gateway.settings.point import Point

    Totalize = Callable[[Scan], None]
    """Replaces the counts of a scan by their totals, in place."""

SAVE_EVERY = 30.0
"""Seconds between two writes of the file: the resets of this time are counted twice, or not, after a crash."""

MOST = 2**62
"""The largest total: a store's integers end at twice as much."""


@dataclass(slots=True)
class CounterState:
    """The last count of a counter, and the number to add to it; `before` was added until its last fall."""

    last: int = 0
    added: int = 0
    before: int = 0

    def total(self, count: int, size: int) -> int:
        """Return the total at a new count of a counter with `size` numbers."""
        if count < self.last:
            self.before = self.added
            wrapped = 4 * self.last >= 3 * size and 4 * count < size
            self.added += size if wrapped else self.last
        self.last = count
        return self.added + count

    def past_total(self, count: int) -> int:
        """Return the total at a count that was read before the last count."""
        return count + (self.added if count <= self.last else self.before)


class CounterTotals:
    """The counters of a gateway, by machine and point, and their file."""

    def __init__(self, file: Path) -> None:
        """Prepare; no I/O before `load`."""
        self._entries = JsonEntries(file)
        self._states: dict[str, CounterState] = {}

    def load(self) -> None:
        """Read the last counts; an entry that is not as this class writes it is logged and left out."""
        self._states |= _read(self._entries)

    def inherit(self, states: Mapping[str, CounterState], machines: Collection[str]) -> None:
        """Continue the counters of machines that another worker read before; `states` is the content of its file."""
        self._states |= {key: state for key, state in states.items() if key.rpartition("/")[0] in machines}

    def step(self, machine: str, points: Sequence[Point]) -> Totalize | None:
        """Return the step of a group's scans; None if none of its points is a total."""
        counters = {
            i: (self._states.setdefault(f"{machine}/{point.name}", CounterState()), point.numbers)
            for i, point in enumerate(points)
            if point.total
        }
        return _totalize(counters) if counters else None

    async def run(self) -> None:
        """Write the file from time to time."""
        while True:
            await asyncio.sleep(SAVE_EVERY)
            await self.save()

    async def save(self) -> None:
        """Write the last counts to the file if they have changed."""
        for key, state in self._states.items():
            self._entries.set(key, orjson.dumps([state.last, state.added, state.before]))
        await self._entries.save()


def read_totals(file: Path) -> dict[str, CounterState]:
    """Return the last counts in a file, by machine path and point name. A file that can't be read is logged."""
    return _read(JsonEntries(file))


def _read(entries: JsonEntries) -> dict[str, CounterState]:
    states: dict[str, CounterState] = {}
    for key, entry in entries.load().items():
        if _is_state(entry):
            states[key] = CounterState(*entry)
        else:
            entries.unreadable(ValueError(f"{key}: {entry!r:.60} is not a count and what to add to it"))
    return states


def _is_state(entry: Any) -> bool:  # noqa: ANN401 - what stands in the file
    numbers = isinstance(entry, list) and len(entry) == len(CounterState.__slots__)
    return numbers and all(type(number) is int and 0 <= number <= MOST for number in entry)


def _totalize(counters: dict[int, tuple[CounterState, int]]) -> Totalize:
    def totalize(scan: Scan) -> None:
        values: list[Any] = scan.values
        whole = scan.points is None
        for place, position in enumerate(counters if scan.points is None else scan.points):
            if position not in counters:
                continue
            i = position if whole else place
            found = _total(values[i], *counters[position], late=scan.late)
            if isinstance(found, int) or found is None:
                values[i] = found
            else:
                values[i], scan.faults[i] = None, found

    return totalize


def _total(count: Any, state: CounterState, size: int, *, late: bool) -> int | Fault | None:  # noqa: ANN401 - a raw value
    if count is None:
        return None
    if isinstance(count, float) and count.is_integer():
        count = int(count)
    if type(count) is not int:
        return bad(Reason.TYPE_MISMATCH, f"{count!r:.40} where a count belongs")
    if not 0 <= count < size:
        return bad(Reason.OUT_OF_RANGE, f"{count} is not a count of a counter that begins again at {size}")
    total = state.past_total(count) if late else state.total(count, size)
    return total if total <= MOST else bad(Reason.OVERFLOW, str(total))
