"""The runner: schedules of fixed phase, missed slots, outages reported once, and reconnects."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from fakes.virtual_time import run
from structlog.testing import capture_logs

from drivers.base import (
    Connection,
    DeviceWarning,
    Driver,
    Group,
    Misconfigured,
    NotConnected,
    ReadFailed,
    Reason,
    Scan,
    Source,
    bad,
)
from gateway.acquisition.device_worker import BACKOFF_MAX, DeviceWorker
from gateway.acquisition.scheduler import SCAN_SECONDS, VALUE_SECONDS, WAVE_SECONDS, Waves
from gateway.model.ledger import ScheduleCounts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drivers.base import DriverError


def group(
    machine: str = "press-01", every: float = 1.0, *, pushed: bool = False, phase: float | None = None
) -> Group:
    return Group(machine, Connection(), ("a", "b"), (Source(), Source()), every, pushed=pushed, phase=phase)


class Device(Driver):
    """A device that a test controls, and that records when it was read."""

    def __init__(self, groups: Sequence[Group]) -> None:
        super().__init__(Connection(), groups, lambda: 0)
        self.asked: list[tuple[str, float]] = []
        self.attempts: list[float] = []
        self.lasts = 0.0
        self.refuses_until = 0.0
        self.lost_at: float | None = None
        self.outage = 0.0
        self.error: DriverError | None = None
        self.at_once = self.most_at_once = 0
        self.pushes: asyncio.Queue[Scan] = asyncio.Queue()

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def connect(self) -> None:
        self.attempts.append(self._now)
        if isinstance(self.error, Misconfigured):
            raise self.error
        if self._now < self.refuses_until:
            raise NotConnected("refused")

    async def read(self, group: Group) -> Scan:
        self.asked.append((group.machine, self._now))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.lasts)
        finally:
            self.at_once -= 1
        if self.lost_at is not None and self._now >= self.lost_at:
            self.lost_at, self.refuses_until = None, self._now + self.outage
            raise NotConnected("cut")
        if self.error is not None:
            raise self.error
        return Scan(group, 0, [1, 2])

    async def receive(self) -> Scan:
        return await self.pushes.get()

    async def close(self) -> None:
        pass


class Direct(Device):
    """A device that is read without a task while `direct` is set, but for the scans whose numbers are `gives_up`."""

    def __init__(self, groups: Sequence[Group]) -> None:
        super().__init__(groups)
        self.direct = True
        self.gives_up: set[int] = set()
        self.direct_scans = 0
        self.raises: Exception | None = None

    def start_read(self, group: Group, done: Callable[[Scan], None], stopped: Callable[[], None]) -> bool:
        if self.raises is not None:
            raise self.raises
        if not self.direct:
            return False
        self.direct_scans += 1
        call = stopped if self.direct_scans in self.gives_up else partial(done, Scan(group, 0, [1, 2]))
        asyncio.get_running_loop().call_later(self.lasts, call)
        return True


class Bench:
    """A runner with its device, and what it delivered."""

    def __init__(self, *groups: Group, phase: float = 0.0, delay: float = 0.0, kind: type[Device] = Device) -> None:
        self.device = kind(groups)
        self.delivered: list[Scan] = []
        self.has_room = True
        self.schedules = {one.machine: ScheduleCounts() for one in groups}
        self.runner = DeviceWorker(
            "device", groups, lambda _: self.device, self._take, self.schedules, lambda: 0, phase, 0.0, delay,
            take=self._take_now, room=self,
        )  # fmt: skip

    def _take_now(self, scan: Scan) -> None:
        self.delivered.append(scan)

    async def _take(self, scan: Scan) -> None:
        self._take_now(scan)

    async def run_for(self, seconds: float) -> None:
        running = asyncio.create_task(self.runner.run())
        await asyncio.sleep(seconds)
        await self.runner.stop()
        running.cancel()
        await asyncio.wait({running})

    @property
    def schedule(self) -> ScheduleCounts:
        return next(iter(self.schedules.values()))


@pytest.fixture(autouse=True)
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock jumps while a thread works; here drivers are made at once."""

    async def at_once(make: Callable[[Sequence[Group]], Driver], groups: Sequence[Group]) -> Driver:
        return make(groups)

    monkeypatch.setattr("gateway.acquisition.device_worker.asyncio.to_thread", at_once)


