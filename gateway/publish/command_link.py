"""The topics of a gateway on which people send commands, and get their answers, on its session with the broker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from gateway.common.state_log import RepeatLog
from gateway.common.tasks import BestEffort
from gateway.mqtt.client import Message

if TYPE_CHECKING:
    from gateway.mqtt.client import MqttClient
    from gateway.mqtt.packets import ReceivedMessage
    from gateway.mqtt.session import Session
    from gateway.mqtt.topics import Topics
    from gateway.publish.commands import Commands
    from gateway.settings.factory import Factory

log = structlog.get_logger(__name__)

MOST_WAITING = 100
"""Commands that wait for those before them. While so many wait, the broker keeps the others."""


class CommandLink:
    """Takes commands one after the other, so that a worker that is slow to answer delays no other message."""

    def __init__(self, factory: Factory, topics: Topics, commands: Commands) -> None:
        place, own = factory.factory, factory.gateway.id
        self.topic, self._answer = (
            topics.gateway(place.enterprise, place.site, own, leaf) for leaf in ("command", "answer")
        )
        self._commands = commands
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(MOST_WAITING)
        self._ignored = RepeatLog(log)
        self._carrying_out = BestEffort("commands")

    async def take(self, session: Session, link: MqttClient, message: ReceivedMessage) -> None:
        """Take a message of `topic`. A retained message is cleared: it would come again at every connection."""
        if message.retain:
            self._ignored.warning(
                "mqtt.retained_ignored", key=self.topic, topic=self.topic, hint="publish there without retain"
            )
            await session.deliver(link, [Message(self.topic, b"")])
        elif message.payload:
            await self._waiting.put(message.payload)

    async def run(self, session: Session, link: MqttClient) -> None:
        """Subscribe, then carry out the commands that come, and answer them, until cancelled."""
        await session.subscribe(link, self.topic)
        while True:
            payload = await self._waiting.get()
            answer = None
            with self._carrying_out:
                answer = await self._commands.take(self.topic, payload)
            if answer is not None:
                session.publish(link, self._answer, [answer])
