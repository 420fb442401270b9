"""The configuration as the gateway uses it: checked, with templates applied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from drivers.base import Connection, Protocol
    from gateway.model import MachinePath
    from gateway.settings.point import Point
    from gateway.settings.sections import BrokerSection, FactorySection, GatewaySection, IngestSection
    from gateway.settings.types import Section
    from gateway.stores.base import StoreKind


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine with its connection and points; the points are shared by all machines of a template."""

    path: MachinePath
    template: str
    protocol: Protocol
    connection: Connection
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class StoreEntry:
    """One entry of `stores`."""

    kind: StoreKind
    settings: Section


@dataclass(frozen=True, slots=True)
class Factory:
    """All of one factory's YAML."""

    file: Path
    factory: FactorySection
    gateway: GatewaySection
    broker: BrokerSection
    ingest: IngestSection
    stores: tuple[StoreEntry, ...]
    machines: tuple[Machine, ...]
