"""The performance of an alarm system, after EEMUA 191 and ISA-18.2 (16.5), out of the transitions in a store. Pure.

An annunciation is a transition to `unacknowledged`. Times are in microseconds since the epoch, UTC.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from typing import TYPE_CHECKING, Any

from gateway.model.alarm_rates import ACCEPTABLE, CHATTER, CHATTER_SPAN, FLOOD, STALE_AFTER, WINDOW
from gateway.model.alarm_state import ANNUNCIATED, AlarmState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.stores.tables import TableRow

RANKED = 10

_STANDING = frozenset(map(str, ANNUNCIATED))

Key = tuple[str, str]
"""Machine and alarm."""


class Performance:
    """Takes transitions in the order of their times. Memory grows with alarms, and with the windows of the span."""

    def __init__(self, since: int, until: int) -> None:
        self._since, self._until = since, until
        self._windows: Counter[int] = Counter()
        self._priorities: Counter[str] = Counter()
        self._times: Counter[Key] = Counter()
        self._recent: dict[Key, deque[int]] = defaultdict(lambda: deque(maxlen=CHATTER))
        self._chattering: Counter[Key] = Counter()
        self._standing: dict[Key, int] = {}
        self._states: dict[Key, str] = {}

    def add(self, rows: Iterable[TableRow]) -> None:
        """Take transitions. Those before the span only say which alarms are standing."""
        for row in rows:
            cells = row.as_dict()
            key, state = (str(row.path), str(cells["alarm"])), str(cells["state"])
            self._states[key] = state
            if state in _STANDING:
                self._standing.setdefault(key, row.time)
            else:
                self._standing.pop(key, None)
            if state == AlarmState.UNACKNOWLEDGED and self._since <= row.time < self._until:
                self._annunciated(key, row.time, str(cells["priority"]))

    def _annunciated(self, key: Key, time: int, priority: str) -> None:
        self._windows[(time - self._since) // WINDOW] += 1
        self._priorities[priority] += 1
        self._times[key] += 1
        recent = self._recent[key]
        recent.append(time)
        if len(recent) == CHATTER and time - recent[0] <= CHATTER_SPAN:
            self._chattering[key] += 1

    def report(self) -> dict[str, Any]:
        """Return the figures as plain data."""
        total = self._windows.total()
        windows = max(1, -(-(self._until - self._since) // WINDOW))
        stale = {key: since for key, since in self._standing.items() if self._until - since > STALE_AFTER}
        top = self._times.most_common(RANKED)
        return {
            "since": self._since, "until": self._until, "annunciations": total,
            "average_per_10_min": round(total / windows, 2),
            "peak_per_10_min": max(self._windows.values(), default=0),
            "acceptable_per_10_min": ACCEPTABLE,
            "windows_in_flood_percent": round(100 * sum(n > FLOOD for n in self._windows.values()) / windows, 2),
            "by_priority": {one: self._priorities[one] for one in ("critical", "high", "medium", "low")},
            "standing": len(self._standing),
            "shelved": sum(state == AlarmState.SHELVED for state in self._states.values()),
            "out_of_service": sum(state == AlarmState.OUT_OF_SERVICE for state in self._states.values()),
            "stale": [_named(key) | {"since": since} for key, since in sorted(stale.items(), key=lambda one: one[1])],
            "chattering": [_named(key) | {"times": n} for key, n in self._chattering.most_common(RANKED)],
            "top": [_named(key) | {"times": n} for key, n in top],
            "top_percent": round(100 * sum(n for _, n in top) / total, 1) if total else 0.0,
        }  # fmt: skip


def _named(key: Key) -> dict[str, Any]:
    return {"machine": key[0], "alarm": key[1]}
