"""From machines that were found to templates and a factory. What would not be right is left out, with a note."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

import drivers
from gateway.common.setting_types import check_name
from gateway.importers.environment import with_assumed, without_others
from gateway.importers.found import Note, free_name
from gateway.model.metadata import MAX_POINTS
from gateway.settings.document import Document
from gateway.settings.factory import Place
from gateway.settings.point import Point
from gateway.settings.point_builder import ENABLED, Written, build
from gateway.settings.scalars import is_text
from gateway.settings.serialize import dump, dump_factory, least
from gateway.settings.validation import describe

if TYPE_CHECKING:
    from drivers.base import Connection
    from gateway.importers.found import Found, Import

Keys = dict[str, Any]

Right = dict[str, tuple[Keys, dict[str, Point]]]
"""Points by their names: the keys that will be written, and the points that are on among those they stand for."""


class Template(NamedTuple):
    """A template: its protocol, and the keys of its points by their names."""

    protocol: str
    points: dict[str, Keys]

    @property
    def text(self) -> str:
        """The file of the template."""
        lines = ["format: 1", f"protocol: {self.protocol}", "points:"]
        points = (f"  {key_of(name)}: {dump(keys, flow=True)}" for name, keys in self.points.items())
        return "\n".join([*lines, *points]) + "\n"


@dataclass(slots=True)
class Machine:
    """A machine whose points are right; `least` are its points with the keys that they need, and no more."""

    area: str
    line: str
    name: str
    template: str
    written: str | Keys
    connection: Connection
    least: dict[str, Keys]

    @property
    def entry(self) -> str:
        """The machine as a value in one line of a factory."""
        return dump({"template": self.template, "connection": without_others(self.written)}, flow=True)


@dataclass(slots=True)
class Built:
    """All machines of an import, and the templates that they share."""

    machines: list[Machine] = field(default_factory=list)
    templates: dict[str, Template] = field(default_factory=dict)


def built(found: Import) -> Built:
    """Return the valid machines of an import. Parts that are left out are added to its notes.

    Raises `ValueError` if no machine is left.
    """
    whole = Built()
    names: dict[str, set[str]] = {}
    for machine in found.machines:
        right = _right_points(machine, found)
        if (number := sum(len(built) for _, built in right.values())) > MAX_POINTS:
            message = f"is left out: it has {number:,} points; the limit for one machine is {MAX_POINTS:,}"
            found.note(machine.where, machine.machine, message)
            continue
        connection = _connection(machine, found) if right else None
        if connection is None:
            continue
        right = _readable(machine, connection, right, found)
        least_keys = {one: least(point) for _, built in right.values() for one, point in built.items()}
        if not least_keys:
            found.note(machine.where, machine.machine, "is left out: none of its points is on")
            continue
        points = {name: keys for name, (keys, _) in right.items()}
        template = _name_of(machine.template, Template(machine.protocol, points), whole.templates)
        taken = names.setdefault(machine.line, set())
        name = free_name(machine.machine, taken)
        taken.add(name)
        if name != machine.machine:
            found.note(machine.where, machine.machine, f"is called {name}")
        whole.machines.append(
            Machine(machine.area, machine.line, name, template, machine.connection, connection, least_keys)
        )
    if not whole.machines:
        raise ValueError("there is no machine with a point that could be read")
    return whole


def files_of(found: Import, head: dict[str, Any]) -> dict[str, str]:
    """Return the files of a factory, by their paths in its folder. `head` are its sections but for the machines.

    Parts that are left out are added to the notes. Raises `ValueError` if no machine is left.
    """
    whole = built(found)
    lines: dict[str, list[Machine]] = {}
    for machine in whole.machines:
        lines.setdefault(machine.line, []).append(machine)
    text = [dump_factory({"format": 1} | head), "lines:\n"]
    for name, machines in lines.items():
        text += [
            f"  {key_of(name)}:\n    area: {dump(machines[0].area, flow=True)}\n    machines:\n",
            *(f"      {key_of(one.name)}: {one.entry}\n" for one in machines),
        ]
    return {"factory.yaml": "".join(text)} | {
        f"machines/{name}.yaml": template.text for name, template in whole.templates.items()
    }


def _name_of(wanted: str, template: Template, templates: dict[str, Template]) -> str:
    """Return the name of a template, and keep it: machines of a type share it where their points are the same."""
    name, number = free_name(wanted), 1
    while not same_template(templates.setdefault(name, template), template):
        number += 1
        name = f"{free_name(wanted)}-{number}"
    return name


def same_template(one: Template, other: Template) -> bool:
    """Return whether two templates have the same points in the same order."""
    return one is other or (one == other and list(one.points) == list(other.points))


def _right_points(machine: Found, found: Import) -> Right:
    """Return the points that are right."""
    protocol = drivers.protocol(machine.protocol)
    right: Right = {}
    taken: set[str] = set()
    for name, row in machine.points.items():
        document = Document(Path(), {})
        place = Place(document, ("points", name))
        keys = {key: value for key, value in row.keys.items() if value is not None}
        written = Written(keys, dict.fromkeys(keys, (document, place.path)), place)
        expanded = protocol.source.expand(name, keys)
        points = {one: build(protocol, one, its_keys, written) for one, its_keys in expanded.items()}
        if there := taken & points.keys():
            place.report(f"there is another {min(there)}")
        if errors := [problem for problem in document.problems if problem.severity == "error"]:
            found.notes += [Note(row.where, f"{machine.machine}/{name}", f"is left out: {e.message}") for e in errors]
            continue
        on = {one: point for one, point in points.items() if point is not None} if keys.get(ENABLED, True) else {}
        right[name] = (keys, on)
        taken |= on.keys()
    return right


def _readable(machine: Found, connection: Connection, right: Right, found: Import) -> Right:
    """Return the points that can be read over a connection, which limits the size of a request, for example."""
    names = [(name, point.source) for name, (_, on) in right.items() for point in on.values()]
    protocol = drivers.protocol(machine.protocol)
    wrong = {names[i][0]: message for i, message in protocol.check(connection, [source for _, source in names])}
    for name, message in wrong.items():
        found.note(machine.points[name].where, f"{machine.machine}/{name}", f"is left out: {message}")
    return {name: point for name, point in right.items() if name not in wrong}


def _connection(machine: Found, found: Import) -> Connection | None:
    """Return the connection of a machine, None after noting why it is not right."""
    try:
        check_name(machine.area)
        check_name(machine.line)
        return drivers.parse_connection(drivers.protocol(machine.protocol), with_assumed(machine.connection))
    except ValidationError as error:
        message = "; ".join(
            f"{'.'.join(map(str, one['loc']))}: {describe(one)}" for one in error.errors(include_url=False)
        )
    except ValueError as error:
        message = str(error)
    found.note(machine.where, machine.machine, f"is left out: {message}")
    return None


def key_of(name: str) -> str:
    """Return a name as a key of YAML: in quotes where it would be a number."""
    return name if is_text(name) else f"'{name}'"
