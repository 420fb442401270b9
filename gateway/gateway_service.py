"""The wiring of the gateway: machine -> driver -> normalize -> filter -> spool -> publish.

Here, and in `app_ingest` on the other side of the broker, the steps meet; nowhere else.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from gateway.acquisition.device_manager import DeviceManager
from gateway.acquisition.device_metadata import DeviceMetadata
from gateway.acquisition.device_worker import DeviceWorker
from gateway.acquisition.discovery import Discovery
from gateway.codecs import CODECS
from gateway.common.clock import Clock
from gateway.common.dead_letters import DeadLetters
from gateway.common.heartbeat import beat
from gateway.common.tasks import cancel_and_wait
from gateway.model.ledger import ScheduleCounts
from gateway.model.reading import NamedScan, name_scan
from gateway.model.record import Record
from gateway.mqtt.topics import Topics
from gateway.pipeline.machine_status import MachineStatuses
from gateway.pipeline.normalize import Normalizer
from gateway.pipeline.report_by_exception import ReportByException
from gateway.publish.publisher import Publisher
from gateway.publish.retained_cleanup import RetainedCleanup
from gateway.settings.reload import Reload
from gateway.settings.sections import ClockTrust
from gateway.spool.files import SpoolFiles
from gateway.spool.splitter import LETTERS_SIZE, Splitter, halve
from gateway.spool.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from drivers.base import Driver, Group, Scan
    from gateway.acquisition.device_manager import Device, MachineChanges, Sink
    from gateway.model.path import MachinePath
    from gateway.settings.factory import Factory, Machine
    from gateway.settings.point import Point
    from gateway.spool.record_builder import RecordBuilder

log = structlog.get_logger()

FINISH_SCANS = 1.5
"""Seconds that scans under way have to end when the gateway stops."""

WAVES = 10
"""Devices are read in so many waves within the period: not all at its start, and not each by itself, since what
comes together is committed, sent and stored together."""

CONNECTS_APART = 0.001
"""Seconds between two devices' first connections: a thousand at once would hold up the first scans."""

DRAIN = 1.5
"""Seconds in which what is pending may still be confirmed when the gateway stops; the rest is on disk."""


class Pipeline:
    """The way of one group's scans from the driver into the spool."""

    def __init__(self, gateway: GatewayService, outbox: RecordBuilder[NamedScan], points: Sequence[Point]) -> None:
        self._normalizer = Normalizer(points, lambda: gateway.clock.fault)
        self._filter = ReportByException(points)
        self._spool = gateway.spool
        self._states = gateway.states
        self._outbox = outbox

    async def deliver(self, scan: Scan) -> None:
        """Take a scan all the way; waits only where the disk can't keep up."""
        ledger = self._spool.ledger
        ledger.acquired += len(scan.values)
        self._normalizer.apply(scan)
        if not (scan.group.events or scan.late):
            self._states.note(scan)
        kept = scan if scan.late else self._filter.keep(scan)
        if kept is None:
            ledger.unchanged += len(scan.values)
            return
        ledger.unchanged += len(scan.values) - len(kept.values)
        self._outbox.put(name_scan(kept), len(kept.values))
        await self._spool.room()


