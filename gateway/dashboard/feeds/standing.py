"""The alarms that need attention, of devices and of gateways: each has one state, and perhaps a note of the page."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.dashboard.alarms.notes import Note
    from gateway.dashboard.live.alarms import Alarm
    from gateway.dashboard.live.gateway_alarms import GatewayAlarm
    from gateway.dashboard.live.plant import Plant
    from gateway.dashboard.plants import Plants
    from gateway.model.path import MachinePath


class Standing(NamedTuple):
    """An alarm with its note, and the state that its gateway follows; None without."""

    alarm: Alarm
    note: Note | None
    held: GatewayAlarm | None

    @property
    def off_list(self) -> bool:
        """Whether a person has removed it from the list: at its gateway, or with a note on the page."""
        return is_off_list(self.note, self.held)


def is_off_list(note: Note | None, held: GatewayAlarm | None) -> bool:
    """Return whether a person has removed an alarm from the list: at its gateway, or with a note on the page."""
    return (held is not None and held.off_list) or (note is not None and note.kind == "shelved")


def standing(plants: Plants, plant: Plant, now: int) -> Iterator[Standing]:
    """Yield the standing alarms of a plant, and those that a person has removed from the list.

    `now` is in microseconds since the epoch.
    """
    for path in dict.fromkeys((*plant.alarms.machines(), *plant.gateway_alarms.machines())):
        yield from standing_of(plants, plant, path, now)


def standing_of(plants: Plants, plant: Plant, path: MachinePath, now: int) -> Iterator[Standing]:
    """Yield those of a machine.

    An alarm of a gateway has one state, that of the retained message; its events may come later or again.
    """
    may_command = plants.may_command(path)
    followed = plant.gateway_alarms.of(path)
    for held in followed.values():
        if held.off_list or held.standing:
            note = None if may_command else plants.notes.of(held.alarm, now)
            yield Standing(held.alarm, note, held)
    for key, alarm in plant.alarms.of(path).items():
        if key not in followed and not plant.knows_normal(key):
            yield Standing(alarm, plants.notes.of(alarm, now), None)


def attention(plants: Plants, plant: Plant, path: MachinePath) -> list[Alarm]:
    """Return the alarms on the list of a machine, the worst first; shelved and suppressed alarms are left out."""
    found = standing_of(plants, plant, path, time.time_ns() // 1000)
    return sorted((one.alarm for one in found if not one.off_list), key=lambda alarm: (alarm.priority, -alarm.time))
