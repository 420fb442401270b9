"""The section `lines`: from lines as written to machines, one by one.

Machines whose derived points name points of others of their line are finished after all machines were read.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

import drivers
from drivers.base import as_written
from drivers.url import split_url
from gateway.common.setting_types import check_name
from gateway.model.metadata import MAX_POINTS
from gateway.model.path import MachinePath
from gateway.settings.calendar import CalendarSection
from gateway.settings.factory import Machine, Place
from gateway.settings.line_points import LinePoints
from gateway.settings.line_sections import LineSection, MachineSection
from gateway.settings.machine_ranges import machines_of
from gateway.settings.parameters import LITERAL, fill, plain
from gateway.settings.parts import by_place
from gateway.settings.paths import anchored_connection, movable_connection
from gateway.settings.problems import Severity
from gateway.settings.production import Planned
from gateway.settings.serialize import duration
from gateway.settings.templates import BegunTemplate, Use
from gateway.settings.validation import explain, usable, validate, with_texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from drivers.base import Connection, Protocol
    from gateway.settings.document import Document
    from gateway.settings.machine_ranges import Numbered
    from gateway.settings.parameters import Scalar
    from gateway.settings.point import Point
    from gateway.settings.sections import FactorySection
    from gateway.settings.template_points import TemplatePoints
    from gateway.settings.templates import Template, Templates


MOST_MACHINES, MOST_POINTS = 20_000, 1_000_000
"""Machines of a factory, and their points: far more than one gateway reads, and still loaded within a minute."""


class Machines:
    """The machines of a factory's files. Problems are reported in their documents."""

    def __init__(
        self,
        documents: Sequence[Document],
        factory: FactorySection | None,
        templates: Templates,
        calendar: CalendarSection | None = None,
    ) -> None:
        self._documents = documents
        self._calendar = CalendarSection() if calendar is None else calendar
        self._factory = factory
        self._templates = templates
        self._lines: dict[str, Place] = {}
        self._line_points: dict[str, LinePoints] = {}
        self._keys: dict[str, list[str]] = {}  # of the machines of each line
        self._names: dict[str, set[str]] = {}  # of all machines of each line
        self._waiting: list[_Waiting] = []
        self._devices: dict[object, MachinePath] = {}
        self._endpoints: dict[object, _Endpoint] = {}
        self._count = self._points = 0
        self._full = False

    def all(self) -> list[Machine]:
        """Return the machines that are right."""
        found: list[Machine | _Waiting] = []
        for document in self._documents:
            lines = document.data.get("lines") if isinstance(document.data, dict) else None
            if isinstance(lines, dict) and lines:
                for name, written in lines.items():
                    found += self._line(name, written, Place(document, ("lines", name)))
            elif lines is not None:
                what = "has no line" if lines == {} else "is not a mapping of keys to values"
                document.report(("lines",), f"{what}; write NAME: {{area: ..., machines: ...}} for each line")
        if all(not isinstance(one.data, dict) or one.data.get("lines") is None for one in self._documents):
            self._documents[0].report(("lines",), "is missing; write lines, or include: [lines/*.yaml]")
        complete = [one for one in found if isinstance(one, Machine)]
        if not self._waiting:
            return complete
        self._finish(complete)
        return [one for whole in found if (one := whole if isinstance(whole, Machine) else whole.machine) is not None]

    def _finish(self, complete: Sequence[Machine]) -> None:
        """Finish the machines that wait for points of others of their lines: those of all are known now."""
        for machine in complete:
            parts = self._templates.parts(machine.template, Place(self._documents[0], ()))
            points = (*machine.points, *machine.searches, *machine.derived)
            off = {*machine.written.get("points", ()), *machine.written.get("derive", ())}
            off |= set() if parts is None else parts.off(points)
            self._line_points[machine.path.line].add(machine.path.machine, points, off)
        self._names = {line: self._names_in(line) for line in self._keys}
        for line, points_of_line in self._line_points.items():
            points_of_line.add_wrong(self._names[line] - points_of_line.machines)
        for waiting in self._waiting:
            template = waiting.template.finish()
            if waiting.connected is None:
                continue
            machine = self._whole(waiting.connected, template)
            if not self._too_many(machine, waiting.connected.place):
                waiting.machine = machine

    def _names_in(self, line: str) -> set[str]:
        """Return the names of all machines that are written for a line, also of those that are wrong."""
        found: set[str] = set()
        for key in self._keys[line]:
            with suppress(ValueError):  # reported where the section was validated
                found.update(one.name for one in machines_of(key))
        return found

    def _lines_with(self, machine: str) -> list[str]:
        return [line for line, names in self._names.items() if machine in names]

    def _line(self, name: str, written: Any, place: Place) -> list[Machine | _Waiting]:  # noqa: ANN401 - what a user wrote
        try:
            check_name(name)
        except ValueError as error:
            place.report(str(error))
        if (other := self._lines.setdefault(name, place)) is not place:
            line = other.document.line(other.path)
            place.report(
                f"there is another line {name}, in {other.document.file}:{line}; their topics would be the same"
            )
        section = validate(LineSection, place.document, written, place.path)
        area = None if section is None else section.area
        found: list[Machine | _Waiting] = []
        taken: dict[str, str] = {}
        self._line_points.setdefault(name, LinePoints(name, self._lines_with))
        machines = _usable_machines(written) if section is None else section.machines
        self._keys.setdefault(name, []).extend(machines)
        for key, machine in machines.items():
            here = Place(place.document, (*place.path, "machines", key))
            found += self._of_key(key, machine, here, MachinePath("", "", area or "", name, ""), taken)
        return [] if section is None else found

    def _of_key(
        self, key: str, section: MachineSection, place: Place, line: MachinePath, taken: dict[str, str]
    ) -> Iterator[Machine | _Waiting]:
        """Yield the machines of one key; after the first that is wrong the others are left: they are like it."""
        try:
            numbered = machines_of(key)
        except ValueError:
            numbered = []  # reported where the section was validated
        parts = self._templates.parts(section.template, Place(place.document, (*place.path, "template")))
        if parts is None:
            return
        doubled = False
        for one in numbered:
            if self._full:
                return
            if taken.setdefault(one.name, key) != key:
                if not doubled:
                    place.report(_twice(one.name, taken[one.name], key))
                doubled = True
                continue
            before = len(place.document.problems)
            machine = self._machine(one, section, parts, place, line)
            if machine is None:
                if one.number is not None:
                    named = [
                        p._replace(message=f"{p.message} (in {one.name})") for p in place.document.problems[before:]
                    ]
                    place.document.problems[before:] = named
                return
            if isinstance(machine, Machine) and self._too_many(machine, place):
                return
            yield machine

    def _too_many(self, machine: Machine, place: Place) -> bool:
        """Count a machine with its points; return whether a limit is exceeded, after reporting that once."""
        points = len(machine.all_points) + len(machine.searches)
        self._count += 1
        self._points += points
        if points > MAX_POINTS:
            place.report(f"has {points:,} points; the limit for one machine is {MAX_POINTS:,}")
            return True
        if self._count <= MOST_MACHINES and self._points <= MOST_POINTS:
            return False
        self._full = True
        limit = f"{MOST_MACHINES:,} machines" if self._count > MOST_MACHINES else f"{MOST_POINTS:,} points"
        place.report(f"the factory has more than {limit}; give the others a gateway and a configuration of their own")
        return True

    def _machine(
        self, one: Numbered, section: MachineSection, parts: TemplatePoints, place: Place, line: MachinePath
    ) -> Machine | _Waiting | None:
        names: dict[str, Scalar] = {"machine": one.name, "line": line.line, "area": line.area}
        if one.number is not None:
            names["n"] = one.number
        parameters = _filled(section.parameters, names, place, "parameters")
        if parameters is None:
            return None
        values = parts.values(parameters, place)
        names |= values or {}
        connection = _filled_connection(section.connection, names, place)
        points = _changes(section.points, names, place, "points")
        derive = _changes(section.derive, names, place, "derive")
        alarms = _changes(section.alarms, names, place, "alarms")
        worked = _work(section, names, place)
        production = _filled(section.production, names, place, "production")
        if (
            connection is None or points is None or derive is None or alarms is None or worked is None
            or production is None
        ):  # fmt: skip
            return None
        use = Use(place, parameters, points, derive, alarms, worked, production)
        if values is None:
            self._connection(parts.protocol, connection[""], place)
            return None
        on_line = self._line_points[line.line]
        begun = BegunTemplate.begin(parts, values, use, one.name, on_line)
        if begun.waiting is None:
            template = begun.finish()
            connected = self._connect(begun, section, connection[""], line, one.name)
            return None if connected is None else self._whole(connected, template)
        on_line.add_waiting(one.name, begun.waiting)
        connected = self._connect(begun, section, connection[""], line, one.name)
        self._waiting.append(_Waiting(begun, connected))
        return None if connected is None else self._waiting[-1]

    def _connect(
        self, begun: BegunTemplate, section: MachineSection, connection: object, line: MachinePath, name: str
    ) -> _Connected | None:
        """Return a machine with its connection and the points that are read; None after reporting a problem."""
        use, place = begun.use, begun.use.place
        at_connection = Place(place.document, (*place.path, "connection"))
        found = self._connection(begun.parts.protocol, connection, place)
        if found is None:
            return None
        settings, reach = found
        if not begun.points:
            if not place.document.errors and not any(p.severity is Severity.ERROR for p in self._templates.problems):
                place.report("there is no point to read: all are enabled: false")
            return None
        for position, message in begun.parts.protocol.check(settings, [point.source for point in begun.points]):
            at_connection.report(f"point {begun.points[position].name}: {message}")
        if self._factory is None:
            return None
        path = line._replace(enterprise=self._factory.enterprise, site=self._factory.site, machine=name)
        device = (section.template, settings, repr(use.parameters), repr(use.points))
        if (other := self._devices.setdefault(device, path)) != path:
            at_connection.report(f"this is the same device, read the same way, as {other}", Severity.WARNING)
        self._check_endpoint(settings, path, at_connection)
        written = {
            "template": section.template,
            "connection": movable_connection(reach, settings),
            "parameters": use.parameters,
            "points": use.points,
            "derive": use.derive,
            "alarms": use.alarms,
            "part": [keys for keys, _ in use.parts.values()],
            "production": use.production,
            "phase": None if section.phase is None else duration(section.phase),
        }
        kept = {key: plain(value) for key, value in written.items() if value}
        return _Connected(path, section.template, settings, kept, place, section.phase)

    def _connection(self, protocol: Protocol, written: object, place: Place) -> tuple[Connection, Any] | None:
        at_connection = Place(place.document, (*place.path, "connection"))
        return _connection(protocol, written, at_connection, self._documents[0].file.parent)

    def _whole(self, connected: _Connected, template: Template) -> Machine:
        path, name, settings, written, place, phase = connected
        to_read, searches = _parted(template.points)
        if phase is not None and to_read and all(point.source.pushed for point in to_read):
            message = "has no effect, since the device sends all points by itself; remove it, or poll some of them"
            Place(place.document, (*place.path, "phase")).report(message, Severity.WARNING)
        planned = None if template.production is None else Planned(template.production, self._calendar)
        calculated = () if planned is None else planned.production.all_points
        results = (*calculated, *template.results)
        return Machine(
            path, name, template.protocol, settings, to_read, template.derived, searches, written=written,
            place=place, results=results, alarms=template.alarms, operations=template.operations, production=planned,
            phase=phase,
        )  # fmt: skip

    def _check_endpoint(self, settings: Connection, path: MachinePath, place: Place) -> None:
        """Report options that differ from those of an earlier machine on the same serial line or connection."""
        identity = settings.exclusive_address()
        if identity is None:
            return
        mine = settings.shared()
        first = self._endpoints.setdefault((type(settings), identity), _Endpoint(mine, path, place))
        if mine == first.shared:
            return
        fields = type(mine).model_fields
        differing = [key for key in fields if getattr(mine, key) != getattr(first.shared, key, None)]
        values = ", ".join(
            f"{key} is {as_written(getattr(mine, key))} here and {as_written(getattr(first.shared, key))} there"
            for key in differing
        )
        line = first.place.document.line(first.place.path)
        where = f"{first.path.line}/{first.path.machine} ({first.place.document.file}:{line})"
        place.report(
            f"{path.line}/{path.machine} and {where} share {mine} and have different options: {values}; write the "
            "same for all machines there"
        )


