"""The supervisor of a gateway with several workers: one gateway for all that look at it.

The supervisor has the lock, the signals, the birth and death at the broker, the ledger, the heartbeat file and the
reload of the configuration. It reads no machine. Each worker runs the gateway service for its machines, with a spool
and a connection to the broker of its own.

When a worker ends, it is started again alone. When the supervisor ends, the kernel ends its workers.
"""

from __future__ import annotations

import asyncio
import gc
import time
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import structlog

from gateway.audit.single import record_reload
from gateway.common.heartbeat import beat
from gateway.common.service_manager import ServiceManager, gateway_status
from gateway.common.setting_types import MissingSecret
from gateway.common.tasks import BestEffort, cancel_and_wait, supervise
from gateway.gateway_service import commands_of
from gateway.metrics.definitions import RELOADS
from gateway.metrics.endpoint import MetricsEndpoint, Sources
from gateway.metrics.storage_watch import StorageWatch
from gateway.model.ledger import Ledger
from gateway.model.part import WHOLE_GATEWAY, part_name
from gateway.model.path import MachinePath
from gateway.mqtt.client import Message
from gateway.mqtt.topics import Topics
from gateway.publish.command_link import CommandLink
from gateway.publish.identity import GatewayIdentity
from gateway.publish.retained_cleanup import RetainedCleanup
from gateway.self_test.runner import SelfTest
from gateway.settings.reload import Reload
from gateway.settings.sections import SMALLEST_SPOOL
from gateway.settings.signature_memory import Service
from gateway.spool.files import SpoolFiles
from gateway.spool.siblings import read_ledger, retired_ledger
from gateway.workers.assignment import (
    assign,
    assignment_file,
    bundles,
    read_assignment,
    running_in,
    save_assignment,
    worker_count,
)
from gateway.workers.broker_side import BrokerSide
from gateway.workers.choice import with_backlog
from gateway.workers.locks import locked
from gateway.workers.messages import encode_factory
from gateway.workers.metrics import WorkersMetrics
from gateway.workers.positions import Marks, Position
from gateway.workers.process import WorkerProcess, WorkerRefused
from gateway.workers.reports import joined_details, ledger_of, summed_reports

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from gateway.metrics.samples import Samples
    from gateway.model.command import Command
    from gateway.settings.factory import Factory, Machine
    from gateway.workers.assignment import Assignment
    from gateway.workers.process import Launch
    from gateway.workers.reports import Report

log = structlog.get_logger(__name__)

TICK = 0.5
"""Seconds between two looks at the workers."""

UNREAD = "worker_failed"
"""The reason of the state of a machine whose worker has ended, until the next process reads it."""

STOP_SECONDS = 3.5
"""Seconds that workers have to stop before they are killed; their records are on disk.

The supervisor itself ends within five.
"""


class _WorkerPart(NamedTuple):
    """The configuration of a worker, the machines that it inherits from others, and see `Part.elsewhere`."""

    encoded: bytes
    inherited: dict[str, str]
    elsewhere: frozenset[str]


