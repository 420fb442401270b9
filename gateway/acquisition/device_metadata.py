"""Combine the configured metadata of points with the metadata that devices report, and keep it in files.

Configured metadata comes first. The reported metadata is kept in a file, so that the first readings of the next run
have their units. Earlier descriptions are kept too, because records in the spool name them: a description is on disk
before the first record names it, and until the last such record is confirmed.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from drivers.base import PointMetadata, ValueType
from gateway.common.atomic_file import JsonEntries
from gateway.model.metadata import VERSION, MachineMeta, read_meta, write_meta
from gateway.model.path import MachinePath
from gateway.settings.derivation import Derivation
from gateway.settings.results import content_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from drivers.base import Group
    from gateway.mqtt.topics import Topics
    from gateway.settings.factory import Machine
    from gateway.settings.point import Point

GATHER = 1.0
"""Seconds for which metadata of devices is collected before it is published, because that writes files."""

PRUNE_EVERY = 60.0
"""Seconds between two removals of descriptions that no record names any more."""

EARLIER = 4
"""Earlier descriptions of a machine that are published with the present description, and always kept."""

MAX_EARLIER = 1000
"""Earlier descriptions of a machine that are kept while records name them."""

Reported = dict[str, PointMetadata]
"""The metadata that a device reports, by the points' names."""


class MachineDescription(NamedTuple):
    """The description of a machine, as published and as in the file. Records name its id."""

    path: MachinePath
    meta: MachineMeta
    payload: bytes
    versions: bytes


@dataclass(slots=True)
class _Version:
    """A present or past description of a machine; if past, `until` is the first record that does not name it."""

    meta: MachineMeta
    until: int | None = None


def filled(machine: Machine, reported: Mapping[str, PointMetadata]) -> Machine:
    """Return a machine with the metadata that its device reports, if none is configured."""
    points = tuple(
        _filled(point, reported[point.name]) if point.name in reported else point for point in machine.points
    )
    return replace(machine, points=points)


def _filled(point: Point, reported: PointMetadata) -> Point:
    number = point.type in {ValueType.INT, ValueType.FLOAT}
    new: dict[str, Any] = {}
    if reported.unit and not point.unit and number and (point.scale, point.offset) == (1, 0):
        new["unit"] = reported.unit
    if reported.range is not None and point.range is None and number:
        ends = sorted(end * point.scale + point.offset for end in reported.range)
        new["range"] = (ends[0], ends[1])
    if reported.labels and not point.labels and point.type is ValueType.INT and (point.scale, point.offset) == (1, 0):
        new["labels"] = dict(reported.labels)
    if reported.description and not point.description:
        new["description"] = reported.description
    return point.model_copy(update=new) if new else point


def encode_meta(
    machine: Machine,
    earlier: Iterable[MachineMeta] = (),
    reported: Mapping[str, PointMetadata] = MappingProxyType({}),
) -> bytes:
    """Return the payload of a machine's `meta` topic, with its earlier descriptions and revised parameters."""
    content = {
        "v": VERSION,
        "id": machine.meta.id,
        "template": machine.template,
        "protocol": machine.protocol.name,
        "points": {point.name: _point(point, reported.get(point.name)) for point in machine.all_points},
    }
    if before := [write_meta(meta) for meta in earlier]:
        content["earlier"] = before
    return orjson.dumps(content, option=orjson.OPT_NON_STR_KEYS)


def _point(point: Point, reported: PointMetadata | None) -> dict[str, Any]:
    content: dict[str, Any] = {"type": point.type, "unit": point.unit, "every": point.every}
    if quiet := _longest_pause(point):
        content["at_least_every"] = quiet
    if point.description:
        content["description"] = point.description
    if point.range is not None:
        content["range"] = point.range
    if point.labels:
        content["labels"] = point.labels
    if isinstance(point.source, Derivation):
        content["expression"] = point.source.expression
    if kind := content_of(point):
        content["content"] = kind
    if reported is not None and reported.revised:
        content["revised"] = dict(reported.revised)
    return content


def _longest_pause(point: Point) -> float:
    """Return the longest time between two readings of a point that is read, in seconds; 0 where there is no limit.

    A server that pushes changes sends nothing while a value stays, unless somebody wrote `at_least_every`. A derived
    point has a reading with each scan of an input that is read, and none while its inputs are pushed and stay.
    """
    every = point.every
    if isinstance(point.source, Derivation):
        periods = [one.every for one in point.source.program.inputs if not one.pushed]
        if not periods:
            return 0.0
        every = max(every, min(periods))
    elif point.source.pushed or content_of(point):
        return point.at_least_every if point.repeated and not point.source.events else 0.0
    return max(every, point.at_least_every) if point.on_change or point.deadband is not None else every