def test_scans_begin_in_fixed_phase_however_long_each_lasts():
    """A poll of sleep plus reading time drifts; a schedule does not."""

    async def main() -> list[float]:
        bench = Bench(group(every=1.0))
        bench.device.lasts = 0.4
        await bench.run_for(10.5)
        assert (bench.schedule.due, bench.schedule.taken, bench.schedule.missed) == (11, 11, 0)
        return [time for _, time in bench.device.asked]

    assert run(main()) == pytest.approx(range(11))


def test_a_scan_longer_than_its_period_misses_slots_and_never_overlaps():
    """Scans that pile up bring a device down; slots that went by are counted."""

    async def main() -> Bench:
        bench = Bench(group(every=1.0))
        bench.device.lasts = 2.5
        await bench.run_for(12.4)
        return bench

    bench = run(main())
    assert bench.device.most_at_once == 1
    assert [time for _, time in bench.device.asked] == pytest.approx([0, 2.5, 5, 7.5, 10])
    assert bench.schedule.due == bench.schedule.taken + bench.schedule.missed
    assert bench.schedule.taken == 5
    assert bench.schedule.missed == 7
    assert bench.schedule.late_most == pytest.approx(0.5)
    assert bench.schedule.lasted_most == pytest.approx(2.5)


def test_each_rate_has_its_own_schedule():
    """A slow group does not delay a fast group."""

    async def main() -> dict[str, int]:
        bench = Bench(group("fast", 0.1), group("slow", 1.0))
        await bench.run_for(2.05)
        return {name: schedule.taken for name, schedule in bench.schedules.items()}

    assert run(main()) == {"fast": 21, "slow": 3}


def test_phase_and_delay_spread_devices_over_the_period():
    """A thousand devices are neither connected nor read in the same instant."""

    async def main() -> Bench:
        bench = Bench(group(every=1.0), phase=0.3, delay=0.05)
        await bench.run_for(2.0)
        return bench

    bench = run(main())
    assert bench.device.attempts == pytest.approx([0.05])
    assert [time for _, time in bench.device.asked] == pytest.approx([0.3, 1.3])
    assert bench.schedule.late_most == pytest.approx(0.0)


def test_devices_that_connect_at_any_time_are_read_together():
    """Scans that come together are committed, sent and stored together; alone each would wake the whole chain."""

    async def main() -> list[Bench]:
        benches = [Bench(group(every=1.0), delay=delay) for delay in (0.0, 0.4, 2.7)]
        benches.append(Bench(group(every=0.5), delay=0.9))
        await asyncio.gather(*(bench.run_for(4.2) for bench in benches))
        return benches

    benches = run(main())
    asked = [[time for _, time in bench.device.asked] for bench in benches]
    assert asked[0] == pytest.approx([0, 1, 2, 3, 4])
    assert asked[1] == pytest.approx([1, 2, 3, 4])
    assert asked[2] == pytest.approx([3, 4])
    assert asked[3] == pytest.approx([1, 1.5, 2, 2.5, 3, 3.5, 4])
    assert [bench.schedule.missed for bench in benches] == [0, 0, 0, 0]


def test_a_phase_that_is_configured_takes_the_place_of_the_waves():
    """A PLC that collects for 800 ms and then shows the result is read after that, and not at any time."""

    async def main() -> Bench:
        groups = group("press-01", phase=0.8), group("press-02", 0.5, phase=0.8), group("press-03")
        bench = Bench(*groups, phase=0.5)
        await bench.run_for(2.4)
        return bench

    asked = run(main()).device.asked
    times = {machine: [time for name, time in asked if name == machine] for machine, _ in asked}
    assert times["press-01"] == pytest.approx([0.8, 1.8])
    assert times["press-02"] == pytest.approx([0.3, 0.8, 1.3, 1.8, 2.3]), "the rest above a period counts"
    assert times["press-03"] == pytest.approx([0.5, 1.5])


