"""A gateway for tests: it publishes the records that a test makes, and keeps the confirmations that it gets.

    async with FakeGateway(mosquitto.port) as gateway:
        gateway.describe("m-01", pressure=("float", "bar"))
        gateway.send("m-01", pressure=1.5)
        await gateway.confirmed()

It sends unconfirmed records again, as the real gateway does, when the test calls for it.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Self

import aiomqtt
from processes import LOOPBACK, NO_DELAY, until

from gateway.codecs import CODECS
from gateway.common.seq_ranges import SeqRanges
from gateway.model.metadata import MachineMeta
from gateway.model.path import MachinePath
from gateway.model.reading import NamedScan
from gateway.model.record import Record
from gateway.mqtt.messages import encode_metadata

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from drivers.base import Value

ROOT = "lineside/v1"
TIME = 1_764_000_000_000_000
SPOOL = "5b00"

TOGETHER = 10
"""Messages that are published at once: aiomqtt warns of more."""


class FakeGateway:
    """`sent`: the records by number; `ranges`: those confirmed, `taken`: accepted; `wanted`: ids asked for.

    `lost`: accepted records that ingest asked for again; they are no longer `taken`.
    """

    def __init__(
        self, port: int, name: str = "edge-01", *, enterprise: str = "enterprise", since: int = TIME
    ) -> None:
        self.sent: dict[int, tuple[str, bytes]] = {}
        self.ranges, self.taken, self.lost = SeqRanges(), SeqRanges(), SeqRanges()
        self.set_aside: dict[int, int] = {}
        self.answers: list[dict[str, Any]] = []
        self.scans: dict[int, tuple[MachinePath, MachineMeta, NamedScan]] = {}
        self._client = aiomqtt.Client(
            LOOPBACK, port, identifier=f"test-{name}", max_inflight_messages=1000, socket_options=NO_DELAY
        )
        self.wanted: list[str] = []
        self._name = name
        self._topic = f"{ROOT}/{enterprise}/site/_gateways/{name}"
        self._enterprise = enterprise
        self._since = since
        self._metas: dict[str, MachineMeta] = {}

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        await self._client.subscribe(f"{self._topic}/confirmed", qos=1)
        await self._client.subscribe(f"{self._topic}/wanted", qos=1)
        self._hearing = asyncio.create_task(self._hear(), name="hear")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hearing.cancel()
        await asyncio.gather(self._hearing, return_exceptions=True)
        await self._client.__aexit__(kind, error, trace)

    async def _hear(self) -> None:
        async for message in self._client.messages:
            answer = json.loads(message.payload)
            if message.topic.matches(f"{self._topic}/wanted"):
                self.wanted += answer["ids"]
                continue
            assert answer["spool"] == SPOOL
            self.answers.append(answer)
            for span in answer["ranges"]:
                self.ranges.add(*span)
            for span in answer.get("taken", ()):
                self.taken.add(*span)
            for span in answer.get("lost", ()):
                self.taken.remove(*span)
                self.lost.add(*span)
            self.set_aside |= {int(seq): readings for seq, readings in answer["set_aside"].items()}

    def path(self, machine: str) -> MachinePath:
        return MachinePath(self._enterprise, "site", "area", "line", machine)

    async def describe(
        self, machine: str, *, publish: bool = True, earlier: tuple[MachineMeta, ...] = (), **points: tuple[str, str]
    ) -> MachineMeta:
        """Say what a machine is: type and unit by name of its points. Records after this are made with it."""
        types, units = ({name: declared[i] for name, declared in points.items()} for i in (0, 1))
        meta = self._metas[machine] = MachineMeta("press", types, units)
        if publish:
            message = written(meta) | {"v": 1, "id": meta.id, "protocol": "modbus"}
            message |= {"earlier": [written(one) for one in earlier]} if earlier else {}
            await self._client.publish(f"{ROOT}/{self.path(machine)}/meta", json.dumps(message), qos=1, retain=True)
        return meta

    async def answer(self, *known: str, unknown: Iterable[str] = ()) -> None:
        """Answer ingest, which asks for metadata, with what `describe` was given."""
        metas = {meta.id: (self.path(machine), meta) for machine, meta in self._metas.items() if meta.id in known}
        for payload in encode_metadata(metas, unknown):
            await self._client.publish(f"{self._topic}/metadata", payload, qos=1)

    def make(self, machine: str, **values: Value) -> int:
        """Make a record of one scan, a second after the record made before; returns its number."""
        seq = len(self.sent) + 1
        scan = NamedScan(self._since + seq * 1_000_000, values)
        meta = self._metas.get(machine)
        record = Record(self._name, SPOOL, seq, [scan], meta.id if meta else "")
        self.sent[seq] = f"{ROOT}/{self.path(machine)}/data", CODECS["json"].encode(record)
        self.scans[seq] = self.path(machine), meta or MachineMeta("unknown"), scan
        return seq

    async def publish(self, *seqs: int) -> None:
        """Send records, again where they were sent before."""
        await self._publish([self.sent[seq] for seq in seqs])

    async def send(self, machine: str, **values: Value) -> int:
        """Make a record and send it."""
        seq = self.make(machine, **values)
        await self.publish(seq)
        return seq

    async def raw(self, topic: str, payload: bytes, count: int = 1) -> None:
        """Publish something else, `count` times."""
        await self._publish([(topic, payload)] * count)

    async def _publish(self, messages: list[tuple[str, bytes]]) -> None:
        for start in range(0, len(messages), TOGETHER):
            async with asyncio.TaskGroup() as tasks:
                for topic, payload in messages[start : start + TOGETHER]:
                    tasks.create_task(self._client.publish(topic, payload, qos=1))

    @property
    def asked_for(self) -> set[int]:
        """The records that ingest asked for again."""
        return {seq for first, last in self.lost for seq in range(first, last + 1)}

    @property
    def unconfirmed(self) -> list[int]:
        return [seq for seq in self.sent if seq not in self.ranges]

    async def confirmed(self, seconds: float = 90.0) -> None:
        """Wait until all that was made is confirmed."""
        await until(lambda: not self.unconfirmed, "all records are confirmed", seconds)


def written(meta: MachineMeta) -> dict[str, Any]:
    points = {name: {"type": kind, "unit": meta.units[name]} for name, kind in meta.types.items()}
    return {"template": meta.template, "points": points}