class DeviceMetadata:
    """The descriptions of a gateway's machines. `payloads` are published, by topic; `change` is set if any is new."""

    def __init__(
        self,
        machines: Sequence[Machine],
        topics: Topics,
        folder: Path,
        name: str,
        spooled: Callable[[], tuple[int, int]] = lambda: (0, 0),
    ) -> None:
        """Prepare; no I/O before `begin`.

        `spooled` returns the numbers of the spool's oldest record and of the next record.
        """
        self.payloads: dict[str, bytes] = {}
        self.change = asyncio.Event()
        self._configured = {str(machine.path): machine for machine in machines}
        self._topics = topics
        self._spooled = spooled
        self._folder = folder
        self._reported_file = _reported_file(folder, name)
        self._versions_file = _versions_file(folder, name)
        self._reported: dict[str, Reported] = {}
        self._versions: dict[str, list[_Version]] = {}  # by machine path, the latest first
        self._ids = {machine.path: machine.meta.id for machine in machines}
        self._pending: set[str] = set()  # machines whose devices have reported new metadata
        self._learned = asyncio.Event()
        self._new: set[str] = set()  # topics
        self._describing = asyncio.Lock()

    async def begin(self, sources: Mapping[str, Collection[str]] = MappingProxyType({})) -> None:
        """Describe all machines, with the metadata that their devices reported in the last run.

        `sources` is as for `inherit`.
        """
        await asyncio.to_thread(self._load)
        await self.inherit(sources)
        self._publish(await self._describe(self._configured.values()))
        self.take_changed()  # all are published at the start

    def _load(self) -> None:
        self._reported |= _load_reported(self._reported_file)
        _, following = self._spooled()
        for path, metas in _load_metas(self._versions_file).items():
            self._versions[path] = [_Version(meta, following) for meta in metas]

    async def inherit(self, sources: Mapping[str, Collection[str]]) -> None:
        """Take the metadata of machines that other workers read before, from their files.

        `sources` are the machine paths, by the name that the files of a worker begin with.
        """
        for name, machines in sources.items():
            reported, metas = await asyncio.to_thread(_load_files, self._folder, name)
            self._reported |= {path: one for path, one in reported.items() if path in machines}
            for path in metas.keys() & set(machines):
                known = {version.meta.id for version in self._versions.setdefault(path, [])}
                self._versions[path] += [
                    _Version(meta, self._spooled()[1]) for meta in metas[path] if meta.id not in known
                ]

    async def run(self) -> None:
        """Publish reported metadata, and remove descriptions that no record names any more, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(PRUNE_EVERY):
                    await self._learned.wait()
                    await asyncio.sleep(GATHER)
            self._learned.clear()
            pending, self._pending = self._pending, set()
            self._publish(
                await self._describe([self._configured[path] for path in pending if path in self._configured])
            )
            await self._prune()

    def id_of(self, path: MachinePath) -> str:
        """Return the id of a machine's present description, which its records name."""
        return self._ids[path]

    def find(self, wanted: str) -> tuple[MachinePath, MachineMeta] | None:
        """Return the description of an id, with a machine that has or had it; None if the id is unknown."""
        return self.describe([wanted]).get(wanted)

    def describe(self, wanted: Iterable[str]) -> dict[str, tuple[MachinePath, MachineMeta]]:
        """Return the known descriptions by id, each with a machine that has or had it."""
        missing = set(wanted)
        found: dict[str, tuple[MachinePath, MachineMeta]] = {}
        for path, versions in self._versions.items():
            for version in versions:
                if version.meta.id in missing:
                    missing.discard(version.meta.id)
                    found[version.meta.id] = MachinePath(*path.split("/")), version.meta
            if not missing:
                break
        return found

    def learn(self, group: Group, reported: Sequence[PointMetadata]) -> bool:
        """Store the metadata that a device reports for the points of a group. Return True if some of it is new."""
        if not reported:
            return False
        known = self._reported.get(group.machine, {})
        new = {
            name: one
            for name, one in zip(group.names, reported, strict=True)
            if known.get(name, PointMetadata()) != one
        }
        if new:
            self._reported[group.machine] = known | new  # a new object: a thread may read the old object
            self._pending.add(group.machine)
            self._learned.set()
        return bool(new)

    def take_changed(self) -> dict[str, bytes]:
        """Return the payloads, by topic, that changed since the last call."""
        self.change.clear()
        changed, self._new = self._new, set()
        return {topic: self.payloads[topic] for topic in changed}

    async def prepare(self, machines: Sequence[Machine]) -> list[MachineDescription]:
        """Describe future machines for `switch`; the descriptions are on disk when this returns.

        A failed write is logged; then the descriptions are lost when the gateway stops.
        """
        return await self._describe(machines)

    def switch(self, described: Iterable[MachineDescription], machines: Iterable[Machine]) -> None:
        """Use these descriptions for new records; `machines` are all machines."""
        before, self._configured = self._configured, {str(machine.path): machine for machine in machines}
        self._publish(described)
        if before.keys() == self._configured.keys():
            return
        there = {self._topics.meta(machine.path) for machine in self._configured.values()}
        self.payloads = {topic: payload for topic, payload in self.payloads.items() if topic in there}
        self._new &= there

    async def _describe(self, machines: Iterable[Machine]) -> list[MachineDescription]:
        """Describe machines with the metadata that their devices report, and save it, in threads."""
        async with self._describing:
            reported = [(machine, self._reported.get(str(machine.path), {})) for machine in machines]
            described, written = await asyncio.to_thread(self._encode, reported)
            for path, content in written.items():
                self._reported_file.set(path, content)
            for one in described:
                self._versions_file.set(str(one.path), one.versions)
                versions = self._versions.setdefault(str(one.path), [])
                known = [version for version in versions if version.meta.id == one.meta.id]
                others = [version for version in versions if version.meta.id != one.meta.id]
                versions[:] = [*known, *others] if known else [_Version(one.meta), *others]
                versions[0].until = None
            await self._reported_file.save()
            await self._versions_file.save()
            return described

    def _encode(
        self, reported: Iterable[tuple[Machine, Reported]]
    ) -> tuple[list[MachineDescription], dict[str, bytes]]:
        described, written = [], {}
        # machines of one template have equal descriptions, which are kept once
        metas: dict[str, MachineMeta] = {}
        texts: dict[bytes, bytes] = {}
        for machine, points in reported:
            whole, path = filled(machine, points), str(machine.path)
            meta = whole.meta
            meta = metas.setdefault(meta.id, meta)
            before = [version.meta for version in self._versions.get(path, ()) if version.meta.id != meta.id]
            versions = orjson.dumps([write_meta(one) for one in (meta, *before)])
            payload = encode_meta(whole, before[:EARLIER], points)
            payload, versions = texts.setdefault(payload, payload), texts.setdefault(versions, versions)
            described.append(MachineDescription(machine.path, meta, payload, versions))
            if points:
                written[path] = orjson.dumps(_written(points))
        return described, written

    def _publish(self, described: Iterable[MachineDescription]) -> None:
        _, following = self._spooled()
        for one in described:
            self._ids[one.path] = one.meta.id
            for version in self._versions[str(one.path)]:
                if version.until is None and version.meta.id != one.meta.id:
                    version.until = following
            topic = self._topics.meta(one.path)
            if self.payloads.get(topic) != one.payload:
                self.payloads[topic] = one.payload
                self._new.add(topic)
        if self._new:
            self.change.set()

    async def _prune(self) -> None:
        """Remove descriptions that no record in the spool can name; a few are kept, as they are published."""
        oldest, _ = self._spooled()
        async with self._describing:
            for path, versions in self._versions.items():
                if len(versions) <= 1 + EARLIER:
                    continue
                kept = versions[: 1 + EARLIER] + [
                    version
                    for version in versions[1 + EARLIER : 1 + MAX_EARLIER]
                    if version.until is None or version.until > oldest
                ]
                if len(kept) < len(versions):
                    versions[:] = kept
                    self._versions_file.set(path, orjson.dumps([write_meta(version.meta) for version in kept]))
            await self._versions_file.save()


