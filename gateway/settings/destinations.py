"""Where a configuration lets data and secrets go: every host that it connects to, with the secrets that go there."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from gateway.settings.contents import secrets_in
from gateway.settings.factory import Place

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from drivers.base import Connection
    from gateway.common.setting_types import Secret
    from gateway.settings.document import Document, Step
    from gateway.settings.factory import Factory


class Use(StrEnum):
    """The use of a host or a secret."""

    BROKER = "broker"
    STORES = "stores"
    DEVICES = "devices"
    SYSLOG = "syslog"
    IDENTITY_PROVIDER = "identity_provider"
    NOTIFY = "notify"
    GATEWAY = "gateway"  # secrets that never leave this machine
    DASHBOARD = "dashboard"


HOST_USES = (Use.BROKER, Use.STORES, Use.DEVICES, Use.SYSLOG, Use.IDENTITY_PROVIDER, Use.NOTIFY)
"""The uses of hosts; the others are of secrets alone."""


class Destination(NamedTuple):
    """A part of the configuration that connects to `urls`, with the secrets that it sends there, by their keys.

    A part without `urls` keeps its secrets on this machine, or has its URL in a secret (`NOTIFY`). `place` is where
    the part is written.
    """

    use: Use
    place: Place
    urls: tuple[str, ...]
    secrets: tuple[tuple[tuple[Step, ...], Secret], ...]


def destinations(factory: Factory) -> Iterator[Destination]:
    """Yield the destinations of a configuration that was read from a file; each connection of a device once."""
    document = factory.document
    if document is None:
        return
    broker = factory.broker
    yield Destination(Use.BROKER, Place(document, ("broker",)), (broker.url, *broker.backup), _secrets(broker))
    own = tuple(one for one in _secrets(factory.gateway) if one[0][0] != "notify")
    yield Destination(Use.GATEWAY, Place(document, ("gateway",)), (), own)
    for name, target in factory.gateway.notify.targets.items():
        # the URL is a secret as a whole: its host is compared when it is used, see `Policy.hosts_of_secret`
        place = Place(document, ("gateway", "notify", "targets", name))
        yield Destination(Use.NOTIFY, place, (), _secrets(target))
    yield Destination(Use.GATEWAY, Place(document, ("ingest",)), (), _secrets(factory.ingest))
    for index, entry in enumerate(factory.stores):
        place = Place(document, ("stores", index, entry.kind.name))
        url = getattr(entry.settings, "url", None)
        yield Destination(Use.STORES, place, (url,) if isinstance(url, str) else (), _secrets(entry.settings))
    page = factory.dashboard
    yield from _syslog(factory, document)
    if page.oidc is not None:
        place = Place(document, ("dashboard", "oidc"))
        yield Destination(Use.IDENTITY_PROVIDER, place, (page.oidc.issuer,), _secrets(page.oidc))
    if page.tls is not None:
        yield Destination(Use.DASHBOARD, Place(document, ("dashboard", "tls")), (), _secrets(page.tls))
    if page.commands is not None:
        yield Destination(Use.DASHBOARD, Place(document, ("dashboard", "commands")), (), _secrets(page.commands))
    for connection, place in connections(factory):
        yield Destination(Use.DEVICES, place, tuple(connection.hosts()), _secrets(connection))


def connections(factory: Factory) -> Iterator[tuple[Connection, Place]]:
    """Yield the connection of each device once, with the place where it is written."""
    seen: set[int] = set()
    for machine in factory.machines:
        if id(machine.connection) not in seen and machine.place is not None:
            seen.add(id(machine.connection))
            yield machine.connection, Place(machine.place.document, (*machine.place.path, "connection"))


def _syslog(factory: Factory, document: Document) -> Iterator[Destination]:
    for name, audit in (("dashboard", factory.dashboard.audit), ("ingest", factory.ingest.audit)):
        if audit.syslog is not None:
            yield Destination(Use.SYSLOG, Place(document, (name, "audit", "syslog")), (audit.syslog,), ())


def _secrets(section: object) -> tuple[tuple[tuple[Step, ...], Secret], ...]:
    return tuple(secrets_in(section))


def shared_secrets(those: Iterable[Destination]) -> Iterator[tuple[Destination, tuple[Step, ...], Secret, Use]]:
    """Yield each use of a secret that an earlier part of the configuration uses for something else.

    The two services would know each other's secret. The last value is the earlier use.
    """
    first: dict[str, Use] = {}
    for one in those:
        for path, secret in one.secrets:
            before = first.setdefault(secret.origin(), one.use)
            if before is not one.use:
                yield one, path, secret, before
