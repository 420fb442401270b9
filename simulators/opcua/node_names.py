"""The node ids and browse paths that the points of a machine claim in an OPC UA server."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from drivers.opcua.node_address import BrowsePath

if TYPE_CHECKING:
    from drivers.opcua.settings import OpcUaConnection, OpcUaSource
    from gateway.settings.factory import Machine as Configured


def default_namespace(configured: Configured) -> str | int:
    """Return the namespace of nodes that name none: the URI or index of the connection, else 0, the standard's."""
    return cast("OpcUaConnection", configured.connection).namespace or 0


def node_names(configured: Configured) -> set[str]:
    """Return the names that no other machine of the same server may claim: `NAMESPACE;ID` and browse paths."""
    default = default_namespace(configured)
    names = {f"{default};s={configured.path.machine}"}
    for point in configured.points:
        node = cast("OpcUaSource", point.source).node
        if isinstance(node, BrowsePath):
            steps = (f"{default if step.namespace is None else step.namespace}:{step.name}" for step in node.steps)
            names.add("/".join(steps))
        else:
            names.add(f"{default if node.namespace is None else node.namespace};{node.identifier}")
    return names
