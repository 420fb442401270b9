"""Machines served over OPC UA, by asyncua: a namespace per machine, in a thread of its own.

Loading asyncua, and making nodes, keeps a processor busy for a second; in its own thread and event loop it does not
hold up the machines that are served already. `simulators.opcua.security` makes it as secure as it is configured.
"""

from __future__ import annotations

import asyncio
import threading
import time
from itertools import count
from typing import TYPE_CHECKING, Any, cast

from drivers.opcua.node_address import BrowsePath
from drivers.opcua.settings import PORT
from simulators.opcua.relay import Relay
from simulators.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

    from asyncua import Server, ua

    from drivers.base import Value
    from drivers.opcua.settings import OpcUaConnection, OpcUaSource
    from gateway.settings.factory import Machine as Configured
    from simulators.machines.outputs import MachineOutputs
    from simulators.opcua.node_store import NodeStore
    from simulators.opcua.security import Credentials, Demands
    from simulators.opcua.variable_values import VariableValues

REFRESH = 0.5
"""Seconds between two looks at what the machines show."""

CLIENTS = 10_000
"""Connections, and subscriptions, that one server takes: asyncua's 1,000 are one for each machine."""

AT_ONCE = 20
"""Machines that are looked at while nobody is answered."""

NAP = 0.05
"""Seconds between two looks whether a silent server may speak again."""

SEVERITY = 600
"""Of alarms: medium (OPC 10000-5, clause 6.4.2)."""


class OpcUaMachines(threading.Thread):
    """One server with all machines behind one endpoint."""

    def __init__(
        self, url: str, demands: Demands, credentials: Credentials, *, history: int = 0, faulty: bool = False
    ) -> None:
        """Prepare; `history` is how many values of each measured node are kept, `faulty` lets faults act."""
        super().__init__(name=f"opcua {url}", daemon=True)
        self.url = url
        self.ready = threading.Event()
        self.error: BaseException | None = None
        self.demands = demands
        self._credentials = credentials
        self._history, self._faulty = history, faulty
        self._machines: list[tuple[Configured, MachineOutputs]] = []
        self._taken: set[str] = set()
        self._ending: asyncio.Event
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked_to_stop = threading.Event()

    def has_room_for(self, machines: list[tuple[Configured, MachineOutputs]]) -> bool:
        """Return whether none of these machines' nodes has the id of a node that is here already."""
        return self._taken.isdisjoint(node for configured, _ in machines for node in _node_names(configured))

    def add(self, machines: list[tuple[Configured, MachineOutputs]]) -> None:
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

    @property
    def _stopping(self) -> bool:
        return self._ending.is_set() or self._asked_to_stop.is_set()

    @property
    def _restarts(self) -> int:
        return sum(shown.link.restarts for _, shown in self._machines)

    async def _serve(self) -> None:
        """Serve, and start anew where a fault says so."""
        self._ending = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        while not self._stopping:
            await self._serve_once(self._restarts)

    async def _serve_once(self, restarts: int) -> None:
        # these imports take a while, and belong to what this thread is for
        from simulators.opcua.address_space import AddressSpace  # noqa: PLC0415
        from simulators.opcua.monitored_items import sample_variables  # noqa: PLC0415
        from simulators.opcua.standard_nodes import new_server  # noqa: PLC0415

        sample_variables()
        server = new_server()
        await server.init()
        server.iserver.max_connections = server.iserver.max_subscriptions = CLIENTS
        server.set_endpoint(self.url)
        server.set_server_name("Lineside simulator")
        await self._credentials.secure(server, self.demands)
        for i in range(restarts):
            # a server that is started anew may number its namespaces anew
            await server.register_namespace(f"urn:lineside:restart:{i}")
        space = AddressSpace(server)
        machines = [_Machine(space.nodes, *await space.add(one, shown)) for one, shown in self._machines]
        links = [shown.link for _, shown in self._machines]
        relay = Relay(server.endpoint.hostname or LOOPBACK, server.endpoint.port or PORT, links)
        if self._faulty:
            server.socket_address = LOOPBACK, relay.inner
        try:
            async with server:
                await self._keep_history(server, machines)
                self.ready.set()
                due = time.monotonic()
                for look in count():
                    if self._stopping or self._restarts != restarts:
                        break
                    if self._faulty:
                        await relay.attend()
                    for number, machine in enumerate(machines):
                        await machine.refresh(server, look)
                        if number % AT_ONCE == AT_ONCE - 1:
                            await asyncio.sleep(0)  # who asks for something is answered between them
                    due = max(due + REFRESH, time.monotonic())  # looks that were late do not put off all others
                    await self._wait(due - time.monotonic())
                    while any(link.silent for link in links) and not self._asked_to_stop.is_set():
                        time.sleep(NAP)  # noqa: ASYNC251 - the whole server holds its breath: that is the fault
        finally:
            await relay.close()

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._ending.wait()
        except TimeoutError:
            pass

    async def _keep_history(self, server: Server, machines: list[_Machine]) -> None:
        if self._history:
            await server.historize_node_data_change(
                [server.get_node(id_) for machine in machines for id_ in machine.measured()],
                period=cast("timedelta", None),
                count=self._history,
            )


