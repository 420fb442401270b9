"""OPC UA driver: subscribes to nodes or polls them.

In the order of a reading: `settings` of a connection and its points, `security` and `connection` open a session,
`browse` looks up the nodes, `subscription` (or `events`, `history`) receives values, `codec` decodes them, and
`driver` returns them under the contract of `drivers.base`. `errors` translates errors. Parts and clauses are those of
OPC 10000, release 1.05.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from drivers.base import Cost, Protocol
from drivers.opcua.settings import OpcUaConnection, OpcUaSource

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drivers.base import Driver, Sampler
    from drivers.opcua.settings import OpcUaGroup

REQUEST_BYTES, NODE_BYTES = 100, 60
"""Bytes of a request and of each of its nodes, in both directions, for names of usual length."""

ROUND_TRIP = 0.01
"""Assumed seconds of a request."""


def _driver(
    connection: OpcUaConnection, groups: Sequence[OpcUaGroup], clock: Callable[[], int]
) -> Driver[OpcUaConnection, OpcUaSource]:
    # asyncua takes half a second and 40 MB to import: only readers of OPC UA pay for it, not `validate`
    from drivers.opcua.driver import OpcUaDriver  # noqa: PLC0415

    return OpcUaDriver(connection, groups, clock)


def _sampler(
    connection: OpcUaConnection, groups: Sequence[OpcUaGroup], clock: Callable[[], int]
) -> Sampler[OpcUaConnection, OpcUaSource]:
    from drivers.opcua.sampler import OpcUaSampler  # noqa: PLC0415 - as above

    return OpcUaSampler(connection, groups, clock)


def _cost(group: OpcUaGroup) -> Cost:
    """Return the cost of a scan: one read of all nodes, or the maximum that a subscription sends."""
    nodes = len(group.names)
    every = f"every {group.every:g} s"
    if group.events:
        details = [f"{nodes} event notifiers, published {every}"]
    elif group.pushed:
        details = [f"{count} monitored items, published {every}, {how}" for how, count in _parameters(group).items()]
    else:
        details = [f"{nodes} nodes read together, {every}"]
    return Cost(1, REQUEST_BYTES + nodes * NODE_BYTES, ROUND_TRIP, details)


def _parameters(group: OpcUaGroup) -> Counter[str]:
    """Return the requested parameters of the monitored items of a group; only the server knows the revised values."""
    found: Counter[str] = Counter()
    for source in group.sources:
        sampling = source.sampling_in(group.every)
        often = f"every {sampling:g} s" if sampling else "as often as the server can"
        found[f"sampled {often}, with a queue of {source.queue}"] += 1
    return found


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
