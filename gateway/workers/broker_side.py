"""The supervisor's side of the broker: the identity of the gateway, whose records its workers publish."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog
from aiomqtt import MqttError

from gateway.common.state_log import RepeatLog
from gateway.common.tasks import errors_of
from gateway.mqtt.messages import BadMessage, encode_metadata, parse_wanted
from gateway.mqtt.session import Session, handle
from gateway.mqtt.verifier import verifier_of
from gateway.publish.message_signer import gateway_signer
from gateway.publish.wanted import WantedIds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from gateway.mqtt.client import Message, MqttClient
    from gateway.mqtt.packets import ReceivedMessage
    from gateway.mqtt.topics import Topics
    from gateway.publish.command_link import CommandLink
    from gateway.publish.identity import GatewayIdentity
    from gateway.settings.factory import Factory
    from gateway.settings.sections import BrokerSection

log = structlog.get_logger(__name__)


class BrokerSide:
    """Publishes the identity of a gateway, answers which wanted metadata is unknown, and takes its commands.

    `unknown` returns those of some metadata ids that no worker knows; none of them while a worker does not answer.
    Without `commands` the gateway takes none.
    """

    def __init__(
        self,
        factory: Factory,
        topics: Topics,
        client: str,
        identity: GatewayIdentity,
        unknown: Callable[[list[str]], Awaitable[list[str]]],
        commands: CommandLink | None = None,
    ) -> None:
        own = factory.factory
        self._settings = factory.gateway
        self._topics = topics
        self._verifier = verifier_of(factory)
        self._identity = identity
        self._unknown = unknown
        self._commands = commands
        self._wanted_topic, self._metadata_topic = (
            topics.gateway(own.enterprise, own.site, factory.gateway.id, leaf) for leaf in ("wanted", "metadata")
        )
        self._wanted = WantedIds()
        self._ignored = RepeatLog(log)
        self._session = Session(factory.broker, client, presence=identity.presence)
        self._changed = asyncio.Event()
        self._other_broker = False
        self._link: MqttClient | None = None

    @property
    def away(self) -> bool:
        """Whether this gateway waits because another gateway with its id is connected."""
        return self._identity.presence.away

    @property
    def session(self) -> Session:
        """The session with the broker."""
        return self._session

    async def run(self) -> None:
        """Connect and publish until cancelled; an outage is logged once. Raises `MissingSecret`."""
        self._session.signer = await gateway_signer(self._settings, self._topics)
        await self._session.run(self._serve)

    def changed(self) -> None:
        """Publish the birth again: its details have changed."""
        self._changed.set()

    def reconfigure(self, broker: BrokerSection) -> None:
        """Apply a changed configuration: connect to another broker, publish the birth again."""
        self._other_broker = self._other_broker or broker != self._session.broker
        self._session.broker = broker
        self._changed.set()

    async def deliver(self, messages: Iterable[Message]) -> None:
        """Publish retained messages, and wait until the broker has them; without a connection they are not sent."""
        if self._link is not None:
            with suppress(MqttError):
                await self._session.deliver(self._link, messages)

    async def _serve(self, link: MqttClient) -> None:
        session = self._session
        self._other_broker = False
        denied = await self._identity.begin(session, link)

        async def take(message: ReceivedMessage) -> None:
            if self._identity.heard_state(session, message):
                return
            if message.topic == self._wanted_topic:
                self._want(message)
            elif self._commands is not None and message.topic == self._commands.topic:
                await self._commands.take(session, link, message)
            else:
                await self._identity.clean(session, link, message)

        self._link = link
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(link.lost(), name="broker link")
                tasks.create_task(handle(link, take), name="incoming messages")
                for name, job in self._identity.jobs(session, link, denied).items():
                    tasks.create_task(job, name=name)
                tasks.create_task(self._answer_wanted(link), name="wanted descriptions")
                tasks.create_task(self._follow_changes(link), name="birth")
                if session.signer is not None:
                    tasks.create_task(session.signer.numbers.keep(), name="numbers of signed messages")
                if self._commands is not None:
                    tasks.create_task(self._commands.run(session, link), name="commands")
        except BaseExceptionGroup as group:
            if lost := errors_of(group, MqttError):
                raise lost[0] from None
            raise
        finally:
            self._link = None

    def _want(self, message: ReceivedMessage) -> None:
        if message.retain or not message.payload or self._verifier.check(message).fault:
            return  # the workers clear retained messages
        try:
            self._wanted.add(parse_wanted(message.payload).ids)
        except BadMessage as error:
            self._ignored.warning("mqtt.message_ignored", topic=message.topic, error=str(error))

    async def _answer_wanted(self, link: MqttClient) -> None:
        """Publish which ids are unknown here; the workers publish the descriptions that they know."""
        await self._session.subscribe(link, self._wanted_topic)
        while True:
            ids = await self._wanted.first()
            unknown = await self._unknown(ids)
            self._session.publish(link, self._metadata_topic, encode_metadata({}, unknown))
            await self._wanted.answered(ids)

    async def _follow_changes(self, link: MqttClient) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._other_broker:
                raise MqttError("the configuration has another broker")
            await self._identity.publish_birth(self._session, link)
