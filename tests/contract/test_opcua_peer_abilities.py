"""The OPC UA peer offers what tests ask of it, seen with a client that is not ours."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from asyncua import Client, ua
from asyncua.ua import uatypes
from opcua_peer import MACHINE, TYPES, NodeOpcUa

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from asyncua.common.node import Node

SECONDS = 30.0


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> NodeOpcUa:
    """One server for all tests here."""
    server = NodeOpcUa(tmp_path_factory.mktemp("node-opcua"), scope="module", counterPeriod=10)
    server.up_and_wait()
    return server


class Machine:
    """A client's view of the machine."""

    def __init__(self, client: Client, namespace: int) -> None:
        self.client, self._namespace = client, namespace

    @classmethod
    @asynccontextmanager
    async def of(cls, peer: NodeOpcUa) -> AsyncIterator[Machine]:
        async with Client(peer.url, timeout=SECONDS, watchdog_intervall=SECONDS) as client:
            yield cls(client, await client.get_namespace_index(MACHINE))

    def node(self, name: str) -> Node:
        return self.client.get_node(f"ns={self._namespace};s={name}")


@pytest.fixture
def own_types() -> Iterator[None]:
    """Forget the types that asyncua learns in a test: it registers them for the whole process."""
    registries = [
        uatypes.enums_by_datatype,
        uatypes.enums_datatypes,
        uatypes.extension_objects_by_datatype,
        uatypes.extension_objects_by_typeid,
        uatypes.datatype_by_extension_object,
        uatypes.typeid_by_extension_objects,
    ]
    before = [dict(registry) for registry in registries]
    yield
    for registry, known in zip(registries, before, strict=True):
        registry.clear()
        registry.update(known)


@pytest.fixture
async def machine(peer: NodeOpcUa) -> AsyncIterator[Machine]:
    async with Machine.of(peer) as machine:
        yield machine


class Changes:
    """The notifications of a subscription so far."""

    def __init__(self) -> None:
        self.received: asyncio.Queue[Any] = asyncio.Queue()

    def datachange_notification(self, _: Node, value: object, __: object) -> None:
        self.received.put_nowait(value)

    def event_notification(self, event: Any) -> None:
        self.received.put_nowait(event)

    async def next(self) -> Any:
        return await asyncio.wait_for(self.received.get(), SECONDS)


async def test_an_event_is_raised(peer: NodeOpcUa, machine: Machine) -> None:
    changes = Changes()
    subscription = await machine.client.create_subscription(50, changes)
    await subscription.subscribe_events(machine.node("Machine"))
    peer.event("door open", 700)
    event = await changes.next()
    assert (event.Message.Text, event.Severity, event.SourceName) == ("door open", 700, "Machine")


async def test_the_alarm_becomes_active_is_acknowledged_and_ends(peer: NodeOpcUa, machine: Machine) -> None:
    changes = Changes()
    subscription = await machine.client.create_subscription(50, changes)
    await subscription.subscribe_alarms_and_conditions(ua.ObjectIds.Server, ua.ObjectIds.AlarmConditionType)
    seen = []
    for act in (
        lambda: peer.set("Level", 95),
        lambda: peer.control("acknowledge", comment="seen"),
        lambda: peer.set("Level", 50),
    ):
        act()
        event = await changes.next()
        assert event.ConditionName == "LevelAlarm"
        seen.append((getattr(event, "ActiveState/Id"), getattr(event, "AckedState/Id")))
    assert seen[:2] == [(True, False), (True, True)]
    assert not seen[2][0]
    assert peer.control("alarm")["active"] is False


async def test_a_counter_counts(machine: Machine) -> None:
    changes = Changes()
    subscription = await machine.client.create_subscription(50, changes)
    await subscription.subscribe_data_change(machine.node("Counter"))
    first, second, third = [await changes.next() for _ in range(3)]
    assert first < second < third


async def test_a_value_that_a_client_writes_is_kept_and_recorded(peer: NodeOpcUa, machine: Machine) -> None:
    await machine.node("Setpoint").write_value(77.5)
    assert peer.get("Setpoint") == 77.5
    with pytest.raises(ua.UaStatusCodeError, match="does not allow writing"):
        await machine.node("Level").write_value(1.0)
    peer.set("Recorded", 2)
    end = datetime.now(UTC) + timedelta(days=1)
    history = await machine.node("Recorded").read_raw_history(datetime(2020, 1, 1, tzinfo=UTC), end, 10)
    assert [sample.Value.Value for sample in history if sample.Value is not None] == [1.0, 2.0]


async def test_more_than_a_call_may_hold_is_refused(tmp_path: Path) -> None:
    peer = await NodeOpcUa.start(tmp_path, bulk=21, limits={"maxNodesPerRead": 20})
    async with Machine.of(peer) as machine:
        nodes = [machine.node(f"Bulk.{i}") for i in range(21)]
        with pytest.raises(ua.UaStatusCodeError, match="too many operations"):
            await machine.client.read_values(nodes)
        assert await machine.client.read_values(nodes[:20]) == list(range(20))
    assert peer.most("Read") == 21
    assert peer.times("Read") > 1


@pytest.mark.usefixtures("own_types")
async def test_types_of_its_own_are_described(machine: Machine) -> None:
    """A structure inside a structure, an enumeration with strings and one with values, a range and a unit."""
    await machine.client.load_data_type_definitions()
    recipe = await machine.node("Recipe").read_value()
    assert (recipe.Name, recipe.Seconds, recipe.Temperatures) == ("winter", 900, [160.5, 171.5])
    assert (recipe.Pressure.Low, recipe.Pressure.High) == (14.0, 21.5)
    assert TYPES in await machine.client.get_namespace_array()
    for name, described in {"State": "EnumStrings", "Mode": "EnumValues"}.items():
        kind = machine.client.get_node(await machine.node(name).read_data_type())
        [described_by] = await kind.get_properties()
        assert (await described_by.read_browse_name()).Name == described
    about = {
        (await one.read_browse_name()).Name: await one.read_value()
        for one in await machine.node("Temperature").get_properties()
    }
    assert (about["EURange"].Low, about["EURange"].High) == (0.0, 200.0)
    assert about["EngineeringUnits"].DisplayName.Text == "°C"
    assert await machine.node("Matrix").read_value() == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]


async def test_a_wrong_command_fails_the_test(peer: NodeOpcUa) -> None:
    """Else a test would wait for what never comes."""
    for command, arguments in (("sett", {}), ("set", {"node": "Nope"}), ("set", {"node": "Level", "status": "Baad"})):
        with pytest.raises(AssertionError, match=r"there is no|no status code"):
            peer.control(command, **arguments)