class Supervisor:
    """The service that `lineside run` runs for a gateway with workers."""

    def __init__(self, factory: Factory, launch: Launch) -> None:
        """Prepare to run; `launch` is how workers are started."""
        own = factory.gateway
        self.id = own.id
        self._folder = own.spool.folder
        self._launch = launch
        self._factory = _without_machines(factory)
        self._machines = factory.machines
        self._count = worker_count(factory)
        self._topics = Topics(factory.broker.root)
        self._state_topics: list[str] = []
        self._assignment: Assignment = {}
        self._running: dict[object, int] = {}  # the workers of the present connections
        self._workers: dict[int, WorkerProcess] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._sizes: dict[int, int] = {}
        self._found: dict[int, Ledger] = {}  # as they were on disk at the start
        self._retired = Ledger()
        self._marks = Marks(self._positions)
        self._retained = RetainedCleanup(self._folder / f"{own.id}.states.json", own.id, self._marks.passed)
        identity = GatewayIdentity(factory, self._topics, self._retained, self.report, self._birth)
        self._commands = commands_of(factory, self._command)
        self._changing = False
        commands = None if self._commands is None else CommandLink(factory, self._topics, self._commands)
        client = WHOLE_GATEWAY.client(own.id)
        self._broker = BrokerSide(factory, self._topics, client, identity, self._unknown, commands)
        self._manager = ServiceManager.of()
        self.reload = Reload(
            factory, self._change_over, self._manager, partial(record_reload, factory.dashboard.audit, factory.file)
        )
        self._alive = self._folder / f"{own.id}.alive"
        self._assignment_file = assignment_file(self._folder, own.id)
        self._started = time.monotonic()
        self._self_test = SelfTest(factory)
        self._storage = StorageWatch(factory, Service.GATEWAY)
        metrics = WorkersMetrics(
            own.id, self._broker.session, self._workers.values, lambda: self._retired, self._configuration,
            self._add_samples, lambda: {"storage": self._storage.reason},
        )  # fmt: skip
        self._endpoint: MetricsEndpoint | None = None
        if own.metrics.endpoint is not None:
            sources = Sources(metrics.parts, metrics.checks, silence=metrics.silence)
            self._endpoint = MetricsEndpoint(
                own.metrics.endpoint, sources, "gateway.metrics", own.metrics.tls, own.metrics.token
            )

    # -- running --

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set, then stop all workers in the order of the flow.

        Raises `BlockingIOError` if another gateway works in the folder, and `WorkerRefused` if a worker can't start.
        """
        draining = [number for number in with_backlog(self._folder, self.id) if number > self._count]
        numbers = [*range(1, self._count + 1), *draining]
        with locked(self._folder, self.id, numbers):
            async with self._commands or nullcontext(), asyncio.TaskGroup() as tasks:
                living = [tasks.create_task(beat(self._alive), name="heartbeat")]
                if self._endpoint is not None:
                    living.append(_supervised(tasks, self._endpoint.run, "metrics"))
                await self._prepare(numbers)
                for number, worker in self._workers.items():
                    self._tasks[number] = _supervised(tasks, worker.run, f"worker {number}")
                await self._wait_for_workers(stop)
                helping = await self._begin_helpers(tasks, draining)
                publishing = _supervised(tasks, self._broker.run, "publish")
                log.info("gateway.started", gateway=self.id, machines=len(self._assignment),
                         points=self.report()["points"]["configured"], workers=self._count)  # fmt: skip
                self._manager.ready()
                await stop.wait()
                log.info("gateway.stopping")
                self._manager.stopping()
                await cancel_and_wait(*helping)
                await self._stop_workers()
                await cancel_and_wait(publishing, *living)
            log.info("gateway.stopped", **self.report()["ledger"])

    async def _prepare(self, numbers: Sequence[int]) -> None:
        """Assign the machines, and make the workers with their configurations."""
        machines, self._machines = self._machines, ()
        read = await asyncio.to_thread(read_assignment, self._assignment_file)
        # a gateway without workers has the files of the first worker
        owners = dict.fromkeys(map(_path, machines), 1) if read is None else read
        found = bundles(machines)
        self._assignment = assign(found, self._count, read or {})
        self._running = running_in(found, self._assignment)
        self._state_topics = [self._topics.state(machine.path) for machine in machines]
        self._retired = await asyncio.to_thread(retired_ledger, self._folder, self.id, numbers)
        for number in numbers:
            ledger = await asyncio.to_thread(read_ledger, self._folder, part_name(self.id, number))
            self._found[number] = ledger or Ledger()
            self._sizes[number] = self._spool_size(number)
            self._workers[number] = WorkerProcess(number, self._launch, self._publish_unread)
        for number, part in (await self._parts(machines, owners)).items():
            self._workers[number].configure(*part)
        gc.freeze()

    def _spool_size(self, number: int) -> int:
        """Return the limit of a worker's spool: an equal part of the gateway's limit, but no less than it has now."""
        limit = self._factory.gateway.spool.max_size
        try:
            now = SpoolFiles(self._folder, part_name(self.id, number)).db.stat().st_size
        except OSError:
            now = 0
        return max(limit // self._count, min(now, limit), SMALLEST_SPOOL)

    async def _parts(
        self, machines: Sequence[Machine], owners: Mapping[str, int], without: AbstractSet[str] = frozenset()
    ) -> dict[int, _WorkerPart]:
        """Return the configuration of each worker.

        `owners` are the workers whose files have the present counters of each machine. The machines of `without` are
        left out.
        """
        parts: dict[int, list[Machine]] = {number: [] for number in self._workers}
        inherited: dict[int, dict[str, str]] = {number: {} for number in self._workers}
        alarming = {_path(machine) for machine in machines if machine.alarms}
        for machine in machines:
            path = _path(machine)
            number = self._assignment[path]
            if path in without:
                continue
            parts[number].append(machine)
            if (owner := owners.get(path, number)) != number:
                inherited[number][path] = part_name(self.id, owner)
        encoded = {
            number: await asyncio.to_thread(encode_factory, self._part(number, part))
            for number, part in parts.items()
        }
        return {
            number: _WorkerPart(
                encoded[number],
                inherited[number],
                frozenset(path for path in alarming if self._assignment[path] != number),
            )
            for number in parts
        }

    def _part(self, number: int, machines: Sequence[Machine]) -> Factory:
        own = self._factory.gateway
        spool = own.spool.model_copy(update={"max_size": self._sizes[number]})
        return replace(self._factory, gateway=own.model_copy(update={"spool": spool}), machines=tuple(machines))

    async def _wait_for_workers(self, stop: asyncio.Event) -> None:
        """Wait until all workers run or have failed, or until `stop` is set. Raises `WorkerRefused`."""
        waiting = [asyncio.ensure_future(worker.settled.wait()) for worker in self._workers.values()]
        stopping = asyncio.ensure_future(stop.wait())
        settled = asyncio.ensure_future(asyncio.wait(waiting))
        try:
            await asyncio.wait((settled, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_and_wait(settled, stopping, *waiting)
        for worker in self._workers.values():
            if worker.refused and worker.number <= self._count:
                raise WorkerRefused(worker.refused)

    async def _begin_helpers(self, tasks: asyncio.TaskGroup, draining: Sequence[int]) -> list[asyncio.Task[None]]:
        await self._save_assignment()
        await self._retained.begin(self._state_topics, self._marks.mark())
        return [
            _supervised(tasks, self.reload.run, "reload"),
            _supervised(tasks, self._self_test.run, "self-test"),
            _supervised(tasks, self._storage.run, "storage"),
            _supervised(tasks, self._follow_workers, "workers"),
            _supervised(tasks, self._inform_manager, "service manager"),
            *(_supervised(tasks, partial(self._drain, number), f"drain worker {number}") for number in draining),
        ]

    async def _save_assignment(self) -> None:
        try:
            await asyncio.to_thread(save_assignment, self._assignment_file, self._assignment)
        except OSError as error:
            log.warning("assignment.not_saved", file=str(self._assignment_file), error=str(error))

    async def _follow_workers(self) -> None:
        """Keep workers away from the broker while another gateway has our id there, and the birth up to date."""
        spools: list[str] = []
        while True:
            for worker in self._workers.values():
                if worker.paused is not self._broker.away:
                    worker.pause(paused=self._broker.away)
            if spools != (spools := self._spools()):
                self._broker.changed()
            await asyncio.sleep(TICK)

    async def _inform_manager(self) -> None:
        """Keep the service manager informed; a worker that hangs is killed by this process."""
        await self._manager.keep_informed(lambda: gateway_status(self.report()), partial(asyncio.sleep, 0))

    async def _drain(self, number: int) -> None:
        """Stop a worker that has no machines any more, once its records are delivered."""
        worker = self._workers[number]
        while (status := await worker.next_status()) is None or status.report["ledger"]["pending"]:
            pass
        worker.stop()
        await asyncio.wait([self._tasks[number]])
        log.info("worker.drained", worker=number)
        self._retired.add(ledger_of(worker.closing or status.report))
        del self._workers[number], self._tasks[number]

    async def _stop_workers(self) -> None:
        for worker in self._workers.values():
            if worker.hangs:
                worker.kill()
            else:
                worker.stop()
        await asyncio.wait(self._tasks.values(), timeout=STOP_SECONDS)
        for worker in self._workers.values():
            worker.kill()
        await cancel_and_wait(*self._tasks.values())

    # -- changing over to another configuration --

    async def _change_over(self, factory: Factory) -> Mapping[str, Sequence[str]]:
        """Go on with a changed configuration; returns the affected machines."""
        self._changing = True
        try:
            return await self._move(factory)
        finally:
            self._changing = False

    async def _move(self, factory: Factory) -> Mapping[str, Sequence[str]]:
        """Let the workers go on with a changed configuration; returns the affected machines.

        A machine that goes to another worker is stopped there before it is read here: a device may accept one
        connection only, and its counters go with it.
        """
        before = self._assignment
        machines = factory.machines
        self._factory = _without_machines(factory)
        self._storage.reconfigure(factory)
        found = bundles(machines)
        self._assignment = assign(found, self._count, before, self._running)
        self._running = running_in(found, self._assignment)
        moved = {path for path, number in self._assignment.items() if before.get(path, number) != number}
        changed = set(moved)
        if moved:
            losing = {before[path] for path in moved}
            parts = await self._parts(machines, before, moved)
            changed |= await self._reconfigure({number: parts[number] for number in losing & parts.keys()})
        changed |= await self._reconfigure(await self._parts(machines, before))
        await self._save_assignment()
        self._state_topics = [self._topics.state(machine.path) for machine in machines]
        await self._retained.update(self._state_topics, self._marks.mark())
        self._broker.reconfigure(factory.broker)
        return {
            "added": sorted(self._assignment.keys() - before.keys()),
            "changed": sorted(changed & self._assignment.keys() & before.keys()),
            "removed": sorted(before.keys() - self._assignment.keys()),
        }

    async def _reconfigure(self, parts: Mapping[int, _WorkerPart]) -> set[str]:
        """Let workers apply their configurations; returns the machines that changed."""
        there = self._workers  # without those that have been drained meanwhile
        affected = await asyncio.gather(
            *(there[number].reconfigure(*part) for number, part in parts.items() if number in there)
        )
        return {machine for one in affected for machine in one.get("changed", ())}

    # -- one gateway for all that look at it --

    async def _command(self, command: Command) -> str | None:
        """Let the worker of a machine carry out a command, see `Commands`."""
        if self._changing:
            return "the gateway is changing its configuration: send the command again"
        worker = self._workers.get(self._assignment.get(command.target.machine, 0))
        return None if worker is None else await worker.command(command)

    async def _publish_unread(self, number: int) -> None:
        """Publish that the machines of a worker are offline, before its next process publishes their states."""
        state = {"state": "offline", "reason": UNREAD, "since": time.time_ns() // 1000, "gateway": self.id}
        payload = orjson.dumps(state)
        paths = [MachinePath(*path.split("/")) for path, worker in self._assignment.items() if worker == number]
        await self._broker.deliver([Message(self._topics.state(path), payload) for path in paths])

    def _configuration(self) -> tuple[str, str, str, str]:
        own = self._factory.factory
        return own.enterprise, own.site, self.id, self._factory.digest

    def _add_samples(self, samples: Samples) -> None:
        """Add the samples of the supervisor's own."""
        samples.set_each(RELOADS, self.reload.counts)
        self._self_test.add_to(samples)
        self._storage.add_to(samples)

    def _spools(self) -> list[str]:
        return [worker.status.spool for worker in self._workers.values() if worker.status is not None]

    def _birth(self) -> dict[str, Any]:
        spools = self._spools()
        return {"spool": next(iter(spools), ""), "spools": spools, "config": self._factory.digest}

    def _positions(self) -> dict[str, Position]:
        states = [worker.status for worker in self._workers.values() if worker.status is not None]
        return {state.spool: Position(state.oldest, state.next) for state in states}

    async def _unknown(self, ids: list[str]) -> list[str]:
        """Return the metadata ids that no worker knows; none of them while a worker does not answer."""
        known: set[str] = set()
        for found in await asyncio.gather(*(worker.known(ids) for worker in self._workers.values())):
            if found is None:
                return []
            known |= found
        return [key for key in ids if key not in known]

    def report(self) -> Report:
        """Return the counts since the start; published every second."""
        return self._head() | self._sum(self._reports()) | {"workers": self._figures()}

    def closing_report(self) -> Report:
        """Return the report with every machine, and the points that were never read good."""
        reports = self._reports()
        seconds = max(time.monotonic() - self._started, 0.001)
        rates = {n: (ledger_of(one).acquired - self._found[n].acquired) / seconds for n, one in reports.items()}
        figures = [one | {"values_per_second": round(rates.get(one["worker"], 0.0), 1)} for one in self._figures()]
        return self._head() | self._sum(reports) | joined_details(reports.values()) | {
            "workers": figures,
            "supervisor": {"processor_seconds": round(time.process_time(), 3)},
        }  # fmt: skip

    def _reports(self) -> dict[int, Report]:
        """Return the last report of each worker, the closing report if it has stopped."""
        found = {number: worker.closing or worker.last_report for number, worker in self._workers.items()}
        return {number: one for number, one in found.items() if one is not None}

    def _head(self) -> Report:
        seconds = round(time.monotonic() - self._started, 1)
        return {"gateway": self.id, "config": self._factory.digest, "seconds": seconds}

    def _sum(self, reports: Mapping[int, Report]) -> Report:
        beside = Ledger()
        for ledger in (self._retired, *(self._found[number] for number in self._workers if number not in reports)):
            beside.add(ledger)
        past = [one for worker in self._workers.values() for one in worker.past]
        return summed_reports(list(reports.values()), past, beside)

    def _figures(self) -> list[Report]:
        """Return the figures of each worker."""
        return [
            {
                "worker": number,
                "machines": 0 if worker.status is None else worker.status.machines,
                "connections": 0 if worker.status is None else worker.status.connections,
                "values_per_second": worker.values_per_second,
                "processor_seconds": round(worker.processor, 3),
                "restarts": worker.restarts,
            }
            for number, worker in self._workers.items()
        ]


def _without_machines(factory: Factory) -> Factory:
    """Return a configuration without its machines and its document, which the supervisor does not keep."""
    return replace(factory, machines=(), document=None, warnings=())


def _path(machine: Machine) -> str:
    return str(machine.path)


def _supervised(tasks: asyncio.TaskGroup, run: Callable[[], Awaitable[None]], name: str) -> asyncio.Task[None]:
    """Start a part of the supervisor, which is started again when it fails."""
    return tasks.create_task(supervise(run, BestEffort(name, passing=(MissingSecret,))), name=name)
