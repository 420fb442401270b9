"""What is published of every machine: what the configuration says of its points; where that is silent, the device.

What a device says is kept in a file, so that the first readings of the next run already have their units.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import structlog

from drivers.base import PointMetadata, ValueType
from gateway.acquisition.metadata_history import MetaHistory, encode_meta
from gateway.common.atomic_file import save_json
from gateway.model.path import MachinePath  # noqa: TC001 - of a NamedTuple's field

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from drivers.base import Group
    from gateway.mqtt.topics import Topics
    from gateway.settings.factory import Machine
    from gateway.settings.point import Point

log = structlog.get_logger()

GATHER = 1.0
"""Seconds in which devices' words are gathered, since each writes files."""

Told = dict[str, PointMetadata]
"""What a device says, by the points' names."""


class MachineDescription(NamedTuple):
    """What is published of a machine; `id` is what its records name."""

    path: MachinePath
    id: str
    payload: bytes


def filled(machine: Machine, told: Mapping[str, PointMetadata]) -> Machine:
    """Return a machine whose points have what the device says of them, where the configuration says nothing."""
    points = tuple(_filled(point, told[point.name]) if point.name in told else point for point in machine.points)
    return replace(machine, points=points)


def _filled(point: Point, about: PointMetadata) -> Point:
    number = point.type in {ValueType.INT, ValueType.FLOAT}
    new: dict[str, Any] = {}
    if about.unit and not point.unit and number and (point.scale, point.offset) == (1, 0):
        new["unit"] = about.unit
    if about.range is not None and point.range is None and number:
        ends = sorted(end * point.scale + point.offset for end in about.range)
        new["range"] = (ends[0], ends[1])
    if about.labels and not point.labels and point.type is ValueType.INT and (point.scale, point.offset) == (1, 0):
        new["labels"] = dict(about.labels)
    if about.description and not point.description:
        new["description"] = about.description
    return point.model_copy(update=new) if new else point


class DeviceMetadata:
    """The descriptions of a gateway's machines. `payloads` are published, by topic; `change` is set for new ones."""

    def __init__(self, machines: Sequence[Machine], topics: Topics, folder: Path, name: str) -> None:
        """Prepare; files are read and written by `begin` and after."""
        self.payloads: dict[str, bytes] = {}
        self.change = asyncio.Event()
        self._configured = {str(machine.path): machine for machine in machines}
        self._topics = topics
        self._file = folder / f"{name}.told.json"
        self._history = MetaHistory(folder / f"{name}.metas.json")
        self._told: dict[str, Told] = {}
        self._ids = {machine.path: machine.meta.id for machine in machines}
        self._pending: set[str] = set()
        self._new: set[str] = set()
        self._preparing = False

    def begin(self) -> None:
        """Describe all machines, with what their devices said in the last run. Raises `OSError`."""
        try:
            told = orjson.loads(self._file.read_bytes())
            self._told = {path: {name: _read(one) for name, one in points.items()} for path, points in told.items()}
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            log.warning("descriptions.unreadable", file=str(self._file), error=repr(error))
        self._publish(self._describe(self._configured.values()))
        self.take_changed()  # all are published at first

    def id_of(self, path: MachinePath) -> str:
        """Return the id of a machine's present description, which its records name."""
        return self._ids[path]

    def learn(self, group: Group, told: Sequence[PointMetadata]) -> None:
        """Take what a device says of a group's points."""
        if not told:
            return
        known = self._told.setdefault(group.machine, {})
        new = {
            name: one for name, one in zip(group.names, told, strict=True) if known.get(name, PointMetadata()) != one
        }
        if not new:
            return
        known |= new
        if not self._pending:
            asyncio.get_running_loop().call_later(GATHER, self._flush)
        self._pending.add(group.machine)

    def take_changed(self) -> dict[str, bytes]:
        """Return the payloads, by topic, that changed since the last call."""
        self.change.clear()
        changed, self._new = self._new, set()
        return {topic: self.payloads[topic] for topic in changed}

    async def prepare(self, machines: Sequence[Machine]) -> list[MachineDescription]:
        """Describe machines as they will be, for `switch`; what they were is kept too. Raises `OSError`."""
        self._preparing = True  # both read and write the same files
        try:
            return await asyncio.to_thread(self._describe, machines)
        finally:
            self._preparing = False

    def switch(self, described: Iterable[MachineDescription], machines: Iterable[Machine]) -> None:
        """Let records name these descriptions from now on; `machines` are all that there are."""
        self._configured = {str(machine.path): machine for machine in machines}
        self._publish(described)
        there = {self._topics.meta(machine.path) for machine in self._configured.values()}
        self.payloads = {topic: payload for topic, payload in self.payloads.items() if topic in there}
        self._new &= there

    def _flush(self) -> None:
        if self._preparing:
            asyncio.get_running_loop().call_later(GATHER, self._flush)
            return
        pending, self._pending = self._pending, set()
        try:
            save_json(self._file, {path: _written(told) for path, told in self._told.items()})
            self._publish(self._describe([self._configured[path] for path in pending if path in self._configured]))
        except OSError as error:  # a full disk: what is told is told again after the next start
            log.warning("descriptions.not_kept", file=str(self._file), error=repr(error))

    def _describe(self, machines: Iterable[Machine]) -> list[MachineDescription]:
        whole = [filled(machine, self._told.get(str(machine.path), {})) for machine in machines]
        earlier = self._history.update(whole)
        return [
            MachineDescription(machine.path, machine.meta.id, encode_meta(machine, earlier[machine.path]))
            for machine in whole
        ]

    def _publish(self, described: Iterable[MachineDescription]) -> None:
        for one in described:
            self._ids[one.path] = one.id
            topic = self._topics.meta(one.path)
            if self.payloads.get(topic) != one.payload:
                self.payloads[topic] = one.payload
                self._new.add(topic)
        if self._new:
            self.change.set()


def _written(told: Told) -> dict[str, Any]:
    return {
        name: asdict(one) | {"labels": {str(number): label for number, label in one.labels.items()}}
        for name, one in told.items()
        if one != PointMetadata()
    }


def _read(data: Any) -> PointMetadata:  # noqa: ANN401 - what stands in a file
    low_high = data["range"]
    return PointMetadata(
        unit=data["unit"],
        range=None if low_high is None else (low_high[0], low_high[1]),
        labels={int(number): label for number, label in data["labels"].items()},
        description=data["description"],
    )
