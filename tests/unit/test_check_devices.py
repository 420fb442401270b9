"""Reading devices for a check: none holds up the others, nothing is asked more often than it should be."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from points import register

from drivers.base import (
    Connection,
    DeviceWarning,
    DiscoveredPoint,
    Driver,
    NotConnected,
    Protocol,
    ReadFailed,
    Reason,
    Sampler,
    Scan,
    Source,
    ValueType,
    bad,
)
from drivers.sampling import RawValue, Sample
from gateway.acquisition.groups import groups_of
from gateway.check.devices import Device, GroupTaken, Patience, devices_of, read_devices
from gateway.check.machines import check_machines
from gateway.check.results import Verdict, doubt
from gateway.model.path import MachinePath
from gateway.settings.factory import Machine

if TYPE_CHECKING:
    from collections.abc import Callable

    from drivers.base import Group
    from gateway.settings.point import Point

QUICK = Patience(answer=1.0, seconds=0.0, at_once=8)


class At(Connection):
    """Where a fake device is."""

    where: str = "here"

    def __str__(self) -> str:
        return self.where


class Pushed(Source):
    """A point that its device sends by itself."""

    @property
    def pushed(self) -> bool:
        return True


class Fake(Driver):
    """A driver without registers, whose `script` says what becomes of each read."""

    connected = 0
    most = 0
    now = 0
    script: Callable[[Group], Any] = staticmethod(lambda group: [1.5] * len(group.names))

    async def connect(self) -> None:
        type(self).connected += 1

    async def read(self, group: Group) -> Scan:
        kind = type(self)
        kind.now += 1
        kind.most = max(kind.most, kind.now)
        await asyncio.sleep(0)
        kind.now -= 1
        found = kind.script(group)
        if isinstance(found, Exception):
            raise found
        if found is None:
            await asyncio.Event().wait()
        return Scan(group, self.clock(), found)

    async def receive(self) -> Scan:
        [group] = self.groups
        self._sent = getattr(self, "_sent", -1) + 1
        return Scan(group, self.clock(), [float(self._sent)], points=[self._sent % len(group.names)])

    async def close(self) -> None:
        pass


def fake(**members: Any) -> type[Fake]:
    """Return a new class of fake driver, which has its own counts."""
    return type("OneFake", (Fake,), members)


def machine(driver: Callable[..., Driver], *points: Point, name: str = "press-01", where: str = "here") -> Machine:
    def cost(group: Group) -> Any:
        raise NotImplementedError(group)

    protocol = Protocol("fake", At, Source, driver, cost)
    return Machine(MachinePath("e", "s", "a", "l", name), "press", protocol, At(where=where), points)


async def read(devices: list[Device], patience: Patience = QUICK) -> None:
    await read_devices(devices, patience, lambda: None)


async def test_a_driver_without_registers_is_read_nevertheless() -> None:
    """A driver of another package need not support checks."""
    report = await check_machines(
        "f", [machine(fake(), register("a", type="float"), register("b", type="float"))], QUICK, lambda *_: None
    )
    assert [(one.value, one.raw, one.verdict) for one in report.machines[0].points] == [(1.5, "", Verdict.GOOD)] * 2


async def test_the_first_values_of_pushed_points_are_waited_for() -> None:
    """They come one after the other, until every point has a value."""
    points = [register(name, type="float").model_copy(update={"source": Pushed()}) for name in ("a", "b", "c")]
    report = await check_machines("f", [machine(fake(), *points)], QUICK, lambda *_: None)
    assert [one.value for one in report.machines[0].points] == [0.0, 1.0, 2.0]


async def test_a_device_that_never_answers_costs_the_others_nothing() -> None:
    """It is given up after the time-out of an answer, and the other devices are read meanwhile."""
    silent = [machine(fake(script=staticmethod(lambda _: None)), register(), name=f"silent-{i}", where=str(i))
              for i in range(5)]  # fmt: skip
    right = machine(fake(), register(type="float"), name="right", where="right")
    began = time.monotonic()
    report = await check_machines("f", [*silent, right], QUICK, lambda *_: None)
    assert time.monotonic() - began < 5 * QUICK.answer, "one after the other they would take longer"
    assert [one.absent for one in report.machines] == [True] * 5 + [False]
    assert report.machines[0].findings[0].kind == "no_response"
    assert "not within 1 s" in report.machines[0].findings[0].text
    assert all(
        point.verdict is Verdict.WRONG for one in silent for point in report.machines[silent.index(one)].points
    )


async def test_no_more_devices_are_read_at_once_than_allowed() -> None:
    """A switch, or a serial server, has its limits."""
    met = asyncio.Event()

    async def together(self: Fake, group: Group) -> Scan:
        kind = type(self)
        kind.now += 1
        kind.most = max(kind.most, kind.now)
        if kind.now == 3:
            met.set()
        await met.wait()
        await asyncio.sleep(0.01)  # one too many would come meanwhile
        kind.now -= 1
        return Scan(group, self.clock(), [1.5])

    kind = fake(read=together)
    machines = [machine(kind, register(type="float"), name=f"m-{i}", where=str(i)) for i in range(20)]
    await read(devices_of(machines), QUICK._replace(answer=10.0, at_once=3))
    assert (kind.connected, kind.most) == (20, 3)


async def test_machines_behind_one_device_share_a_connection() -> None:
    """Many devices take only one."""
    kind = fake()
    await read(devices_of([machine(kind, register(type="float"), name=f"m-{i}") for i in range(5)]))
    assert kind.connected == 1


async def test_a_lost_connection_costs_one_group_and_not_the_next() -> None:
    """A single request may make the device break down."""
    lost = {"left": 1}

    def script(group: Group) -> Any:
        if lost["left"] and group.names == ("a",):
            lost["left"] -= 1
            return NotConnected("reset by peer")
        return [2.5] * len(group.names)

    kind = fake(script=staticmethod(script))
    points = register("a", type="float"), register("b", type="float", every="2s")
    report = await check_machines("f", [machine(kind, *points)], QUICK, lambda *_: None)
    assert [(one.verdict, one.reason) for one in report.machines[0].points] == [
        (Verdict.WRONG, "not_connected"), (Verdict.GOOD, ""),
    ]  # fmt: skip
    assert kind.connected == 2


async def test_a_failed_scan_is_reported_as_the_fault_of_its_points() -> None:
    """The report has the status code of the protocol."""
    failed = ReadFailed("busy", bad(Reason.REFUSED, "0x80020000 BadInternalError"))
    kind = fake(script=staticmethod(lambda _: failed))
    report = await check_machines("f", [machine(kind, register("a"))], QUICK, lambda *_: None)
    [point] = report.machines[0].points
    assert (point.reason, point.code) == ("refused", "0x80020000 BadInternalError")
    assert point.findings[0].text == "refused (0x80020000 BadInternalError): the device does not give it"


async def test_reading_on_keeps_to_each_point_s_own_period() -> None:
    """Read each point with its own period, and slow points a little more often, to see their values change."""
    kind, asked = fake(), []

    def script(group: Group) -> Any:
        asked.append(group.names)
        return [float(len(asked))]

    kind.script = staticmethod(script)
    points = register("often", type="float", every="50ms"), register("seldom", type="float", every="1h")
    [device] = devices_of([machine(kind, *points)])
    await read([device], Patience(0.3, 1.0, 1))
    times = {name: asked.count((name,)) for name in ("often", "seldom")}
    assert 5 <= times["often"] <= 21
    assert 3 <= times["seldom"] <= 6
    groups = {one.group.names[0]: one for one in device.groups}
    assert len(groups["often"].readings[0]) == times["often"]
    assert len(groups["often"].late) == times["often"] - 1


class WithRegisters(Fake, Sampler):
    """A driver that shows its registers."""

    async def sample(self, group: Group) -> Sample:
        return Sample(await self.read(group), [RawValue("holding 0", "0001", lambda: {"order: CDAB": 17.0})])


async def test_the_time_that_a_scan_takes_is_compared_with_its_period() -> None:
    """A period that is shorter than the scan can't be kept, whatever the plan says."""

    async def slow(self: Fake, group: Group) -> Scan:
        await asyncio.sleep(0.05)
        return Scan(group, self.clock(), [1.5])

    kind = fake(read=slow)
    report = await check_machines("f", [machine(kind, register(type="float", every="10ms"))], QUICK, lambda *_: None)
    assert [finding.kind for finding in report.machines[0].findings] == ["slow"]
    assert report.passed()


