"""The MQTT client: one connection to the broker, with the reason code of every answer.

aiomqtt keeps neither the reason code of an acknowledgement, nor lets the receiver acknowledge later, and costs a task
per message. `MqttClient` adds that with the hooks of aiomqtt's own class, and reads and writes the packets that carry
messages itself (`gateway.mqtt.packets`). It connects to the first of the broker's
addresses that answers, verifies it, and gives up when it is silent. It never reconnects: `gateway.mqtt.session` does.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeAlias, TypeVar, cast

import aiomqtt
from aiomqtt import MqttCodeError, MqttError, ProtocolVersion, Will
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.exception import MQTTException
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from drivers.secret import MissingSecret
from drivers.timer_grid import wait_for_slot
from drivers.tls import revocation_problem
from gateway.mqtt import constants
from gateway.mqtt.constants import (
    ANSWER_TIMEOUT,
    DISCONNECT_TIMEOUT,
    PACKET_MAXIMUM,
    PACKET_MINIMUM,
    PUBLISH_OVERHEAD,
    RECEIVE_MAXIMUM,
    REFUSED,
    SESSION_EXPIRY,
    TAKEN_OVER,
    TOO_LARGE,
    UNSUPPORTED_VERSION,
)
from gateway.mqtt.packets import (
    PUBACK,
    PUBLISH,
    MalformedPacket,
    PacketReader,
    ReceivedMessage,
    decode_puback,
    decode_publish,
    encode_puback,
    encode_publish,
    message_id,
)
from gateway.mqtt.tls import client_context
from gateway.settings.sections import Version

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from types import TracebackType

    from aiomqtt.types import PahoSocket
    from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags

    from gateway.settings.sections import BrokerSection

T = TypeVar("T")

READ_SIZE = 64 * 2**10
"""Bytes that are read from the socket at once."""

INBOX_SIZE = 64 * 2**20
"""Bytes of received messages that may wait for `receive` before nothing more is read."""

MISC_EVERY = 1.0
"""Seconds between two checks of the keep-alive."""

MESSAGE_SIZE = 1000
"""Bytes of a message beside its payload."""

MAX_UNACKNOWLEDGED = 50
"""Messages that `deliver` sends before the first is acknowledged."""


class ConnectionRefused(MqttError):
    """The broker answers, and refuses the connection (MQTT 5, 3.2.2.2)."""


class SessionTakenOver(MqttError):
    """The broker says that another client has connected with this client's identifier."""


class ConnectionFault(MqttError):
    """An error in Lineside ended the connection; it is the cause."""


class _ClosedEarly(MqttError):
    """The broker closed the connection in place of an answer."""


class Message(NamedTuple):
    """A message to be retained."""

    topic: str
    payload: bytes


OnRecords: TypeAlias = "Callable[[Sequence[int], Sequence[tuple[int, int]]], None]"
"""Takes the broker's answers to records: the numbers of the accepted records, then others with their reason codes."""


class _Unsent(NamedTuple):
    """A message that waits until the broker takes more."""

    topic: str
    payload: bytes
    answer: Callable[[int], None]
    retain: bool


