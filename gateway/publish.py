"""From the spool to the broker: records with QoS 1; what machines are and how they stand, retained.

Records on their way are bounded. What was sent and is not confirmed in time is sent again. With `confirm: store`
only the store's word, which ingest passes on, frees the spool; the broker's acknowledgement says little.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
import structlog
from aiomqtt import MqttError, Will

from gateway.backoff import Backoff
from gateway.mqtt import NO_SUBSCRIBERS, Link
from gateway.settings.sections import Confirm

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from paho.mqtt.client import MQTTMessage

    from gateway.settings.factory import Factory
    from gateway.spool import Spool
    from gateway.states import MachineState, States
    from gateway.topics import Topics

log = structlog.get_logger()

IN_FLIGHT = 100
"""Records that may wait for the broker's acknowledgement."""

UNCONFIRMED = 500
"""Records that may wait for confirmation: fewer than a broker queues for an ingest that is away (1,000)."""

OVERTAKEN = 2.0
"""Seconds by which an unconfirmed record may be older than a confirmed one before it counts as lost on its way."""

RESEND_FIRST, RESEND_MAX = 20.0, 600.0
"""Seconds after which an unconfirmed record is sent again: doubling while nothing at all is confirmed."""

REPORT_EVERY = 1.0
"""Seconds between two reports of the ledger."""

RECONNECT_FIRST, RECONNECT_MAX = 0.3, 15.0
"""Seconds between two attempts to reach the broker."""

_REFUSED = 0x80
"""MQTT 5, 2.4: reason codes from here on are failures."""


