"""From machines that were found to templates and a factory. What would not be right is left out, with a note."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

import drivers
from gateway.common.setting_types import check_name
from gateway.importers.found import Note, free_name
from gateway.settings.document import Document
from gateway.settings.factory import Place
from gateway.settings.point_builder import ENABLED, Written, build
from gateway.settings.scalars import is_text
from gateway.settings.serialize import dump
from gateway.settings.validation import describe

if TYPE_CHECKING:
    from gateway.importers.found import Found, Import

Keys = dict[str, Any]


def files_of(found: Import, head: dict[str, Any]) -> dict[str, str]:
    """Return the files of a factory, by their paths in its folder. `head` are its sections but for the machines.

    Parts that are left out are added to the notes. Raises `ValueError` if no machine is left.
    """
    files: dict[str, str] = {}
    templates: dict[str, tuple[str, dict[str, Keys]]] = {}
    lines: dict[str, dict[str, Any]] = {}
    for machine in found.machines:
        points = _right_points(machine, found)
        if not points or not _is_right(machine, found):
            continue
        template = _template(machine, points, templates)
        files[f"machines/{template}.yaml"] = _template_text(machine, points)
        line = lines.setdefault(machine.line, {"area": machine.area, "machines": {}})
        name = free_name(machine.machine, line["machines"])
        if name != machine.machine:
            found.note(machine.where, machine.machine, f"is called {name}")
        line["machines"][name] = {"template": template, "connection": machine.connection}
    if not lines:
        raise ValueError("there is no machine with a point that could be read")
    return {"factory.yaml": _factory_text(head, lines), **files}


def _template(machine: Found, points: dict[str, Keys], templates: dict[str, tuple[str, dict[str, Keys]]]) -> str:
    """Return the name of the template with these points: machines of a type share it where theirs are the same."""
    name, number = free_name(machine.template), 1
    while templates.setdefault(name, (machine.protocol, points)) != (machine.protocol, points) or list(
        templates[name][1]
    ) != list(points):
        number += 1
        name = f"{free_name(machine.template)}-{number}"
    return name


def _right_points(machine: Found, found: Import) -> dict[str, Keys]:
    protocol = drivers.protocol(machine.protocol)
    right: dict[str, Keys] = {}
    taken: set[str] = set()
    for name, row in machine.points.items():
        document = Document(Path(), {})
        place = Place(document, ("points", name))
        keys = {key: value for key, value in row.keys.items() if value is not None}
        written = Written(keys, dict.fromkeys(keys, (document, place.path)), place)
        expanded = protocol.source.expand(name, keys)
        for one, its_keys in expanded.items():
            build(protocol, one, its_keys, written)
        if there := taken.intersection(expanded):
            place.report(f"there is another {min(there)}")
        if errors := [problem for problem in document.problems if problem.severity == "error"]:
            found.notes += [Note(row.where, f"{machine.machine}/{name}", f"is left out: {e.message}") for e in errors]
        else:
            right[name] = keys
            taken.update(expanded)
    if right and not any(keys.get(ENABLED, True) for keys in right.values()):
        found.note(machine.where, machine.machine, "is left out: none of its points is on")
        return {}
    return right


def _is_right(machine: Found, found: Import) -> bool:
    try:
        drivers.parse_connection(drivers.protocol(machine.protocol), machine.connection)
        check_name(machine.area)
        check_name(machine.line)
    except ValidationError as error:
        message = "; ".join(
            f"{'.'.join(map(str, one['loc']))}: {describe(one)}" for one in error.errors(include_url=False)
        )
    except ValueError as error:
        message = str(error)
    else:
        return True
    found.note(machine.where, machine.machine, f"is left out: {message}")
    return False


def _template_text(machine: Found, points: dict[str, Keys]) -> str:
    lines = ["format: 1", f"protocol: {machine.protocol}", "points:"]
    return "\n".join([*lines, *(f"  {_key(name)}: {dump(keys, flow=True)}" for name, keys in points.items())]) + "\n"


def _factory_text(head: dict[str, Any], lines: dict[str, dict[str, Any]]) -> str:
    text = [dump({"format": 1} | head), "lines:\n"]
    for name, line in lines.items():
        text.append(f"  {_key(name)}:\n    area: {dump(line['area'], flow=True)}\n    machines:\n")
        text += [f"      {_key(one)}: {dump(keys, flow=True)}\n" for one, keys in line["machines"].items()]
    return "".join(text)


def _key(name: str) -> str:
    return name if is_text(name) else f"'{name}'"