class GatewayService:
    """What `lineside run` runs."""

    def __init__(self, factory: Factory) -> None:
        own = factory.gateway
        files = SpoolFiles(own.spool.folder, own.id)
        self.id = own.id
        self.clock = Clock(require_sync=own.clock is ClockTrust.REQUIRE_SYNC)
        self.topics = Topics(factory.broker.root)
        self.spool = Spool(own.spool, own.id, own.max_record)
        self.states = MachineStatuses(self.clock)
        self._codec = CODECS[own.codec]
        self._outboxes: dict[MachinePath, tuple[RecordBuilder[NamedScan], RecordBuilder[NamedScan]]] = {}
        self._searches = Discovery(own.spool.folder / f"{own.id}.found.json")
        machines = self._searches.configure(factory.machines)
        self._descriptions = DeviceMetadata(machines, self.topics, own.spool.folder, own.id)
        self._acquisition = DeviceManager(self._make_pipeline, self._make_runner)
        self._changing = asyncio.Lock()
        self._take_up(self._acquisition.compare(machines))
        self._cleanup = RetainedCleanup(own.spool.folder / f"{own.id}.states.json", own.id, lambda: self.spool.oldest)
        cutter = Splitter(self.spool, self._codec, DeadLetters(files.letters, LETTERS_SIZE))
        self._publisher = Publisher(
            factory, self.topics, self.spool, self.states, self._descriptions, self._cleanup, self.report, cutter
        )
        self.reload = Reload(factory, self._reconfigure)
        self._alive = own.spool.folder / f"{own.id}.alive"
        self._started = time.monotonic()

    # -- the way of a reading --

    def _make_pipeline(self, machine: Machine, group: Group, points: Sequence[Point]) -> Sink:
        data, events = self._outboxes_of(machine.path)
        return Pipeline(self, events if group.events else data, points).deliver

    def _outboxes_of(self, path: MachinePath) -> tuple[RecordBuilder[NamedScan], RecordBuilder[NamedScan]]:
        """Return where a machine's readings, and its events, become records."""
        if path not in self._outboxes:
            encode = partial(self._encode, path)
            data = self.spool.outbox(self.topics.data(path), encode, halve)
            events = self.spool.outbox(self.topics.event(path), encode, halve)
            self._outboxes[path] = data, events
        return self._outboxes[path]

    def _encode(self, path: MachinePath, seq: int, scans: list[NamedScan]) -> bytes:
        return self._codec.encode(Record(self.id, self.spool.id, seq, scans, self._descriptions.id_of(path)))

    def _make_runner(self, device: Device, number: int, before: int) -> DeviceWorker:
        """Give a connection one driver and one runner, for all machines behind it."""

        def make_driver(groups: Sequence[Group]) -> Driver:
            return device.protocol.driver(device.connection, groups, self.clock)

        acquisition, phase = self._acquisition, number % WAVES / WAVES
        return DeviceWorker(
            str(device.connection), device.groups, make_driver, acquisition.deliver, acquisition.schedules,
            self.clock, phase, before * CONNECTS_APART, self._descriptions.learn, self._searches.learn,
        )  # fmt: skip

    # -- changing over to another configuration --

    async def _reconfigure(self, factory: Factory) -> Mapping[str, Sequence[str]]:
        """Go on with a changed configuration; returns which machines that affects. Raises as `_change_over` does."""
        async with self._changing:
            change = await self._change_over(self._searches.configure(factory.machines))
        self._publisher.reconfigure(factory.broker, factory.digest)
        return change.as_dict()

    async def _follow_searches(self) -> None:
        """Read what searches find."""
        while True:
            await self._searches.change.wait()
            self._searches.change.clear()
            async with self._changing:
                machines = [self._searches.expanded(machine) for machine in self._acquisition.machines]
                try:
                    await self._change_over(machines)
                except OSError as error:  # a full disk: what was found is there after the next start
                    log.warning("search.not_taken_up", error=str(error))

    async def _change_over(self, machines: Sequence[Machine]) -> MachineChanges:
        """Go on with other machines. Raises `OSError`, and has done nothing.

        What does not change is not touched. What does is read no more, then described anew, then read again: so each
        record names the description that its readings were taken with.
        """
        change = await asyncio.to_thread(self._acquisition.compare, machines)
        described = await self._descriptions.prepare(change.touched)
        await self._acquisition.release(change)
        for machine in change.touched:
            for outbox in self._outboxes.get(machine.path, ()):
                self.spool.close_record(outbox)
        self._take_up(change)
        self._descriptions.switch(described, self._acquisition.machines)
        self._cleanup.update(self._state_topics(), self.spool.following)
        await self._acquisition.adopt(change)
        return change

    def _take_up(self, change: MachineChanges) -> None:
        self._acquisition.take_up(change)
        for path in change.removed:
            self.states.remove(path)
            for outbox in self._outboxes.pop(path):
                self.spool.close_record(outbox)
        for machine in change.touched:
            groups = change.machines[machine.path].groups
            self.states.add(machine.path, [group for group in groups if not (group.events or group.search)])

    def _state_topics(self) -> list[str]:
        return [self.topics.state(machine.path) for machine in self._acquisition.machines]

    # -- running --

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set, then stop in the order of the flow: nothing that was taken is lost."""
        async with self.spool, asyncio.TaskGroup() as tasks:
            self._descriptions.begin()
            self._cleanup.begin(self._state_topics(), self.spool.following)
            living = tasks.create_task(beat(self._alive), name="sign of life")
            committing = tasks.create_task(self.spool.run(), name="spool")
            publishing = tasks.create_task(self._publisher.run(), name="publish")
            self._acquisition.begin(tasks)
            reloading = tasks.create_task(self.reload.run(), name="reload")
            following = tasks.create_task(self._follow_searches(), name="searches")
            log.info("gateway.started", gateway=self.id, machines=len(self._acquisition.machines),
                     points=self.states.points()["configured"], spool=self.spool.path)  # fmt: skip
            await stop.wait()
            log.info("gateway.stopping")
            await cancel_and_wait(reloading, following)
            await self._acquisition.stop(FINISH_SCANS)
            with suppress(TimeoutError):
                async with asyncio.timeout(DRAIN):
                    await self.spool.empty()
            await cancel_and_wait(publishing)
            await cancel_and_wait(committing, living)
        log.info("gateway.stopped", **self.spool.ledger.as_dict())

    def report(self) -> dict[str, Any]:
        """Return what the gateway has done so far; published every second."""
        schedule = ScheduleCounts()
        for one in (self._acquisition.past, *self._acquisition.schedules.values()):
            schedule.add(one)
        ledger = self.spool.ledger
        return {
            "gateway": self.id,
            "config": self.reload.running.digest,
            "seconds": round(time.monotonic() - self._started, 1),
            "ledger": ledger.as_dict(),
            "balanced": ledger.balanced,
            "spool_bytes": self.spool.size,
            "broker": self._publisher.counts,
            "schedule": schedule.as_dict(),
            "clock": {
                "trusted": self.clock.fault is None,
                "steps": self.clock.steps,
                "ahead_ms": round(self.clock.ahead * 1000, 1),
            },
            "points": self.states.points(),
            "drivers": _added_up(self._counts().values()),
        }

    def _counts(self) -> dict[str, Counter[str]]:
        """Return what the drivers count, by device."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for runner in self._acquisition.runners:  # one device may be read over several connections
            counts[runner.name].update(runner.counts())
        return counts

    def closing_report(self) -> dict[str, Any]:
        """Return the same with every machine, and the points that were never read good."""
        seconds = max(time.monotonic() - self._started, 0.001)
        schedules = self._acquisition.schedules
        return self.report() | {
            "never_good": self.states.never_good(),
            "devices": {name: dict(counts) for name, counts in self._counts().items()},
            "clocks_ahead": {
                runner.name: round(runner.ahead, 3)
                for runner in self._acquisition.runners
                if runner.ahead is not None
            },
            "machines": {
                str(machine.path): {
                    "state": machine.state.value,
                    "reason": machine.reason,
                    "points": machine.points,
                    "readings": machine.readings,
                    "schedule": schedules[str(machine.path)].as_dict(),
                    "scans_per_second": round(schedules[str(machine.path)].taken / seconds, 3),
                }
                for machine in self.states.machines
            },
        }


def _added_up(counts: Iterable[Counter[str]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(total)
