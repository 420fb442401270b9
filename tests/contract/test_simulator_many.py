"""Machines of one template behind one OPC UA server: each is itself, however they are made."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from asyncua import ua
from simulated import client_of, configure, connected, simulated

from gateway.acquisition.groups import groups_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from asyncua import Client
    from asyncua.common.node import Node

    from gateway.settings.factory import Factory

POINTS = {
    "level": {"node": "s=Tank.Level", "type": "float", "unit": "bar", "range": [0, 4], "description": "At the foot"},
    "count": {"node": "s=Tank.Count", "type": "int"},
    "state": {"node": "s=PackMLStatus.StateCurrent", "type": "int", "labels": {4: "idle", 6: "execute"}},
    "name": {"node": "i=77", "type": "string"},
    "alarm_word": {"node": "s=Machine.AlarmWord", "type": "int"},
}  # fmt: skip
TANK = {"protocol": "opcua", "defaults": {"every": "500ms"}, "points": POINTS}
URL = "opc.tcp://10.0.0.1?security=none&namespace=urn:test:"
MACHINES = {f"tank-{i}": {"template": "tank", "connection": f"{URL}{i}"} for i in range(1, 4)}


@asynccontextmanager
async def looking(factory: Factory) -> AsyncIterator[Client]:
    """Have a client of another make than ours look at the machines' server."""
    client = await client_of(factory.machines[0])
    try:
        yield client
    finally:
        await client.disconnect()


async def below(node: Node, indent: str = "") -> AsyncIterator[tuple[str, Any]]:
    """Yield each node below one: its path, and all of it that is not its value."""
    for one in await node.get_references(ua.ObjectIds.HierarchicalReferences, ua.BrowseDirection.Forward):
        child = ua.NodeId(one.NodeId.Identifier, one.NodeId.NamespaceIndex)
        node_ = node.__class__(node.session, child)
        path = f"{indent}/{one.BrowseName.Name}"
        yield path, (child.Identifier, one.ReferenceTypeId, one.TypeDefinition, one.NodeClass, one.DisplayName.Text)
        if one.NodeClass == ua.NodeClass.Variable:
            wanted = [ua.AttributeIds.DataType, ua.AttributeIds.ValueRank, ua.AttributeIds.Description]
            yield f"{path} attributes", [data.Value.Value for data in await node_.read_attributes(wanted)]
        async for more in below(node_, path):
            yield more


def root(client: Client, uris: list[str], machine: str) -> Node:
    return client.get_node(ua.NodeId(machine, uris.index(f"urn:test:{machine[-1]}")))


async def test_a_machine_that_is_like_another_has_the_same_nodes_under_its_own_name(tmp_path: Path):
    """A client that browses finds no difference but the names, and the identification of each machine."""
    async with (
        simulated(tmp_path, configure(tmp_path, {"tank": TANK}, MACHINES)) as factory,
        looking(factory) as client,
    ):
        uris = await client.get_namespace_array()
        seen = {}
        for machine in MACHINES:
            found = [str(one) async for one in below(root(client, uris, machine))]
            seen[machine] = [one.replace(machine, "NAME") for one in found]
        assert len(seen["tank-1"]) > 20
        assert seen["tank-1"] == seen["tank-2"] == seen["tank-3"]
        machines = await (await root(client, uris, "tank-1").get_parent()).get_children()
        assert {node.nodeid.Identifier for node in machines} == set(MACHINES)
        for machine in MACHINES:
            own = uris.index(f"urn:test:{machine[-1]}")
            assert (await root(client, uris, machine).read_browse_name()) == ua.QualifiedName(machine, own)
            serial = client.get_node(ua.NodeId(f"{machine}/Identification/SerialNumber", own))
            assert await serial.read_value() == f"SIM-{machine}"
            assert (await serial.get_parent()).nodeid == ua.NodeId(f"{machine}/Identification", own)
            path = ["0:EURange"]
            limits = await client.get_node(ua.NodeId("Tank.Level", own)).get_child(path)
            assert (await limits.read_value()).High == 4.0