class _Connected(NamedTuple):
    """All about a machine that does not depend on its derived points, as `Machine` has it."""

    path: MachinePath
    template: str
    settings: Connection
    written: Mapping[str, Any]
    place: Place
    phase: float | None


@dataclass(slots=True)
class _Waiting:
    """A machine whose derived points wait for those of others of the line.

    `connected` is None after a problem elsewhere, `machine` until it is finished.
    """

    template: BegunTemplate
    connected: _Connected | None
    machine: Machine | None = None


class _Endpoint(NamedTuple):
    """The first machine at an address or on a serial line, with the settings that the others must have, too."""

    shared: Connection
    path: MachinePath
    place: Place


def _parted(points: tuple[Point, ...]) -> tuple[tuple[Point, ...], tuple[Point, ...]]:
    """Return the points, and the searches for more; machines of a type share theirs."""
    searches = tuple(point for point in points if point.source.search)
    return (tuple(point for point in points if not point.source.search), searches) if searches else (points, ())


def _twice(name: str, first: str, key: str) -> str:
    ranges = [one for one in (first, key) if one != name]
    hint = f"; leave it out of {ranges[0]}, as in press-{{01..06,08..24}}" if ranges else ""
    return f"there is another {name}{f', of {first}' if first != name else ''}{hint}"


