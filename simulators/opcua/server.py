"""One life of a simulated OPC UA server: asyncua's, with the machines' address space, history and alarms."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING, Any, cast

from asyncua import ua

from drivers import listening
from drivers.opcua.settings import PORT
from simulators.opcua.address_space import AddressSpace
from simulators.opcua.monitored_items import install_sampling
from simulators.opcua.relay import Relay
from simulators.opcua.standard_nodes import new_server
from simulators.opcua.variable_values import SAMPLING_INTERVAL
from simulators.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from datetime import timedelta

    from asyncua import Server

    from drivers.base import Value
    from simulators.opcua.node_store import NodeStore
    from simulators.opcua.server_thread import OpcUaServerThread
    from simulators.opcua.variable_values import VariableValues

MAX_CLIENTS = 10_000
"""Connections, and subscriptions, that a server accepts: more than asyncua's default of 1,000."""

MACHINES_PER_TURN = 20
"""Machines that are sampled before the event loop may answer requests."""

SILENCE_POLL = 0.05
"""Seconds between two checks whether a silent server may answer again."""

SEVERITY = 600
"""Severity of active alarms: medium (OPC 10000-5, clause 6.4.2)."""


async def serve(thread: OpcUaServerThread) -> None:
    """Serve the machines of a thread until it stops, or until a fault asks for a restart.

    Raises `OSError` if the port can't be bound.
    """
    install_sampling()
    restarts = thread.restarts
    server = new_server()
    await server.init()
    server.iserver.max_connections = server.iserver.max_subscriptions = MAX_CLIENTS
    server.set_endpoint(thread.url)
    server.set_server_name("Lineside simulator")
    await thread.credentials.secure(server, thread.requirements)
    for i in range(restarts):
        # a server may number its namespaces differently after a restart
        await server.register_namespace(f"urn:lineside:restart:{i}")
    space = AddressSpace(server)
    machines = [_Machine(space.nodes, *await space.add(*machine)) for machine in thread.machines]
    faults = [outputs.network for _, outputs in thread.machines]
    relay = Relay(server.endpoint.hostname or LOOPBACK, server.endpoint.port or PORT, faults)
    if thread.faulty:
        server.socket_address = LOOPBACK, relay.inner
    try:
        async with _listening(server):
            await _keep_history(server, machines, thread.history)
            thread.ready.set()
            due = time.monotonic()
            for sample in count():
                if thread.stopping or thread.restarts != restarts:
                    break
                if thread.faulty:
                    await relay.apply_faults()
                for number, machine in enumerate(machines):
                    await machine.refresh(server, sample)
                    if number % MACHINES_PER_TURN == MACHINES_PER_TURN - 1:
                        await asyncio.sleep(0)
                due = max(due + SAMPLING_INTERVAL, time.monotonic())  # a late sample must not delay all that follow
                await thread.pause(due - time.monotonic())
                while any(fault.silent for fault in faults) and not thread.stopping:
                    time.sleep(SILENCE_POLL)  # noqa: ASYNC251 - the fault is a server that answers nobody
    finally:
        await relay.close()


@asynccontextmanager
async def _listening(server: Server) -> AsyncIterator[None]:
    async with server:
        try:
            yield
        finally:
            await listening.close(server.bserver._server)  # type: ignore[union-attr,arg-type] # it was started # noqa: SLF001


async def _keep_history(server: Server, machines: list[_Machine], values: int) -> None:
    if values:
        await server.historize_node_data_change(
            [server.get_node(id_) for machine in machines for id_ in machine.measured()],
            period=cast("timedelta", None),
            count=values,
        )


class _Machine:
    """One machine in a running server."""

    def __init__(self, nodes: NodeStore, root: ua.NodeId, values: VariableValues) -> None:
        self._nodes, self._root, self._values = nodes, root, values
        self._has_alarms = "alarm_word" in values.outputs.fault_free_values()
        self._alarms = 0
        self._events: Any = None  # an event generator, made for the first alarm

    def measured(self) -> Iterator[ua.NodeId]:
        """Yield the ids of variables with a range, and keep their nodes, since history is attached to them."""
        for id_ in self._nodes.variables_with_range(self._values):
            self._nodes.keep(id_)
            yield id_

    async def refresh(self, server: Server, sample: int) -> None:
        """Report changed values to monitored items, and changed bits of the alarm word as events."""
        if self._values.samplers:
            await self._values.sample(sample)
        if self._has_alarms:
            await self._report_alarms(server, self._values.outputs.values().get("alarm_word"))

    async def _report_alarms(self, server: Server, word: Value | None) -> None:
        """Send an event for each changed bit of the alarm word (OPC 10000-9, OffNormalAlarmType)."""
        if not isinstance(word, int) or word == self._alarms:
            return
        changed, self._alarms = word ^ self._alarms, word
        if self._events is None:
            self._nodes.keep(self._root)  # the generator writes EventNotifier there
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