def test_devices_with_a_phase_take_no_place_in_the_waves():
    """The plan of the waves is for the scans whose times the gateway chooses."""
    waves = Waves()
    plant = [Group("m", Connection(), ("p",) * 100_000, (Source(),) * 100_000, 1.0, phase=0.1)]
    assert {waves.add(plant) for _ in range(10)} == {0.0}


def test_a_long_period_has_its_first_reading_at_once():
    """Nobody waits half a minute to see whether a meter answers."""

    async def main() -> list[float]:
        bench = Bench(group(every=30.0), phase=0.5, delay=2.0)
        await bench.run_for(50.0)
        return [time for _, time in bench.device.asked]

    assert run(main()) == pytest.approx([2, 15, 45])


def test_waves_are_as_few_as_their_length_allows_and_lie_evenly():
    """One wave of all devices would delay its last reading; a wave for each device would cost the most."""
    waves = Waves()
    small = [waves.add([group()]) for _ in range(10)]
    assert set(small) == {0.0}
    plant = [Group("m", Connection(), ("p",) * 100, (Source(),) * 100, 1.0)]
    phases = Counter(waves.add(plant) for _ in range(1000))
    seconds = SCAN_SECONDS + 100 * VALUE_SECONDS
    assert max(phases.values()) <= WAVE_SECONDS / seconds + 1
    assert len(phases) == pytest.approx(1000 * seconds / WAVE_SECONDS, abs=2)
    gaps = [after - before for before, after in pairwise([*sorted(phases), 1.0])]
    assert max(gaps) <= 2 * min(gaps)


def test_an_outage_is_reported_once_and_its_slots_are_missed():
    """Every point is bad once, not once for each attempt; the schedule counts the scans that were not read."""

    async def main() -> Bench:
        bench = Bench(group(every=1.0))
        bench.device.lost_at, bench.device.outage = 5.0, 15.0
        await bench.run_for(60.5)
        return bench

    bench = run(main())
    bad_scans = [scan for scan in bench.delivered if scan.faults]
    assert len(bad_scans) == 1
    assert {fault.reason for fault in bad_scans[0].faults.values()} == {Reason.NOT_CONNECTED}
    assert bad_scans[0].values == [None, None]
    schedule = bench.schedule
    assert schedule.due == schedule.taken + schedule.missed == 61
    assert schedule.taken == len(bench.delivered) - 1
    assert schedule.missed >= 14
    times = [time for _, time in bench.device.asked]
    assert all(time == pytest.approx(round(time)) for time in times), "the phase is that of before"


def direct_bench() -> tuple[Bench, Direct]:
    bench = Bench(group(every=1.0), kind=Direct)
    device = bench.device
    assert isinstance(device, Direct)
    return bench, device


def test_scans_without_a_task_are_counted_and_delivered_as_others():
    """Only the cost differs."""

    async def main() -> Bench:
        bench, device = direct_bench()
        device.lasts = 0.4
        await bench.run_for(5.5)
        assert device.direct_scans == 6
        assert device.asked == []
        return bench

    bench = run(main())
    assert len(bench.delivered) == 6
    assert (bench.schedule.due, bench.schedule.taken, bench.schedule.missed) == (6, 6, 0)
    assert bench.schedule.lasted_most == pytest.approx(0.4)


def test_a_scan_that_is_given_up_is_read_with_a_task_in_the_same_slot():
    """The slot is counted once, and its scan is not lost."""

    async def main() -> Bench:
        bench, device = direct_bench()
        device.lasts = 0.2
        device.gives_up = {2, 3}
        await bench.run_for(4.5)
        assert [time for _, time in device.asked] == pytest.approx([1.2, 2.2])
        return bench

    bench = run(main())
    assert len(bench.delivered) == 5
    assert (bench.schedule.due, bench.schedule.taken, bench.schedule.missed) == (5, 5, 0)


def test_a_scan_without_a_task_that_lasts_too_long_misses_slots_and_never_overlaps():
    """It is treated like any other scan."""

    async def main() -> Bench:
        bench, device = direct_bench()
        device.lasts = 2.5
        await bench.run_for(12.4)
        return bench

    bench = run(main())
    assert len(bench.delivered) == bench.schedule.taken
    assert (bench.schedule.taken, bench.schedule.missed) == (5, 7)


