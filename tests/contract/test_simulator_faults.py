"""Faults on the way, as who reads the machine meets them; and what OPC UA servers offer besides values."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from asyncua import ua
from processes import until
from simulated import PATIENCE, client_of, configure, connected, read_machine, simulated
from structlog.testing import capture_logs

from drivers.base import DriverError, NotConnected, ReadFailed, Reason, Scan
from gateway.acquisition.groups import groups_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from gateway.settings.factory import Machine

METER = {
    "protocol": "modbus",
    "points": {
        "power": {"address": "holding 0", "raw": "float32", "unit": "kW", "range": [0, 50]},
        "count": {"address": "holding 2", "raw": "uint32"},
        "level": {"address": "input 0", "unit": "%", "range": [0, 100]},
    },
}
DRUM = {
    "protocol": "opcua",
    "points": {
        "speed": {"node": "s=Drum.Speed", "type": "float", "unit": "r/min", "range": [0, 60]},
        "width": {"node": "/Plant/Drum/Width", "type": "float", "unit": "mm", "range": [0, 500]},
    },
}
Named = dict[str, Any]
TCP = "modbus+tcp://10.0.0.1?timeout=0.5&unit="


class Served:
    """Machines that are served, and a file through which their faults begin and end."""

    def __init__(self, machines: dict[str, Machine], control: Path) -> None:
        self.machines = machines
        self._control = control

    def order(self, line: str) -> None:
        with self._control.open("a") as file:
            file.write(f"{line}\n")

    async def until(self, machine: str, wanted: Callable[[Scan | DriverError], bool]) -> Scan | DriverError:
        """Read a machine until the scan, or the error, is as wanted."""
        one = self.machines[machine]
        groups = [group for group, _ in groups_of(one)]
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    async with connected(one, groups, patient=False) as driver:
                        found: Scan | DriverError = await driver.read(groups[0])
                except DriverError as error:
                    found = error
                if wanted(found):
                    return found
                await asyncio.sleep(0.05)


@asynccontextmanager
async def served(
    folder: Path, templates: dict[str, Any], machines: dict[str, Any], **options: Any
) -> AsyncIterator[Served]:
    control = folder / "control"
    async with simulated(folder, configure(folder, templates, machines), control=control, **options) as factory:
        yield Served({machine.path.machine: machine for machine in factory.machines}, control)


def good(found: Scan | DriverError) -> bool:
    return isinstance(found, Scan) and not found.faults


def meters(*units: int) -> dict[str, Any]:
    return {f"m{unit}": {"template": "meter", "connection": f"{TCP}{unit}"} for unit in units}


async def test_a_silent_unit_leaves_the_others_alone(tmp_path: Path):
    """One dead slave behind a gateway is the most common outage of all."""
    async with served(tmp_path, {"meter": METER}, meters(1, 2)) as there:
        there.order("m1:silence")
        found = await there.until("m1", lambda found: not good(found))
        fault = found.fault if isinstance(found, ReadFailed) else next(iter(found.faults.values()))  # type: ignore[union-attr]
        assert fault.reason is Reason.NO_RESPONSE
        await there.until("m2", good)
        there.order("m1:silence off")
        await there.until("m1", good)


async def test_a_register_can_become_illegal(tmp_path: Path):
    """Exception 2 for the requests that touch it: the driver has to find out which point is to blame."""
    async with served(tmp_path, {"meter": METER}, meters(1)) as there:
        there.order("m1.count:illegal_register")
        found = await there.until("m1", lambda found: isinstance(found, Scan) and bool(found.faults))
        assert isinstance(found, Scan)
        bad = {found.group.names[i]: fault for i, fault in found.faults.items()}
        assert "exception 2" in bad["count"].code


async def test_a_broken_sensor_is_not_a_number_in_a_register(tmp_path: Path):
    """A device shows this for a thermocouple that is gone."""
    async with served(tmp_path, {"meter": METER}, meters(1)) as there:
        there.order("m1.power:sensor_break")
        await there.until("m1", lambda found: isinstance(found, Scan) and found.values[0] != found.values[0])


async def test_garbage_is_not_an_answer(tmp_path: Path):
    """No value may be read from it."""
    async with served(tmp_path, {"meter": METER}, meters(1)) as there:
        there.order("m1:garbage")
        await there.until("m1", lambda found: isinstance(found, DriverError) or len(found.faults) == 3)
        there.order("m1:garbage off")
        await there.until("m1", good)


async def test_slow_answers_are_late_by_as_much_as_was_ordered(tmp_path: Path):
    """A radio link, or a gateway with a full line."""
    async with served(tmp_path, {"meter": METER}, meters(1)) as there:
        there.order("m1:slow=0.3")
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            began = time.monotonic()
            await there.until("m1", good)
            if time.monotonic() - began >= 0.3:
                break
        else:
            pytest.fail("no answer was late")


async def test_nobody_listens_while_refused_and_a_restart_ends_connections(tmp_path: Path):
    """The port comes back where it was."""
    async with served(tmp_path, {"meter": METER}, meters(1)) as there:
        one = there.machines["m1"]
        groups = [group for group, _ in groups_of(one)]
        async with connected(one, groups) as driver:
            await driver.read(groups[0])
            there.order("m1:refused")
            await there.until("m1", lambda found: isinstance(found, NotConnected))
            with pytest.raises(NotConnected):
                await driver.read(groups[0])
            there.order("m1:refused off")
            await there.until("m1", good)
        there.order("m1:restart")
        await there.until("m1", lambda found: isinstance(found, NotConnected))
        await there.until("m1", good)


def drums() -> dict[str, Any]:
    return {"d1": {"template": "drum", "connection": "opc.tcp://10.0.0.1:4840?security=none&namespace=urn:d1"}}


async def test_an_opcua_server_that_restarts_renumbers_its_namespaces(tmp_path: Path):
    """A client that addresses by index reads another machine, or nothing."""
    async with served(tmp_path, {"drum": DRUM}, drums()) as there:
        client = await client_of(there.machines["d1"])
        before = await client.get_namespace_index("urn:d1")
        await client.disconnect()
        there.order("d1:restart")
        deadline = time.monotonic() + PATIENCE
        after = before
        while after == before:
            assert time.monotonic() < deadline, "the server has not restarted"
            client = await client_of(there.machines["d1"], 5.0)
            try:
                after = await client.get_namespace_index("urn:d1")
                value = await client.get_node(f"ns={after};s=Drum.Speed").read_value()
            except (ConnectionError, asyncio.CancelledError, TimeoutError):
                continue
            await client.disconnect()
        assert isinstance(value, float)


@pytest.mark.parametrize(
    ("order", "status"),
    [("d1.speed:sensor_break", "BadSensorFailure"), ("d1.speed:illegal_register", "BadNodeIdUnknown")],
)
async def test_an_opcua_node_says_why_it_has_no_value(tmp_path: Path, order: str, status: str):
    """A status, and no value: never the last one."""
    async with served(tmp_path, {"drum": DRUM}, drums()) as there:
        client = await client_of(there.machines["d1"])
        node = client.get_node(f"ns={await client.get_namespace_index('urn:d1')};s=Drum.Speed")
        there.order(order)
        data = await until_data(node, lambda data: data.StatusCode.is_bad())
        assert data.StatusCode.name == status
        assert data.Value is None or data.Value.Value is None
        there.order(f"{order} off")
        await until_data(node, lambda data: data.StatusCode.is_good())
        await client.disconnect()


async def until_data(node: Any, wanted: Callable[[ua.DataValue], bool]) -> ua.DataValue:
    async with asyncio.timeout(PATIENCE):
        while True:
            data = await node.read_data_value(raise_on_bad_status=False)
            if wanted(data):
                return data
            await asyncio.sleep(0.05)


async def test_a_wrong_clock_is_seen_in_source_times_alone(tmp_path: Path):
    """The server's own clock is right: that is how a client notices it."""
    async with served(tmp_path, {"drum": DRUM}, drums()) as there:
        client = await client_of(there.machines["d1"])
        node = client.get_node(f"ns={await client.get_namespace_index('urn:d1')};s=Drum.Speed")
        there.order("d1:wrong_clock=-7200")

        def off(data: ua.DataValue) -> float:
            assert data.SourceTimestamp is not None
            assert data.ServerTimestamp is not None
            return (data.SourceTimestamp - data.ServerTimestamp).total_seconds()

        data = await until_data(node, lambda data: off(data) < -1)
        assert off(data) == pytest.approx(-7200)
        await client.disconnect()


