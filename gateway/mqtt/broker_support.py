"""Find out whether a broker supports a feature that the configuration uses.

Some brokers accept a shared subscription (`$share/NAME/FILTER`, MQTT 5, 4.8.2) and deliver nothing over it: NATS, and
the MQTT plugin of RabbitMQ before 3.13, take it for a name like any other. Both also do not deliver topics with a dot
in a level, since the dot separates the levels of their own subjects.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import structlog
from aiomqtt import MqttError

from gateway.mqtt.client import MqttClient

if TYPE_CHECKING:
    from gateway.settings.sections import BrokerSection

log = structlog.get_logger(__name__)

DELIVERED_WITHIN = 5.0
"""Seconds in which a message has to come back."""


async def check_shared_subscription(broker: BrokerSection, identifier: str, topic: str) -> bool | None:
    """Return whether the broker delivers over shared subscriptions; log an instruction where it does not.

    A client of its own publishes on `topic` and subscribes to it: over a shared subscription, then over its own.
    Returns None where that can't be found out: the broker is away, or does not let this client publish there.
    """
    payload = secrets.token_hex(8).encode()
    try:
        async with MqttClient(broker, identifier) as client:
            if await client.subscribe_to(f"$share/{secrets.token_hex(4)}/{topic}", qos=0):
                return None
            if await _comes_back(client, topic, payload):
                return True
            if await client.subscribe_to(topic, qos=0) or not await _comes_back(client, topic, payload):
                return None
    except MqttError:
        return None
    log.error(
        "mqtt.shared_subscriptions_unsupported",
        broker=client.address,
        hint="remove ingest.share, or use a broker that has shared subscriptions (MQTT 5)",
    )
    return False


async def _comes_back(client: MqttClient, topic: str, payload: bytes) -> bool:
    client.send_unacknowledged(topic, payload)
    try:
        async with asyncio.timeout(DELIVERED_WITHIN):
            while (await client.receive()).payload != payload:
                pass
    except TimeoutError:
        return False
    return True