def test_a_stop_waits_for_a_scan_without_a_task():
    """Acquired readings are never discarded."""

    async def main() -> int:
        bench, device = direct_bench()
        device.lasts = 0.3
        running = asyncio.create_task(bench.runner.run())
        await asyncio.sleep(2.1)
        await bench.runner.stop()
        assert asyncio.get_running_loop().time() == pytest.approx(2.3)
        running.cancel()
        await asyncio.wait({running})
        return len(bench.delivered)

    assert run(main()) == 3


def test_without_room_scans_have_a_task_that_can_wait():
    """A full spool slows acquisition down."""

    async def main() -> None:
        bench, device = direct_bench()
        bench.has_room = False
        await bench.run_for(2.5)
        assert device.direct_scans == 0
        assert len(device.asked) == len(bench.delivered) == 3

    run(main())


def test_an_unexpected_error_in_a_scan_without_a_task_is_a_driver_fault():
    """It must neither be lost nor stop the alarms of other devices."""

    async def main() -> Bench:
        bench, device = direct_bench()
        device.raises = ValueError("a bug")
        asyncio.get_running_loop().call_later(0.4, setattr, device, "raises", None)
        await bench.run_for(10)
        return bench

    bench = run(main())
    assert bench.delivered[0].faults[0].reason is Reason.DRIVER_FAULT
    assert not bench.delivered[-1].faults


def test_attempts_to_connect_back_off_up_to_a_ceiling():
    """A dead device is neither hammered nor forgotten: 5 s at the most until it is seen to be back."""

    async def main() -> list[float]:
        bench = Bench(group())
        bench.device.refuses_until = 1e9
        await bench.run_for(600)
        return bench.device.attempts

    attempts = run(main())
    waits = [after - before for before, after in pairwise(attempts)]
    assert waits[0] <= 0.5
    assert max(waits) <= BACKOFF_MAX
    assert min(waits[-5:]) >= BACKOFF_MAX / 2
    assert len(set(waits)) == len(waits), "jittered"


def test_a_failed_scan_is_bad_and_the_next_comes_in_time():
    """`ReadFailed` costs this scan; the connection stays open."""

    async def main() -> Bench:
        bench = Bench(group(every=1.0))
        bench.device.error = ReadFailed("busy", bad(Reason.DEVICE_FAULT, "busy"))
        await bench.run_for(3.5)
        return bench

    bench = run(main())
    assert len(bench.device.attempts) == 1
    assert len(bench.delivered) == 4
    assert {fault.code for scan in bench.delivered for fault in scan.faults.values()} == {"busy"}


def test_a_misconfigured_device_is_reported_once_and_not_tried_again():
    """To try again would not help; its slots are counted as missed."""

    async def main() -> Bench:
        bench = Bench(group(every=1.0))
        bench.device.error = Misconfigured("no such unit")
        await bench.run_for(10.5)
        return bench

    bench = run(main())
    assert len(bench.device.attempts) == 1
    assert len(bench.delivered) == 1
    assert bench.schedule.due == bench.schedule.missed == 10


def test_one_group_that_loses_the_connection_ends_the_others_reads_too():
    """Machines behind one connection lose it together, and get it back together."""

    async def main() -> Bench:
        bench = Bench(group("one"), group("two"))
        bench.device.lost_at = 3.0
        await bench.run_for(10.5)
        return bench

    bench = run(main())
    assert len(bench.device.attempts) == 2
    lost = [scan.group.machine for scan in bench.delivered if scan.faults]
    assert sorted(lost) == ["one", "two"]
    last = {machine: time for machine, time in bench.device.asked}  # noqa: C416 - the last one counts
    assert last == pytest.approx({"one": 10.0, "two": 10.0})


def test_a_stop_lets_a_scan_end_and_counts_no_later_slot_as_missed():
    """The report of a stopped gateway has no missed scan that was not late."""

    async def main() -> Bench:
        bench = Bench(group(every=1.0))
        bench.device.lasts = 0.5
        await bench.run_for(3.2)
        return bench

    bench = run(main())
    assert len(bench.delivered) == 4, "the scan under way was delivered"
    assert (bench.schedule.due, bench.schedule.taken, bench.schedule.missed) == (4, 4, 0)