class _Machine:
    """One machine in a running server."""

    def __init__(self, nodes: NodeStore, root: ua.NodeId, held: VariableValues) -> None:
        self._nodes, self._root, self._held = nodes, root, held
        self._can_alarm = "alarm_word" in held.shown.sound()
        self._alarms = 0
        self._events: Any = None  # a generator, once there was an alarm

    def measured(self) -> Iterator[ua.NodeId]:
        """Yield the ids of what has a range, which are kept: their history will be."""
        for id_ in self._nodes.measured(self._held):
            self._nodes.keep(id_)
            yield id_

    async def refresh(self, server: Server, look: int) -> None:
        """Tell who watches what has changed, and of alarms."""
        if self._held.watches:
            await self._held.sample(look)
        if self._can_alarm:
            await self._tell_alarms(server, self._held.shown.values().get("alarm_word"))

    async def _tell_alarms(self, server: Server, word: Value | None) -> None:
        """Send an event for each bit of the alarm word that has changed (OPC 10000-9, OffNormalAlarmType)."""
        from asyncua import ua  # noqa: PLC0415 - see `_serve_once`

        if not isinstance(word, int) or word == self._alarms:
            return
        changed, self._alarms = word ^ self._alarms, word
        if self._events is None:
            self._nodes.keep(self._root)  # it is written there that it has events
            self._events = await server.get_event_generator(ua.ObjectIds.OffNormalAlarmType, self._root)
        event = self._events.event
        for bit in range(changed.bit_length()):
            if changed >> bit & 1:
                active = bool(word >> bit & 1)
                event.Severity = SEVERITY if active else 1
                event.ConditionName = f"alarm bit {bit}"
                event.Retain = active
                setattr(event, "ActiveState/Id", active)
                await self._events.trigger(message=f"alarm bit {bit} {'active' if active else 'gone'}")


def own_namespace(configured: Configured) -> str | int:
    """Return where nodes without a namespace of their own stand: the connection's, else that of the standard."""
    return cast("OpcUaConnection", configured.connection).namespace or 0


def _node_names(configured: Configured) -> set[str]:
    """Return what two machines of one server can't have both."""
    own = own_namespace(configured)
    names = {f"{own};s={configured.path.machine}"}
    for point in configured.points:
        node = cast("OpcUaSource", point.source).node
        if isinstance(node, BrowsePath):
            names.add("/".join(f"{own if one.namespace is None else one.namespace}:{one.name}" for one in node.steps))
        else:
            names.add(f"{own if node.namespace is None else node.namespace};{node.identifier}")
    return names