async def test_each_machine_reports_its_own_values(tmp_path: Path):
    """By reading and by subscription, with a time of its own; a fault of one is not another's."""
    config, faults = configure(tmp_path, {"tank": TANK}, MACHINES), ("tank-2.level:sensor_break@0s",)
    async with simulated(tmp_path, config, faults=faults) as factory, looking(factory) as client:
        uris = await client.get_namespace_array()
        heard: dict[str, asyncio.Queue[ua.DataValue]] = {machine: asyncio.Queue() for machine in MACHINES}
        levels = {uris.index(f"urn:test:{machine[-1]}"): machine for machine in MACHINES}

        class Heard:
            def datachange_notification(self, node: Node, _: Any, data: Any) -> None:
                heard[levels[node.nodeid.NamespaceIndex]].put_nowait(data.monitored_item.Value)

        subscription = await client.create_subscription(200, Heard())
        await subscription.subscribe_data_change([client.get_node(ua.NodeId("Tank.Level", one)) for one in levels])
        seen: dict[str, list[ua.DataValue]] = {machine: [] for machine in MACHINES}
        async with asyncio.timeout(30):
            for machine, queue in heard.items():
                while len(seen[machine]) < (1 if machine == "tank-2" else 4):
                    seen[machine].append(await queue.get())
        values = {machine: [one.Value.Value for one in held] for machine, held in seen.items()}
        assert len({*values["tank-1"], *values["tank-3"]}) == 8, "machines are not in step"
        for machine in ("tank-1", "tank-3"):
            times = [one.SourceTimestamp for one in seen[machine]]
            assert times == sorted(set(times))
            read = await client.get_node(ua.NodeId("Tank.Level", _index(levels, machine))).read_data_value()
            assert read.SourceTimestamp >= times[-1]
            assert 0.0 <= read.Value.Value <= 4.0
        broken = client.get_node(ua.NodeId("Tank.Level", _index(levels, "tank-2")))
        data = await broken.read_data_value(raise_on_bad_status=False)
        assert data.StatusCode.name == "BadSensorFailure"


def _index(levels: dict[int, str], machine: str) -> int:
    return next(index for index, name in levels.items() if name == machine)


async def test_a_slow_sampling_interval_gets_the_last_value_only(tmp_path: Path):
    """A monitored item's sampling interval counts, and its queue is as long as was asked for."""
    async with (
        simulated(tmp_path, configure(tmp_path, {"tank": TANK}, MACHINES)) as factory,
        looking(factory) as client,
    ):
        own = (await client.get_namespace_array()).index("urn:test:2")
        node = client.get_node(ua.NodeId("Tank.Level", own))
        heard: asyncio.Queue[ua.DataValue] = asyncio.Queue()

        class Heard:
            def datachange_notification(self, _: Node, __: Any, data: Any) -> None:
                heard.put_nowait(data.monitored_item.Value)

        subscription = await client.create_subscription(100, Heard())
        await subscription.subscribe_data_change(node, sampling_interval=2000)
        async with asyncio.timeout(30):
            times = [(await heard.get()).SourceTimestamp for _ in range(4)]
        apart = [(after - before).total_seconds() for before, after in pairwise(times[1:])]
        assert min(apart) > 1.4


@pytest.mark.parametrize("percent", [0.0, 20.0])
async def test_a_deadband_in_percent_is_of_the_variables_range(tmp_path: Path, percent: float):
    """Twenty percent of four bar are 0.8: nearer values are not sent. Without a range there is no percent."""
    async with (
        simulated(tmp_path, configure(tmp_path, {"tank": TANK}, MACHINES), speed=40.0) as factory,
        looking(factory) as client,
    ):
        own = (await client.get_namespace_array()).index("urn:test:3")
        heard: asyncio.Queue[float] = asyncio.Queue()

        class Heard:
            def datachange_notification(self, _: Node, value: Any, __: Any) -> None:
                heard.put_nowait(value)

        subscription = await client.create_subscription(100, Heard())
        kind = ua.DeadbandType.Percent
        ids = [ua.NodeId("Tank.Level", own), ua.NodeId("Tank.Count", own)]
        watch = subscription.deadband_monitor
        results: list[Any] = [await watch([client.get_node(id_)], ua.Double(percent), ua.UInt32(kind)) for id_ in ids]
        assert isinstance(results[0][0], int)
        assert results[1][0] == ua.StatusCode(ua.UInt32(ua.StatusCodes.BadMonitoredItemFilterUnsupported))
        async with asyncio.timeout(60):
            values = [await heard.get() for _ in range(4)]
        apart = [abs(after - before) for before, after in pairwise(values)]
        assert min(apart) > 4.0 * percent / 100


async def test_nobody_writes_to_a_simulated_machine(tmp_path: Path):
    """Simulated values come from the simulation alone."""
    async with (
        simulated(tmp_path, configure(tmp_path, {"tank": TANK}, MACHINES)) as factory,
        looking(factory) as client,
    ):
        own = (await client.get_namespace_array()).index("urn:test:2")
        with pytest.raises(ua.UaStatusCodeError, match="BadUserAccessDenied"):
            await client.get_node(ua.NodeId("Tank.Level", own)).write_value(1.0)


async def test_the_driver_reads_all_of_them(tmp_path: Path):
    """As the gateway does, with one session for all."""
    async with simulated(tmp_path, configure(tmp_path, {"tank": TANK}, MACHINES)) as factory:
        groups = [group for machine in factory.machines for group, _ in groups_of(machine)]
        missing = {(machine, point) for machine in MACHINES for point in POINTS}
        async with connected(factory.machines[0], groups) as driver, asyncio.timeout(30):
            while missing:
                scan = await driver.receive()
                names = scan.group.names if scan.points is None else [scan.group.names[i] for i in scan.points]
                assert scan.faults == {}
                missing -= {(scan.group.machine.rpartition("/")[2], name) for name in names}
