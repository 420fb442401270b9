"""From a factory's YAML to a checked `Factory`. All mistakes are collected before any is raised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

import drivers
from gateway.codecs import CODECS
from gateway.model import MachinePath
from gateway.settings.document import Document, read_document, right_format
from gateway.settings.explain import explain, usable, validate
from gateway.settings.factory import Factory, Machine, StoreEntry
from gateway.settings.lines import LineSection, MachineSection
from gateway.settings.problems import ConfigurationError, unknown
from gateway.settings.sections import BrokerSection, FactorySection, GatewaySection, IngestSection
from gateway.settings.templates import Templates
from gateway.settings.types import check_name
from gateway.stores import STORES, store_kind

if TYPE_CHECKING:
    from pathlib import Path

    from drivers.base import Connection, Protocol
    from gateway.settings.document import Step

KEYS = ("format", "factory", "gateway", "broker", "ingest", "stores", "templates", "lines")
"""The keys of a factory's file."""


def load_factory(file: Path) -> Factory:
    """Read, check and expand a factory's YAML.

    Raises `ConfigurationError` with every problem of the file and of the templates it names.
    """
    document = read_document(file)
    if not right_format(document):
        raise ConfigurationError(document.problems)
    data = document.data
    for key in data:
        if key not in KEYS:
            document.report((key,), unknown("key", key, KEYS))
    factory = validate(FactorySection, document, data.get("factory"), ("factory",))
    gateway = validate(GatewaySection, document, data.get("gateway"), ("gateway",))
    broker = validate(BrokerSection, document, data.get("broker"), ("broker",))
    ingest = validate(IngestSection, document, data.get("ingest"), ("ingest",))
    if gateway is not None and gateway.codec not in CODECS:
        document.report(("gateway", "codec"), unknown("codec", gateway.codec, CODECS))
    stores = _stores(document)
    templates = Templates(document)
    machines = _machines(document, factory, templates)
    problems = document.problems + templates.problems
    if problems or factory is None or gateway is None or broker is None or ingest is None:
        raise ConfigurationError(problems)
    return Factory(file, factory, gateway, broker, ingest, tuple(stores), tuple(machines))


def _stores(document: Document) -> list[StoreEntry]:
    written = document.data.get("stores")
    if written is None:
        return []
    if not isinstance(written, list):
        document.report(("stores",), "write a list, as in '- sqlite: {path: readings.db}'")
        return []
    entries = []
    for index, item in enumerate(written):
        path: tuple[Step, ...] = ("stores", index)
        if not isinstance(item, dict) or len(item) != 1:
            document.report(path, f"write one store, as in '- sqlite: {{path: readings.db}}'; {_there_are(STORES)}")
            continue
        [(name, settings)] = item.items()
        if name not in STORES:
            document.report((*path, name), unknown("store", name, STORES))
            continue
        kind = store_kind(name)
        section = validate(kind.settings, document, settings, (*path, name))
        if section is not None:
            entries.append(StoreEntry(kind, section))
    return entries


def _there_are(names: Any) -> str:  # noqa: ANN401 - any table
    return f"there are: {', '.join(sorted(names))}"


def _machines(document: Document, factory: FactorySection | None, templates: Templates) -> list[Machine]:
    lines = document.data.get("lines")
    if not isinstance(lines, dict) or not lines:
        document.report(("lines",), "is missing" if lines is None else "write a mapping of lines by their names")
        return []
    machines = []
    for line_name, written in lines.items():
        path = ("lines", line_name)
        try:
            check_name(line_name)
        except ValueError as error:
            document.report(path, str(error))
        line = validate(LineSection, document, written, path)
        for name, section in (_usable_machines(written) if line is None else line.machines).items():
            here = (*path, "machines", name)
            template = templates.get(section.template, (*here, "template"))
            if template is None:
                continue
            connection = _connection(document, template.protocol, section, (*here, "connection"))
            if connection is not None:
                sources = [point.source for point in template.points]
                for position, message in template.protocol.check(connection, sources):
                    document.report((*here, "connection"), f"point {template.points[position].name}: {message}")
            if connection is not None and line is not None and factory is not None:
                place = MachinePath(factory.enterprise, factory.site, line.area, line_name, name)
                machines.append(Machine(place, section.template, template.protocol, connection, template.points))
    return machines


def _usable_machines(written: Any) -> dict[str, MachineSection]:  # noqa: ANN401 - what a user wrote
    """Return what can be looked at of a line with a mistake in it, so that all mistakes are told at once."""
    machines = written.get("machines") if isinstance(written, dict) else None
    if not isinstance(machines, dict):
        return {}
    sections = {name: usable(MachineSection, machine) for name, machine in machines.items()}
    return {name: section for name, section in sections.items() if section is not None}


def _connection(
    document: Document, protocol: Protocol, section: MachineSection, path: tuple[Step, ...]
) -> Connection | None:
    try:
        return drivers.parse_connection(protocol, section.connection)
    except ValidationError as error:
        explain(error, protocol.connection, document, path)
    except ValueError as error:
        document.report(path, str(error))
    return None
