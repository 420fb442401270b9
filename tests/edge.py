"""A gateway without acquisition, in the process of the test, and a consumer that confirms on request.

async with Edge(tmp_path, {"url": mosquitto.url}) as edge, Consumer(mosquitto.port) as consumer:
    edge.take("m-01")                  # one scan, which becomes a record
    await consumer.got(1)
    consumer.confirm(1)
    await edge.spool.empty()
"""

from __future__ import annotations

import asyncio
import json
import time
from binascii import b2a_base64
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import aiomqtt
from processes import LOOPBACK, NO_DELAY, until

from gateway.acquisition.device_metadata import DeviceMetadata
from gateway.codecs import CODECS
from gateway.common.dead_letters import DeadLetters
from gateway.common.tasks import cancel_and_wait
from gateway.model.reading import NamedScan
from gateway.model.receipt import Claim, new_tag, proof_of, receipt_of
from gateway.model.record import Record
from gateway.mqtt.topics import Topics
from gateway.pipeline.machine_status import MachineStatuses
from gateway.publish.publisher import Publisher
from gateway.publish.retained_cleanup import RetainedCleanup
from gateway.settings.factory import Factory
from gateway.settings.sections import BrokerSection, FactorySection, GatewaySection, IngestSection
from gateway.spool.files import SET_ASIDE_SIZE
from gateway.spool.record_builder import RecordBuilder
from gateway.spool.splitter import Splitter, halve
from gateway.spool.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    from gateway.model.metadata import MachineMeta
    from gateway.model.path import MachinePath

ROOT = "lineside/v1/enterprise/site"
DATA = f"{ROOT}/area/line/+/data"
STATE = f"{ROOT}/_gateways/edge-01/state"
CONFIRMED = f"{ROOT}/_gateways/edge-01/confirmed"

BATCH = 50
"""Records that the consumer confirms together, if so many are there."""

SECONDS = 120.0
"""The time that a test waits for a required event."""


