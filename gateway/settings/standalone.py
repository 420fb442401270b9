"""Files of a configuration on their own: a template, or included lines, checked without the factory."""

from __future__ import annotations

import os
import re
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from gateway.common.setting_types import check_name
from gateway.settings.document import Document, read_document, right_format
from gateway.settings.exposure import connection_warnings
from gateway.settings.factory import Place
from gateway.settings.include import KEYS as LINES_KEYS
from gateway.settings.include import check_keys
from gateway.settings.interpolation import Variables
from gateway.settings.machines import Machines
from gateway.settings.problems import ConfigurationError, Severity, in_order
from gateway.settings.sections import FactorySection
from gateway.settings.templates import Templates

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings.problems import Problem


class Kind(StrEnum):
    """The kinds of files that a configuration consists of."""

    FACTORY = "factory"
    LINES = "lines"
    TEMPLATE = "template"


class Checked(NamedTuple):
    """The content of a file on its own, 0 in an invalid file; `unread` points need parameters of a machine."""

    problems: list[Problem]
    machines: int = 0
    points: int = 0
    unread: int = 0

    @property
    def valid(self) -> bool:
        """Whether no problem is an error."""
        return all(problem.severity is not Severity.ERROR for problem in self.problems)


_KEY = re.compile(r"^['\"]?([A-Za-z_-]+)['\"]?\s*:", re.MULTILINE)
_OF_TEMPLATES = {"protocol", "points", "extends", "defaults", "parameters"}
_OF_FACTORIES = {"factory", "gateway", "broker", "stores", "ingest", "dashboard", "calendar", "storage", "include"}

_LONGEST_HEAD = 2**20
"""Characters in which the first key of a file is looked for."""

_LEVELS = 4
"""Folders above a file with lines in which the folder `machines` is looked for."""


def kind_of(file: Path) -> Kind:
    """Return the kind of a file by its keys; a file that can't be read counts as a factory."""
    try:
        with file.open(encoding="utf-8-sig", errors="replace") as opened:
            text = opened.read(_LONGEST_HEAD)
    except (OSError, ValueError):
        return Kind.FACTORY
    keys = {match[1] for match in _KEY.finditer(text)}
    if text.lstrip().startswith("{"):
        try:
            data = read_document(file).data
        except ConfigurationError:
            return Kind.FACTORY
        keys = set(data) if isinstance(data, dict) else set()
    if keys & _OF_FACTORIES:
        return Kind.FACTORY
    if keys & _OF_TEMPLATES:
        return Kind.TEMPLATE
    return Kind.LINES if keys == set(LINES_KEYS) else Kind.FACTORY


def check_template(file: Path) -> Checked:
    """Check a template with the defaults of its parameters; those that it extends are beside it, or bundled."""
    holder = Document(file, {"templates": "."})
    place = Place(holder, ())
    if file.suffix != ".yaml":
        place.report("the file of a template ends in .yaml; rename it")
    try:
        check_name(file.stem)
    except ValueError as error:
        place.report(f"the name of a template is that of its file: {error}")
    if holder.problems:
        return Checked(holder.problems)
    templates = Templates(holder)
    parts = templates.parts(file.stem, place)
    points, unread = ((), 0) if parts is None else parts.on_its_own(place)
    problems = in_order([*holder.problems, *templates.problems])
    return Checked(problems, points=len(points), unread=unread)


def check_lines(file: Path) -> Checked:
    """Check a file with lines; its templates are in the folder `machines` nearest above it, or bundled."""
    try:
        document = read_document(file, Variables(os.environ))
    except ConfigurationError as error:
        return Checked(error.problems)
    if not right_format(document):
        return Checked(document.problems)
    check_keys(document)
    above = [file.absolute().parent, *file.absolute().parents[1 : _LEVELS + 1]]
    base = next((folder for folder in above if (folder / "machines").is_dir()), file.parent)
    templates = Templates(Document(base / "factory.yaml", {}))
    # its levels are in messages alone
    factory = FactorySection.model_validate({"enterprise": "ENTERPRISE", "site": "SITE"})
    machines = Machines([document], factory, templates).all()
    problems = in_order([*document.problems, *templates.problems, *connection_warnings(machines)])
    return Checked(problems, len(machines), sum(len(machine.quantities) for machine in machines))
