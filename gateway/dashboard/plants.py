"""All that the page knows: the plants of all brokers, and the configurations that it was given."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gateway.dashboard.alarms.notes import AlarmNotes
from gateway.dashboard.commanding import Commander
from gateway.dashboard.live.journal import Journal
from gateway.dashboard.live.listener import Listener
from gateway.dashboard.live.plant import Plant

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gateway.dashboard.live.alarms import Alarm
    from gateway.dashboard.live.gateway_alarms import GatewayAlarm
    from gateway.dashboard.live.machine import LiveMachine
    from gateway.model.path import MachinePath
    from gateway.settings.dashboard_section import PageCommandsSection
    from gateway.settings.factory import Factory


class Plants:
    """The plants of some factories, one for each broker that they name.

    With `everything` they contain all machines, gateways and ingests that the brokers know, beside those of the
    factories. `notes` is the file of what operators note of alarms, `commands` how they command gateways.
    """

    def __init__(
        self, factories: Sequence[Factory], *, everything: bool = False, notes: Path | None = None,
        commands: PageCommandsSection | None = None,
    ) -> None:  # fmt: skip
        """Prepare. Raises `MissingSecret`, and `ValueError` for a key that is not one, as `Commander` does."""
        self.factories = tuple(factories)
        self.journal = Journal()
        self.notes = AlarmNotes(notes)
        self.started = time.time_ns() // 1000
        """When the page began to listen, in microseconds since the epoch."""
        self.alarms_since: int | None = None
        """The time since when the standing alarms are known; None until the stores were asked."""
        self.plants: list[Plant] = []
        self.listeners: list[Listener] = []
        of_broker: dict[tuple[str, str], list[Factory]] = {}
        for factory in factories:
            of_broker.setdefault((factory.broker.url, factory.broker.root), []).append(factory)
        for some in of_broker.values():
            plant = Plant(some[0].broker, self.journal, some)
            sites = () if everything else [(one.factory.enterprise, one.factory.site) for one in some]
            self.plants.append(plant)
            self.listeners.append(Listener(plant, sites))
        self.commander = Commander(self, commands)

    def may_command(self, path: MachinePath) -> bool:
        """Return whether the gateway of a machine takes commands of this page."""
        return self.commander.may(path)

    def alarm(self, path: MachinePath, key: str) -> Alarm | None:
        """Return a standing alarm, or one that is off the list of its gateway; None if there is none."""
        found, held = self.find(path), self.gateway_alarm(path, key)
        if held is not None or found is None:
            return None if held is None else held.alarm
        return found[0].alarms.find(path, key)

    def gateway_alarm(self, path: MachinePath, key: str) -> GatewayAlarm | None:
        """Return an alarm that its gateway follows; None if it is normal, or only the device has it."""
        found = self.find(path)
        return None if found is None else found[0].gateway_alarms.find(path, key)

    def end_shelves(self, now: int) -> None:
        """Remove the notes of shelved alarms whose time is over; `now` is in microseconds since the epoch."""
        for over in self.notes.expire(now):
            self.journal.add(now, "operator", over.path, "shelving ended", name=over.key, who=over.who)

    @property
    def version(self) -> int:
        """A number that grows with each change of the set of machines, or of a state of any."""
        return sum(plant.version + plant.gateway_alarms.version for plant in self.plants)

    def machines(self) -> Iterator[LiveMachine]:
        """Yield all machines, in the order of their configurations, then in the order in which they were heard."""
        for plant in self.plants:
            yield from plant.machines.values()

    def find(self, path: MachinePath) -> tuple[Plant, LiveMachine] | None:
        """Return a machine with its plant, None where nobody knows it."""
        for plant in self.plants:
            if (machine := plant.machines.get(path)) is not None:
                return plant, machine
        return None
