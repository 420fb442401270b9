"""Machines served over OPC UA, by asyncua: a namespace per machine, in a thread of its own.

Loading the standard address space keeps a processor busy for seconds; in its own thread and event loop it does
not hold up the machines that are served already.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from drivers.base import ValueType
from simulators.plant import raw_value

if TYPE_CHECKING:
    from asyncua import Server, ua

    from drivers.base import Value
    from drivers.opcua.settings import OpcUaConnection, OpcUaSource
    from gateway.settings.factory import Machine as Configured
    from gateway.settings.point import Point
    from simulators.machine import Machine

REFRESH = 0.5
"""Seconds between two looks at what the machines show."""


class _Node:
    """A node and what was written to it last."""

    def __init__(self, id_: ua.NodeId, point: Point, kind: Any) -> None:  # noqa: ANN401 - a VariantType
        self.id = id_
        self.point = point
        self.kind = kind
        self.last: Value | None = None


class OpcUaMachines(threading.Thread):
    """One server with all machines behind one endpoint."""

    def __init__(self, url: str) -> None:
        super().__init__(name=f"opcua {url}", daemon=True)
        self.url = url
        self.ready = threading.Event()
        self.error: BaseException | None = None
        self._machines: list[tuple[Configured, Machine]] = []
        self._taken: set[str] = set()
        self._ending: asyncio.Event
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked_to_stop = threading.Event()

    def has_room_for(self, machines: list[tuple[Configured, Machine]]) -> bool:
        """Return whether none of these machines' nodes has the id of a node that is here already."""
        return self._taken.isdisjoint(node for configured, _ in machines for node in _node_names(configured))

    def add(self, machines: list[tuple[Configured, Machine]]) -> None:
        """Take machines in, before the thread is started."""
        self._machines += machines
        self._taken.update(node for configured, _ in machines for node in _node_names(configured))

    def run(self) -> None:
        """Serve until `stop`; what goes wrong is kept in `error`."""
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            self.error = error
        finally:
            self.ready.set()

    def stop(self) -> None:
        """Ask the thread to end; `join` waits for it."""
        self._asked_to_stop.set()
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ending.set)

    async def _serve(self) -> None:
        from asyncua import Server, ua  # noqa: PLC0415 - the import belongs to what this thread is for

        self._ending = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        server = Server()
        await server.init()
        server.set_endpoint(self.url)
        server.set_server_name("Lineside simulator")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        nodes = [pair for one, machine in self._machines for pair in await _add_machine(server, one, machine)]
        async with server:
            self.ready.set()
            while not (self._ending.is_set() or self._asked_to_stop.is_set()):
                await _refresh(server, nodes)
                try:
                    async with asyncio.timeout(REFRESH):
                        await self._ending.wait()
                except TimeoutError:
                    continue


async def _add_machine(server: Server, configured: Configured, machine: Machine) -> list[tuple[Machine, _Node]]:
    """Give a machine its namespace, and a folder for each first part of its nodes' names."""
    from asyncua import ua  # noqa: PLC0415 - see `_serve`

    kinds = {
        ValueType.BOOL: ua.VariantType.Boolean,
        ValueType.INT: ua.VariantType.Int64,
        ValueType.FLOAT: ua.VariantType.Double,
        ValueType.STRING: ua.VariantType.String,
    }
    own = await _namespace(server, _own_namespace(configured))
    root = await server.nodes.objects.add_object(own, configured.path.machine)
    folders: dict[str, Any] = defaultdict(lambda: None)
    nodes = []
    for point in configured.points:
        node = cast("OpcUaSource", point.source).node
        index = own if node.namespace is None else await _namespace(server, node.namespace)
        id_ = ua.NodeId.from_string(f"ns={index};{node.identifier}")
        group, _, name = node.identifier.partition("=")[2].rpartition(".")
        if group and folders[group] is None:
            folder_id = ua.NodeId.from_string(f"ns={own};s={configured.path.machine}/{group}")
            folders[group] = await root.add_folder(folder_id, ua.QualifiedName(group, own))
        kind = kinds[ValueType.INT if point.labels else point.type]
        value = raw_value(point, machine.signals[point.name])
        await (folders[group] or root).add_variable(id_, ua.QualifiedName(name, own), ua.Variant(value, kind))
        nodes.append((machine, _Node(id_, point, kind)))
    return nodes


def _own_namespace(configured: Configured) -> str | int:
    """Return where nodes without a namespace of their own stand: the connection's, else that of the standard."""
    return cast("OpcUaConnection", configured.connection).namespace or 0


def _node_names(configured: Configured) -> set[str]:
    nodes = [cast("OpcUaSource", point.source).node for point in configured.points]
    own = _own_namespace(configured)
    return {f"{own if node.namespace is None else node.namespace};{node.identifier}" for node in nodes}


async def _namespace(server: Server, wanted: str | int) -> int:
    """Return the index of a namespace, making it where it is missing."""
    if isinstance(wanted, str):
        return int(await server.register_namespace(wanted))
    while len(present := await server.get_namespace_array()) <= wanted:
        await server.register_namespace(f"urn:lineside:simulated:{len(present)}")
    return wanted


async def _refresh(server: Server, nodes: list[tuple[Machine, _Node]]) -> None:
    """Write what has changed, with the time at which it was seen."""
    from asyncua import ua  # noqa: PLC0415 - see `_serve`

    now = cast("ua.DateTime", datetime.now(UTC))
    for machine, node in nodes:
        value = raw_value(node.point, machine.signals[node.point.name])
        if value != node.last:
            node.last = value
            data = ua.DataValue(ua.Variant(value, node.kind), SourceTimestamp=now, ServerTimestamp=now)
            await server.write_attribute_value(node.id, data)