def test_pushed_scans_are_delivered_without_a_schedule():
    """A subscription is not polled; nothing of it can be due or missed."""

    async def main() -> Bench:
        pushed = group(pushed=True)
        bench = Bench(pushed)
        bench.device.pushes.put_nowait(Scan(pushed, 5, [7], {}, [1]))
        await bench.run_for(3.0)
        return bench

    bench = run(main())
    assert [scan.values for scan in bench.delivered] == [[7]]
    assert bench.device.asked == []
    assert bench.schedule.due == 0


class Clocked(Device):
    """A device with a clock that is wrong for some minutes."""

    wrong = ((150.0, 400.0), (700.0, 900.0))

    @property
    def clock_offset(self) -> float | None:
        return 9.0 if any(begin <= self._now < end for begin, end in self.wrong) else 0.25


class Wilful(Device):
    """A device that ignores some options, and reports it at each connect, and once more in between."""

    def __init__(self, groups: Sequence[Group]) -> None:
        super().__init__(groups)
        self.found: list[DeviceWarning] = []

    async def connect(self) -> None:
        await super().connect()
        self.found = [DeviceWarning("press-01", tuple(f"p{i}" for i in range(25)), "no deadband")]

    async def read(self, group: Group) -> Scan:
        if self._now == 100.0:
            self.found.append(DeviceWarning("press-01", ("p30",), "no deadband"))
        return await super().read(group)

    def warnings(self) -> list[DeviceWarning]:
        found, self.found = self.found, []
        return found


def test_a_device_warning_is_logged_once():
    """The device repeats it after every outage; the log already has it."""

    async def main() -> list[Any]:
        bench = Bench(group(every=1.0))
        bench.device = Wilful([group(every=1.0)])
        bench.device.lost_at, bench.device.outage = 50.0, 5.0
        with capture_logs() as logs:
            await bench.run_for(200.0)
        assert len(bench.device.attempts) > 1
        return [entry for entry in logs if entry["event"] == "device.warning"]

    first, second = run(main())
    assert (first["machine"], first["text"]) == ("press-01", "no deadband")
    assert first["points"] == ", ".join(f"p{i}" for i in range(20)) + " and 5 more"
    assert second["points"] == "p30"


def test_a_wrong_device_clock_is_logged_once_each_time():
    """It drifts, or somebody sets it, while the connection is open for weeks."""

    async def main() -> tuple[list[Any], float | None]:
        bench = Bench(group(every=1.0))
        bench.device = Clocked([group(every=1.0)])
        with capture_logs() as logs:
            await bench.run_for(1000.0)
        return logs, bench.runner.clock_offset

    logs, ahead = run(main())
    assert [entry["ahead_seconds"] for entry in logs if entry["event"] == "device.clock_differs"] == [9.0, 9.0]
    steps = [entry["seconds"] for entry in logs if entry["event"] == "device.clock_stepped"]
    assert steps == [8.8, -8.8, 8.8, -8.8]
    assert ahead == 0.25


class Flapping(Device):
    """A device that loses its connection at every third scan."""

    async def read(self, group: Group) -> Scan:
        if len(self.asked) % 3 == 2:
            self.asked.append((group.machine, self._now))
            raise NotConnected("cut")
        return await super().read(group)


def test_a_flapping_device_does_not_fill_the_log():
    """Log each state once, then a summary a minute: the log of a connection that flaps for weeks stays readable."""

    async def main() -> list[Any]:
        bench = Bench(group(every=1.0))
        bench.device = Flapping([group(every=1.0)])
        with capture_logs() as logs:
            await bench.run_for(600.0)
        assert len(bench.device.attempts) > 100
        assert len([scan for scan in bench.delivered if scan.faults]) > 100, "readings show each outage"
        return [entry["event"] for entry in logs if entry["event"].startswith("driver.")]

    events = run(main())
    assert len(events) <= 4 + 10
    assert events[:2] == ["driver.connected", "driver.not_connected"]
    assert set(events[4:]) == {"driver.unstable"}