async def test_a_parameter_that_a_device_revises_is_a_finding_of_its_machine() -> None:
    """A person who commissions a line reads it before the first curve has steps."""
    text = "the server samples them every 1000 ms instead of 100 ms"
    path = "e/s/a/l/press-01"
    warnings = [DeviceWarning(path, tuple(f"p{i}" for i in range(25)), text), DeviceWarning("other", ("p",), "no")]
    kind = fake(warnings=lambda _: warnings)
    report = await check_machines("f", [machine(kind, register(type="float"))], QUICK, lambda *_: None)
    [finding] = report.machines[0].findings
    assert finding == doubt("device", finding.text)
    assert finding.text == f"{', '.join(f'p{i}' for i in range(20))} and 5 more: {text}"


@pytest.mark.parametrize("ahead", [None, 1.0, -3600.0])
async def test_a_wrong_device_clock_is_reported(ahead: float | None) -> None:
    """Its time stamps would go into the store."""
    kind = fake(clock_offset=property(lambda _: ahead))
    report = await check_machines("f", [machine(kind, register(type="float"))], QUICK, lambda *_: None)
    wrong = ahead is not None and abs(ahead) > 5
    assert [finding.kind for finding in report.machines[0].findings] == (["clock"] if wrong else [])


async def test_the_registers_are_kept_beside_the_values() -> None:
    """So are the values that the registers have in other orders."""
    one = machine(fake(), register(raw="float32", range=[0, 30]))
    protocol = Protocol("fake", At, Source, WithRegisters, one.protocol.cost, sampler=WithRegisters)
    device = Device(one.connection, protocol, [(one, [GroupTaken(g, p) for g, p in groups_of(one)])])
    await read([device])
    [state] = device.groups
    assert (state.held[0].where, state.held[0].raw) == ("holding 0", "0001")
    assert state.readings[0][0].others() == {"order: CDAB": 17.0}


