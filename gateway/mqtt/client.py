"""One connection to the broker, under what aiomqtt offers: for who sends and receives much, and must know.

aiomqtt keeps neither the reason code of an acknowledgement, nor lets the receiver acknowledge later, and costs
a task per message. `MqttClient` adds that with the hooks of aiomqtt's own class.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from aiomqtt import MqttError, Will
from paho.mqtt.client import MQTT_ERR_SUCCESS

from gateway.mqtt.connection import NO_LIMIT, BrokerConnection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiomqtt.types import PahoSocket
    from paho.mqtt.client import Client, MQTTMessage
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

    from gateway.settings.sections import BrokerSection

NO_SUBSCRIBERS = 0x10
"""MQTT 5, 3.4.2.1: the broker took the message and had nobody to give it to. That is no delivery."""

REFUSED = 0x80
"""MQTT 5, 2.4: reason codes from here on are failures."""

TOO_LARGE = 0x95
"""MQTT 5, 2.4: packet too large."""

TOGETHER = 50
"""Messages that `deliver` has under way."""


ANSWER_TIMEOUT = 20.0
"""Seconds in which a broker acknowledges a message, or is held for lost."""


class Message(NamedTuple):
    """A message to be retained."""

    topic: str
    payload: bytes


class MqttClient(BrokerConnection):
    """A connection that tells the fate of each message sent, and acknowledges received ones when told to."""

    def __init__(
        self,
        broker: BrokerSection,
        identifier: str,
        *,
        will: Will | None = None,
        keep_session: bool = False,
        receive: int = NO_LIMIT,
    ) -> None:
        """Prepare; no I/O: see `BrokerConnection`."""
        super().__init__(broker, identifier, will=will, keep_session=keep_session, receive=receive)
        self._thread = threading.get_ident()
        self._flushing = False
        self._fates: dict[int, Callable[[int], None]] = {}
        self._inbox: deque[MQTTMessage] = deque()
        self._arrived = asyncio.Event()
        self._paho.manual_ack_set(on=True)

    # -- sending --

    def send(self, topic: str, payload: bytes, fate: Callable[[int], None], *, retain: bool = False) -> None:
        """Publish with QoS 1; `fate` is called with the reason code of the acknowledgement (0 is success).

        Raises `MqttError` where the connection is lost.
        """
        info = self._paho.publish(topic, payload, qos=1, retain=retain)
        if info.rc != MQTT_ERR_SUCCESS:
            raise MqttError(f"not sent: {info.rc}")
        self._fates[info.mid] = fate

    async def deliver(self, messages: Iterable[Message]) -> dict[str, int]:
        """Publish retained messages, many at a time, and wait until the broker has them.

        Returns those that it refused: topic -> reason code. Raises `MqttError` where the connection is lost.
        """
        refused: dict[str, int] = {}
        under_way: set[str] = set()
        answered = asyncio.Event()

        def fate(topic: str, reason: int) -> None:
            under_way.discard(topic)
            answered.set()
            if reason >= REFUSED:
                refused[topic] = reason

        async def room(most: int) -> None:
            while len(under_way) > most:
                answered.clear()
                try:
                    async with asyncio.timeout(ANSWER_TIMEOUT):
                        await self._or_lost(answered)
                except TimeoutError:
                    raise MqttError(f"no acknowledgement in {ANSWER_TIMEOUT:g} s") from None

        for message in messages:
            if len(message.payload) > self.largest(message.topic):
                refused[message.topic] = TOO_LARGE
                continue
            await room(TOGETHER)
            under_way.add(message.topic)
            self.send(message.topic, message.payload, partial(fate, message.topic), retain=True)
        await room(0)
        return refused

    def tell(self, topic: str, payload: bytes) -> None:
        """Publish with QoS 0, and wait for nothing."""
        self._paho.publish(topic, payload, qos=0)

    def _on_publish(
        self,
        client: Client,
        userdata: Any,  # noqa: ANN401 - as paho has it
        mid: int,
        reason_code: ReasonCode,
        properties: Properties,
    ) -> None:
        fate = self._fates.pop(mid, None)
        if fate is None:
            super()._on_publish(client, userdata, mid, reason_code, properties)
        else:
            fate(reason_code.value)

    def _on_socket_register_write(self, client: Client, userdata: Any, sock: PahoSocket) -> None:  # noqa: ANN401 - paho's
        if threading.get_ident() != self._thread:  # connecting happens in a thread of its own
            super()._on_socket_register_write(client, userdata, sock)
        elif not self._flushing:
            # at the end of this turn of the loop: what is published together is written together, and without
            # the three system calls that waking the loop from another thread and asking for room would cost
            self._flushing = True
            self._loop.call_soon(self._flush, client, userdata, sock)

    def _flush(self, client: Client, userdata: Any, sock: PahoSocket) -> None:  # noqa: ANN401 - paho's
        self._flushing = False
        try:
            client.loop_write()
        except (OSError, ValueError) as error:  # ValueError: the socket was closed meanwhile
            if not self._disconnected.done():
                self._disconnected.set_exception(error)
            return
        if client.want_write() and client.socket() is sock:  # no room: wait until there is
            super()._on_socket_register_write(client, userdata, sock)

    # -- receiving --

    def _on_message(self, client: Client, userdata: Any, message: MQTTMessage) -> None:  # noqa: ANN401, ARG002
        self._inbox.append(message)
        self._arrived.set()

    async def receive(self) -> MQTTMessage:
        """Wait for the next message. Raises `MqttError` when the connection is lost.

        The broker sends only as many unacknowledged messages as the protocol allows, which bounds the inbox.
        """
        while not self._inbox:
            self._arrived.clear()
            await self._or_lost(self._arrived)
        return self._inbox.popleft()

    async def _or_lost(self, event: asyncio.Event) -> None:
        """Wait for an event. Raises `MqttError` where the connection is lost before."""
        waiting = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait((waiting, self._disconnected), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if not event.is_set() and self._disconnected.done():
            await self.lost()

    def waiting(self) -> int:
        """Return how many received messages wait for `receive`."""
        return len(self._inbox)

    def acknowledge(self, message: MQTTMessage) -> None:
        """Tell the broker that it may forget a message."""
        self._paho.ack(message.mid, message.qos)
