"""The wiring of ingest: broker -> ingest -> store."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from gateway.audit.apart import ApartLog
from gateway.audit.incidents import Incidents
from gateway.common.clock import Clock
from gateway.common.dead_letters import DeadLetters, ingest_letters
from gateway.common.heartbeat import beat
from gateway.common.service_manager import ServiceManager
from gateway.common.status_file import StatusFile, status_file
from gateway.common.tasks import BestEffort, cancel_and_wait, supervise
from gateway.ingest.metadata_registry import MetadataRegistry
from gateway.ingest.service import Ingest
from gateway.ingest.store_writer import StoreWriter
from gateway.metrics.definitions import INGEST_LABEL
from gateway.metrics.endpoint import MetricsEndpoint, Sources
from gateway.metrics.ingest_metrics import ingest_samples, named
from gateway.metrics.samples import MetricsPart
from gateway.metrics.storage_watch import StorageWatch
from gateway.mqtt.topics import Topics
from gateway.self_test.runner import SelfTest
from gateway.settings.signature_memory import Service

if TYPE_CHECKING:
    from gateway.metrics.health import Checks
    from gateway.settings.factory import Factory

log = structlog.get_logger(__name__)


class IngestService:
    """What `lineside ingest` runs."""

    def __init__(self, factory: Factory) -> None:
        folder = factory.ingest.folder
        self._dead_letters = DeadLetters(ingest_letters(folder, factory.ingest.id), factory.ingest.dead_letters)
        self._alive = folder / f"{factory.ingest.id}.alive"
        self._writers = writers = [
            StoreWriter(entry.kind.name, entry.kind.make(entry.settings)) for entry in factory.stores
        ]
        metadata = MetadataRegistry(folder / f"{factory.ingest.id}.metas.json")
        topics = Topics(factory.broker.root)
        self._manager = ServiceManager.of()
        self._incidents = Incidents(ApartLog(factory.ingest.audit, "ingest", factory.ingest.id))
        note = self._incidents.note
        self._ingest = Ingest(factory, topics, writers, metadata, self._dead_letters, Clock(), note)
        self._factory_file = factory.file
        head = {"service": "ingest", "id": factory.ingest.id}
        self._status_file = StatusFile(status_file(folder, factory.ingest.id), head, self.status)
        self._id = factory.ingest.id
        self._configuration = (
            factory.factory.enterprise, factory.factory.site, factory.gateway.id, factory.digest,
        )  # fmt: skip
        self._self_test = SelfTest(factory, service="ingest")
        self._storage = StorageWatch(factory, Service.INGEST)
        self._endpoint: MetricsEndpoint | None = None
        own = factory.ingest.metrics
        if (address := own.endpoint) is not None:
            sources = Sources(self._metric_parts, self._checks)
            self._endpoint = MetricsEndpoint(address, sources, "ingest.metrics", own.tls, own.token)

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set. A write under way is finished, or its messages come again from the broker."""
        async with asyncio.TaskGroup() as tasks:
            working = [
                tasks.create_task(self._ingest.run(), name="ingest"),
                tasks.create_task(beat(self._alive), name="sign of life"),
                tasks.create_task(supervise(self._status_file.run, BestEffort("status file")), name="status file"),
                tasks.create_task(
                    supervise(self._inform_manager, BestEffort("service manager")), name="service manager"
                ),
                tasks.create_task(supervise(self._self_test.run, BestEffort("self-test")), name="self-test"),
            ]
            recording = supervise(self._incidents.run, BestEffort("audit of refused records"))
            working.append(tasks.create_task(recording, name="audit of refused records"))
            working.append(
                tasks.create_task(supervise(self._storage.run, BestEffort("storage")), name="storage"),
            )
            if self._endpoint is not None:
                serving = supervise(self._endpoint.run, BestEffort("metrics"))
                working.append(tasks.create_task(serving, name="metrics"))
            log.info("ingest.started")
            self._manager.ready()
            await stop.wait()
            self._manager.stopping()
            await cancel_and_wait(*working)
        await self._status_file.close()
        log.info("ingest.stopped", records=self._ingest.status.records, readings=self._ingest.status.readings)

    async def _inform_manager(self) -> None:
        """Keep the service manager informed. A store that does not answer is an outage: it does not count here."""
        await self._manager.keep_informed(self._status_line, partial(asyncio.sleep, 0))

    def _status_line(self) -> str:
        status = self._ingest.status
        return f"{status.readings:,} readings stored, {status.set_aside:,} set aside"

    def asked_to_reload(self) -> None:
        """Log what to do instead: nothing that ingest depends on changes often, as machines do."""
        log.warning("ingest.restart_to_reload", why="a restart loses nothing: brokers and spools keep the records")

    def status(self) -> dict[str, Any]:
        """Return the content of the status file: the report, the broker, and the latency since the start."""
        report = self._ingest.report()
        return {
            "config": report["config"],
            "file": str(self._factory_file.absolute()),
            "broker": self._ingest.link._asdict(),
            "report": report | {"latency_ms": self._ingest.status.report()["latency_ms"]},
        }

    async def _metric_parts(self) -> list[MetricsPart]:
        samples = ingest_samples(self._ingest, self._writers, self._configuration)
        self._self_test.add_to(samples)
        self._storage.add_to(samples)
        return [MetricsPart({INGEST_LABEL: self._id}, samples)]

    async def _checks(self) -> Checks:
        """Return the needs of ingest, see `Checks`."""
        letters = self._ingest.waiting_letters
        return {
            "broker": "" if self._ingest.session.connected else "not connected",
            "dead_letters": f"{letters} dead letters wait for the disk" if letters else "",
            "storage": self._storage.reason,
        } | {
            f"store {name}": "" if writer.state == "available" else writer.state
            for name, writer in named(self._writers)
        }

    def report(self) -> dict[str, Any]:
        """Return the closing report."""
        stores: dict[str, Counter[str]] = {}
        for writer in self._writers:  # several may be of one kind
            stores.setdefault(writer.name, Counter()).update(writer.counts)
        return self._ingest.status.report() | {"stores": {name: dict(counts) for name, counts in stores.items()}}
