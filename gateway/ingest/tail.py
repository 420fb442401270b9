"""Readings shown live, as the broker delivers them."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import structlog
from aiomqtt import MqttError

from gateway.codecs import CODECS, Undecodable
from gateway.common.backoff import Backoff
from gateway.ingest.metadata_registry import MetadataRegistry
from gateway.model.metadata import decode_meta
from gateway.model.path import matches
from gateway.mqtt.client import MqttClient
from gateway.mqtt.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Callable

    from paho.mqtt.client import MQTTMessage

    from gateway.codecs import Codec
    from gateway.model.reading import Reading
    from gateway.settings.factory import Factory

log = structlog.get_logger()


async def follow(
    factory: Factory, pattern: str, stop: asyncio.Event, show: Callable[[Reading], None], count: int = 0
) -> None:
    """Show every reading that matches `pattern` until `stop` is set, or `count` readings were shown."""
    watching = asyncio.create_task(_watch(factory, pattern, show, count), name="tail")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait((watching, stopping), return_when=asyncio.FIRST_COMPLETED)
        if watching.done():
            watching.result()
    finally:
        watching.cancel()
        stopping.cancel()
        await asyncio.gather(watching, stopping, return_exceptions=True)


async def _watch(factory: Factory, pattern: str, show: Callable[[Reading], None], count: int) -> None:
    topics = Topics(factory.broker.root)
    codec = CODECS[factory.gateway.codec]
    metadata = MetadataRegistry()
    backoff = Backoff(0.3, 5.0)
    shown = 0
    while True:
        try:
            async with MqttClient(factory.broker, f"lineside-tail-{secrets.token_hex(3)}") as link:
                backoff.reset()
                await link.subscribe([(topics.all_machines("meta"), 0)])
                await link.subscribe([(topics.all_machines("event"), 1)])
                await link.subscribe([(topics.all_machines("data"), 1)])
                while True:
                    message = await link.receive()
                    link.acknowledge(message)
                    for reading in _readings(topics, codec, metadata, message):
                        if matches(pattern, reading.path, reading.point):
                            show(reading)
                            shown += 1
                            if shown == count:
                                return
        except MqttError as error:
            log.warning("broker.not_connected", broker=factory.broker.url, error=str(error))
        await backoff.wait()


def _readings(topics: Topics, codec: Codec, metadata: MetadataRegistry, message: MQTTMessage) -> list[Reading]:
    found = topics.machine_of(message.topic)
    if found is None:
        return []
    path, leaf = found
    try:
        if leaf == "meta":
            metadata.add(path, decode_meta(bytes(message.payload)))
            return []
        record = codec.decode(bytes(message.payload))
    except (ValueError, Undecodable) as error:
        log.warning("message.unreadable", topic=message.topic, error=str(error))
        return []
    meta = metadata.find(path, record.meta)
    units = {} if meta is None else dict(meta.units)
    return [reading for scan in record.scans for reading in scan.readings(path, units)]
