"""Machine types: found, read once, and turned into points."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import drivers
from gateway.settings.alarm_set import NO_ALARMS, AlarmSet
from gateway.settings.alarms import ALARM_POINTS
from gateway.settings.document import read_document, right_format
from gateway.settings.factory import Place
from gateway.settings.line_sections import TemplateSection
from gateway.settings.parts import by_place, laid_over
from gateway.settings.point_builder import Written
from gateway.settings.problems import ConfigurationError, likely_name, unknown
from gateway.settings.production import WrittenProduction
from gateway.settings.template_points import TemplatePoints
from gateway.settings.validation import usable, validate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drivers.base import AnyProtocol, Protocol
    from gateway.settings.derivation import Derivations
    from gateway.settings.document import Document, Step
    from gateway.settings.expressions.program import Table
    from gateway.settings.line_points import LinePoints
    from gateway.settings.line_sections import Keys
    from gateway.settings.operation import Operation
    from gateway.settings.parameters import Scalar
    from gateway.settings.point import Point
    from gateway.settings.problems import Problem
    from gateway.settings.production import Production


def bundled_config() -> Path:
    """Return the folder of the configurations that come with Lineside."""
    package = Path(__file__).parent.parent
    installed = package / "bundled"
    return installed if installed.is_dir() else package.parent / "config"


MOST_EXTENDED = 32
"""Templates that extend one another."""


def _is_folder(folder: Path) -> bool:
    try:
        return folder.is_dir()
    except OSError:  # no right to look, or a name that is too long
        return False


@dataclass(frozen=True, slots=True)
class Template:
    """A machine type. It is ready to be given to machines where there are no problems."""

    protocol: Protocol
    points: tuple[Point, ...]
    derived: tuple[Point, ...] = ()
    alarms: AlarmSet = NO_ALARMS
    operations: tuple[Operation, ...] = ()
    production: Production | None = None

    @property
    def results(self) -> tuple[Point, ...]:
        """The points of the results of calculations."""
        return (*(ALARM_POINTS if self.alarms else ()), *(one.point for one in self.operations))


@dataclass(frozen=True, slots=True)
class Use:
    """What one machine makes of its template: parameters, and points that are different; `place` is the machine's.

    `derive` are keys of derived points that are different, `alarms` those of alarms, `parts` those of the work on
    parts, by its places, and `production` those of its section.
    """

    place: Place
    parameters: dict[str, Scalar] = field(default_factory=dict)
    points: dict[str, Keys] = field(default_factory=dict)
    derive: dict[str, Keys] = field(default_factory=dict)
    alarms: dict[str, Keys] = field(default_factory=dict)
    parts: dict[str, tuple[Keys, Place]] = field(default_factory=dict)
    production: Keys = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BegunTemplate:
    """A template as one machine has it, with its points that are read.

    `waiting` are its derived points, if they name points of other machines of the line: `finish` is called when all
    of these have begun.
    """

    parts: TemplatePoints
    use: Use
    values: dict[str, Scalar]
    points: tuple[Point, ...]
    waiting: Derivations | None = None

    @classmethod
    def begin(
        cls, parts: TemplatePoints, values: dict[str, Scalar], use: Use, machine: str = "",
        line: LinePoints | None = None,
    ) -> BegunTemplate:  # fmt: skip
        """Read the points of a machine, with the values of its parameters; it may be one of a line."""
        points = parts.points(values, use.points, use.place)
        waiting = None
        if line is not None and parts.needs_line(values, use.derive):
            waiting = parts.begin_derive(points, values, use.derive, use.place, machine, line)
        return cls(parts, use, values, points, waiting)

    def finish(self) -> Template:
        """Return the whole; problems of its parts are reported."""
        parts, use, points, values = self.parts, self.use, self.points, self.values
        if self.waiting is None:
            derived = parts.derive(points, values, use.derive, use.place)
        else:
            derived = parts.shared(self.waiting.all(), points, values, use.derive)
        alarms = parts.alarm_set(points, derived, values, use.alarms, use.place)
        operations = parts.operations((*points, *derived), values, use.parts, use.place)
        production = parts.production_of((*points, *derived), values, use.production, use.place)
        return Template(parts.protocol, points, derived, alarms, operations, production)


class Templates:
    """The templates that a factory's file names, each read once.

    `documents` are the files that were read, `own` the folder of the factory's own templates, None without one.

    They are in `machines/` beside the file, or in the folder that its key `templates` names; those that
    come with Lineside are found after them.
    """

    def __init__(self, document: Document) -> None:
        self._document = document
        self.documents: list[Document] = []
        self._own_problems: list[Problem] = []
        self._parts: dict[str, TemplatePoints | None] = {}
        written = document.data.get("templates")
        own = document.folder(("templates",)) / Path(written if isinstance(written, str) else "machines")
        self.own = own if _is_folder(own) else None
        self._folders = (own, bundled_config() / "machines")
        if written is not None and not isinstance(written, str):
            document.report(("templates",), "write the folder of the templates")
        elif written is not None and not _is_folder(own):
            document.report(("templates",), f"the folder {own} does not exist, or can't be read")

    @property
    def problems(self) -> list[Problem]:
        """All that is wrong in the templates read so far."""
        return self._own_problems + [problem for document in self.documents for problem in document.problems]

    def get(self, name: str, path: tuple[Step, ...]) -> Template | None:
        """Return the template of a machine without parameters and changes, or None after reporting the problem."""
        parts = self.parts(name, Place(self._document, path))
        return None if parts is None else self.of(parts, Use(Place(self._document, path)))

    def parts(self, name: str, asker: Place) -> TemplatePoints | None:
        """Return the points of a template, or None after reporting the problem at `asker`."""
        return self._read(name, asker, ())

    @staticmethod
    def of(parts: TemplatePoints, use: Use) -> Template | None:
        """Return a template as one machine has it, or None after reporting the problem at the machine."""
        values = parts.values(use.parameters, use.place)
        return None if values is None else BegunTemplate.begin(parts, values, use).finish()

    def _read(self, name: str, asker: Place, chain: tuple[str, ...]) -> TemplatePoints | None:
        """Return protocol, parameters and points as written, those of the extended template included."""
        if name in chain:
            asker.report(f"extends itself: {' -> '.join((*chain, name))}")
            return None
        if len(chain) > MOST_EXTENDED:
            asker.report(f"extends more than {MOST_EXTENDED} templates, one after another")
            return None
        if name not in self._parts:
            file = self._find(name, asker)
            if file is None:
                return None
            self._parts[name] = self._load(file, (*chain, name))
        return self._parts[name]

    def _find(self, name: str, asker: Place) -> Path | None:
        """Return the file of a template, None after reporting the problem at `asker`."""
        names: set[str] = set()
        for folder in self._folders:
            file = folder / f"{name}.yaml"
            try:
                if file.is_file():
                    return file
                names |= {found.stem for found in folder.glob("*.yaml")}
            except OSError as error:
                asker.report(f"the template {name} can't be read: {error.strerror}: {file}")
                return None
        hint = (
            ""
            if likely_name("template", name, sorted(names))
            else f"; a new template is {self._folders[0] / name}.yaml"
        )
        asker.report(unknown("template", name, names) + hint)
        return None

    def _load(self, file: Path, chain: tuple[str, ...]) -> TemplatePoints | None:
        try:
            document = read_document(file)
        except ConfigurationError as error:
            self._own_problems += error.problems
            return None
        self.documents.append(document)
        section = None
        if right_format(document):
            # the valid part of an invalid section is checked as well, so that all problems are reported at once
            section = validate(TemplateSection, document, document.data, ()) or usable(TemplateSection, document.data)
        if section is None:
            return None
        protocol = _protocol(document, section.protocol)
        if protocol is None:
            return None
        points: dict[str, Written] = {}
        derived: dict[str, Written] = {}
        alarms: dict[str, Written] = {}
        worked: dict[str, Written] = {}
        parameters: dict[str, Any] = {}
        tables: dict[str, Table] = {}
        production: Written | None = None
        if section.extends is not None:
            base = self._read(section.extends, Place(document, ("extends",)), chain)
            if base is None:
                return None
            if base.protocol is not protocol:
                document.report(("extends",), f"{section.extends} is of protocol {base.protocol.name}")
                return None
            points, parameters = dict(base.written), dict(base.parameters)
            derived, alarms, tables = dict(base.derived), dict(base.alarms), dict(base.tables)
            worked = dict(base.parts)
            production = base.production.written
        points |= _points(section, points, protocol, document)
        derived |= _laid_over("derive", section.derive, derived, document)
        alarms |= _laid_over("alarms", section.alarms, alarms, document)
        worked = laid_over(worked, by_place(section.part, document, ()))
        if section.production:
            place = Place(document, ("production",))
            production = (production or Written({}, {}, place)).over(section.production, place)
        return TemplatePoints(
            protocol, points, parameters | section.parameters, derived, tables | section.tables, alarms, worked,
            WrittenProduction(production),
        )  # fmt: skip


def _points(
    section: TemplateSection, base: Mapping[str, Written], protocol: AnyProtocol, document: Document
) -> dict[str, Written]:
    """Return the points of a section, laid over those of the template that it extends."""
    found: dict[str, Written] = {}
    for name, keys in section.points.items():
        place = Place(document, ("points", name))
        base_point = base.get(name)
        if base_point is None:
            defaults = protocol.source.fitting(section.defaults, keys)
            origin: tuple[Document, tuple[Step, ...]] = (document, ("defaults",))
            base_point = Written(defaults, dict.fromkeys(defaults, origin), place)
        found[name] = base_point.over(keys, place)
    return found


def _laid_over(
    section: str, entries: Mapping[str, Keys], base: Mapping[str, Written], document: Document
) -> dict[str, Written]:
    """Return derived points or alarms of a section, laid over those of the template that it extends."""
    found: dict[str, Written] = {}
    for name, keys in entries.items():
        place = Place(document, (section, name))
        found[name] = base.get(name, Written({}, {}, place)).over(keys, place)
    return found


def _protocol(document: Document, name: str) -> AnyProtocol | None:
    """Return a protocol, None after reporting that it is unknown or unusable."""
    if name not in drivers.known():
        document.report(("protocol",), unknown("protocol", name, drivers.known()))
        return None
    try:
        return drivers.protocol(name)
    except drivers.UnusableDriver as error:
        document.report(("protocol",), str(error))
        return None
