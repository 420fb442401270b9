"""The alarms that machines report as events (OPC 10000-9), as the page shows them."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, NamedTuple

from gateway.model.alarm_state import AlarmState
from gateway.model.device_alarm import priority_of, read_device_alarm

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gateway.model.path import MachinePath

ALARMS = 10_000
"""Alarms that are remembered."""

CHANGES = 20_000
"""Changes of alarms that are remembered."""


_TO_NORMAL: dict[str, str] = {
    AlarmState.ACKNOWLEDGED: "inactive", AlarmState.UNACKNOWLEDGED: "inactive",
    AlarmState.RETURNED: "acknowledged", AlarmState.LATCHED: "reset",
}  # fmt: skip
"""The changes with which an alarm becomes normal, by the states before."""


class Alarm(NamedTuple):
    """An alarm of a machine; `since` is when it last became active, `time` when it last changed.

    Both are in microseconds since the epoch, UTC. `state` and `previous` are the states of an alarm of a gateway, now
    and before (ISA-18.2); they are empty for one of a device.
    """

    path: MachinePath
    key: str
    source: str
    name: str
    severity: int
    message: str
    active: bool
    acknowledged: bool
    since: int
    time: int
    state: str = ""
    previous: str = ""

    @property
    def change(self) -> str:
        """The last change, for the journal: the state that it has led to, or the way to a normal state."""
        if self.active:
            return "acknowledged" if self.state == AlarmState.ACKNOWLEDGED else "active"
        if not self.state:
            return "acknowledged" if self.acknowledged else "inactive"
        return self.state if self.state != AlarmState.NORMAL else _TO_NORMAL.get(self.previous, self.state)

    @property
    def standing(self) -> bool:
        """Whether it still needs attention."""
        return self.active or not self.acknowledged

    @property
    def place(self) -> tuple[MachinePath, str]:
        """The machine and the condition: the same for all events of an alarm."""
        return self.path, self.key

    @property
    def priority(self) -> int:
        """The priority, 1 being the highest, of four (ISA-18.2), out of the severity (OPC 10000-9, 5.5.2)."""
        return priority_of(self.severity)


def read_alarm(path: MachinePath, time: int, text: object) -> Alarm | None:
    """Read an event of a machine; return its alarm, None where it is of none. Raises `ValueError` if it is not valid.

    An alarm knows since when it is active only together with the events before: `since` is `time`.
    """
    found = read_device_alarm(text)
    if found is None:
        return None
    return Alarm(
        path, found.key, found.source, found.condition, found.severity, found.message, found.active,
        found.acknowledged, time, time, found.state, found.previous,
    )  # fmt: skip


def followed(before: Alarm | None, alarm: Alarm) -> Alarm:
    """Return an alarm with the time since when it is active, given the event before of the same alarm."""
    if before is not None and (before.active or not alarm.active):
        return alarm._replace(since=before.since)
    return alarm


class Alarms:
    """The standing alarms, by machine and condition, and the last changes of all alarms.

    `version` grows with each change, `ignored` counts events that are not valid, `dropped` those of alarms for which
    there was no room, and `forgotten` the changes that were removed from `history` to bound it.
    """

    def __init__(self) -> None:
        self.version = self.ignored = self.dropped = self.forgotten = 0
        self.count = 0
        """Standing alarms."""
        self.history: deque[Alarm] = deque(maxlen=CHANGES)
        """The changes, in the order in which they were heard."""
        self._by_machine: dict[MachinePath, dict[str, Alarm]] = {}
        self._ended: OrderedDict[tuple[MachinePath, str], int] = OrderedDict()
        """When the last alarms ended: a gateway may send an earlier event of them again."""

    def __iter__(self) -> Iterator[Alarm]:
        """Yield the standing alarms."""
        for own in self._by_machine.values():
            yield from own.values()

    def find(self, path: MachinePath, key: str) -> Alarm | None:
        """Return a standing alarm; None if it is not standing."""
        return self._by_machine.get(path, {}).get(key)

    def take(self, path: MachinePath, time: int, text: object) -> Alarm | None:
        """Read an event; return the alarm that it changes, None where it changes none."""
        try:
            alarm = read_alarm(path, time, text)
        except ValueError:
            self.ignored += 1
            return None
        if alarm is None:
            return None
        before = self.find(path, alarm.key)
        alarm = followed(before, alarm)
        if before is not None and (time < before.time or alarm == before):
            return None
        if time <= self._ended.get(alarm.place, time - 1):
            return None
        self._keep(alarm)
        if len(self.history) == CHANGES:
            self.forgotten += 1
        self.history.append(alarm)
        return alarm

    def _keep(self, alarm: Alarm) -> None:
        own = self._by_machine.setdefault(alarm.path, {})
        self.version += 1
        if not alarm.standing:
            self.count -= own.pop(alarm.key, None) is not None
            self._ended[alarm.place] = alarm.time
            self._ended.move_to_end(alarm.place)
            if len(self._ended) > ALARMS:
                self._ended.popitem(last=False)
            if not own:
                del self._by_machine[alarm.path]
        elif alarm.key in own:
            own[alarm.key] = alarm
        elif self.count < ALARMS:
            own[alarm.key] = alarm
            self.count += 1
        else:
            self.dropped += 1

    def take_stored(self, alarms: Iterable[Alarm]) -> None:
        """Put earlier changes, in the order of their times, before those that were heard."""
        heard = list(self.history)
        known = {(alarm.place, alarm.time, alarm.active, alarm.acknowledged) for alarm in heard}
        earlier = [one for one in alarms if (one.place, one.time, one.active, one.acknowledged) not in known]
        states: dict[tuple[MachinePath, str], Alarm] = {}
        for one in sorted([*earlier, *heard], key=lambda one: one.time):
            states[one.place] = followed(states.get(one.place), one)
        for one in states.values():
            now = self.find(*one.place)
            if now is None or now.time <= one.time:
                self._keep(one)
        room = CHANGES - len(heard)
        self.history = deque([*(earlier[-room:] if room else ()), *heard], maxlen=CHANGES)
        self.version += 1

    def machines(self) -> Iterator[MachinePath]:
        """Yield the machines with a standing alarm."""
        yield from self._by_machine

    def of(self, path: MachinePath) -> Mapping[str, Alarm]:
        """Return the standing alarms of a machine, by their conditions."""
        return self._by_machine.get(path, {})
