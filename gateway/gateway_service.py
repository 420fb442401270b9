"""The wiring of the gateway: machine -> driver -> normalize -> filter -> spool -> publish.

Here, and in `ingest_service` on the other side of the broker, the steps meet; nowhere else.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections import Counter, defaultdict
from contextlib import nullcontext, suppress
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from drivers.timer_grid import ORIGIN
from gateway.acquisition.device_manager import DeviceManager
from gateway.acquisition.device_metadata import DeviceMetadata
from gateway.acquisition.device_worker import DeviceWorker
from gateway.acquisition.discovery import Discovery, read_found
from gateway.acquisition.scheduler import Alarms, Waves
from gateway.audit.apart import ApartLog
from gateway.audit.incidents import Incidents
from gateway.audit.single import record_reload
from gateway.codecs import CODECS
from gateway.common.clock import Clock
from gateway.common.cost_limited import CostLimited
from gateway.common.counters import summed
from gateway.common.dead_letters import DeadLetters
from gateway.common.heartbeat import beat
from gateway.common.service_manager import ServiceManager, gateway_status
from gateway.common.setting_types import MissingSecret
from gateway.common.stall import StallWatch
from gateway.common.status_file import RecentCounts, StatusFile, status_file
from gateway.common.tasks import RESTART_AFTER, BestEffort, cancel_and_wait, supervise
from gateway.common.wire_trace import log_trace
from gateway.metrics.definitions import GATEWAY_LABEL, RELOADS
from gateway.metrics.endpoint import MetricsEndpoint, Sources
from gateway.metrics.gateway_metrics import Durations, GatewayMetrics
from gateway.metrics.health import machines_reason
from gateway.metrics.samples import MetricsPart
from gateway.metrics.storage_watch import StorageWatch
from gateway.model.ledger import Ledger, ScheduleCounts
from gateway.model.part import WHOLE_GATEWAY, part_name
from gateway.model.path import MachinePath
from gateway.model.receipt import new_tag
from gateway.model.record import GatewayRecord, PlacedScan, Record
from gateway.mqtt.topics import Topics
from gateway.notify.notifier import Notifier
from gateway.pipeline.calculation import Notify, Surroundings
from gateway.pipeline.calculations import Calculations, calculations_of
from gateway.pipeline.machine_status import MachineStatuses, State
from gateway.pipeline.pipeline import Pipeline
from gateway.pipeline.totals import CounterTotals, read_totals
from gateway.publish.command_link import CommandLink
from gateway.publish.commands import Commands, Journal
from gateway.publish.publisher import Publisher
from gateway.publish.retained_cleanup import RetainedCleanup
from gateway.publish.retained_messages import RetainedMessages, read_topics
from gateway.self_test.runner import SelfTest
from gateway.settings.notify_section import Limits, worker_share
from gateway.settings.reload import Reload
from gateway.settings.sections import ClockTrust, Publish
from gateway.settings.signature_memory import Service
from gateway.spool.calculations import saved_states
from gateway.spool.files import SET_ASIDE_SIZE, SpoolFiles
from gateway.spool.record_builder import RecordBuilder
from gateway.spool.renumber import renumber
from gateway.spool.siblings import retired_ledger
from gateway.spool.splitter import Splitter, halve
from gateway.spool.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from drivers.base import Driver, Group
    from gateway.acquisition.device_manager import Device, MachineChanges, Sink
    from gateway.acquisition.discovery import DiscoveredSources
    from gateway.metrics.health import Checks
    from gateway.metrics.samples import Samples
    from gateway.model.command import Command
    from gateway.model.part import Part
    from gateway.model.reading import NamedScan
    from gateway.pipeline.totals import CounterState
    from gateway.publish.commands import Result
    from gateway.settings.factory import Factory, Machine
    from gateway.settings.point import Point
    from gateway.settings.sections import GatewaySection

    _Builders = tuple[RecordBuilder[NamedScan], RecordBuilder[NamedScan]]
    """The builders of a machine's records: of readings, and of events."""

