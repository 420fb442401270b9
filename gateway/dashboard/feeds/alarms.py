"""The feed of the standing alarms, sorted by priority and time, and of the alarm words of machines."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.dashboard.feeds.base import BadArguments, Feed
from gateway.dashboard.feeds.paths import below
from gateway.dashboard.feeds.standing import is_off_list, standing
from gateway.dashboard.live.machine import GOOD, UNCERTAIN
from gateway.dashboard.texts.text import _

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.dashboard.alarms.notes import Note
    from gateway.dashboard.live.alarms import Alarm
    from gateway.dashboard.live.gateway_alarms import GatewayAlarm
    from gateway.dashboard.live.machine import LiveMachine
    from gateway.dashboard.live.plant import Plant
    from gateway.dashboard.plants import Plants
    from gateway.model.path import MachinePath

SHOWN, MOST_SHOWN = 200, 1_000
"""Rows that a page receives by default, and at most."""

MAX_TEXT = 200
"""Characters of a text that is searched for."""

PRIORITIES = (1, 2, 3, 4)

STATES = ("all", "active", "unacknowledged")


class Filter(NamedTuple):
    """Which alarms a page shows. `shelved` adds those that are shelved, and leaves out the others."""

    path: tuple[str, ...] = ()
    priorities: tuple[int, ...] = PRIORITIES
    text: str = ""
    state: str = "all"
    shelved: bool = False

    def takes(self, alarm: Alarm, note: Note | None, held: GatewayAlarm | None = None) -> bool:
        """Return whether an alarm is shown, with its note, or as its gateway follows it."""
        if alarm.path[: len(self.path)] != self.path or alarm.priority not in self.priorities:
            return False
        if self.shelved is not is_off_list(note, held):
            return False
        if self.state == "active" and not alarm.active:
            return False
        if self.state == "unacknowledged" and (alarm.acknowledged or note is not None):
            return False
        return not self.text or self.text in _searched(alarm)


def _searched(alarm: Alarm) -> str:
    return f"{alarm.path} {alarm.source} {alarm.name} {alarm.message}".lower()


def filter_of(arguments: dict[str, Any]) -> Filter:
    """Return the filter of arguments. Raises `BadArguments`."""
    priorities = arguments.get("priorities", list(PRIORITIES))
    text, state, shelved = arguments.get("text", ""), arguments.get("state", "all"), arguments.get("shelved", False)
    if not isinstance(priorities, list) or not all(type(one) is int and one in PRIORITIES for one in priorities):
        raise BadArguments(_("priorities is a list of numbers from 1 to 4"))
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        raise BadArguments(_("text is text of at most {most} characters", most=MAX_TEXT))
    if state not in STATES or not isinstance(shelved, bool):
        raise BadArguments(_("state is one of {states}, and shelved true or false", states=", ".join(STATES)))
    return Filter(below(arguments.get("path", "")), tuple(sorted(set(priorities))), text.lower(), state, shelved)


class AlarmsFeed(Feed):
    """The standing alarms that a filter takes, the highest priority first, then the newest.

    A message has `order`, the ids of the rows that are shown, when it changed; `rows` that are new or changed; and
    `summary`: how many are standing, match, are shelved, have each priority, and
    how many points are configured to report events. `words` are alarm words that are not 0.
    """

    every = 0.5

    def __init__(self, plants: Plants) -> None:
        super().__init__(plants)
        self._filter = Filter()
        self._limit = SHOWN
        self._ids: dict[tuple[MachinePath, str], int] = {}
        self._next = 0
        self._sent: dict[int, dict[str, Any]] = {}
        self._order: list[int] = []
        self._summary: dict[str, Any] = {}
        self._words: list[dict[str, Any]] | None = None
        self._seen: object = None
        self._sources = _sources(plants)

    def choose(self, arguments: dict[str, Any]) -> None:
        limit = arguments.get("limit", SHOWN)
        if type(limit) is not int or not 1 <= limit <= MOST_SHOWN:
            raise BadArguments(_("limit is a number from 1 to {most}", most=MOST_SHOWN))
        self._filter, self._limit, self._seen = filter_of(arguments), limit, None

    def changes(self) -> dict[str, Any] | None:
        now = time.time_ns() // 1000
        content: dict[str, Any] = {}
        self.plants.end_shelves(now)
        seen = (self.plants.version, self.plants.notes.version)
        if seen != self._seen:
            self._seen = seen
            self._look(now, content)
        words = list(self._alarm_words())
        if words != self._words:
            self._words = content["words"] = words
        return content or None

    def _look(self, now: int, content: dict[str, Any]) -> None:
        """Compare the alarms with the rows that were sent."""
        counts, total, shelved, matching = [0] * len(PRIORITIES), 0, 0, []
        for plant in self.plants.plants:
            for alarm, note, held in standing(self.plants, plant, now):
                total += 1
                if is_off_list(note, held):
                    shelved += 1
                else:
                    counts[alarm.priority - 1] += 1
                if self._filter.takes(alarm, note, held):
                    matching.append((alarm, note, held, plant))
        matching.sort(key=lambda one: (one[0].priority, -one[0].since, one[0].key))
        summary = {
            "standing": total, "matching": len(matching), "shelved": shelved, "priorities": counts,
            "sources": self._sources, "dropped": sum(plant.alarms.dropped for plant in self.plants.plants),
            "invalid": sum(plant.alarms.ignored for plant in self.plants.plants),
        }  # fmt: skip
        if summary != self._summary:
            self._summary = content["summary"] = summary
        rows = {self._id(one[0]): self._row(*one) for one in matching[: self._limit]}
        changed = [row for number, row in rows.items() if self._sent.get(number) != row]
        if changed:
            content["rows"] = changed
        order = list(rows)
        if order != self._order or not self._sent:
            self._order = content["order"] = order
        self._sent = rows
        self._ids = {place: number for place, number in self._ids.items() if number in rows}

    def _id(self, alarm: Alarm) -> int:
        number = self._ids.get(alarm.place)
        if number is None:
            number = self._ids[alarm.place] = self._next = self._next + 1
        return number

    def _row(
        self, alarm: Alarm, note: Note | None, held: GatewayAlarm | None, plant: Plant
    ) -> dict[str, Any]:  # fmt: skip
        row = shown(alarm) | {"id": self._ids[alarm.place], "key": alarm.key}
        if held is not None:
            row |= {
                "gateway": {"state": held.state, "who": held.who, "at": held.changed, "reason": held.reason,
                            "until": held.until},
                "command": self.plants.may_command(alarm.path),
            }  # fmt: skip
        if note is not None:
            row["note"] = {
                "kind": note.kind, "who": note.who, "at": note.at, "comment": note.comment, "until": note.until
            }  # fmt: skip
        machine = plant.machines.get(alarm.path)
        if machine is not None and (unheard := _unheard(plant, machine)):
            row["machine"] = unheard
        return row

    def _alarm_words(self) -> Iterator[dict[str, Any]]:
        """Yield the alarm words that are not 0: bits without texts of their own, or the label of the value."""
        for machine in self.plants.machines():
            if machine.path[: len(self._filter.path)] != self._filter.path:
                continue
            for at in machine.alarm_words:
                value = machine.values[at]
                if machine.qualities[at] not in {GOOD, UNCERTAIN} or type(value) is not int or not value:
                    continue
                point = machine.points[at]
                word = {"path": str(machine.path), "point": point.name, "description": point.description}
                label = point.labels.get(str(value))
                yield word | ({"label": label} if label else {"bits": bits_of(value)})


def _sources(plants: Plants) -> int | None:
    """Return how many alarms and points with alarms of devices are configured; None without a configuration."""
    if not plants.factories:
        return None
    machines = [machine for factory in plants.factories for machine in factory.machines]
    return sum(len(one.alarms.alarms) + sum(point.source.events for point in one.points) for one in machines)


def shown(alarm: Alarm) -> dict[str, Any]:
    """Return an alarm, or a change of it, as the page shows it."""
    return {
        "path": str(alarm.path), "source": alarm.source, "name": alarm.name, "message": alarm.message,
        "severity": alarm.severity, "priority": alarm.priority, "active": alarm.active,
        "acknowledged": alarm.acknowledged, "since": alarm.since, "time": alarm.time,
        "state": alarm.state, "previous": alarm.previous,
    }  # fmt: skip


def bits_of(value: int) -> list[int]:
    """Return the numbers of the bits that are set, of a value with up to 64 bits in two's complement."""
    value &= 2**64 - 1
    return [bit for bit in range(value.bit_length()) if value >> bit & 1]


def _unheard(plant: Plant, machine: LiveMachine) -> str:
    """Return why nothing is heard of a machine now: its alarms may have ended meanwhile."""
    gateway = plant.gateway_state(machine)
    if gateway is not None and gateway.state == "offline":
        return "no gateway"
    return "offline" if machine.state == "offline" else ""
