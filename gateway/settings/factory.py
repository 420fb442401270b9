"""The configuration as the gateway uses it: checked, with templates applied."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.model.metadata import MachineMeta
from gateway.settings.alarm_set import NO_ALARMS, AlarmSet
from gateway.settings.calendar import CalendarSection
from gateway.settings.dashboard_section import DashboardSection
from gateway.settings.problems import Severity
from gateway.settings.results import content_of
from gateway.settings.storage_section import StorageSection

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from drivers.base import Connection, Protocol
    from gateway.common.setting_types import Section
    from gateway.model.path import MachinePath
    from gateway.settings.document import Document, Step
    from gateway.settings.operation import Operation
    from gateway.settings.overrides import Override
    from gateway.settings.point import Point
    from gateway.settings.problems import Problem
    from gateway.settings.production import Planned
    from gateway.settings.sections import BrokerSection, FactorySection, GatewaySection, IngestSection
    from gateway.settings.signature_memory import Remembered
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

    `derived` are the points that the gateway calculates from them, `results` those of its other calculations: events,
    and key figures.
    `searches` stand for points that only the device knows: they are found when it is connected to. `found` names the
    search of each point that was found by one.
    `operations` is the work on parts, by its places.
    `written` is the machine as its file has it, without ranges and names in braces. `place` is its place there.
    `production` is how its OEE is calculated, None where it is not. `phase` is that of its `Group`s, in seconds.
    """

    path: MachinePath
    template: str
    protocol: Protocol
    connection: Connection
    points: tuple[Point, ...]
    derived: tuple[Point, ...] = ()
    searches: tuple[Point, ...] = ()
    found: Mapping[str, str] = field(default_factory=dict)
    written: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    place: Place | None = field(default=None, compare=False, repr=False)
    results: tuple[Point, ...] = ()
    alarms: AlarmSet = NO_ALARMS
    operations: tuple[Operation, ...] = ()

    @property
    def quantities(self) -> tuple[Point, ...]:
        """The points that are read, and those that are derived from them: a user counts these."""
        return (*self.points, *self.derived) if self.derived else self.points

    production: Planned | None = None
    phase: float | None = None

    @property
    def all_points(self) -> tuple[Point, ...]:
        """All points that have readings, those of the results of calculations included."""
        return (*self.quantities, *self.results) if self.results else self.quantities

    @property
    def meta(self) -> MachineMeta:
        """The types, units and contents of its points, as stores need them."""
        points = self.all_points
        return MachineMeta(
            self.template,
            {point.name: point.type.value for point in points},
            {point.name: point.unit for point in points},
            {point.name: content for point in self.results if (content := content_of(point))},
        )


@dataclass(frozen=True, slots=True)
class StoreEntry:
    """One entry of `stores`."""

    kind: StoreKind
    settings: Section


@dataclass(frozen=True, slots=True)
class Factory:
    """All of one factory's YAML.

    `warnings` name allowed values that are rarely intended; `document` is its main file. `files` are all its files,
    templates included, each with the digest of its text and of the variables in it; `texts` are the same files with
    the digests of their texts alone. `overrides` are values of the
    command line. `digest` is that of all of them. `templates` is the folder of its own templates, None without one.
    `signed` is its signature, of a service on a machine whose policy requires one.
    """

    file: Path
    factory: FactorySection
    gateway: GatewaySection
    broker: BrokerSection
    ingest: IngestSection
    stores: tuple[StoreEntry, ...]
    machines: tuple[Machine, ...]
    warnings: tuple[Problem, ...] = ()
    document: Document | None = field(default=None, compare=False, repr=False)
    files: Mapping[Path, str] = field(default_factory=dict, compare=False, repr=False)
    texts: Mapping[Path, str] = field(default_factory=dict, compare=False, repr=False, kw_only=True)
    overrides: tuple[Override, ...] = field(default=(), compare=False, repr=False)
    templates: Path | None = field(default=None, compare=False, repr=False)
    dashboard: DashboardSection = field(default_factory=DashboardSection)
    calendar: CalendarSection = field(default_factory=CalendarSection)
    storage: StorageSection = field(default_factory=StorageSection)
    signed: Remembered | None = field(default=None, compare=False, repr=False)

    @property
    def written(self) -> Mapping[str, Any]:
        """The data of the main file."""
        return {} if self.document is None else self.document.data

    @property
    def store_names(self) -> list[str]:
        """The name of each store: its kind, with a number from the second of a kind on."""
        names: list[str] = []
        for entry in self.stores:
            count = sum(name.split("-")[0] == entry.kind.name for name in names)
            names.append(f"{entry.kind.name}-{count + 1}" if count else entry.kind.name)
        return names

    @property
    def digest(self) -> str:
        """The identity of this configuration, 256 bits: the same files and values give the same in any folder."""
        folder = self.file.parent
        named = sorted(
            f"{file.relative_to(folder) if file.is_relative_to(folder) else file.name} {digest}"
            for file, digest in self.files.items()
        )
        named += [f"{one.origin} {sha256(one.text.encode()).hexdigest()}" for one in self.overrides]
        return sha256("\n".join(named).encode()).hexdigest()