log = structlog.get_logger(__name__)

FINISH_SCANS = 1.0
"""Seconds that scans under way have to finish when the gateway stops."""

CONNECTS_APART = 0.001
"""Seconds between two devices' first connections: a thousand at once would delay the first scans."""

COLLECT_AFTER = 20_000
"""Objects by which their number has to grow before the youngest are looked at: more than those of a wave of scans,
which live for some milliseconds."""

STEPS_KEPT = 10_000
"""Escalations that are kept by machine, priority and class: in a flood the rules are not compared for each alarm."""

CHANGED_AT_ONCE = 5
"""Machines whose discovered points begin to be read together: their filters are made in the event loop."""

EVENTS = ("gateway.started", "gateway.stopping", "gateway.stopped")
WORKER_EVENTS = ("worker.started", "worker.stopping", "worker.stopped")
"""The log events of a gateway's life, and those of a worker's, whose supervisor logs those of the gateway."""

MOST_SHOWN_MACHINES = 1_000
"""Machines that are not online which the status file lists; it counts all."""

FINISH_RETAINED = 2.0
"""Seconds that retained messages under way have to reach the broker when a machine goes to another worker."""

DRAIN = 1.5
"""Seconds in which pending records may still be confirmed when the gateway stops; the rest is on disk."""


