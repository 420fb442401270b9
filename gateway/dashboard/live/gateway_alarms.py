"""The alarms that gateways follow, out of their retained messages: the state that a command of the page changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pydantic import ValidationError

from gateway.dashboard.live.alarms import Alarm, read_alarm
from gateway.ingest.placement import check_levels
from gateway.model.alarm_state import ANNUNCIATED, AlarmState
from gateway.model.text import MAX_NAME, check_text, clean_text
from gateway.status.alarms import MAX_ALARM_BYTES, ShownAlarm

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.model.path import MachinePath

MOST = 10_000
"""Alarms that are kept; more are counted as `dropped`."""

MAX_SHOWN = 500
"""Characters of a text that are shown."""

OWN = "lineside:"
"""The begin of the keys of alarms that a gateway has of its own, and not of a device."""

OFF_LIST = frozenset({AlarmState.SHELVED, AlarmState.OUT_OF_SERVICE})
"""States of alarms that a person has removed from the list."""


class GatewayAlarm(NamedTuple):
    """An alarm that its gateway follows. `alarm` has the keys of its event, `until` the end of a shelf, or 0.

    `changed` and `until` are in microseconds since the epoch, UTC.
    """

    name: str
    state: AlarmState
    alarm: Alarm
    who: str
    reason: str
    changed: int
    until: int

    @property
    def off_list(self) -> bool:
        """Whether a person has removed it from the list."""
        return self.state in OFF_LIST

    @property
    def standing(self) -> bool:
        """Whether it is on the list of operators: also if it has ended, and is to be acknowledged or reset."""
        return self.state in ANNUNCIATED


class GatewayAlarms:
    """The alarms of gateways that are not normal, by machine and key; `version` grows with each change."""

    def __init__(self) -> None:
        self.version = self.dropped = 0
        self._found: dict[MachinePath, dict[str, GatewayAlarm]] = {}
        self._keys: dict[tuple[MachinePath, str], str] = {}

    def __iter__(self) -> Iterator[GatewayAlarm]:
        """Yield the alarms."""
        for own in self._found.values():
            yield from own.values()

    def machines(self) -> Iterator[MachinePath]:
        """Yield the machines with an alarm that is not normal."""
        yield from self._found

    def of(self, path: MachinePath) -> Mapping[str, GatewayAlarm]:
        """Return the alarms of a machine, by the keys of their events."""
        return self._found.get(path, {})

    def find(self, path: MachinePath, key: str) -> GatewayAlarm | None:
        """Return the alarm of a machine with the key of its events; None if it is normal, or of no gateway."""
        return self.of(path).get(key)

    def clear(self) -> None:
        """Forget all: after a lost connection nothing says which alarms have become normal."""
        self._found.clear()
        self._keys.clear()
        self.version += 1

    def take(self, path: MachinePath, leaf: str, payload: bytes) -> None:
        """Read a retained message; an empty one says that the alarm is normal. Raises `ValueError`."""
        check_levels(path)
        check_text(leaf, MAX_NAME)
        self.version += 1
        key = self._keys.pop((path, leaf), None)
        if key is not None:
            self._remove(path, key)
        if not payload:
            return
        if len(self._keys) >= MOST:  # several messages may name one condition
            self.dropped += 1
            return
        found = read_gateway_alarm(path, payload)
        self._keys[path, leaf] = found.alarm.key
        self._found.setdefault(path, {})[found.alarm.key] = found

    def _remove(self, path: MachinePath, key: str) -> None:
        own = self._found.get(path, {})
        own.pop(key, None)
        if not own:
            self._found.pop(path, None)


def read_gateway_alarm(path: MachinePath, payload: bytes) -> GatewayAlarm:
    """Return the alarm of a retained message. Raises `ValueError` if it is not valid."""
    try:
        if len(payload) > MAX_ALARM_BYTES:
            raise ValueError("is too large")
        shown = ShownAlarm.model_validate_json(payload)
        alarm = read_alarm(path, shown.changed, payload.decode())
    except (ValidationError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError("is not an alarm of docs/topics.md") from error
    if alarm is None or not shown.alarm:
        raise ValueError("is not an alarm of docs/topics.md")
    return GatewayAlarm(
        shown.alarm, shown.state, alarm._replace(since=shown.since or shown.changed),
        clean_text(shown.who, MAX_SHOWN), clean_text(shown.reason, MAX_SHOWN), shown.changed, shown.until or 0,
    )  # fmt: skip
