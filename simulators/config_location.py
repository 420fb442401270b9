"""Locations in a configuration, for errors that are found after it was read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.settings.document import read_document
from gateway.settings.templates import bundled_config

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings.document import Document
    from gateway.settings.factory import Factory, Machine


class ConfigLocation:
    """Finds the lines of a factory's YAML and of its templates."""

    def __init__(self, factory: Factory) -> None:
        self._file = factory.file
        self._templates = factory.templates
        self._read: dict[Path, Document] = {}

    def connection(self, machine: Machine) -> str:
        """Return `file:line: path` of a machine's connection."""
        if machine.place is None:
            return f"{self._file}: {machine.path.machine}"
        document, path = machine.place.document, (*machine.place.path, "connection")
        return f"{document.file}:{document.line(path)}: {'.'.join(map(str, path))}"

    def point(self, machine: Machine, name: str) -> str:
        """Return `file:line: path` of a point in its template, or in a template that it extends."""
        if machine.place is not None and machine.place.document.has((*machine.place.path, "points", name)):
            document, path = machine.place.document, (*machine.place.path, "points", name)
            return f"{document.file}:{document.line(path)}: {'.'.join(map(str, path))}"
        template: str | None = machine.template
        while template is not None:
            file = self._template(template)
            document = self._document(file)
            if document.has(("points", name)):
                return f"{file}:{document.line(('points', name))}: points.{name}"
            template = document.data.get("extends")
        # an element of an array has the line of its template's first
        return f"{self._template(machine.template)}:1: points.{name}"

    def _document(self, file: Path) -> Document:
        if file not in self._read:
            self._read[file] = read_document(file)
        return self._read[file]

    def _template(self, name: str) -> Path:
        mine = None if self._templates is None else self._templates / f"{name}.yaml"
        return mine if mine is not None and mine.is_file() else bundled_config() / "machines" / f"{name}.yaml"
