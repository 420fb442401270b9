"""Show readings live, as the broker delivers them."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import structlog

from gateway.codecs import Undecodable, decode
from gateway.common.state_log import RepeatLog
from gateway.ingest.metadata_registry import MetadataRegistry
from gateway.ingest.placement import placed_scans, source_of
from gateway.ingest.signatures import Signatures
from gateway.model.path import matches
from gateway.mqtt.messages import parse_meta
from gateway.mqtt.session import Session
from gateway.mqtt.topics import Topics
from gateway.mqtt.verifier import Verifier, verifier_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.model.reading import Reading
    from gateway.mqtt.client import MqttClient
    from gateway.mqtt.packets import ReceivedMessage
    from gateway.settings.factory import Factory

log = structlog.get_logger(__name__)


async def follow(
    factory: Factory, patterns: Sequence[str], stop: asyncio.Event, show: Callable[[Reading], None], count: int,
    say: Callable[[str], None],
) -> None:  # fmt: skip
    """Show every reading that matches any of `patterns` until `stop` is set, or `count` readings were shown.

    `say` receives a line of text when the broker is lost, and one when it is back.
    """
    watching = asyncio.create_task(_watch(factory, patterns, show, count, say), name="tail")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait((watching, stopping), return_when=asyncio.FIRST_COMPLETED)
        if watching.done():
            watching.result()
    finally:
        watching.cancel()
        stopping.cancel()
        await asyncio.gather(watching, stopping, return_exceptions=True)


async def _watch(
    factory: Factory, patterns: Sequence[str], show: Callable[[Reading], None], count: int, say: Callable[[str], None]
) -> None:  # fmt: skip
    topics = Topics(factory.broker.root)
    reader = RecordReader(topics, verifier_of(factory), Signatures(factory.ingest.public_keys))
    session = Session(factory.broker, f"lineside-tail-{secrets.token_hex(3)}", changed=_Outage(say).enter)
    invalid = RepeatLog(log)
    shown = 0
    closed: OSError | None = None

    async def serve(link: MqttClient) -> None:
        nonlocal shown, closed
        await session.subscribe(link, topics.all_machines("meta"), qos=0)
        await session.subscribe(
            link, topics.all_machines("event"), topics.all_machines("data"), topics.all_gateways("data")
        )
        while True:
            message = await link.receive()
            link.acknowledge(message)
            try:
                found = reader.readings(message)
            except (ValueError, Undecodable) as error:
                invalid.warning("message.unreadable", key=message.topic, topic=message.topic, error=str(error))
                continue
            for reading in found:
                if any(matches(pattern, reading.path, reading.point) for pattern in patterns):
                    try:
                        show(reading)
                    except OSError as error:  # a pipe that nobody reads any more ends the command, not the connection
                        closed = error
                        return
                    shown += 1
                    if shown == count:
                        return

    await session.run(serve)
    if closed is not None:
        raise closed


class _Outage:
    """Says once that the broker is lost, and once that it is back; the first connection is not worth a line."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._since: float | None = None

    def enter(self, error: str | None) -> None:
        """Note the result of an attempt to connect, or the end of a connection: an error, or None."""
        now = asyncio.get_running_loop().time()
        if error is None and self._since is not None:
            self._say(f"the broker is back after {now - self._since:.0f} s")
            self._since = None
        elif error is not None and self._since is None:
            self._say(f"{error}; waiting for the broker")
            self._since = now


class RecordReader:
    """Reads records, with the units of their metadata. Both have to be signed by gateways whose keys are known."""

    def __init__(
        self, topics: Topics, verifier: Verifier | None = None, signatures: Signatures | None = None
    ) -> None:
        self.topics = topics
        self.metadata = MetadataRegistry()
        self._verifier = verifier or Verifier(topics.root, {})
        self._signatures = signatures or Signatures({})

    def readings(self, message: ReceivedMessage) -> list[Reading]:
        """Return the readings of a message. Raises `ValueError` or `Undecodable`."""
        machine = self.topics.machine_of(message.topic)
        if machine is not None and machine[1] == "meta":
            verdict = self._verifier.check(message)
            if verdict.payload and not verdict.fault:
                self.metadata.add(machine[0], parse_meta(verdict.payload).metas)
            return []
        source, payload = source_of(self.topics, message.topic), message.payload
        if source is None or not payload:  # an empty message removes a retained message, or tries a right
            return []
        record = decode(payload)
        if fault := self._signatures.fault(record.gateway, self.topics.place(message.topic), payload):
            raise Undecodable(fault)
        readings: list[Reading] = []
        for placed in placed_scans(source, record):
            meta = self.metadata.find(placed.path, placed.meta)
            readings += placed.scan.readings(placed.path, {} if meta is None else dict(meta.units))
        return readings
