"""Connections to devices whose protocol proves neither an identity nor the integrity of a message.

The plant compensates for them, as with a network of their own (IEC 62443-4-2: CR 1.2, CR 3.1 and CCSC 2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from drivers.exposure import is_loopback
from gateway.common.text import counted, listed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drivers.base import Connection
    from gateway.settings.factory import Machine


class Unauthenticated(NamedTuple):
    """The machines that are read by a protocol without authentication, such as `modbus+tcp`."""

    protocol: str
    machines: tuple[Machine, ...]

    @property
    def text(self) -> str:
        """One line for a person, with the first machines."""
        names = listed([machine.path.machine for machine in self.machines])
        verb = "is" if len(self.machines) == 1 else "are"
        return (
            f"{counted(len(self.machines), 'machine')} {verb} read by {self.protocol}, where no device proves its "
            f"identity and no message its origin: {names}; keep them in a network that only the gateway reaches"
        )


def protocol_without_authentication(connection: Connection) -> str:
    """Return the protocol of a connection without authentication; empty for others, and within this machine."""
    hosts = [urlsplit(url).hostname or "" for url in connection.hosts()]
    within = bool(hosts) and all(map(is_loopback, hosts))
    return "" if within else connection.unauthenticated


def unauthenticated(machines: Iterable[Machine]) -> list[Unauthenticated]:
    """Return the machines without authentication by their protocols, in the order of the names of these."""
    found: dict[str, list[Machine]] = {}
    for machine in machines:
        if protocol := protocol_without_authentication(machine.connection):
            found.setdefault(protocol, []).append(machine)
    return [Unauthenticated(protocol, tuple(found[protocol])) for protocol in sorted(found)]
