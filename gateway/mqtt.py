"""One connection to the broker, under what aiomqtt offers: for who sends and receives much, and must know.

aiomqtt keeps neither the reason code of an acknowledgement, nor lets the receiver acknowledge later, and costs
a task per message. `Link` adds that with the hooks of aiomqtt's own class.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import aiomqtt
from aiomqtt import MqttError, ProtocolVersion, Will
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY, MQTT_ERR_SUCCESS
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gateway.settings.sections import Version

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from aiomqtt.types import PahoSocket
    from paho.mqtt.client import Client, MQTTMessage
    from paho.mqtt.reasoncodes import ReasonCode

    from gateway.settings.sections import BrokerSection

NO_SUBSCRIBERS = 0x10
"""MQTT 5, 3.4.2.1: the broker took the message and had nobody to give it to. That is no delivery."""

SESSION_EXPIRY = 24 * 3600
"""Seconds for which a broker keeps the session of a receiver that is away."""

CONNECT_TIMEOUT, DISCONNECT_TIMEOUT = 10.0, 1.0


class Link(aiomqtt.Client):
    """A connection that tells the fate of each message sent, and acknowledges received ones when told to."""

    def __init__(
        self, broker: BrokerSection, identifier: str, *, will: Will | None = None, keep_session: bool = False
    ) -> None:
        """Prepare; no I/O. `keep_session` lets the broker queue messages while this client is away."""
        five = broker.version is Version.V5
        properties = None
        if five and keep_session:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = SESSION_EXPIRY
        super().__init__(
            broker.host,
            broker.port,
            username=broker.username,
            password=broker.password.reveal() if broker.password else None,
            identifier=identifier,
            protocol=ProtocolVersion.V5 if five else ProtocolVersion.V311,
            clean_session=None if five else not keep_session,
            clean_start=not keep_session if five else MQTT_CLEAN_START_FIRST_ONLY,
            properties=properties,
            keepalive=round(broker.keep_alive),
            will=will,
            timeout=CONNECT_TIMEOUT,
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],  # else 40 ms for each answer
            max_inflight_messages=0xFFFF,  # bounded by who sends, who knows what waits
            tls_context=ssl.create_default_context() if broker.tls else None,
        )
        self._thread = threading.get_ident()
        self._flushing = False
        self._fates: dict[int, Callable[[int], None]] = {}
        self._inbox: deque[MQTTMessage] = deque()
        self._arrived = asyncio.Event()
        self._paho.manual_ack_set(on=True)

    @property
    def _paho(self) -> Client:
        return self._client

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect; a broker that does not take part in it any more is no error, and no reason to wait long."""
        self.timeout = DISCONNECT_TIMEOUT
        with suppress(MqttError):
            await super().__aexit__(kind, error, trace)

    # -- sending --

    def send(self, topic: str, payload: bytes, fate: Callable[[int], None]) -> None:
        """Publish with QoS 1; `fate` is called with the reason code of the acknowledgement (0 is success).

        Raises `MqttError` where the connection is lost.
        """
        info = self._paho.publish(topic, payload, qos=1)
        if info.rc != MQTT_ERR_SUCCESS:
            raise MqttError(f"not sent: {info.rc}")
        self._fates[info.mid] = fate

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
            arrived = asyncio.ensure_future(self._arrived.wait())
            try:
                await asyncio.wait((arrived, self._disconnected), return_when=asyncio.FIRST_COMPLETED)
            finally:
                arrived.cancel()
            if not self._inbox and self._disconnected.done():
                raise MqttError("disconnected") from self._disconnected.exception()
        return self._inbox.popleft()

    async def check(self) -> None:
        """Raise `MqttError` where the connection is lost."""
        if self._disconnected.done():
            await self.lost()

    def waiting(self) -> int:
        """Return how many received messages wait for `receive`."""
        return len(self._inbox)

    def acknowledge(self, message: MQTTMessage) -> None:
        """Tell the broker that it may forget a message."""
        self._paho.ack(message.mid, message.qos)

    async def lost(self) -> None:
        """Wait until the connection is lost, then raise `MqttError`."""
        await asyncio.wait((self._disconnected,))
        raise MqttError("disconnected") from self._disconnected.exception()