class Searching(Source):
    """The source of points that only the device knows, or of one of them."""

    match: str = ""

    @property
    def search(self) -> bool:
        return bool(self.match)


async def test_points_that_only_the_device_knows_are_found_and_read() -> None:
    """A search that finds no point of its type, or that fails, is reported."""
    asked = []

    async def search(_: Fake, group: Group, position: int) -> list[DiscoveredPoint]:
        asked.append(group.names[position])
        if group.names[position] == "gone":
            raise ReadFailed("no such node", bad(Reason.NOT_FOUND))
        return [DiscoveredPoint("m1", ValueType.FLOAT, {}), DiscoveredPoint("name", ValueType.STRING, {})]

    kind = fake(search=search)
    searches = tuple(
        register(name, type=type_).model_copy(update={"source": Searching(match="*")})
        for name, type_ in (("motor", "float"), ("counter", "bool"), ("gone", "float"))
    )
    one = replace(machine(kind, register("a", type="float")), searches=searches)
    report = await check_machines("f", [one], QUICK, lambda *_: None)
    [checked] = report.machines
    assert asked == ["motor", "counter", "gone"]
    assert {point.name: point.value for point in checked.points} == {"a": 1.5, "motor_m1": 1.5}
    assert [(finding.severity.value, finding.text) for finding in checked.findings] == [
        ("doubt", "counter: nothing of its type was found there"),
        ("wrong", "gone: no such node"),
    ]
    assert kind.connected == 2, "once more, with all that is known then"
