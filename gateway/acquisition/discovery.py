"""Points that only the device knows, such as all below a folder: found when it is connected to, and kept in a file.

What was found once stays a point, also while it is not there, until the search itself is written anew: a point that
comes and goes with every restart of its device would be none to rely on.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import structlog
from pydantic import ValidationError

from drivers.base import ValueType
from gateway.common.atomic_file import save_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from drivers.base import DiscoveredPoint, Group
    from gateway.settings.factory import Machine
    from gateway.settings.point import Point

log = structlog.get_logger()

MAX_POINTS = 10_000
"""Points of one search at the most."""

BECOMES = {
    ValueType.FLOAT: {ValueType.FLOAT, ValueType.INT},
    ValueType.INT: {ValueType.INT},
    ValueType.BOOL: {ValueType.BOOL},
    ValueType.STRING: {ValueType.STRING},
}
"""What a device has to hold to become a point of the type that a search declares; what it holds else is left out."""

DiscoveredSources = dict[str, dict[str, Any]]
"""The keys of sources as written, by the names of matches."""


class Discovery:
    """What the searches of all machines have found. `change` is set when there is more than before."""

    def __init__(self, file: Path) -> None:
        """Read what was found in former runs."""
        self.change = asyncio.Event()
        self._file = file
        self._machines: dict[str, Machine] = {}  # as they are configured, those with searches
        self._found: dict[str, DiscoveredSources] = {}
        try:
            found = orjson.loads(file.read_bytes())
            self._found = {str(key): {str(name): dict(keys) for name, keys in matches.items()}
                           for key, matches in found.items()}  # fmt: skip
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, AttributeError) as error:
            log.warning("searches.unreadable", file=str(file), error=repr(error))

    def configure(self, machines: Iterable[Machine]) -> list[Machine]:
        """Take machines as they are configured; return them with the points that are known of their searches."""
        machines = list(machines)
        self._machines = {str(machine.path): machine for machine in machines if machine.searches}
        return [self.expanded(machine) for machine in machines]

    def expanded(self, machine: Machine) -> Machine:
        """Return a machine with the points that are known now of its searches."""
        configured = self._machines.get(str(machine.path))
        if configured is None:
            return machine
        points = {point.name: point for point in configured.points}
        found: dict[str, str] = {}
        for search in configured.searches:
            for point in self._points(configured, search):
                if points.setdefault(point.name, point) is point:
                    found[point.name] = search.name
        return replace(configured, points=tuple(points.values()), found=found)

    def _points(self, machine: Machine, search: Point) -> Iterator[Point]:
        yield from points_of(search, self._found.get(_key(str(machine.path), search), {}))

    def learn(self, group: Group, position: int, matches: Sequence[DiscoveredPoint]) -> None:
        """Take what a search has found."""
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
        try:
            save_json(self._file, self._found)
        except OSError as error:  # a full disk: it is found again after the next start
            log.warning("searches.not_saved", file=str(self._file), error=str(error))
        self.change.set()


def fitting(search: Point, matches: Sequence[DiscoveredPoint]) -> DiscoveredSources:
    """Return those of what was found that can become a point of the type that the search declares."""
    return {one.name: dict(one.keys) for one in matches if one.type in BECOMES[search.type]}


def points_of(search: Point, found: DiscoveredSources) -> Iterator[Point]:
    """Yield the points that a search stands for, where these were found."""
    for name, keys in found.items():
        try:
            source = type(search.source).model_validate(keys)
        except ValidationError:  # written by another version
            continue
        yield search.model_copy(update={"name": f"{search.name}_{name}", "source": source})


def _key(machine: str, search: Point) -> str:
    """Return what a search is known by: written anew, it begins anew."""
    return f"{machine} {search.name} {orjson.dumps(search.source.written(), default=str).decode()} {search.type}"