def _filled(
    written: Mapping[str, Any], names: Mapping[str, Scalar], place: Place, section: str, *, at_key: bool = True
) -> dict[str, Any] | None:
    """Return a section with the values of names in it, or None after reporting the values that can't be filled in."""
    found: dict[str, Any] = {}
    for key, value in written.items():
        try:
            found[key] = fill(value, names)
        except ValueError as error:
            path = (*place.path, section, key) if at_key else (*place.path, section)
            Place(place.document, path).report(str(error))
    return found if len(found) == len(written) else None


def _filled_connection(written: object, names: Mapping[str, Scalar], place: Place) -> dict[str, Any] | None:
    """Return a connection with the values of names in it, under the key "", or None after reporting."""
    if not isinstance(written, dict):
        return _filled({"": written}, names, place, "connection", at_key=False)
    filled = _filled(written, names, place, "connection")
    return None if filled is None else {"": filled}


def _changes(
    written: Mapping[str, dict[str, Any]], names: Mapping[str, Scalar], place: Place, section: str
) -> dict[str, dict[str, Any]] | None:
    """Return a machine's changes of points with parameters filled in, or None after reporting."""
    found: dict[str, dict[str, Any]] = {}
    for point, keys in written.items():
        literal = {key: value for key, value in keys.items() if key in LITERAL}
        others = {key: value for key, value in keys.items() if key not in LITERAL}
        filled = _filled(others, names, Place(place.document, (*place.path, section)), point)
        if filled is not None:
            found[point] = filled | literal
    return found if len(found) == len(written) else None


