"""The configuration as the gateway uses it: checked, with templates applied."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.settings.problems import Severity

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from drivers.base import Connection, Protocol
    from gateway.model import MachinePath
    from gateway.settings.document import Document, Step
    from gateway.settings.point import Point
    from gateway.settings.problems import Problem
    from gateway.settings.sections import BrokerSection, FactorySection, GatewaySection, IngestSection
    from gateway.settings.types import Section
    from gateway.stores.base import StoreKind


class Place(NamedTuple):
    """Where something is written."""

    document: Document
    path: tuple[Step, ...]

    def report(self, message: str, severity: Severity = Severity.ERROR) -> None:
        """Note a problem there."""
        self.document.report(self.path, message, severity)


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine with its connection and points; the points are shared by all machines of a template.

    `written` is the machine as its file has it, for this one alone: without ranges, and without names in braces.
    `place` is where that stands.
    """

    path: MachinePath
    template: str
    protocol: Protocol
    connection: Connection
    points: tuple[Point, ...]
    written: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    place: Place | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class StoreEntry:
    """One entry of `stores`."""

    kind: StoreKind
    settings: Section


@dataclass(frozen=True, slots=True)
class Factory:
    """All of one factory's YAML.

    `warnings` are what is allowed in it and seldom meant; `written` is the data of its main file.
    """

    file: Path
    factory: FactorySection
    gateway: GatewaySection
    broker: BrokerSection
    ingest: IngestSection
    stores: tuple[StoreEntry, ...]
    machines: tuple[Machine, ...]
    warnings: tuple[Problem, ...] = ()
    written: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