class GatewayService:
    """The service that `lineside run` runs. With `gateway.workers`, each worker runs it for its own machines."""

    def __init__(self, factory: Factory, *, trace: bool = False, part: Part = WHOLE_GATEWAY) -> None:
        """Prepare to run; with `trace` each message between gateway and devices is logged.

        `part` says which part of the gateway this is; `factory` has the machines of this part.
        """
        own = factory.gateway
        name = part_name(own.id, part.worker)
        self._trace, self._part = trace, part
        self._folder = own.spool.folder
        files = SpoolFiles(own.spool.folder, name)
        self.id = own.id
        self.started = asyncio.Event()
        self.clock = Clock(require_sync=own.clock is ClockTrust.REQUIRE_SYNC)
        self.topics = Topics(factory.broker.root)
        self._calculations = Calculations()
        self._notifier, self._notify = self._make_notifier(own, part)
        self._messages = self._make_messages(own.spool.folder, name, part)
        self.spool = Spool(
            own.spool, name, partial(renumber, CODECS[own.codec], own.id), self._calculations.take_changed
        )
        self.states = MachineStatuses(self.clock)
        self._codec = CODECS[own.codec]
        self._max_record = own.max_record
        self._builders: dict[MachinePath, _Builders] = {}
        self._shared_builder = self._make_shared_builder(factory)
        self._discovery = _loaded_discovery(own.spool.folder, name)
        self._totals = _loaded_totals(own.spool.folder, name)
        self._pipelines: dict[Group, Pipeline] = {}
        self._inherit(_read_sources(own.spool.folder, part))
        machines = self._discovery.configure(factory.machines)
        self._metadata = DeviceMetadata(
            machines, self.topics, own.spool.folder, name, lambda: (self.spool.oldest_seq, self.spool.next_seq)
        )
        self._stall = StallWatch()
        self._waves = Waves()
        # whole seconds of the wall clock are slots: gateways of one plant read at the same times
        self._alarms = Alarms(self._stall)
        self._durations = None if own.metrics.listen is None else Durations()
        self._devices = self._make_devices()
        self._changing = asyncio.Lock()
        self._apply(self._devices.compare(machines))
        self._retained = RetainedCleanup(
            own.spool.folder / f"{own.id}.states.json", own.id, lambda: self.spool.oldest_seq
        )
        self._commands = commands_of(factory, self.command) if part.has_identity else None
        self._publisher, self._incidents = self._make_publisher(factory, files, part)
        self._retired = Ledger()
        self._digest = factory.digest
        # a worker is of no concern to the service manager: its supervisor is the service
        self._manager = ServiceManager.of() if part.has_identity else ServiceManager()
        self.reload = Reload(
            factory, self._reconfigure, self._manager, partial(record_reload, factory.dashboard.audit, factory.file)
        )
        self._started = time.monotonic()
        self._sums = CostLimited(self._sum_devices)
        self._file = factory.file
        self._recent = RecentCounts()
        self._missed: dict[MachinePath, int] = {}
        self._missed_online = 0
        self._status_file = self._make_status_file(name)
        self._place = factory.factory.enterprise, factory.factory.site
        self._metrics = None if self._durations is None else self._make_metrics(own, self._durations)
        self._endpoint = self._make_endpoint(own)
        self._self_test, self._storage = SelfTest(factory), StorageWatch(factory, Service.GATEWAY)

    def _make_notifier(self, own: GatewaySection, part: Part) -> tuple[Notifier | None, Notify | None]:
        """Make the notification of alarms, None without rules."""
        section = own.notify
        if not section.enabled:
            return None, None
        limits = Limits.of(section, 1 if part.has_identity else worker_share(own.workers))
        notifier = Notifier(section, limits, own.id, self._calculations.settle)
        steps = lru_cache(STEPS_KEPT)(section.steps)
        return notifier, Notify(steps, notifier.put, notifier.withdraw)

    def _make_devices(self) -> DeviceManager:
        times = None if self._durations is None else self._durations.scans
        return DeviceManager(self._make_pipeline, self._make_worker, self.spool.room, times)

    def _make_messages(self, folder: Path, name: str, part: Part) -> RetainedMessages:
        messages = RetainedMessages(_retained_file(folder, name))
        messages.leave(map(self._below_alarms, part.elsewhere))
        return messages

    def _make_shared_builder(self, factory: Factory) -> RecordBuilder[PlacedScan] | None:
        """Make the builder of the records of all machines, if they have one."""
        own, place = factory.gateway, factory.factory
        if own.publish is not Publish.GATEWAY:
            return None
        topic = self.topics.gateway(place.enterprise, place.site, own.id, "data")
        return RecordBuilder(topic, self._encode_together, halve, self._max_record)

    def _make_publisher(self, factory: Factory, files: SpoolFiles, part: Part) -> tuple[Publisher, Incidents]:
        cutter = Splitter(self.spool, self._codec, DeadLetters(files.letters, SET_ASIDE_SIZE))
        incidents = Incidents(ApartLog(factory.dashboard.audit, "gateway", factory.gateway.id))
        publisher = Publisher(
            factory,
            self.topics,
            self.spool,
            self.states,
            self._metadata,
            self._retained,
            self.report,
            cutter,
            self._metadata.describe,
            part,
            self._messages,
            None if self._commands is None else CommandLink(factory, self.topics, self._commands),
        )
        publisher.note_refused = incidents.note
        return publisher, incidents

    def _make_status_file(self, name: str) -> StatusFile:
        head = {"service": "gateway", "id": self.id, "worker": self._part.worker}
        return StatusFile(status_file(self._folder, name), head, self.status)

    def _make_endpoint(self, own: GatewaySection) -> MetricsEndpoint | None:
        """Make the endpoint of the metrics; that of a gateway with workers is its supervisor's."""
        if own.metrics.endpoint is None or not self._part.has_identity:
            return None
        sources = Sources(self._metric_parts, self._all_checks, {"spool": self.ping_spool})
        return MetricsEndpoint(own.metrics.endpoint, sources, "gateway.metrics", own.metrics.tls, own.metrics.token)

    # -- the steps of the flow --

    def _make_pipeline(self, machine: Machine, group: Group, points: Sequence[Point]) -> Sink:
        put = self._put_of(machine.path, events=group.events)
        totalize = self._totals.step(str(machine.path), points)
        pipeline = Pipeline(points, self.clock, self.states, self.spool.ledger, put, totalize)
        self._pipelines[group] = pipeline
        return pipeline.take

    def _calculate(self, machine: Machine, groups: Iterable[Group]) -> Group | None:
        """Connect the calculations of a machine to its groups; return the group of derived points, if it has any."""
        results: dict[Group, Pipeline] = {}
        derived: list[Group] = []

        def sink(group: Group, points: Sequence[Point]) -> Sink:
            put = self._put_of(machine.path, events=group.events)
            statuses = self.states if points is machine.derived else None  # key figures may be missing for long
            results[group] = Pipeline(points, self.clock, statuses, self.spool.ledger, put)
            derived.extend([group] if points is machine.derived else [])
            return results[group].take

        def retain(leaf: str, payload: bytes) -> None:
            self._messages.set(self.topics.machine(machine.path, leaf), payload)

        if not machine.alarms:
            self._messages.drop(self.topics.machine(machine.path, "alarm/"))
        surroundings = Surroundings(sink, self.clock, time.monotonic, self.spool.save_soon, retain, self._notify)
        calculations = calculations_of(machine, surroundings)
        path = str(machine.path)
        self._calculations.configure(path, calculations)
        for group, pipeline in [*((one, self._pipelines[one]) for one in groups), *results.items()]:
            pipeline.follow = self._calculations.follow(path, group)
        return next(iter(derived), None)

    def _put_of(self, path: MachinePath, *, events: bool) -> Callable[[NamedScan, int], None]:
        """Return the function that puts a scan of a machine, with its number of readings, into a record."""
        builders = self._builders.get(path)
        if builders is None:
            encode = partial(self._encode, path)
            data = RecordBuilder(self.topics.data(path), encode, halve, self._max_record)
            builders = data, RecordBuilder(self.topics.event(path), encode, halve, self._max_record)
            self._builders[path] = builders
        if events or self._shared_builder is None:
            return partial(self.spool.put, builders[events])
        return partial(self._put_together, self._shared_builder, path)

    def _put_together(
        self, builder: RecordBuilder[PlacedScan], path: MachinePath, scan: NamedScan, readings: int
    ) -> None:
        self.spool.put(builder, PlacedScan(path, self._metadata.id_of(path), scan), readings)

    def _encode(self, path: MachinePath, seq: int, scans: list[NamedScan]) -> bytes:
        return self._codec.encode(Record(self.id, self.spool.id, seq, scans, self._metadata.id_of(path), new_tag()))

    def _encode_together(self, seq: int, scans: list[PlacedScan]) -> bytes:
        return self._codec.encode(GatewayRecord(self.id, self.spool.id, seq, scans, new_tag()))

    def _make_worker(self, device: Device, before: int) -> DeviceWorker:
        """Make the worker of a device, which reads all machines behind its connection."""

        def make_driver(groups: Sequence[Group]) -> Driver:
            driver = device.protocol.driver(device.connection, groups, self.clock)
            if self._trace:
                driver.trace(log_trace(str(device.connection)))
            return driver

        acquisition, phase, delay = self._devices, self._waves.add(device.groups), before * CONNECTS_APART
        return DeviceWorker(
            str(device.connection), device.groups, make_driver, acquisition.deliver, acquisition.schedules,
            self.clock, phase, ORIGIN, delay, self._metadata.learn, self._discovery.learn, self._stall,
            acquisition.take, self.spool, self._alarms,
        )  # fmt: skip

    # -- changing over to another configuration --

    async def reconfigure(self, factory: Factory, part: Part) -> Mapping[str, Sequence[str]]:
        """Let a worker go on with other machines, of which some were read by other workers; returns the affected.

        The counters of removed machines are on disk when this returns, for the worker that reads them next.
        """
        self._messages.leave(map(self._below_alarms, part.elsewhere))
        self._inherit(await asyncio.to_thread(_read_sources, self._folder, part))
        await self._metadata.inherit(part.sources())
        affected = await self._reconfigure(factory)
        self._messages.clear_unwanted()
        with suppress(TimeoutError):  # an older message must not follow those of the worker that goes on
            async with asyncio.timeout(FINISH_RETAINED):
                await self._messages.idle.wait()
        await self._save_inherited()
        await self.spool.flush()  # of the states of calculations
        return affected

    async def command(self, command: Command) -> str | None:
        """Carry out a command for an alarm, see `Commands`."""
        return self._calculations.command(command)

    def pause_publishing(self, *, paused: bool) -> None:
        """Disconnect a worker from the broker, or let it connect again."""
        self._publisher.pause(paused=paused)

    def knows(self, ids: Iterable[str]) -> set[str]:
        """Return the metadata ids whose descriptions are known here."""
        return set(self._metadata.describe(ids))

    def _inherit(self, sources: Iterable[_Source]) -> None:
        """Go on with the counters and discovered points of machines that other workers read before."""
        for source in sources:
            self._discovery.inherit(source.found, source.machines)
            self._totals.inherit(source.totals, source.machines)
            self._calculations.inherit(source.states, source.machines)
            self._messages.inherit(source.topics, map(self._below_alarms, source.machines))

    def _below_alarms(self, path: str) -> str:
        return self.topics.machine(MachinePath(*path.split("/")), "alarm/")

    async def _save_inherited(self) -> None:
        await self._discovery.save()
        await self._totals.save()

    async def _reconfigure(self, factory: Factory) -> Mapping[str, Sequence[str]]:
        """Go on with a changed configuration; returns the affected machines."""
        async with self._changing:
            change = await self._change_over(self._discovery.configure(factory.machines))
        self._publisher.reconfigure(factory.broker, factory.digest)
        self._storage.reconfigure(factory)
        self._digest = factory.digest
        return change.as_dict()

    async def _follow_discovery(self) -> None:
        """Read the points that searches discover, some machines at a time: others are read meanwhile."""
        while True:
            discovered = await self._discovery.wait()
            for first in range(0, len(discovered), CHANGED_AT_ONCE):
                changed = {machine.path: machine for machine in discovered[first : first + CHANGED_AT_ONCE]}
                async with self._changing:
                    await self._change_over([changed.get(one.path, one) for one in self._devices.machines])

    async def _change_over(self, machines: Sequence[Machine]) -> MachineChanges:
        """Go on with other machines.

        Groups that do not change are read on. The others are stopped, then described anew, then read again: so each
        record names the description that its readings were taken with.
        """
        change = await asyncio.to_thread(self._devices.compare, machines)
        described = await self._metadata.prepare(change.touched)
        await self._devices.release(change)
        for machine in change.touched:
            for builder in self._builders.get(machine.path, ()):
                self.spool.close_record(builder)
        self._apply(change)
        self._metadata.switch(described, self._devices.machines)
        if self._part.has_identity and (change.added or change.removed):
            await self._retained.update(self._state_topics(), self.spool.next_seq)
        gc.freeze()  # as at the start
        await self._devices.start(change)
        return change

    def _apply(self, change: MachineChanges) -> None:
        self._devices.apply(change)
        for path in change.removed:
            self.states.remove(path)
            self._calculations.configure(str(path), ())
            if self._notifier is not None:
                self._notifier.forget(str(path))
            self._messages.drop(self.topics.machine(path, "alarm/"))
            for builder in self._builders.pop(path):
                self.spool.close_record(builder)
        for machine in change.touched:
            groups = change.machines[machine.path].groups
            read = [group for group in groups if not (group.events or group.search)]
            self.states.add(machine.path, read, self._calculate(machine, groups))
        present = [group for known in change.machines.values() for group in known.groups]
        self._pipelines = {group: self._pipelines[group] for group in present}
        self._tie_lines(change)

    def _tie_lines(self, change: MachineChanges) -> None:
        """Pass the scans of machines on to the derived points of others that use them."""
        affected = self._calculations.tie(known.machine for known in change.machines.values())
        for known in change.machines.values() if affected else ():
            if (path := str(known.machine.path)) in affected:
                for group in known.groups:
                    self._pipelines[group].follow = self._calculations.follow(path, group)

    def _state_topics(self) -> list[str]:
        return [self.topics.state(machine.path) for machine in self._devices.machines]

    # -- running --

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set, then stop in the order of the flow: no reading that was acquired is lost."""
        started, stopping, stopped = EVENTS if self._part.has_identity else WORKER_EVENTS
        async with self.spool, self._commands or nullcontext(), asyncio.TaskGroup() as tasks:
            await self._metadata.begin(self._part.sources())
            await self._messages.begin()
            self._calculations.restore(self.spool.states)
            if self._part.inherited:
                await self._save_inherited()
            self._retired = await asyncio.to_thread(self._read_retired)
            whole = self._part.has_identity
            if whole:
                await self._retained.begin(self._state_topics(), self.spool.next_seq)
            living = [tasks.create_task(beat(self._folder / f"{self.id}.alive"), name="heartbeat")] if whole else []
            helpers = {"metrics": self._endpoint, "durations": self._durations, "notify": self._notifier}
            living += [_supervised(tasks, one.run, name) for name, one in helpers.items() if one is not None]
            committing = _supervised(tasks, self.spool.run, "spool", 1.0)
            publishing = _supervised(tasks, self._publisher.run, "publish")
            watching = _supervised(tasks, self._stall.run, "stall watch")
            first_to_end = {
                "metadata": self._metadata.run, "audit of refused confirmations": self._incidents.run,
                "discovery": self._follow_discovery, "totals": self._totals.run,
                "service manager": self._inform_manager,
            }  # fmt: skip
            if whole:
                first_to_end |= {
                    "reload": self.reload.run, "self-test": self._self_test.run, "storage": self._storage.run,
                }  # fmt: skip
            others = [_supervised(tasks, run, name) for name, run in first_to_end.items()]
            self._count_missed()
            self._devices.begin(tasks)
            ticking = _supervised(tasks, self._calculations.run, "calculations")
            showing = _supervised(tasks, self._status_file.run, "status file")
            _freeze_objects()
            log.info(started, gateway=self.id, machines=len(self._devices.machines),
                     points=self.states.points()["configured"], spool=self.spool.path)  # fmt: skip
            self.started.set()
            self._manager.ready()
            await stop.wait()
            log.info(stopping)
            self._manager.stopping()
            await cancel_and_wait(*others)
            await self._devices.stop(FINISH_SCANS)
            await cancel_and_wait(ticking)
            await self._totals.save()
            closing = tasks.create_task(self._devices.close(), name="close devices")
            with suppress(TimeoutError):
                async with asyncio.timeout(DRAIN):
                    await self.spool.empty()
            await cancel_and_wait(publishing)
            await closing
            await cancel_and_wait(committing, *living, watching, showing)
        await self._status_file.close()
        log.info(stopped, **self._ledger().as_dict())

    async def _inform_manager(self) -> None:
        await self._manager.keep_informed(lambda: gateway_status(self.report()), self.spool.answer)

    def _read_retired(self) -> Ledger:
        """Return the ledger of workers that this gateway had before, and whose records have all been delivered."""
        return retired_ledger(self._folder, self.id, ()) if self._part.has_identity else Ledger()

    def _count_missed(self) -> None:
        """Count the slots since the former process of this worker ended as missed: nobody knows of their scans."""
        if self._part.since is None:
            return
        seconds = time.monotonic() - self._part.since
        for group in (group for worker in self._devices.workers for group in worker.groups):
            if not group.pushed and not group.search:
                self._devices.schedules[group.machine].skipped(int(seconds / group.every))

    def _ledger(self) -> Ledger:
        total = Ledger()
        total.add(self.spool.ledger)
        total.add(self._retired)
        return total

    def size(self) -> tuple[int, int]:
        """Return the numbers of machines and of connections."""
        return len(self._devices.machines), len(self._devices.workers)

    def _sum_devices(self) -> dict[str, Any]:
        """Return the parts of the report that are sums over all machines or devices."""
        schedule = ScheduleCounts()
        for one in (self._devices.past, *self._devices.schedules.values()):
            schedule.add(one)
        return {
            "schedule": schedule.as_dict(),
            "points": self.states.points(),
            "drivers": summed(worker.counts() for worker in self._devices.workers),
        }

    def report(self, *, fresh: bool = False) -> dict[str, Any]:
        """Return the counts since the start; published every second.

        Without `fresh` the sums over many devices may be some seconds old.
        """
        ledger = self._ledger()
        return {
            "gateway": self.id,
            "config": self._digest,
            "seconds": round(time.monotonic() - self._started, 1),
            "ledger": ledger.as_dict(),
            "balanced": ledger.balanced,
            "spool_bytes": self.spool.size,
            "oldest_seconds": None if (age := self.spool.oldest_age) is None else round(age, 1),
            "broker": self._publisher.counts,
            "clock": {
                "trusted": self.clock.fault is None,
                "steps": self.clock.steps,
                "ahead_ms": round(self.clock.ahead * 1000, 1),
            },
        } | self._sums(fresh=fresh)

    def status(self) -> dict[str, Any]:
        """Return the content of the status file: the report, the broker, and the machines that are not online."""
        report = self.report()
        self._count_missed_online()
        unwell = [machine for machine in self.states.machines if machine.state is not State.ONLINE]
        return {
            "config": self._digest,
            "file": str(self._file.absolute()),
            "broker": self._publisher.link._asdict(),
            "report": report,
            "recent": self._recent.add(
                {"missed": self._missed_online, "dropped": sum(report["ledger"]["dropped"].values())}
            ),
            "machines": {
                "counts": dict(Counter(machine.state.value for machine in self.states.machines)),
                "not_online": [
                    {"machine": str(machine.path)} | machine.as_dict() for machine in unwell[:MOST_SHOWN_MACHINES]
                ],
            },
        }

    def _count_missed_online(self) -> None:
        """Count the scans that machines have missed since the last call, without machines that are offline."""
        before, self._missed = self._missed, {}
        for machine in self.states.machines:
            if machine.state is not State.OFFLINE and machine.state is not State.STARTING:
                missed = self._devices.schedules[str(machine.path)].missed
                self._missed[machine.path] = missed
                self._missed_online += max(0, missed - before.get(machine.path, missed))

    def _counts(self) -> dict[str, dict[str, int]]:
        """Return the drivers' counters, by device."""
        counts: dict[str, list[dict[str, int]]] = defaultdict(list)
        for worker in self._devices.workers:  # one device may be read over several connections
            counts[worker.name].append(worker.counts())
        return {name: summed(several) for name, several in counts.items()}

    # -- metrics and health --

    def _make_metrics(self, own: GatewaySection, durations: Durations) -> GatewayMetrics:
        counting = self.spool, self._publisher, self.states, self._devices, self.clock, self._stall
        return GatewayMetrics(
            GatewayMetrics.Parts(own, *counting, self._calculations.count_alarms, self._notified), durations
        )

    def _notified(self) -> Mapping[str, Mapping[str, int]]:
        return {} if self._notifier is None else self._notifier.counts()

    async def samples(self) -> Samples | None:
        """Return the present values of all metrics; None without an endpoint."""
        if self._metrics is None:
            return None
        configuration = *self._place, self.id, self._digest
        return await self._metrics.samples(self._ledger(), self._sums()["drivers"], configuration)

    def checks(self) -> Checks:
        """Return the needs of this process, see `Checks`."""
        connected, fault = self._publisher.session.connected, self.clock.fault
        return {
            "broker": "" if connected else "not connected",
            "spool": self.spool.disk_trouble,
            "clock": "" if fault is None else fault.code,
        }

    def machine_states(self) -> dict[str, int]:
        """Return the number of machines in each state."""
        found = dict.fromkeys(map(str, State), 0)
        for machine in self.states.machines:
            found[machine.state.value] += 1
        return found

    def ping_spool(self) -> Future[bool]:
        """Return a future that the thread of the spool fulfils at its next turn."""
        return self.spool.ping()

    async def _metric_parts(self) -> list[MetricsPart]:
        found = await self.samples()
        if found is None:
            return []
        found.set_each(RELOADS, self.reload.counts)
        self._self_test.add_to(found)
        self._storage.add_to(found)
        return [MetricsPart({GATEWAY_LABEL: self.id}, found)]

    async def _all_checks(self) -> Checks:
        own = {"machines": machines_reason(self.machine_states()), "storage": self._storage.reason}
        return self.checks() | own

    def closing_report(self) -> dict[str, Any]:
        """Return the report with every machine, and the points that were never read good."""
        seconds = max(time.monotonic() - self._started, 0.001)
        schedules = self._devices.schedules
        return self.report(fresh=True) | {
            "never_good": self.states.never_good(),
            "devices": self._counts(),
            "clocks_ahead": {
                worker.name: round(worker.clock_offset, 3)
                for worker in self._devices.workers
                if worker.clock_offset is not None
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


class _Source(NamedTuple):
    """The machines that another worker read before, with the contents of that worker's files."""

    machines: set[str]
    found: dict[str, DiscoveredSources]
    totals: dict[str, CounterState]
    states: dict[str, bytes]
    topics: set[str]


def commands_of(factory: Factory, execute: Callable[[Command], Awaitable[str | None]]) -> Commands | None:
    """Return the receiver of a gateway's commands, None if it takes none; see `Commands` for `execute`."""
    own = factory.gateway
    if not own.commands.enabled:
        return None
    from gateway.audit.log import AuditLog  # noqa: PLC0415 - 7 MB of cryptography, which few gateways need

    audit = AuditLog(factory.dashboard.audit)

    def record(command: Command, result: Result) -> None:
        content = command.model_dump(exclude={"signature", "approvals"})
        audit.record(f"command.{command.action}", who=command.user, object=command.target.machine, after=content,
                     outcome=f"{result.outcome} {result.text}".strip())  # fmt: skip

    def record_more(number: int) -> None:
        audit.record("commands-left-out", who=own.id, after={"commands": number}, outcome="not carried out")

    return Commands(own.commands, own.id, execute, Journal(audit, record, record_more))


def _read_sources(folder: Path, part: Part) -> list[_Source]:
    return [
        _Source(
            machines,
            read_found(_found_file(folder, name)),
            read_totals(_totals_file(folder, name)),
            saved_states(folder, name),
            _read_topics(folder, name),
        )
        for name, machines in part.sources().items()
    ]


def _retained_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.retained.json"


def _read_topics(folder: Path, name: str) -> set[str]:
    """Return the topics of another worker's retained messages; that worker logs it if they can't be read."""
    try:
        return read_topics(_retained_file(folder, name))
    except (OSError, ValueError):
        return set()


def _loaded_discovery(folder: Path, name: str) -> Discovery:
    discovery = Discovery(_found_file(folder, name))
    discovery.load()
    return discovery


def _loaded_totals(folder: Path, name: str) -> CounterTotals:
    totals = CounterTotals(_totals_file(folder, name))
    totals.load()
    return totals


def _found_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.found.json"


def _totals_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.totals.json"


def _freeze_objects() -> None:
    """Leave what lives now out of collections: to look at all points stops the event loop for half a second."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


def _supervised(
    tasks: asyncio.TaskGroup, run: Callable[[], Awaitable[None]], name: str, restart_after: float = RESTART_AFTER
) -> asyncio.Task[None]:
    """Start a part of the gateway, which is started again when it fails: nothing ends a service but a person."""
    return tasks.create_task(supervise(run, BestEffort(name, passing=(MissingSecret,)), restart_after), name=name)