class MqttClient(aiomqtt.Client):
    """One connection to the broker.

    `receive_maximum` is how many unacknowledged messages the broker takes; `address` is which of its addresses
    answered. Messages that come in wait for `receive`, and are acknowledged by `acknowledge`.
    """

    def __init__(
        self,
        broker: BrokerSection,
        identifier: str,
        *,
        will: Will | None = None,
        keep_session: bool = False,
        receive: int = RECEIVE_MAXIMUM,
    ) -> None:
        """Prepare; no I/O. `keep_session` lets the broker queue messages while this client is away.

        `receive` is how many messages it may send before the first is acknowledged (MQTT 5, 3.1.2.11.3).
        """
        five = broker.version is Version.V5
        properties = None
        if five and (keep_session or receive < RECEIVE_MAXIMUM):
            properties = Properties(PacketTypes.CONNECT)
            if keep_session:
                properties.SessionExpiryInterval = SESSION_EXPIRY
            if receive < RECEIVE_MAXIMUM:
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
            timeout=constants.CONNECT_TIMEOUT,
            max_inflight_messages=RECEIVE_MAXIMUM,  # bounded by the sender, who knows what waits, and by the broker
        )
        if broker.key_password is not None:
            broker.key_password.reveal()  # a missing secret is found here, as that of the password is
        self.address = broker.url
        self._five = five
        self.receive_maximum = RECEIVE_MAXIMUM
        self._broker = broker
        self._packet_maximum = PACKET_MAXIMUM
        self._tls = False
        self._thread = threading.get_ident()
        self._flushing = False
        self._reader = PacketReader()
        self._outgoing: list[bytes] = []
        self._patient: asyncio.TimerHandle | None = None  # when packets have to leave that wait for others
        self._answers: dict[int, Callable[[int], None]] = {}
        self._records: dict[int, int] = {}  # packet identifier -> number of the record
        self._on_records: OnRecords = _ignore
        self._unsent: deque[_Unsent] = deque()  # until the broker answers, it takes no more
        self._inbox: deque[ReceivedMessage] = deque()
        self._inbox_size = 0
        self._faulty = False  # whether a defect ended the connection
        self._arrived = asyncio.Event()
        self._paused = -1  # the file descriptor of the socket that is not read from

    @property
    def _paho(self) -> Client:
        return self._client

    # -- connecting --

    async def __aenter__(self) -> Self:
        """Connect to the first of the broker's addresses that answers.

        Raises `MqttError` with the error of each: `ConnectionRefused` where every one of them answered.
        """
        errors: list[str] = []
        refused = True
        for address in self._broker.addresses:
            self.address = address.url
            self._hostname, self._port = address.host, address.port
            try:
                await self._connect_to_address()
            except BaseException as error:
                # paho closes only a connected socket; an unconnected socket would stay open, and be read from
                self._paho._sock_close()  # noqa: SLF001 - there is no other way
                self._retrieve_error()
                if not isinstance(error, MqttError):
                    raise
                errors.append(f"{address.url}: {error}{self._version_hint(error)}")
                refused = refused and isinstance(error, MqttConnectError)
            else:
                return self
        raise (ConnectionRefused if refused else MqttError)("; ".join(errors))

    def _version_hint(self, error: MqttError) -> str:
        """Return an instruction where the broker may not speak MQTT 5: NATS says so, RabbitMQ before 3.13 closes."""
        if not self._five:
            return ""
        if isinstance(error, MqttConnectError) and _value(error.rc) in UNSUPPORTED_VERSION:
            return ': set broker.version to "3.1.1"'
        if isinstance(error, _ClosedEarly) and not self._broker.tls:
            return ': if it does so each time, set broker.version to "3.1.1"'
        return ""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect, and wait half a second at most: a broker that does not answer any more is not an error."""
        self.timeout = DISCONNECT_TIMEOUT
        self.flush()  # behind DISCONNECT it would be lost
        with suppress(MqttError):
            await super().__aexit__(kind, error, trace)
        self._retrieve_error()

    def _retrieve_error(self) -> None:
        """Retrieve how the connection ended, or asyncio logs an exception that nobody retrieved."""
        if self._disconnected.done() and not self._disconnected.cancelled():
            self._disconnected.exception()

    async def _connect_to_address(self) -> None:
        """Connect to the present address, in place of aiomqtt's own way. Raises `MqttError`.

        aiomqtt forgets a connection that is lost in the moment of its answer: nothing would ever notice that.
        """
        loop = asyncio.get_running_loop()
        self._connected, self._disconnected = loop.create_future(), loop.create_future()
        self._disconnected.add_done_callback(lambda _: self._arrived.set())
        await self._open_socket()
        await self._wait_for(self._connected, timeout=None)
        await self.check()
        if self._packet_maximum < PACKET_MINIMUM:
            limit = f"takes messages of {self._packet_maximum} bytes at most"
            raise MqttError(f"{limit}: raise its limit to {PACKET_MINIMUM} bytes or more")

    async def _open_socket(self) -> None:
        """Connect and send CONNECT, in a thread that nobody waits for. Raises `MqttError`.

        aiomqtt uses the executor of the loop, for whose threads the end of the process waits: a stop would take as
        long as a name server, or a host that drops packets.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def settle(error: Exception | None) -> None:
            if done.cancelled():
                with suppress(OSError, ValueError):  # it may be closed by now
                    self._paho._sock_close()  # noqa: SLF001 - as in __aenter__
            elif error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

        def connect() -> None:
            error: Exception | None = None
            try:
                self._connect()
            except Exception as raised:  # noqa: BLE001 - it is raised in the loop
                error = raised
            with suppress(RuntimeError):  # the loop is closed: the process ends
                loop.call_soon_threadsafe(settle, error)

        threading.Thread(target=connect, name="MQTT connect", daemon=True).start()
        try:
            await done
        except asyncio.CancelledError:
            self._paho.disable_logger()  # the thread goes on, with a socket that is closed, and maybe without a loop
            raise
        except ssl.SSLCertVerificationError as error:
            raise MqttError(revocation_problem(error, self._broker.crl) or str(error)) from None
        # ValueError: paho's, and of a host name that can't be encoded
        except (OSError, ValueError, MissingSecret) as error:
            raise MqttError(str(error)) from None

    def _connect(self) -> None:
        # in a thread, where files can be read: a renewed certificate counts from the next connection on
        if self._broker.tls and not self._tls:
            self._paho.tls_set_context(client_context(self._broker))
            self._tls = True
        self._client_connect()
        sock = self._paho.socket()
        if isinstance(sock, socket.socket):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else 40 ms for each answer

    def _on_connect(
        self,
        client: Client,
        userdata: Any,  # noqa: ANN401 - as paho has it
        flags: ConnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        """Learn the limits of the broker (MQTT 5, 3.2.2.3)."""
        self.receive_maximum = getattr(properties, "ReceiveMaximum", RECEIVE_MAXIMUM)
        self._packet_maximum = getattr(properties, "MaximumPacketSize", PACKET_MAXIMUM)
        # paho itself delays everything beyond that
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
        if not self._connected.done():  # else it would show only when the time is up
            hint = ": does it want a certificate?" if self._broker.tls and not self._broker.certificate else ""
            self._connected.set_exception(_ClosedEarly(f"closed the connection before it answered{hint}"))
        super()._on_disconnect(client, userdata, flags, reason_code, properties)

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
        """Wait until the connection is lost, then raise `MqttError`: `SessionTakenOver` where the broker says so."""
        await asyncio.wait((self._disconnected,))
        error = self._disconnected.exception()
        if isinstance(error, MqttCodeError) and _value(error.rc) == TAKEN_OVER:
            raise SessionTakenOver("another client took over the session") from error
        if self._faulty:
            raise ConnectionFault(f"an error in Lineside ended the connection: {error!r}") from error
        raise MqttError(f"connection lost: {error or 'closed'}") from error

    # -- sending --

    def largest(self, topic: str) -> int:
        """Return how many bytes a payload for this topic may have (MQTT 5, 3.2.2.3.6)."""
        return self._packet_maximum - len(topic.encode()) - PUBLISH_OVERHEAD

    def send(self, topic: str, payload: bytes, answer: Callable[[int], None], *, retain: bool = False) -> None:
        """Publish with QoS 1; `answer` is called with the reason code of the acknowledgement (0 is success).

        Raises `MqttError` where the connection is lost.
        """
        if self._disconnected.done():
            raise MqttError("not sent: the connection is lost")
        if not self._room:
            self._unsent.append(_Unsent(topic, payload, answer, retain))
            return
        mid = self._free_identifier()
        self._answers[mid] = answer
        self._write(*encode_publish(topic.encode(), payload, mid, retain=retain, five=self._five))

    def send_records(self, records: Sequence[tuple[int, bytes, bytes]], answered: OnRecords) -> None:
        """Publish records with QoS 1; each is given by its number, its topic in UTF-8 and its payload.

        `answered` is called once for all answers of the broker that arrive together; it is the same function for all
        records of a connection. Raises `MqttError` where the connection is lost.
        """
        if self._disconnected.done():
            raise MqttError("not sent: the connection is lost")
        self._on_records = answered
        room, packets = self._room, list[bytes]()
        for number, topic, payload in records[:room]:
            mid = self._free_identifier()
            self._records[mid] = number
            packets += encode_publish(topic, payload, mid, retain=False, five=self._five)
        if packets:
            self._write(*packets)
        for number, topic, payload in records[room:]:
            self._unsent.append(_Unsent(topic.decode(), payload, partial(self._answered_late, number), False))  # noqa: FBT003 - a field

    def _answered_late(self, number: int, reason: int) -> None:
        """Pass on the answer to a record for which the broker had no room at first."""
        self._on_records(*(((), [(number, reason)]) if reason else ([number], ())))

    @property
    def _room(self) -> int:
        """How many more messages the broker takes before it answers others."""
        return max(0, self.receive_maximum - len(self._answers) - len(self._records))

    def _free_identifier(self) -> int:
        """Return a packet identifier that no other message has (MQTT 5, 2.2.1): paho assigns some as well."""
        used = self._paho._out_messages  # noqa: SLF001 - there is no other way
        while True:
            mid = self._paho._mid_generate()  # noqa: SLF001 - as above
            if mid not in self._records and mid not in self._answers and mid not in used:
                return mid

    def _answered(self, mid: int, reason: int) -> bool:
        """Call back the sender of a message; return False if paho has sent it."""
        if (answer := self._answers.pop(mid, None)) is None:
            return False
        answer(reason)
        return True

    def _answer_records(self, accepted: Sequence[int], others: Sequence[tuple[int, int]]) -> None:
        """Pass on the answers to records, and send the messages that waited for room."""
        if accepted or others:
            self._on_records(accepted, others)
        while self._unsent and self._room and not self._disconnected.done():
            unsent = self._unsent.popleft()
            self.send(unsent.topic, unsent.payload, unsent.answer, retain=unsent.retain)

    def send_unacknowledged(self, topic: str, payload: bytes, *, retain: bool = False, patience: float = 0.0) -> None:
        """Publish with QoS 0, and wait for nothing. Where the connection is lost, so is the message.

        It may wait `patience` seconds, to leave with other messages in one system call.
        """
        if self._disconnected.done():
            return
        packets = encode_publish(topic.encode(), payload, 0, retain=retain, five=self._five)
        if not patience:
            self._write(*packets)
            return
        self._outgoing += packets
        if self._patient is None and not self._flushing:
            self._patient = self._loop.call_later(patience, self._write)

    def flush(self) -> None:
        """Send the messages now that wait for others: before a message that aiomqtt sends itself."""
        if self._outgoing and (sock := self._paho.socket()) is not None:
            self._flush(sock)

    async def deliver(self, messages: Iterable[Message]) -> dict[str, int]:
        """Publish retained messages, many at a time, and wait until the broker has them.

        Returns the reason code of each that it refused, by topic. Raises `MqttError` where the connection is lost.
        """
        refused: dict[str, int] = {}
        under_way: set[str] = set()
        answered = asyncio.Event()

        def note(topic: str, reason: int) -> None:
            under_way.discard(topic)
            answered.set()
            if reason >= REFUSED:
                refused[topic] = reason

        async def wait_for_room(most: int) -> None:
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
            await wait_for_room(MAX_UNACKNOWLEDGED)
            under_way.add(message.topic)
            self.send(message.topic, message.payload, partial(note, message.topic), retain=True)
        await wait_for_room(0)
        return refused

    def _write(self, *packets: bytes) -> None:
        """Write packets at the end of this turn of the loop: those of a wave of records leave in one system call."""
        self._outgoing += packets
        if (sock := self._paho.socket()) is not None:
            self._schedule_flush(sock)

    def _on_socket_register_write(self, client: Client, userdata: Any, sock: PahoSocket) -> None:  # noqa: ANN401 - paho's
        if threading.get_ident() != self._thread:  # connecting happens in a thread of its own
            super()._on_socket_register_write(client, userdata, sock)
        else:
            self._schedule_flush(sock)

    def _schedule_flush(self, sock: PahoSocket) -> None:
        if not self._flushing:
            # at the end of this turn of the loop: messages that are published together are written together, and
            # without the three system calls that waking the loop from another thread would cost
            self._flushing = True
            self._loop.call_soon(self._flush, sock)

    def _flush(self, sock: PahoSocket) -> None:
        self._flushing = False
        if self._patient is not None:
            self._patient.cancel()
            self._patient = None
        client = self._paho
        if self._outgoing:
            packets, self._outgoing = b"".join(self._outgoing), []
            # paho writes it behind its own packets, and what the socket does not take at once later
            client._out_packet.append({  # noqa: SLF001 - there is no other way
                "command": PUBLISH, "mid": 0, "qos": 1, "pos": 0, "to_process": len(packets),
                "packet": cast("bytes", memoryview(packets)), "info": None,
            })  # fmt: skip
        try:
            client.loop_write()
        except (OSError, ValueError) as error:  # ValueError: the socket was closed meanwhile
            if not self._disconnected.done():
                self._disconnected.set_exception(error)
            return
        if client.want_write() and client.socket() is sock:  # no room: wait until there is
            super()._on_socket_register_write(client, None, sock)

    # -- receiving --

    async def subscribe_to(self, *filters: str, qos: int = 1) -> dict[str, int]:
        """Subscribe. Returns the reason code of each filter that the broker denied (MQTT 5, 3.9.3; 3.1.1: 0x80).

        Raises `MqttError` where the connection is lost, or the broker does not answer.
        """
        answers = await self.subscribe([(topic, qos) for topic in filters])
        # an answer that is too short grants the first filters, and no others
        codes = [answer.value if isinstance(answer, ReasonCode) else answer for answer in answers]
        codes += [REFUSED] * (len(filters) - len(codes))
        return {topic: code for topic, code in zip(filters, codes, strict=False) if code >= REFUSED}

    def _on_socket_open(self, client: Client, userdata: Any, sock: PahoSocket) -> None:  # noqa: ANN401, ARG002 - paho's
        # in the thread that connects
        self._loop.call_soon_threadsafe(self._loop.add_reader, sock.fileno(), self._read)
        self._loop.call_soon_threadsafe(self._start_misc_task)

    def _start_misc_task(self) -> None:
        self._misc_task = self._loop.create_task(self._misc_loop())

    async def _misc_loop(self) -> None:
        """Let paho send its keep-alives, and see that the broker answers them."""
        while self._paho.loop_misc() == MQTTErrorCode.MQTT_ERR_SUCCESS:
            await wait_for_slot(MISC_EVERY)

    def _read(self) -> None:
        """Read packets until no more wait, or the inbox is full.

        A full inbox is read into again when `receive` has made room: TCP then stops the broker, which bounds what is
        unacknowledged, but not its size, nor how many messages of QoS 0 it sends.
        """
        while (sock := self._paho.socket()) is not None:
            try:
                data = sock.recv(READ_SIZE)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except OSError:
                data = b""
            try:
                error = self._take(data) if data else MQTTErrorCode.MQTT_ERR_CONN_LOST
            except MalformedPacket:
                error = MQTTErrorCode.MQTT_ERR_PROTOCOL
            except Exception as raised:  # noqa: BLE001 - a defect costs the connection; the session logs it
                if not self._disconnected.done():
                    self._disconnected.set_exception(raised)
                    self._faulty = True
                error = MQTTErrorCode.MQTT_ERR_UNKNOWN
            if error:
                self._paho._loop_rc_handle(error)  # noqa: SLF001 - there is no other way
                return
            if self._inbox_size > INBOX_SIZE:
                self._paused = sock.fileno()
                self._loop.remove_reader(self._paused)
                return
            # bytes that TLS has decrypted do not wake the selector
            if not (isinstance(sock, ssl.SSLSocket) and sock.pending()):
                return

    def _take(self, data: bytes) -> MQTTErrorCode:
        """Read the packets in bytes from the socket: messages and their answers here, all others by paho."""
        self._paho._last_bytes_received = time.monotonic()  # noqa: SLF001 - there is no other way
        answered = dict.fromkeys(self._reader.accepted(data))
        if answered and self._records.keys() >= answered.keys():
            self._answer_records([self._records.pop(mid) for mid in answered], ())
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        return self._take_packets(data)

    def _take_packets(self, data: bytes) -> MQTTErrorCode:
        accepted: list[int] = []
        others: list[tuple[int, int]] = []
        try:
            for first, body in self._reader.feed(data):
                kind = first & 0xF0
                if kind == PUBACK:
                    mid, reason = decode_puback(body)
                    if (number := self._records.pop(mid, None)) is not None:
                        if reason:
                            others.append((number, reason))
                        else:
                            accepted.append(number)
                        continue
                    if self._answered(mid, reason):
                        continue
                if kind == PUBLISH:
                    self._take_message(first, body)
                elif error := self._give_to_paho(first, body):
                    return error
        finally:
            self._answer_records(accepted, others)
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _take_message(self, flags: int, body: bytes) -> None:
        try:
            message = decode_publish(flags, body, five=self._five)
        except UnicodeDecodeError:  # a broker must not let it through (MQTT 5, 1.5.4); nobody could read it
            if mid := message_id(flags, body):
                self._write(encode_puback(mid))
            return
        if message.qos > 1:
            raise MalformedPacket("a QoS that was not granted")
        self._inbox.append(message)
        self._inbox_size += _size(message)
        self._arrived.set()

    def _give_to_paho(self, first: int, body: bytes) -> MQTTErrorCode:
        paho = self._paho
        paho._in_packet = {  # noqa: SLF001 - there is no other way
            "command": first, "have_remaining": 1, "remaining_count": [], "remaining_mult": 1,
            "remaining_length": len(body), "packet": bytearray(body), "to_process": 0, "pos": 0,
        }  # fmt: skip
        try:
            return paho._packet_handle()  # noqa: SLF001 - as above
        except MQTTException:  # it is malformed
            return MQTTErrorCode.MQTT_ERR_PROTOCOL

    async def receive(self) -> ReceivedMessage:
        """Wait for the next message. Raises `MqttError` when the connection is lost.

        Messages that wait have `INBOX_SIZE` bytes at most, and those of one read from the socket.
        """
        while not self._inbox:
            # a lost connection sets the event, too: to wait for either with two tasks costs more than most messages
            self._arrived.clear()
            await self.check()
            await self._arrived.wait()
        message = self._inbox.popleft()
        self._inbox_size -= _size(message)
        if self._paused >= 0 and self._inbox_size <= INBOX_SIZE // 2:
            self._resume_reading()
        return message

    def _resume_reading(self) -> None:
        paused, self._paused = self._paused, -1
        sock = self._paho.socket()
        if sock is not None and sock.fileno() == paused:  # else the connection is lost
            self._loop.add_reader(paused, self._read)
            self._read()

    def waiting(self) -> int:
        """Return how many received messages wait for `receive`."""
        return len(self._inbox)

    def acknowledge(self, message: ReceivedMessage) -> None:
        """Allow the broker to forget a message."""
        if message.qos:
            self._write(encode_puback(message.mid))

    async def _or_lost(self, event: asyncio.Event) -> None:
        """Wait for an event. Raises `MqttError` where the connection is lost before."""
        waiting = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait((waiting, self._disconnected), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if not event.is_set() and self._disconnected.done():
            await self.lost()


def _ignore(*values: object) -> None:
    del values


def _size(message: ReceivedMessage) -> int:
    """Return how many bytes of memory a message takes."""
    return len(message.payload) + MESSAGE_SIZE


def _value(code: int | ReasonCode | None) -> int:
    """Return a reason code as a number."""
    return code.value if isinstance(code, ReasonCode) else code or 0
