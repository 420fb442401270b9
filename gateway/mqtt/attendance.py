"""That an ingest is there, told at the broker: what the one before it had not made safe then comes again at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from aiomqtt import MqttError, Will

from gateway.mqtt.client import Message
from gateway.mqtt.presence import INGEST, Presence

if TYPE_CHECKING:
    from paho.mqtt.client import MQTTMessage

    from gateway.mqtt.client import MqttClient

log = structlog.get_logger()

DEATH_TIMEOUT = 1.0
"""Seconds in which the broker has to take our graceful death."""


class IngestPresence:
    """One ingest's birth and death on the topic of its state; without the right to publish there it works without."""

    def __init__(self, ingest: str, topic: str) -> None:
        self.presence = Presence(ingest, kind=INGEST)
        self._topic = topic
        self._told = False

    @property
    def will(self) -> Will:
        """What the broker is to say of us when the next connection is lost."""
        return Will(self._topic, self.presence.will(), 1, retain=True)

    async def arrive(self, link: MqttClient) -> None:
        """Say that we are there, over a connection that has subscribed to all that it is for."""
        self.presence.connected()
        # QoS 0: what another of our name does there is all that it is for
        await link.subscribe([(self._topic, 0)])
        refused = await link.deliver([Message(self._topic, self.presence.birth())])
        self.presence.born()
        for topic, reason in refused.items():
            if not self._told:
                log.warning("broker.refused", topic=topic, reason=hex(reason), hint="may ingest publish there?")
            self._told = True

    def heard(self, message: MQTTMessage) -> bool:
        """Take a message of this topic; returns whether it is one."""
        if message.topic != self._topic:
            return False
        self.presence.heard(bytes(message.payload), retained=message.retain)
        return True

    async def leave(self, link: MqttClient) -> None:
        """Replace the birth by a death of our own, where the broker still listens."""
        try:
            payload = self.presence.death("stopped")
            await link.publish(self._topic, payload, qos=1, retain=True, timeout=DEATH_TIMEOUT)
        except MqttError:
            pass  # the last will says it