async def test_a_path_of_browse_names_leads_to_its_variable(tmp_path: Path):
    """Many servers number their nodes, and only the names last."""
    async with served(tmp_path, {"drum": DRUM}, drums()) as there:
        client = await client_of(there.machines["d1"])
        index = await client.get_namespace_index("urn:d1")
        node = await client.nodes.objects.get_child([f"{index}:Plant", f"{index}:Drum", f"{index}:Width"])
        assert isinstance(await node.read_value(), float)
        await client.disconnect()


async def test_history_is_kept_where_it_is_asked_for(tmp_path: Path):
    """A gateway can later fetch the values that it missed."""
    async with served(tmp_path, {"drum": DRUM}, drums(), history=50) as there:
        client = await client_of(there.machines["d1"])
        node = client.get_node(f"ns={await client.get_namespace_index('urn:d1')};s=Drum.Speed")
        kept: list[ua.DataValue] = []
        async with asyncio.timeout(PATIENCE):
            while len(kept) < 4:
                await asyncio.sleep(0.1)
                kept = await node.read_raw_history()
        assert len({data.Value.Value for data in kept if data.Value is not None}) > 2
        await client.disconnect()


async def test_alarms_are_sent_as_events(tmp_path: Path):
    """A stop of a machine sets a bit of its alarm word; a client that subscribed to the machine gets an event."""
    template = {
        "protocol": "opcua",
        "points": {"alarm_word": {"node": "s=Alarm", "type": "int", "range": [0, 4]}},
    }
    machines = {"d1": {"template": "drum", "connection": "opc.tcp://10.0.0.1:4840?security=none&namespace=urn:d1"}}
    async with served(tmp_path, {"drum": template}, machines, speed=100.0) as there:
        client = await client_of(there.machines["d1"])
        machinery = await client.get_namespace_index("http://opcfoundation.org/UA/Machinery/")
        own = await client.get_namespace_index("urn:d1")
        root = await client.get_node(f"ns={machinery};i=1001").get_child(f"{own}:d1")
        events: asyncio.Queue[Any] = asyncio.Queue()

        class Handler:
            def event_notification(self, event: Any) -> None:
                events.put_nowait(event)

        subscription = await client.create_subscription(100, Handler())
        await subscription.subscribe_events(root, ua.ObjectIds.OffNormalAlarmType)
        async with asyncio.timeout(PATIENCE):
            event = await events.get()
        assert event.Message.Text.startswith("alarm bit")
        await subscription.delete()
        await client.disconnect()


async def test_a_silent_opcua_server_answers_nobody_and_then_goes_on(tmp_path: Path):
    """The whole server pauses, like a server whose process hangs."""
    template = {"protocol": "opcua", "points": {"speed": DRUM["points"]["speed"]}}  # type: ignore[index]
    async with served(tmp_path, {"drum": template}, drums()) as there:
        client = await client_of(there.machines["d1"])
        node = client.get_node(f"ns={await client.get_namespace_index('urn:d1')};s=Drum.Speed")
        with capture_logs() as logs:
            there.order("d1:silence")
            await until(lambda: [one for one in logs if one["event"] == "fault.began"], "it is silent", PATIENCE)
        async with asyncio.timeout(PATIENCE):
            silent = False
            while not silent:
                reading = asyncio.create_task(node.read_value())
                done, _ = await asyncio.wait([reading], timeout=1.0)
                silent = not done
            there.order("d1:silence off")
            await reading
        await client.disconnect()
        assert (await read_machine(there.machines["d1"]))["speed"].fault is None