def reported_metadata(folder: Path, name: str) -> dict[str, Reported]:
    """Return the metadata that the devices of a gateway reported in its last run, by machine path."""
    return _load_reported(_reported_file(folder, name))


def _versions_file(folder: Path, name: str) -> JsonEntries:
    return JsonEntries(folder / f"{name}.metas.json")


def _load_files(folder: Path, name: str) -> tuple[dict[str, Reported], dict[str, list[MachineMeta]]]:
    return _load_reported(_reported_file(folder, name)), _load_metas(_versions_file(folder, name))


def _load_metas(file: JsonEntries) -> dict[str, list[MachineMeta]]:
    found: dict[str, list[MachineMeta]] = {}
    for path, metas in file.load().items():
        try:
            found[path] = [read_meta(meta) for meta in metas]
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            file.unreadable(error)
    return found


def _reported_file(folder: Path, name: str) -> JsonEntries:
    return JsonEntries(folder / f"{name}.told.json")


def _load_reported(file: JsonEntries) -> dict[str, Reported]:
    found: dict[str, Reported] = {}
    for path, points in file.load().items():
        try:
            found[path] = {name: _read(one) for name, one in points.items()}
        except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
            file.unreadable(error)
    return found


def _written(reported: Reported) -> dict[str, Any]:
    return {
        name: asdict(one) | {"labels": {str(number): label for number, label in one.labels.items()}}
        for name, one in reported.items()
        if one != PointMetadata()
    }


def _read(data: Any) -> PointMetadata:  # noqa: ANN401 - JSON of a file
    low_high = data["range"]
    return PointMetadata(
        unit=data["unit"],
        range=None if low_high is None else (low_high[0], low_high[1]),
        labels={int(number): label for number, label in data["labels"].items()},
        description=data["description"],
        revised={str(name): float(value) for name, value in data.get("revised", {}).items()},
    )
