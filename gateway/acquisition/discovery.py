"""Discover points on the device, such as all points below a folder, and keep them in a file.

A discovered point remains, even while the device does not have it, until the configuration of the search changes:
points that come and go with every restart of their device would be useless.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import structlog
from pydantic import ValidationError

from drivers.base import ValueType
from gateway.common.atomic_file import JsonEntries

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from drivers.base import DiscoveredPoint, Group
    from gateway.settings.factory import Machine
    from gateway.settings.point import Point

log = structlog.get_logger(__name__)

MAX_POINTS = 10_000
"""Points of one search; further points are not read."""

BECOMES = {
    ValueType.FLOAT: {ValueType.FLOAT, ValueType.INT},
    ValueType.INT: {ValueType.INT},
    ValueType.BOOL: {ValueType.BOOL},
    ValueType.STRING: {ValueType.STRING},
    ValueType.JSON: {ValueType.JSON},
}
"""The device types that can become a point of the declared type of a search; others are left out."""

DiscoveredSources = dict[str, dict[str, Any]]
"""The keys of sources as written, by the names of discovered points."""

GATHER = 1.0
"""Seconds for which discoveries are collected before the file is written and the points are read."""


class Discovery:
    """The discovered points of all machines."""

    def __init__(self, file: Path) -> None:
        """Prepare; no I/O before `load`."""
        self._file = JsonEntries(file)
        self._machines: dict[str, Machine] = {}  # as they are configured, those with searches
        self._expanded: dict[str, Machine] = {}  # with their discovered points
        self._found: dict[str, DiscoveredSources] = {}
        self._changed: set[str] = set()  # machines with discovered points that are not read yet
        self._change = asyncio.Event()

    def load(self) -> None:
        """Read the file of former runs, before `configure`."""
        self._found |= _read(self._file)

    def inherit(self, searches: Mapping[str, DiscoveredSources], machines: Collection[str]) -> None:
        """Add the points of machines that another worker read before; `searches` is the content of its file.

        Call it before `configure`.
        """
        for key, found in searches.items():
            if key.partition(" ")[0] in machines:
                self._found[key] = found
                self._file.set(key, orjson.dumps(found))

    async def save(self) -> None:
        """Write the file if it has to change."""
        await self._file.save()

    def configure(self, machines: Iterable[Machine]) -> list[Machine]:
        """Set the configured machines; return them with their discovered points."""
        machines = list(machines)
        self._machines = {str(machine.path): machine for machine in machines if machine.searches}
        self._expanded = {}
        return [self.expanded(machine) for machine in machines]

    def expanded(self, machine: Machine) -> Machine:
        """Return a machine with its discovered points."""
        path = str(machine.path)
        configured = self._machines.get(path)
        if configured is None:
            return machine
        if path not in self._expanded:
            self._expanded[path] = _expand(configured, self._found)
        return self._expanded[path]

    def learn(self, group: Group, position: int, matches: Sequence[DiscoveredPoint]) -> None:
        """Add the points that a search has found."""
        machine = self._machines.get(group.machine)
        name = group.names[position]
        search = next((one for one in machine.searches if one.name == name), None) if machine is not None else None
        if search is None:
            return
        key = _key(group.machine, search)
        known = self._found.get(key, {})
        now = known | fitting(search, matches)
        if len(now) > MAX_POINTS:
            log.warning("search.too_many", machine=group.machine, search=name, found=len(now), most=MAX_POINTS)
            now = dict(list(now.items())[:MAX_POINTS])
        if now == known:
            return
        log.info(
            "search.found", machine=group.machine, search=name, points=len(now), new=len(now.keys() - known.keys())
        )
        self._found[key] = now
        self._file.set(key, orjson.dumps(now))
        self._changed.add(group.machine)
        self._change.set()

    async def wait(self) -> list[Machine]:
        """Wait for new discoveries; return the machines that they belong to, with all their points.

        Discoveries are collected for `GATHER` seconds. Threads write them to the file, and make points of them.
        """
        await self._change.wait()
        await asyncio.sleep(GATHER)
        self._change.clear()
        changed, self._changed = self._changed, set()
        await self._file.save()
        configured = [self._machines[path] for path in changed if path in self._machines]
        found = dict(self._found)
        for machine in configured:
            expanded = await asyncio.to_thread(_expand, machine, found)
            if self._machines.get(str(machine.path)) is machine:
                self._expanded[str(machine.path)] = expanded
        return [self.expanded(machine) for machine in configured]


def read_found(file: Path) -> dict[str, DiscoveredSources]:
    """Return the points in a file of discovered points, by search. A file that can't be read is logged."""
    return _read(JsonEntries(file))


def _read(file: JsonEntries) -> dict[str, DiscoveredSources]:
    """Return the points in a file, by search; an entry that is not as `Discovery` writes it is logged."""
    searches: dict[str, DiscoveredSources] = {}
    for key, matches in file.load().items():
        try:
            searches[key] = {name: dict(keys) for name, keys in matches.items()}
        except (ValueError, TypeError, AttributeError) as error:
            file.unreadable(error)
    return searches


def _expand(machine: Machine, known: Mapping[str, DiscoveredSources]) -> Machine:
    points = {point.name: point for point in machine.points}
    derived = {point.name for point in machine.derived}
    found: dict[str, str] = {}
    for search in machine.searches:
        for point in points_of(search, known.get(_key(str(machine.path), search), {})):
            if point.name not in derived and points.setdefault(point.name, point) is point:
                found[point.name] = search.name
    return replace(machine, points=tuple(points.values()), found=found)


def fitting(search: Point, matches: Sequence[DiscoveredPoint]) -> DiscoveredSources:
    """Return the sources that can become a point of the type that the search declares."""
    return {one.name: dict(one.keys) for one in matches if one.type in BECOMES[search.type]}


def points_of(search: Point, found: DiscoveredSources) -> Iterator[Point]:
    """Yield the points of a search, given their sources."""
    for name, keys in found.items():
        try:
            source = type(search.source).model_validate(keys)
        except ValidationError:  # written by another version
            continue
        yield search.model_copy(update={"name": f"{search.name}_{name}", "source": source})


def _key(machine: str, search: Point) -> str:
    """Return the key of a search in the file: a search with a changed configuration starts again."""
    return f"{machine} {search.name} {orjson.dumps(search.source.written(), default=str).decode()} {search.type}"
