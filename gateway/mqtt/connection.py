"""A connection to the broker: made to the first address that answers, verified, and given up when it is silent."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self, TypeVar

import aiomqtt
from aiomqtt import MqttCodeError, MqttError, ProtocolVersion, Will
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gateway.mqtt.tls import client_context
from gateway.settings.sections import Version

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from types import TracebackType

    from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags

    from gateway.settings.sections import BrokerSection

T = TypeVar("T")

TAKEN_OVER = 0x8E
"""MQTT 5, 4.13: another client connected with the same identifier."""

NO_LIMIT = 0xFFFF
"""Unacknowledged messages that a broker takes that names no number (MQTT 5, 3.2.2.3.3)."""

PROTOCOL_MAXIMUM = 268_435_455
"""Bytes of a packet behind its header (MQTT 5, 1.5.5)."""

AROUND = 16
"""Bytes of a PUBLISH around topic and payload, at the most: header, length, lengths of topic and properties, id."""

SESSION_EXPIRY = 24 * 3600
"""Seconds for which a broker keeps the session of a receiver that is away."""

CONNECT_TIMEOUT, DISCONNECT_TIMEOUT = 10.0, 1.0


class Refused(MqttError):
    """The broker answers, and does not let us in (MQTT 5, 3.2.2.2)."""


class TakenOver(MqttError):
    """The broker says that another client has connected with our identifier."""


class BrokerConnection(aiomqtt.Client):
    """A connection that knows what the broker has said of itself.

    `receive_maximum` is how many unacknowledged messages it takes; `address` is which of its addresses answered.
    """

    def __init__(
        self,
        broker: BrokerSection,
        identifier: str,
        *,
        will: Will | None = None,
        keep_session: bool = False,
        receive: int = NO_LIMIT,
    ) -> None:
        """Prepare; no I/O. `keep_session` lets the broker queue messages while this client is away.

        `receive` is how many it may send before the first is acknowledged (MQTT 5, 3.1.2.11.3).
        """
        five = broker.version is Version.V5
        properties = None
        if five and (keep_session or receive < NO_LIMIT):
            properties = Properties(PacketTypes.CONNECT)
            if keep_session:
                properties.SessionExpiryInterval = SESSION_EXPIRY
            if receive < NO_LIMIT:
                properties.ReceiveMaximum = receive
        super().__init__(
            broker.addresses[0].host,
            broker.addresses[0].port,
            username=broker.username,
            password=broker.password.reveal() if broker.password else None,
            identifier=identifier,
            protocol=ProtocolVersion.V5 if five else ProtocolVersion.V311,
            clean_session=None if five else not keep_session,
            clean_start=not keep_session if five else MQTT_CLEAN_START_FIRST_ONLY,
            properties=properties,
            keepalive=max(1, round(broker.keep_alive)),
            will=will,
            timeout=CONNECT_TIMEOUT,
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],  # else 40 ms for each answer
            max_inflight_messages=NO_LIMIT,  # bounded by who sends, who knows what waits, and by the broker
        )
        self.address = broker.url
        self.receive_maximum = NO_LIMIT
        self._broker = broker
        self._packet_maximum = PROTOCOL_MAXIMUM
        self._tls = False

    @property
    def _paho(self) -> Client:
        return self._client

    async def __aenter__(self) -> Self:
        """Connect to the first of the broker's addresses that answers.

        Raises `MqttError`, with what each said: `Refused` where none but answered.
        """
        said: list[str] = []
        refused = True
        for address in self._broker.addresses:
            self.address = address.url
            self._hostname, self._port = address.host, address.port
            try:
                return await super().__aenter__()
            except BaseException as error:
                # paho closes only what was connected; else it would stay open, and be read from, for ever
                self._paho._sock_close()  # noqa: SLF001 - there is no other way
                self._look_at_the_end()
                if not isinstance(error, MqttError):
                    raise
                said.append(f"{address.url}: {error}")
                refused = refused and isinstance(error, MqttConnectError)
        raise (Refused if refused else MqttError)("; ".join(said))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect; a broker that does not take part in it any more is no error, and no reason to wait long."""
        self.timeout = DISCONNECT_TIMEOUT
        with suppress(MqttError):
            await super().__aexit__(kind, error, trace)
        self._look_at_the_end()

    def _look_at_the_end(self) -> None:
        """Look at how the connection ended, else asyncio tells of it: who has to know was told."""
        if self._disconnected.done() and not self._disconnected.cancelled():
            self._disconnected.exception()

    def _client_connect(self) -> None:
        # in a thread, where files can be read: a renewed certificate counts from the next connection on
        if self._broker.tls and not self._tls:
            self._paho.tls_set_context(client_context(self._broker))
            self._tls = True
        super()._client_connect()

    def _on_connect(
        self,
        client: Client,
        userdata: Any,  # noqa: ANN401 - as paho has it
        flags: ConnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        """Learn what the broker takes (MQTT 5, 3.2.2.3)."""
        self.receive_maximum = getattr(properties, "ReceiveMaximum", NO_LIMIT)
        self._packet_maximum = getattr(properties, "MaximumPacketSize", PROTOCOL_MAXIMUM)
        # more than that paho holds back, whoever publishes
        client._max_inflight_messages = self.receive_maximum  # noqa: SLF001 - its setter is for before the answer
        # paho asks after a silence of this length, and waits as long for the answer: together that is the keep-alive.
        # A client may ask sooner than it has to (MQTT 5, 3.1.2.10)
        client._keepalive = max(1, (client.keepalive or self._keepalive) // 2)  # noqa: SLF001 - as above
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_disconnect(
        self,
        client: Client,
        userdata: Any,  # noqa: ANN401 - as paho has it
        flags: DisconnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        if not self._connected.done():  # else nobody would be told before the time is up
            hint = ": does it want a certificate?" if self._broker.tls and not self._broker.certificate else ""
            self._connected.set_exception(MqttError(f"closed the connection before it answered{hint}"))
        super()._on_disconnect(client, userdata, flags, reason_code, properties)

    def largest(self, topic: str) -> int:
        """Return how many bytes a payload for this topic may have (MQTT 5, 3.2.2.3.6)."""
        return self._packet_maximum - len(topic.encode()) - AROUND

    async def subscribe_to(self, *topics: str) -> None:
        """Subscribe with QoS 1. Raises `MqttError` where the broker does not let us."""
        answers = await self.subscribe([(topic, 1) for topic in topics])
        for topic, answer in zip(topics, answers, strict=True):
            if isinstance(answer, ReasonCode) and answer.is_failure:
                raise MqttError(f"may not subscribe to {topic}: {answer}")

    async def _wait_for(self, fut: Awaitable[T], timeout: float | None) -> T:  # noqa: ASYNC109 - as aiomqtt has it
        """Wait for an answer of the broker, no longer than the connection lasts: aiomqtt waits for the time-out."""
        if fut is self._connected or fut is self._disconnected:
            return await super()._wait_for(fut, timeout)
        answer = asyncio.ensure_future(super()._wait_for(fut, timeout))
        try:
            await asyncio.wait((answer, self._disconnected), return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                await self.lost()
            return await answer
        finally:
            answer.cancel()

    async def check(self) -> None:
        """Raise `MqttError` where the connection is lost."""
        if self._disconnected.done():
            await self.lost()

    async def lost(self) -> None:
        """Wait until the connection is lost, then raise `MqttError`: `TakenOver` where the broker says so."""
        await asyncio.wait((self._disconnected,))
        error = self._disconnected.exception()
        if isinstance(error, MqttCodeError) and isinstance(error.rc, ReasonCode) and error.rc.value == TAKEN_OVER:
            raise TakenOver("another client took over the session") from error
        raise MqttError(f"connection lost: {error or 'closed'}") from error
