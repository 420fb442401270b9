"""From the spool to the broker: records with QoS 1; descriptions and states of machines, retained.

Records in flight are bounded. A record that is not confirmed in time is sent again. With `confirm: store` only
the store's confirmation, which ingest passes on, frees the spool; the broker's acknowledgement says little.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

import orjson
import structlog
from aiomqtt import MqttError

from gateway.mqtt.client import Message
from gateway.mqtt.messages import BadMessage, parse_confirmation
from gateway.mqtt.session import Presence, Session, handle
from gateway.publish.dispatch import FreshFirst, InOrder
from gateway.publish.ingest_watch import IngestWatch
from gateway.settings.sections import Confirm, Order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from paho.mqtt.client import MQTTMessage

    from gateway.model.path import MachinePath
    from gateway.mqtt.client import MqttClient
    from gateway.mqtt.topics import Topics
    from gateway.publish.retained_cleanup import RetainedCleanup
    from gateway.settings.factory import Factory
    from gateway.settings.sections import BrokerSection
    from gateway.spool.files import Spooled
    from gateway.spool.spool import Spool

log = structlog.get_logger()

REPORT_EVERY = 1.0
"""Seconds between two reports of the ledger."""


class Descriptions(Protocol):
    """The descriptions of machines; `change` is set while `take_changed` has something to return."""

    change: asyncio.Event
    payloads: dict[str, bytes]
    """All of them, by topic."""

    def take_changed(self) -> Mapping[str, bytes]:
        """Return those that changed since the last call, by topic."""


class Status(Protocol):
    """The state of one machine."""

    @property
    def path(self) -> MachinePath:
        """Where the machine is in the factory."""

    def as_dict(self) -> dict[str, Any]:
        """Return the payload."""


class Statuses(Protocol):
    """The states of machines; `change` is set while `take_changed` has something to return."""

    change: asyncio.Event

    @property
    def machines(self) -> Iterable[Status]:
        """All machines."""

    def take_changed(self) -> Iterable[Status]:
        """Return the machines whose state changed since the last call."""


class Publisher:
    """The gateway's side of the broker."""

    def __init__(
        self,
        factory: Factory,
        topics: Topics,
        spool: Spool,
        states: Statuses,
        descriptions: Descriptions,
        cleanup: RetainedCleanup,
        report: Callable[[], Mapping[str, Any]],
        too_large: Callable[[Spooled, int], None],
    ) -> None:
        """Prepare; `report` returns the payload of the ledger.

        `too_large` is called with a record that the broker does not take, and the bytes that it does.
        """
        own, gateway = factory.factory, factory.gateway
        self._gateway = gateway.id
        self._by_broker = gateway.confirm is Confirm.BROKER
        self._topics = topics
        self._spool = spool
        self._states = states
        self._descriptions = descriptions
        self._cleanup = cleanup
        self._report = report
        self._topic = {
            leaf: topics.gateway(own.enterprise, own.site, gateway.id, leaf)
            for leaf in ("state", "ledger", "confirmed")
        }
        dispatch = InOrder if gateway.order is Order.STRICT else FreshFirst
        self._dispatch = dispatch(spool, too_large, by_broker=self._by_broker)
        self._ingests = IngestWatch(self._dispatch.ingest_came)
        self._presence = Presence(self._topic["state"], gateway.id)
        self._session = Session(factory.broker, f"lineside-{gateway.id}", presence=self._presence)
        self._digest = factory.digest
        self._configured = asyncio.Event()
        self._other_broker = False

    async def run(self) -> None:
        """Connect and publish until cancelled; an outage is logged once."""
        await self._session.run(self._serve)

    async def _serve(self, link: MqttClient) -> None:
        session, topic = self._session, self._topic
        self._other_broker = False
        # who was here before is heard before our own birth takes its place
        await session.subscribe(link, topic["state"], *([] if self._by_broker else [topic["confirmed"]]))
        await self._publish_birth(link)
        await self._publish_descriptions(link, self._descriptions.payloads)
        self._states.take_changed()
        await self._publish_states(link, self._states.machines)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(link.lost(), name="broker link")
                for name, job in self._dispatch.jobs(link).items():
                    tasks.create_task(job, name=name)
                tasks.create_task(handle(link, self._take(link)), name="incoming messages")
                if not self._by_broker:
                    ingests = session.subscribe(link, self._topics.all_ingests(), qos=0)
                    tasks.create_task(ingests, name="subscribe to ingests")
                tasks.create_task(self._follow_states(link), name="states")
                tasks.create_task(self._follow_descriptions(link), name="descriptions")
                tasks.create_task(self._follow_cleanup(link), name="retained cleanup")
                tasks.create_task(self._follow_configuration(link), name="configuration")
                tasks.create_task(self._publish_ledger(link), name="ledger")
        except* MqttError as errors:
            raise errors.exceptions[0] from None
        finally:
            self._dispatch.take_back()

    def reconfigure(self, broker: BrokerSection, digest: str) -> None:
        """Apply a changed configuration: connect to another broker, publish the digest."""
        self._other_broker = self._other_broker or broker != self._session.broker
        self._session.broker = broker
        self._digest = digest
        self._configured.set()

    @property
    def counts(self) -> dict[str, int]:
        """What went wrong on the way to the broker since the start, in records."""
        counts = self._dispatch.window.counts
        return {name: counts[name] for name in ("again", "nobody", "refused")}

    # -- incoming messages --

    def _take(self, link: MqttClient) -> Callable[[MQTTMessage], Any]:
        """Return what reads the messages of a connection."""

        async def take(message: MQTTMessage) -> None:
            if message.topic == self._topic["state"]:
                self._presence.heard(bytes(message.payload), retained=message.retain)
            elif message.topic == self._topic["confirmed"]:
                self._confirm(message)
            elif self._topics.is_ingest(message.topic):
                self._ingests.heard(message.topic, bytes(message.payload))
            else:
                await self._session.deliver(link, self._cleanup.heard(message.topic, bytes(message.payload)))

        return take

    def _confirm(self, message: MQTTMessage) -> None:
        """Free the records that the stores hold."""
        try:
            read = parse_confirmation(bytes(message.payload))
        except BadMessage as error:
            log.warning("confirmation.invalid", topic=message.topic, error=str(error))
            return
        if read.spool != self._spool.id:
            return  # of a spool that this gateway had before
        if read.taken:
            self._dispatch.taken(read.taken, read.instance)
        self._dispatch.confirmed(read.ranges, read.set_aside)

    # -- outgoing messages --

    async def _publish_birth(self, link: MqttClient) -> None:
        self._presence.details = {"spool": self._spool.id, "config": self._digest}
        await self._presence.publish_birth(self._session, link)

    async def _follow_states(self, link: MqttClient) -> None:
        while True:
            await self._states.change.wait()
            await self._publish_states(link, self._states.take_changed())

    async def _publish_states(self, link: MqttClient, machines: Iterable[Status]) -> None:
        signature = {"gateway": self._gateway}
        await self._session.deliver(
            link,
            [
                Message(self._topics.state(machine.path), orjson.dumps(machine.as_dict() | signature))
                for machine in machines
            ],
        )

    async def _follow_descriptions(self, link: MqttClient) -> None:
        while True:
            await self._descriptions.change.wait()
            await self._publish_descriptions(link, self._descriptions.take_changed())

    async def _publish_descriptions(self, link: MqttClient, payloads: Mapping[str, bytes]) -> None:
        await self._session.deliver(link, [Message(topic, payload) for topic, payload in payloads.items()])

    async def _follow_cleanup(self, link: MqttClient) -> None:
        subscribed: set[str] = set()
        while True:
            self._cleanup.change.clear()
            if new := self._cleanup.topics - subscribed:
                await self._session.subscribe(link, *sorted(new))
                subscribed |= new
            await self._session.deliver(link, self._cleanup.clear())
            with suppress(TimeoutError):
                async with asyncio.timeout(REPORT_EVERY if self._cleanup.topics else None):
                    await self._cleanup.change.wait()

    async def _follow_configuration(self, link: MqttClient) -> None:
        while True:
            await self._configured.wait()
            self._configured.clear()
            if self._other_broker:
                raise MqttError("the configuration has another broker")
            await self._publish_birth(link)

    async def _publish_ledger(self, link: MqttClient) -> None:
        while True:
            link.send_unacknowledged(self._topic["ledger"], orjson.dumps(self._report()))
            await asyncio.sleep(REPORT_EVERY)
