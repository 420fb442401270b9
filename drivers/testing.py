"""Contract tests for drivers, also for drivers in other packages. Only this module needs pytest.

    class TestHttpDriver(DriverContract):
        @asynccontextmanager
        async def device(self):
            async with a_device() as device:
                yield DeviceUnderTest(make, groups, missing, device.stop)

Each test runs in its own event loop and needs no plugin of pytest.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from drivers.base import NotConnected, Quality, ReadFailed, Reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence
    from contextlib import AbstractAsyncContextManager

    from drivers.base import Driver, Group, Scan

CANCEL_AFTER = (0.0, 0.001, 0.01, 0.05)
"""Seconds after which a call is cancelled: before, within and after its requests."""


@dataclass(frozen=True, slots=True)
class DeviceUnderTest:
    """A device that is served for one test.

    `make`     makes a new driver of groups, not connected; called in a thread, as the gateway does
    `groups`   at least two groups whose points the device has, polled or pushed
    `missing`  a group of which the device has every point but the last; None if it can't lack a point
    `stop`     stops the device, so that nothing listens at its address
    """

    make: Callable[[Sequence[Group[Any, Any]]], Driver[Any, Any]]
    groups: Sequence[Group[Any, Any]]
    missing: Group[Any, Any] | None
    stop: Callable[[], Awaitable[None]]


def check_scan(scan: Scan, group: Group[Any, Any]) -> None:
    """Check the shape of a scan of one group. Raises `AssertionError`."""
    size = len(group.names)
    positions = list(scan.points) if scan.points is not None else list(range(size))
    assert scan.group is group, "a scan names the group object that was asked for"
    assert len(scan.values) == len(positions), "a scan has one value for each of its points"
    assert set(positions) <= set(range(size)), "points are positions in the group"
    assert scan.times is None or len(scan.times) == len(positions), "a scan has one time for each of its points"
    assert set(scan.faults) <= set(range(len(positions))), "faults are by position in the values"
    for place, value in enumerate(scan.values):
        fault = scan.faults.get(place)
        assert fault is None or fault.quality is not Quality.GOOD, "a good reading has no fault"
        if fault is not None and fault.quality is Quality.BAD:
            assert value is None, "a bad reading has no value"
        else:
            assert isinstance(value, bool | int | float | str), f"{value!r} can't be the value of a point"


class DriverContract:
    """Tests of the contract of `drivers.base.Driver`. Derive a class named `Test...`, and override `device`."""

    seconds: float = 20.0
    """The time limit of one test in seconds."""

    def device(self) -> AbstractAsyncContextManager[DeviceUnderTest]:
        """Serve a device for one test."""
        raise NotImplementedError

    def test_each_group_is_read_into_a_scan_of_its_shape(self) -> None:
        """Values, faults and times are columns of the group's points."""

        async def case(device: DeviceUnderTest) -> None:
            driver = await _connected(device)
            for group in device.groups:
                for scan in await _scans(driver, group):
                    check_scan(scan, group)
                    assert not scan.faults, f"{group.names} are all there, and have faults: {scan.faults}"
            await driver.close()

        self._run(case)

    def test_a_scan_has_the_time_at_which_it_was_taken(self) -> None:
        """The time is from the driver's clock, which is the clock of this computer in the test."""

        async def case(device: DeviceUnderTest) -> None:
            driver = await _connected(device)
            before = time.time_ns() // 1000
            for group in (group for group in device.groups if not group.pushed):
                scan = await driver.read(group)
                assert before <= scan.time <= time.time_ns() // 1000, f"{scan.time} is not now, in microseconds"
            await driver.close()

        self._run(case)

    def test_groups_are_read_at_the_same_time(self) -> None:
        """Each polled group has a task of its own."""

        async def case(device: DeviceUnderTest) -> None:
            driver = await _connected(device)
            polled = [group for group in device.groups if not group.pushed]
            for _ in range(10):
                scans = await asyncio.gather(*(driver.read(group) for group in polled))
                for scan, group in zip(scans, polled, strict=True):
                    check_scan(scan, group)
                    assert not scan.faults
            await driver.close()

        self._run(case)

    def test_a_point_that_the_device_lacks_is_a_fault_and_no_exception(self) -> None:
        """The other points of its group are good."""

        async def case(device: DeviceUnderTest) -> None:
            group = device.missing
            if group is None:
                return
            driver = await _connected(device, [group])
            scan = await driver.read(group)
            check_scan(scan, group)
            assert set(scan.faults) == {len(group.names) - 1}, "only the last point is missing"
            assert scan.faults[len(group.names) - 1].reason in {Reason.NOT_FOUND, Reason.REFUSED}
            await driver.close()

        self._run(case)

    def test_nothing_listening_is_not_connected(self) -> None:
        """The driver translates the exceptions of its library."""

        async def case(device: DeviceUnderTest) -> None:
            await device.stop()
            driver = await _made(device)
            for _ in range(2):
                with pytest.raises(NotConnected) as caught:
                    await driver.connect()
                assert str(caught.value), "the log shows why"
                await driver.close()

        self._run(case)

    def test_a_device_that_goes_away_is_not_connected(self) -> None:
        """Within the time limit, whichever group is read."""

        async def case(device: DeviceUnderTest) -> None:
            driver = await _connected(device)
            await device.stop()
            with pytest.raises(NotConnected):
                await _read_on(driver, device.groups[0])
            await driver.close()

        self._run(case)

    def test_what_is_closed_is_not_read(self) -> None:
        """A read after `close` would open a connection that is never closed."""

        async def case(device: DeviceUnderTest) -> None:
            driver = await _connected(device)
            await driver.close()
            with pytest.raises(NotConnected):
                await _scans(driver, device.groups[0])
            await driver.close()

        self._run(case)

    def test_a_driver_is_closed_twice_and_before_it_was_connected(self) -> None:
        """The gateway closes a driver in any state."""

        async def case(device: DeviceUnderTest) -> None:
            driver = await _made(device)
            await driver.close()
            await driver.connect()
            await driver.close()
            await driver.close()

        self._run(case)

    def test_a_driver_connects_again_after_it_was_closed(self) -> None:
        """One driver is used across many outages."""

        async def case(device: DeviceUnderTest) -> None:
            driver = await _made(device)
            for _ in range(3):
                await driver.connect()
                for scan in await _scans(driver, device.groups[0]):
                    check_scan(scan, device.groups[0])
                await driver.close()

        self._run(case)

    def test_a_cancelled_call_leaves_a_driver_that_reads(self) -> None:
        """The gateway cancels reads when it stops, and when another group loses the connection."""

        async def case(device: DeviceUnderTest) -> None:
            driver = await _made(device)
            for after in CANCEL_AFTER:
                await _cancelled(driver.connect(), after)
                await driver.close()
            await driver.connect()
            for after in CANCEL_AFTER:
                await _cancelled(_scans(driver, device.groups[0]), after)
                try:
                    scans = await _scans(driver, device.groups[0])
                except NotConnected:  # the driver may give up the connection; connect again
                    await driver.close()
                    await driver.connect()
                    scans = await _scans(driver, device.groups[0])
                for scan in scans:
                    check_scan(scan, device.groups[0])
            await driver.close()

        self._run(case)

    def test_counters_are_numbers(self) -> None:
        """The counters are part of reports and metrics."""

        async def case(device: DeviceUnderTest) -> None:
            driver = await _made(device)
            for _ in range(2):
                assert all(isinstance(name, str) and isinstance(n, int) for name, n in driver.counts().items())
                await driver.connect()
                assert driver.clock_offset is None or isinstance(driver.clock_offset, float)
                await driver.close()

        self._run(case)

    def _run(self, case: Callable[[DeviceUnderTest], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            async with asyncio.timeout(self.seconds), self.device() as device:
                assert len(device.groups) > 1, "the contract needs at least two groups"
                await case(device)

        asyncio.run(main())


async def _made(device: DeviceUnderTest, groups: Sequence[Group[Any, Any]] | None = None) -> Driver[Any, Any]:
    return await asyncio.to_thread(device.make, device.groups if groups is None else groups)


async def _connected(device: DeviceUnderTest, groups: Sequence[Group[Any, Any]] | None = None) -> Driver[Any, Any]:
    driver = await _made(device, groups)
    await driver.connect()
    return driver


async def _scans(driver: Driver[Any, Any], group: Group[Any, Any]) -> list[Scan]:
    """Read a polled group once, or wait for a scan of a pushed group."""
    if not group.pushed:
        return [await driver.read(group)]
    while (scan := await driver.receive()).group is not group:
        pass
    return [scan]


async def _read_on(driver: Driver[Any, Any], group: Group[Any, Any]) -> None:
    """Read a group until the connection is lost."""
    while True:
        with suppress(ReadFailed):
            await _scans(driver, group)
        await asyncio.sleep(0)


async def _cancelled(call: Coroutine[Any, Any, Any], after: float) -> None:
    task = asyncio.ensure_future(call)
    await asyncio.wait({task}, timeout=after)
    task.cancel()
    with suppress(asyncio.CancelledError, NotConnected, ReadFailed):
        await task
