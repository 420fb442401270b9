"""From the spool to the broker: records with QoS 1; what machines are and how they stand, retained.

Records on their way are bounded. What was sent and is not confirmed in time is sent again. With `confirm: store`
only the store's word, which ingest passes on, frees the spool; the broker's acknowledgement says little.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import orjson
import structlog
from aiomqtt import MqttError, Will

from gateway.mqtt.client import Message, MqttClient
from gateway.mqtt.connection import TakenOver
from gateway.mqtt.presence import Presence
from gateway.mqtt.reconnect import ReconnectDelay
from gateway.publish.dispatch import FreshFirst, InOrder
from gateway.publish.ingest_watch import IngestWatch
from gateway.settings.sections import Confirm, Order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from paho.mqtt.client import MQTTMessage

    from gateway.acquisition.device_metadata import DeviceMetadata
    from gateway.mqtt.topics import Topics
    from gateway.pipeline.machine_status import MachineStatus, MachineStatuses
    from gateway.publish.retained_cleanup import RetainedCleanup
    from gateway.settings.factory import Factory
    from gateway.settings.sections import BrokerSection
    from gateway.spool.files import Spooled
    from gateway.spool.spool import Spool

log = structlog.get_logger()

REPORT_EVERY = 1.0
"""Seconds between two reports of the ledger."""

DEATH_TIMEOUT = 1.0
"""Seconds in which the broker has to take our graceful death."""


class Publisher:
    """The gateway's connection to the broker, again and again."""

    def __init__(
        self,
        factory: Factory,
        topics: Topics,
        spool: Spool,
        states: MachineStatuses,
        descriptions: DeviceMetadata,
        leftovers: RetainedCleanup,
        report: Callable[[], Mapping[str, Any]],
        too_large: Callable[[Spooled, int], None],
    ) -> None:
        """Prepare; `descriptions` are what the machines are, `report` returns what is published as the ledger.

        `too_large` is called with a record that the broker does not take, and the bytes that it does.
        """
        self._broker = factory.broker
        self._gateway = factory.gateway.id
        self._by_broker = factory.gateway.confirm is Confirm.BROKER
        self._topics = topics
        self._spool = spool
        self._states = states
        self._descriptions = descriptions
        self._report = report
        own = factory.factory
        self._topic = {
            leaf: topics.gateway(own.enterprise, own.site, self._gateway, leaf)
            for leaf in ("state", "ledger", "confirmed")
        }
        kind = InOrder if factory.gateway.order is Order.STRICT else FreshFirst
        self._sending = kind(spool, too_large, by_broker=self._by_broker)
        self._ingests = IngestWatch(topics.all_ingests(), self._sending.ingest_came)
        self._presence = Presence(self._gateway, factory.digest)
        self._leftovers = leftovers
        self._configured = asyncio.Event()
        self._moved = False

    async def run(self) -> None:
        """Connect and publish until cancelled; outages are told once."""
        reconnect = ReconnectDelay()
        down = False
        loop = asyncio.get_running_loop()
        while True:
            since, failed, self._moved = loop.time(), None, False
            try:
                will = Will(self._topic["state"], self._presence.will(), 1, retain=True)
                async with MqttClient(self._broker, f"lineside-{self._gateway}", will=will) as link:
                    log.info("broker.connected", broker=link.address)
                    down, since = False, loop.time()
                    try:
                        await self._serve(link)
                    finally:
                        await self._say_farewell(link)
            except MqttError as error:
                failed = error
                if isinstance(error, TakenOver):
                    self._presence.thrown_out()
                elif not down:
                    log.warning("broker.not_connected", broker=self._broker.url, error=str(error))
                down = True
            finally:
                self._sending.take_back()
            if self._presence.contested:
                await self._presence.stand_back()
            else:
                await reconnect.wait(failed, loop.time() - since)

    async def _serve(self, link: MqttClient) -> None:
        self._presence.connected()
        # who was here before is heard before our own birth takes its place
        await link.subscribe_to(self._topic["state"], *([] if self._by_broker else [self._topic["confirmed"]]))
        await self._deliver(link, [Message(self._topic["state"], self._presence.birth(self._spool.id))])
        self._presence.born()
        await self._publish_descriptions(link, self._descriptions.payloads)
        self._states.take_changed()
        await self._publish_states(link, self._states.machines)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(link.lost(), name="broker link")
                for name, job in self._sending.jobs(link).items():
                    tasks.create_task(job, name=name)
                tasks.create_task(self._hear(link), name="confirmations")
                if not self._by_broker:
                    tasks.create_task(self._ingests.listen(link), name="ingests")
                tasks.create_task(self._follow_states(link), name="states")
                tasks.create_task(self._follow_descriptions(link), name="descriptions")
                tasks.create_task(self._follow_leftovers(link), name="leftovers")
                tasks.create_task(self._follow_configuration(link), name="configuration")
                tasks.create_task(self._tell_ledger(link), name="ledger")
        except* MqttError as errors:
            raise errors.exceptions[0] from None

    def reconfigure(self, broker: BrokerSection, digest: str) -> None:
        """Go on with a changed configuration: connect to another broker, tell of the digest."""
        self._moved = self._moved or broker != self._broker
        self._broker = broker
        self._presence.config = digest
        self._configured.set()

    @property
    def counts(self) -> dict[str, int]:
        """What went wrong on the way to the broker since the start, in records."""
        counts = self._sending.window.counts
        return {name: counts[name] for name in ("again", "nobody", "refused")}

    # -- what is heard --

    async def _hear(self, link: MqttClient) -> None:
        """Free what the stores hold; notice another gateway that uses our name."""
        while True:
            message = await link.receive()
            if message.topic == self._topic["state"]:
                self._presence.heard(bytes(message.payload), retained=message.retain)
            elif message.topic == self._topic["confirmed"]:
                self._read_confirmation(message)
            elif self._topics.is_ingest(message.topic):
                self._ingests.heard(message)
            else:
                await self._deliver(link, self._leftovers.heard(message.topic, bytes(message.payload)))
            link.acknowledge(message)

    def _read_confirmation(self, message: MQTTMessage) -> None:
        try:
            data = orjson.loads(message.payload)
            if data["spool"] != self._spool.id:
                return  # of a spool that this gateway had before
            ranges = [(int(first), int(last)) for first, last in data["ranges"]]
            taken = [(int(first), int(last)) for first, last in data.get("taken", ())]
            set_aside = {int(seq): int(n) for seq, n in data.get("set_aside", {}).items()}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("confirmation.unreadable", topic=message.topic, error=repr(error))
            return
        if taken:
            by = str(data.get("instance", ""))
            self._sending.taken([(first, last) for first, last in taken if 0 < first <= last], by)
        self._sending.confirmed([(first, last) for first, last in ranges if 0 < first <= last], set_aside)

    # -- what is told --

    async def _deliver(self, link: MqttClient, messages: Iterable[Message]) -> None:
        for topic, reason in (await link.deliver(messages)).items():
            log.error("broker.refused", topic=topic, reason=hex(reason), hint="may this gateway publish there?")

    async def _follow_states(self, link: MqttClient) -> None:
        while True:
            await self._states.change.wait()
            await self._publish_states(link, self._states.take_changed())

    async def _publish_states(self, link: MqttClient, machines: Iterable[MachineStatus]) -> None:
        signed = {"gateway": self._gateway}
        await self._deliver(
            link,
            [Message(self._topics.state(one.path), orjson.dumps(one.as_dict() | signed)) for one in machines],
        )

    async def _follow_descriptions(self, link: MqttClient) -> None:
        while True:
            await self._descriptions.change.wait()
            await self._publish_descriptions(link, self._descriptions.take_changed())

    async def _publish_descriptions(self, link: MqttClient, payloads: Mapping[str, bytes]) -> None:
        await self._deliver(link, (Message(topic, payload) for topic, payload in payloads.items()))

    async def _follow_leftovers(self, link: MqttClient) -> None:
        heard: set[str] = set()
        while True:
            self._leftovers.change.clear()
            if new := self._leftovers.topics - heard:
                await link.subscribe_to(*sorted(new))
                heard |= new
            await self._deliver(link, self._leftovers.clear())
            with suppress(TimeoutError):
                async with asyncio.timeout(REPORT_EVERY if self._leftovers.topics else None):
                    await self._leftovers.change.wait()

    async def _follow_configuration(self, link: MqttClient) -> None:
        while True:
            await self._configured.wait()
            self._configured.clear()
            if self._moved:
                raise MqttError("the configuration has another broker")
            await self._deliver(link, [Message(self._topic["state"], self._presence.birth(self._spool.id))])

    async def _tell_ledger(self, link: MqttClient) -> None:
        while True:
            link.tell(self._topic["ledger"], orjson.dumps(self._report()))
            await asyncio.sleep(REPORT_EVERY)

    async def _say_farewell(self, link: MqttClient) -> None:
        """Replace the birth by a death of our own, where the broker still listens."""
        try:
            payload = self._presence.death("stopped")
            await link.publish(self._topic["state"], payload, qos=1, retain=True, timeout=DEATH_TIMEOUT)
        except MqttError:
            pass  # the last will says it