class Publisher:
    """The gateway's connection to the broker, again and again."""

    def __init__(
        self,
        factory: Factory,
        topics: Topics,
        spool: Spool,
        states: States,
        metas: Mapping[str, bytes],
        report: Callable[[], Mapping[str, Any]],
    ) -> None:
        """Prepare; `metas` are payloads by topic, `report` returns what is published as the ledger."""
        self._broker = factory.broker
        self._gateway = factory.gateway.id
        self._by_broker = factory.gateway.confirm is Confirm.BROKER
        self._topics = topics
        self._spool = spool
        self._states = states
        self._metas = metas
        self._report = report
        own = factory.factory
        self._topic = {
            leaf: topics.gateway(own.enterprise, own.site, self._gateway, leaf)
            for leaf in ("state", "ledger", "confirmed")
        }
        self._in_flight = 0
        self._unconfirmed: dict[int, float] = {}  # seq -> when it was sent, oldest first
        self._nobody: set[int] = set()  # records that the broker had nobody to give to
        self._newest = 0.0  # when the newest of the confirmed records was sent
        self._patience = RESEND_FIRST
        self._free = asyncio.Event()

    async def run(self) -> None:
        """Connect and publish until cancelled; outages are told once."""
        backoff = Backoff(RECONNECT_FIRST, RECONNECT_MAX)
        down = False
        will = Will(
            self._topic["state"],
            orjson.dumps({"state": "offline", "reason": "connection lost"}),
            1,
            retain=True,
        )
        while True:
            try:
                async with Link(self._broker, f"lineside-{self._gateway}", will=will) as link:
                    log.info("broker.connected", broker=self._broker.url)
                    backoff.reset()
                    down = False
                    await self._serve(link)
            except MqttError as error:
                if not down:
                    log.warning("broker.not_connected", broker=self._broker.url, error=str(error))
                down = True
            finally:
                self._take_back()
            await backoff.wait()

    def _take_back(self) -> None:
        """Give all that is not confirmed back to the spool, to be sent over the next connection."""
        self._spool.release((seq, seq) for seq in self._unconfirmed)
        self._unconfirmed.clear()
        self._nobody.clear()
        self._in_flight = 0

    async def _serve(self, link: Link) -> None:
        await link.publish(self._topic["state"], self._birth(), qos=1, retain=True)
        for topic, payload in self._metas.items():
            await link.publish(topic, payload, qos=1, retain=True)
        await self._publish_states(link, list(self._states.machines))
        await link.subscribe(self._topic["confirmed"], qos=1)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(link.lost(), name="broker link")
                tasks.create_task(self._send(link), name="send")
                tasks.create_task(self._hear(link), name="confirmations")
                tasks.create_task(self._resend(), name="resend")
                tasks.create_task(self._follow_states(link), name="states")
                tasks.create_task(self._tell_ledger(link), name="ledger")
        except* MqttError as errors:
            raise errors.exceptions[0] from None
        finally:
            await self._say_farewell(link)

    def _birth(self) -> bytes:
        return orjson.dumps({"state": "online", "spool": self._spool.id})

    # -- records --

    async def _send(self, link: Link) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._spool.sendable()
            room = min(IN_FLIGHT - self._in_flight, UNCONFIRMED - len(self._unconfirmed))
            if room <= 0:
                self._free.clear()
                await self._free.wait()
                continue
            leased = await self._spool.lease(room)
            now = loop.time()
            # all are noted before the first is sent: what is noted can't be forgotten
            self._unconfirmed |= dict.fromkeys((record.seq for record in leased), now)
            for record in leased:
                link.send(record.topic, record.payload, self._fate(record.seq))
                self._in_flight += 1

    def _fate(self, seq: int) -> Callable[[int], None]:
        def acknowledged(reason: int) -> None:
            self._in_flight -= 1
            self._free.set()
            if reason >= _REFUSED:
                log.error("broker.refused", seq=seq, reason=hex(reason))
            elif reason == NO_SUBSCRIBERS:
                self._nobody.add(seq)
            elif self._by_broker:
                self._confirmed([(seq, seq)], {})

        return acknowledged

    def _confirmed(self, ranges: list[tuple[int, int]], set_aside: dict[int, int]) -> None:
        for first, last in ranges:
            for seq in range(first, last + 1):
                self._newest = max(self._newest, self._unconfirmed.pop(seq, 0.0))
        self._spool.confirm(ranges, set_aside)
        self._patience = RESEND_FIRST
        self._free.set()

    async def _hear(self, link: Link) -> None:
        """Free what the stores hold."""
        while True:
            message = await link.receive()
            if not self._by_broker:
                self._read_confirmation(message)
            link.acknowledge(message)

    def _read_confirmation(self, message: MQTTMessage) -> None:
        try:
            data = orjson.loads(message.payload)
            if data["spool"] != self._spool.id:
                return  # of a spool that this gateway had before
            ranges = [(int(first), int(last)) for first, last in data["ranges"]]
            set_aside = {int(seq): int(n) for seq, n in data.get("set_aside", {}).items()}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("confirmation.unreadable", topic=message.topic, error=repr(error))
            return
        self._confirmed([(first, last) for first, last in ranges if 0 < first <= last], set_aside)

    async def _resend(self) -> None:
        """Take back what was given to nobody, was overtaken, or stays unconfirmed for too long."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(1.0)
            now, unconfirmed = loop.time(), self._unconfirmed
            late = [seq for seq, sent in unconfirmed.items() if now - sent > self._patience]
            if late:
                log.warning("records.unconfirmed", records=len(late), seconds=self._patience)
                self._patience = min(self._patience * 2, RESEND_MAX)
            lost = [seq for seq, sent in unconfirmed.items() if sent + OVERTAKEN < self._newest]
            again = {*late, *lost, *(self._nobody & unconfirmed.keys())}
            self._nobody.clear()
            for seq in again:
                del unconfirmed[seq]
            if again:
                self._spool.release((seq, seq) for seq in again)
                self._free.set()

    # -- states and ledger --

    async def _follow_states(self, link: Link) -> None:
        while True:
            await self._states.change.wait()
            await self._publish_states(link, self._states.take_changed())

    async def _publish_states(self, link: Link, machines: list[MachineState]) -> None:
        for machine in machines:
            payload = orjson.dumps(machine.as_dict())
            await link.publish(self._topics.state(machine.path), payload, qos=1, retain=True)

    async def _tell_ledger(self, link: Link) -> None:
        while True:
            link.tell(self._topic["ledger"], orjson.dumps(self._report()))
            await asyncio.sleep(REPORT_EVERY)

    async def _say_farewell(self, link: Link) -> None:
        """Replace the birth by a death of our own, where the broker still listens."""
        try:
            payload = orjson.dumps({"state": "offline", "reason": "stopped"})
            await link.publish(self._topic["state"], payload, qos=1, retain=True, timeout=1.0)
        except MqttError:
            pass  # the last will says it