class Edge:
    """The spool and the publisher of a gateway, wired as in gateway/gateway_service.py; no machine is read."""

    def __init__(self, folder: Path, broker: dict[str, Any], gateway: dict[str, Any] | None = None) -> None:
        own = {"id": "edge-01", "spool": {"folder": folder / "spool"}} | (gateway or {})
        self.factory = Factory(
            file=folder / "factory.yaml",
            factory=FactorySection(enterprise="enterprise", site="site"),
            gateway=GatewaySection.model_validate(own),
            broker=BrokerSection.model_validate(broker),
            ingest=IngestSection(),
            stores=(),
            machines=(),
        )
        self.reports: dict[str, Any] = {}
        self.known: dict[str, tuple[MachinePath, MachineMeta]] = {}
        self.root = f"{self.factory.broker.root}/enterprise/site"
        topics, settings = Topics(self.factory.broker.root), self.factory.gateway
        self._descriptions = DeviceMetadata((), topics, settings.spool.folder, settings.id)
        self.metas = self._descriptions.payloads
        self._tasks: list[asyncio.Task[None]] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        settings, topics = self.factory.gateway, Topics(self.factory.broker.root)
        self.spool = await self._stack.enter_async_context(Spool(settings.spool, settings.id))
        self.states = MachineStatuses(lambda: 0)
        self.letters = settings.spool.folder / "letters.jsonl"
        cutter = Splitter(self.spool, CODECS["json"], DeadLetters(self.letters, SET_ASIDE_SIZE))
        cleanup = RetainedCleanup(settings.spool.folder / "states.json", settings.id, lambda: self.spool.oldest_seq)
        self.publisher = Publisher(
            self.factory, topics, self.spool, self.states, self._descriptions, cleanup, lambda: self.reports,
            cutter, lambda ids: {key: self.known[key] for key in ids if key in self.known},
        )  # fmt: skip
        self.window = self.publisher.window
        self._outboxes: dict[str, RecordBuilder[NamedScan]] = {}
        self._tasks.append(asyncio.create_task(self.spool.run(), name="spool"))
        self.connect()
        return self

    def outbox(self, machine: str) -> RecordBuilder[NamedScan]:
        """Return the builder that gathers the scans of a machine into records."""
        if machine not in self._outboxes:
            topic = f"{self.root}/area/line/{machine}/data"
            self._outboxes[machine] = RecordBuilder(topic, self._encode, halve, self.factory.gateway.max_record)
        return self._outboxes[machine]

    def _encode(self, seq: int, scans: list[NamedScan]) -> bytes:
        return CODECS["json"].encode(Record(self.factory.gateway.id, self.spool.id, seq, scans, tag=new_tag()))

    def connect(self) -> None:
        """Let it publish."""
        self._publishing = asyncio.create_task(self.publisher.run(), name="publish")
        self._tasks.append(self._publishing)

    async def disconnect(self) -> None:
        """Stop publishing."""
        await cancel_and_wait(self._publishing)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        died = [task for task in self._tasks if task.done() and not task.cancelled() and task.exception()]
        await cancel_and_wait(*self._tasks)
        await self._stack.aclose()
        assert not died, died

    def take(self, machine: str = "m-01", readings: int = 1, text: str = "") -> None:
        """Acquire a scan, and close the record behind it; the value is `text` if it is given, otherwise a number."""
        self.spool.ledger.acquired += readings
        outbox = self.outbox(machine)
        self.spool.put(outbox, self.scan(readings, text), readings)
        self.spool.close_record(outbox)

    def scan(self, readings: int, text: str = "") -> NamedScan:
        """Return a scan of this moment."""
        return NamedScan(time.time_ns() // 1000, {f"p{i:04d}": text or i for i in range(readings)})

    @property
    def pending(self) -> int:
        return self.spool.ledger.pending

    async def freed(self, pending: int = 0) -> None:
        """Wait until only so many readings wait in the spool; the ledger balances then."""
        await until(lambda: self.pending == pending, f"{pending} readings in the spool", SECONDS)
        assert self.spool.ledger.balanced


class Got(NamedTuple):
    """A record as it came."""

    machine: str
    seq: int
    readings: int
    spool: str


class Consumer:
    """Receives records from a broker as ingest does; confirms on request, or each at once with `confirming`."""

    def __init__(self, port: int, *, confirming: bool = False, topic: str = DATA, session: str | None = None) -> None:
        self._port = port
        self._topic = topic
        root, _, _ = topic.partition("/enterprise/")
        self._confirmed = f"{root}/enterprise/site/_gateways/edge-01/confirmed"
        self._session = session
        self.confirming = confirming
        self.records: list[Got] = []
        self._root = root
        self._receipts: dict[int, bytes] = {}

    async def __aenter__(self) -> Self:
        self._client = aiomqtt.Client(
            LOOPBACK,
            self._port,
            identifier=self._session,
            clean_session=self._session is None,
            socket_options=NO_DELAY,
        )
        await self._client.__aenter__()
        await self._client.subscribe(self._topic, qos=1)
        self._task = asyncio.create_task(self._take(), name="consumer")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await cancel_and_wait(self._task)
        with suppress(aiomqtt.MqttError):  # the broker may have been killed
            await self._client.__aexit__(None, None, None)

    async def _take(self) -> None:
        unconfirmed: list[int] = []
        with suppress(aiomqtt.MqttError):
            async for message in self._client.messages:
                record = json.loads(message.payload)
                readings = sum(len(scan["values"]) for scan in record["scans"])
                got = Got(str(message.topic).split("/")[-2], record["seq"], readings, record["spool"])
                self.records.append(got)
                place = str(message.topic)[len(self._root) + 1 :]
                self._receipts[got.seq] = receipt_of(place, bytes(message.payload))
                unconfirmed.append(got.seq)
                if self.confirming and (not len(self._client.messages) or len(unconfirmed) >= BATCH):
                    await self.confirm(*unconfirmed)
                    unconfirmed.clear()

    async def confirm(self, *seqs: int, set_aside: Mapping[int, int] | None = None) -> None:
        """Publish a confirmation of records, and the readings of some that were set aside."""
        refused = set_aside or {}
        proofs = b"".join(proof_of(Claim.STORED, self._receipts[seq], refused.get(seq, 0)) for seq in seqs)
        answer = {
            "spool": self.records[0].spool,
            "ranges": [[seq, seq] for seq in seqs],
            "set_aside": {str(seq): readings for seq, readings in refused.items()},
            "proofs": b2a_base64(proofs, newline=False).decode(),
        }
        await self._client.publish(self._confirmed, json.dumps(answer), qos=1)

    @property
    def seqs(self) -> list[int]:
        return [record.seq for record in self.records]

    async def got(self, *seqs: int) -> None:
        """Wait until each of these has come at least once."""
        await until(lambda: set(seqs) <= set(self.seqs), f"{len(seqs)} records arrive", SECONDS)
