"""OPC UA: nodes, subscribed to or polled.

`settings` is what a user writes, `values` turns what the server sends into ours, `driver` holds the session
under the contract of `drivers.base`. Parts and clauses named in this folder are those of OPC 10000, release 1.05.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivers.base import Cost, Protocol
from drivers.opcua.settings import OpcUaConnection, OpcUaSource

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drivers.base import Driver, Sampler
    from drivers.opcua.settings import OpcUaGroup

REQUEST_BYTES, NODE_BYTES = 100, 60
"""What a request and each of its nodes take on the wire, both ways, for names of usual length."""

ROUND_TRIP = 0.01
"""Seconds that a request is taken to need."""


def _driver(
    connection: OpcUaConnection, groups: Sequence[OpcUaGroup], clock: Callable[[], int]
) -> Driver[OpcUaConnection, OpcUaSource]:
    # asyncua takes half a second and 40 MB to import: only who reads OPC UA pays for it, not who checks a file
    from drivers.opcua.driver import OpcUaDriver  # noqa: PLC0415

    return OpcUaDriver(connection, groups, clock)


def _sampler(
    connection: OpcUaConnection, groups: Sequence[OpcUaGroup], clock: Callable[[], int]
) -> Sampler[OpcUaConnection, OpcUaSource]:
    from drivers.opcua.sampler import OpcUaSampler  # noqa: PLC0415 - as above

    return OpcUaSampler(connection, groups, clock)


def _cost(group: OpcUaGroup) -> Cost:
    """Return what a scan costs: one request that reads all nodes, or what a subscription sends at the most."""
    nodes = len(group.names)
    how = f"{nodes} monitored items, published" if group.pushed else f"{nodes} nodes read together,"
    return Cost(1, REQUEST_BYTES + nodes * NODE_BYTES, ROUND_TRIP, [f"{how} every {group.every:g} s"])


PROTOCOL = Protocol(
    "opcua",
    OpcUaConnection,
    OpcUaSource,
    _driver,
    _cost,
    sampler=_sampler,
    simulator="opcua",
    explore="browse",
    example='{node: "ns=2;s=Machine.Temperature", type: float, unit: Cel, range: [-20, 200]}',
    loggers=("asyncua",),
)