def _work(
    section: MachineSection, names: Mapping[str, Scalar], place: Place
) -> dict[str, tuple[dict[str, Any], Place]] | None:
    """Return a machine's changes of the work on parts by place, filled in, or None after reporting."""
    written = by_place(section.part, place.document, place.path)
    found: dict[str, tuple[dict[str, Any], Place]] = {}
    for name, (keys, at) in written.items():
        filled = _filled(keys, names, Place(at.document, at.path[:-1]), str(at.path[-1]))
        if filled is not None:
            found[name] = filled, at
    return found if len(found) == len(written) else None


def _usable_machines(written: Any) -> dict[str, MachineSection]:  # noqa: ANN401 - what a user wrote
    """Return the valid machines of an invalid line, so that all problems are reported at once."""
    machines = written.get("machines") if isinstance(written, dict) else None
    if not isinstance(machines, dict):
        return {}
    sections = {name: usable(MachineSection, machine) for name, machine in machines.items()}
    return {name: section for name, section in sections.items() if section is not None}


def _connection(
    protocol: Protocol,
    written: Any,  # noqa: ANN401 - what a user wrote
    place: Place,
    main: Path,
) -> tuple[Connection, Any] | None:
    """Return the settings of a connection, and what is written, in which options that need text are text."""
    try:
        _without_user(written.get("url") if isinstance(written, dict) else written)
        found = drivers.parse_connection(protocol, written)
    except ValidationError as error:
        texts = with_texts(error, place.document, written, place.path)
        if texts is not None:
            return _connection(protocol, texts, place, main)
        explain(error, protocol.connection, place.document, place.path)
    except ValueError as error:
        place.report(str(error))
    else:
        return anchored_connection(found, place.document, place.path, main), written
    return None


def _without_user(url: object) -> None:
    if "@" in split_url(str(url)).netloc:
        # it is not repeated: it may contain a password
        raise ValueError("a URL names no user; write username, and password: {secret: NAME}, beside the url")
