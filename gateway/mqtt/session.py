"""The session with the broker: the only loop that connects, serves, backs off, and connects again.

Publisher, ingest, `tail` and the demo's screen each have one. Three things are the same for all of them:

- *When to connect again.* An attempt that nobody answers costs nobody anything, so a broker that is away is tried
  every other second. A broker that answers and refuses has work with each attempt, so it is tried ever less often.
- *Presence.* A gateway or ingest publishes its birth and death, retained, on its state topic; the last will is its
  death when the connection is lost.
- *Unique identifiers.* A broker accepts a single client per identifier: the second disconnects the first, which comes
  back and disconnects the second. Some brokers say so (MQTT 5, 4.13: 0x8E), others close the connection. Every birth
  and death carries an `instance`, drawn at start, and the number of the connection, so each process finds the other
  on the state topic. The process that was disconnected logs it once and waits a minute, then longer.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import structlog
from aiomqtt import MqttError, Will

from gateway import __version__
from gateway.common.backoff import Backoff
from gateway.common.state_log import RepeatLog, StateLog
from gateway.mqtt.client import ConnectionFault, ConnectionRefused, Message, MqttClient, SessionTakenOver
from gateway.mqtt.constants import DISCONNECT_TIMEOUT, RECEIVE_MAXIMUM, REFUSED, TOO_LARGE
from gateway.mqtt.messages import BadMessage, parse_gateway_state, parse_ingest_state

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from gateway.mqtt.messages import ClientState
    from gateway.mqtt.packets import ReceivedMessage
    from gateway.mqtt.signed import MessageSigner
    from gateway.settings.sections import BrokerSection

log = structlog.get_logger(__name__)

RETRY_FIRST, RETRY_MAX, RETRY_REFUSED_MAX = 0.3, 2.0, 15.0
"""Seconds between two attempts: the first, and the ceilings while nobody answers and while the broker refuses."""

STEADY = 10.0
"""Seconds after which a connection counts as lasting: the next attempt after it comes soon."""

STAND_BACK_FIRST, STAND_BACK_MAX = 60.0, 600.0
"""Seconds that a client waits after another with its identifier has disconnected it."""

SUBSCRIBE_AGAIN_FIRST, SUBSCRIBE_AGAIN_MAX = 5.0, 60.0
"""Seconds until a denied subscription is tried again."""

MAX_DENIED = 1_000
"""Topics without the right to publish that are remembered. Ingest confirms to gateways that records only name."""

MAX_INSTANCES = 1_000
"""Other processes on the state topic that are remembered."""


class ReconnectDelay:
    """The waits of one client between two attempts to connect."""

    def __init__(self) -> None:
        self._unanswered = Backoff(RETRY_FIRST, RETRY_MAX)
        self._refused = Backoff(RETRY_FIRST, RETRY_REFUSED_MAX)

    async def wait(self, error: Exception | None, lasted: float) -> None:
        """Wait after an attempt or connection that lasted so many seconds and ended with this error."""
        if isinstance(error, ConnectionRefused):
            await self._refused.wait()
            return
        self._refused.reset()
        if lasted > STEADY:
            self._unanswered.reset()
        await self._unanswered.wait()


class Kind(NamedTuple):
    """A kind of client that has a state topic: how its state is read, and how a second of its name is logged."""

    parse: Callable[[bytes], ClientState]
    event: str
    field: str
    hint: str


GATEWAY = Kind(
    parse_gateway_state, "gateway.id_in_use", "gateway", "two gateways have this id: give each its own gateway.id"
)
INGEST = Kind(
    parse_ingest_state,
    "ingest.id_in_use",
    "id",
    "two ingests have this ingest.id: give each its own, and the same share where they divide the records",
)


class LinkStatus(NamedTuple):
    """Whether a session is connected, since when (microseconds since the epoch, UTC), and where; or the error."""

    connected: bool
    since: int
    broker: str
    error: str = ""


class Presence:
    """The birth and death of this process on its state topic, and those of others with its name.

    `details` are added to the birth. `contested` is whether another process uses the name, as seen on the present
    connection; `away` whether this process waits because of that.
    """

    def __init__(self, topic: str, name: str, kind: Kind = GATEWAY) -> None:
        """Prepare; `topic` is the state topic."""
        self.topic = topic
        self.details: Mapping[str, Any] = {}
        self.instance = secrets.token_hex(4)
        self.contested = self.away = False
        self._name = name
        self._kind = kind
        self._host = socket.gethostname()
        self._started = _now_us()
        self._connected_at = 0
        self._connects = 0
        self._born = self._born_before = False
        self._births: dict[str, int] = {}
        self._logged = False
        self._backoff = Backoff(STAND_BACK_FIRST, STAND_BACK_MAX)
        self._forged = RepeatLog(log)

    # -- the payloads --

    def birth(self) -> bytes:
        """Return the payload that is retained while this process is connected."""
        state = {"state": "online", "since": self._connected_at, "started": self._started, **self.details}
        return self._sign(state, self._connects)

    def will(self) -> bytes:
        """Return the payload that the broker retains when the next connection is lost.

        The broker does not add the time of that, so the message has the time at which the connection began.
        """
        state = {"state": "offline", "reason": "connection lost", "online_since": _now_us()}
        return self._sign(state, self._connects + 1)

    def death(self, reason: str) -> bytes:
        """Return the payload that is retained after a graceful end."""
        state = {"state": "offline", "reason": reason, "since": _now_us(), "online_since": self._connected_at}
        return self._sign(state, self._connects)

    def _sign(self, state: dict[str, Any], birth: int) -> bytes:
        signature = {"instance": self.instance, "host": self._host, "birth": birth, "version": __version__}
        return orjson.dumps(state | signature)

    # -- the connection --

    def connected(self) -> None:
        """Note a new connection: whether the name is contested is found out again."""
        self._connects += 1
        self._connected_at = _now_us()
        self._born_before = self._born
        self.contested = False

    def born(self) -> None:
        """Note that the broker has our birth: the state of a former run is replaced."""
        self._born = True

    async def publish_birth(self, session: Session, link: MqttClient) -> None:
        """Publish the birth. Without the right to do so the client works without."""
        await session.deliver(link, [Message(self.topic, self.birth())])
        self.born()

    async def publish_death(self, session: Session, link: MqttClient) -> None:
        """Replace the birth by a graceful death, where the broker still listens."""
        try:
            payload = session.signed(self.topic, self.death("stopped"))
            link.flush()  # a report that came after it would be one of a gateway that has stopped
            await link.publish(self.topic, payload, qos=1, retain=True, timeout=DISCONNECT_TIMEOUT)
        except MqttError:
            pass  # the last will says it

    # -- others of the name --

    def heard(self, payload: bytes, *, retained: bool, signer: MessageSigner | None = None) -> None:
        """Read a state of this topic; a state of a former run does not mean another process.

        With a `signer` the state has to be signed with its key, as that of a copied box is: a client that forges it
        would keep this process away from the broker.
        """
        if signer is not None and payload and not signer.has_signed(self.topic, payload):
            if not retained:  # a retained state may be of a former run, with another key or none
                hint = "find its publisher; a second process of this name needs a name of its own"
                self._forged.error("presence.not_signed", topic=self.topic, hint=hint)
            return
        try:
            state = self._kind.parse(payload)
        except BadMessage:
            return  # cleared, of an older version, or by hand
        if state.instance == self.instance:
            return
        known = self._births.pop(state.instance, state.birth)
        self._births[state.instance] = max(known, state.birth)
        if len(self._births) > MAX_INSTANCES:
            del self._births[next(iter(self._births))]
        former = not self._born_before and (retained or state.state == "offline")
        # a broker that was killed may retain an old state; a process that is there now has been born again since
        if former or (retained and state.birth <= known):
            return
        self.contested = True
        self._log(host=state.host, instance=state.instance)

    def taken_over(self) -> None:
        """Note that the broker said that another client has our identifier."""
        self.contested = True
        self._log()

    def _log(self, **other: str) -> None:
        if not self._logged:
            log.error(self._kind.event, **{self._kind.field: self._name}, other=other, hint=self._kind.hint)
        self._logged = True

    async def stand_back(self) -> None:
        """Wait before coming back, longer each time."""
        self.away = True
        await self._backoff.wait()
        self.away = False


class Session:
    """Connects to the broker and serves each connection, again and again.

    `broker` may be replaced: it counts from the next connection on. With a `signer` all messages are signed that are
    published here, and the will. `denied` are the filters whose SUBSCRIBE the
    broker denied last, with the reason code. `link` is the status of the connection, the last of `connects`.
    """

    def __init__(
        self,
        broker: BrokerSection,
        identifier: str,
        *,
        presence: Presence | None = None,
        keep_session: bool = False,
        receive: int = RECEIVE_MAXIMUM,
        quiet: bool = False,
        changed: Callable[[str | None], None] | None = None,
    ) -> None:
        """Prepare; no I/O. See `MqttClient`; with `quiet` nothing is logged about the connection.

        `changed` is called in place of the log, by a command of a person: with None for each connection, and with
        an error for each attempt that failed and each connection that was lost.
        """
        self.broker = broker
        self.signer: MessageSigner | None = None
        self.denied: dict[str, int] = {}
        self.link = LinkStatus(connected=False, since=_now_us(), broker=broker.url)
        self.connects = 0
        self._identifier = identifier
        self._presence = presence
        self._keep_session = keep_session
        self._receive = receive
        self._quiet = quiet
        self._changed = changed
        self._state = StateLog(log, "mqtt.unstable")
        self._unpublished: set[str] = set()

    def _connection(self) -> MqttClient:
        presence = self._presence
        will = None if presence is None else Will(presence.topic, self._signed_will(presence), 1, retain=True)
        return MqttClient(
            self.broker, self._identifier, will=will, keep_session=self._keep_session, receive=self._receive
        )

    def _signed_will(self, presence: Presence) -> bytes:
        payload = presence.will()
        return payload if self.signer is None else self.signer.sign_will(presence.topic, payload)

    def signed(self, topic: str, payload: bytes) -> bytes:
        """Return a message as it is to be published: signed, if there is a signer."""
        return payload if self.signer is None else self.signer.sign(topic, payload)

    @property
    def connected(self) -> bool:
        """Whether a connection is open."""
        return self.link.connected

    async def run(self, serve: Callable[[MqttClient], Awaitable[None]]) -> None:
        """Connect, `serve` the connection, and connect again when that raises; return when it returns.

        The connection is closed when `serve` ends; where there is a `presence`, with its death. Raises
        `MissingSecret` before the first attempt: a configuration that can't be read ends a service at its start.
        """
        delay = ReconnectDelay()
        now = asyncio.get_running_loop().time
        connection: MqttClient | None = self._connection()
        while True:
            began = now()
            try:
                async with connection or self._connection() as link:
                    began = now()
                    self.link = LinkStatus(connected=True, since=_now_us(), broker=link.address)
                    self.connects += 1
                    self._enter("mqtt.connected", healthy=True, broker=link.address)
                    if self._presence is not None:
                        self._presence.connected()
                    try:
                        await serve(link)
                    finally:
                        if self._presence is not None:
                            await self._presence.publish_death(self, link)
            except Exception as error:  # noqa: BLE001 - here only: a defect costs the connection, and not the service
                failed = error
                since = _now_us() if self.link.connected else self.link.since
                self.link = LinkStatus(connected=False, since=since, broker=self.broker.url, error=str(error))
                if isinstance(error, MqttError) and not isinstance(error, ConnectionFault):
                    self._enter("mqtt.not_connected", broker=self.broker.url, error=str(error))
                else:
                    self._enter("mqtt.session_failed", broker=self.broker.url, exc_info=error)
            else:
                return
            connection = None
            if isinstance(failed, SessionTakenOver) and self._presence is not None:
                self._presence.taken_over()
            if self._presence is not None and self._presence.contested:
                await self._presence.stand_back()
            else:
                await delay.wait(failed, now() - began)

    def _enter(self, event: str, *, healthy: bool = False, **fields: Any) -> None:  # noqa: ANN401 - as structlog has it
        if self._changed is not None:
            self._changed(None if healthy else str(fields.get("error", fields.get("exc_info"))))
        elif not self._quiet:
            self._state.enter(event, healthy=healthy, **fields)

    # -- permissions --

    async def subscribe(self, link: MqttClient, *filters: str, qos: int = 1) -> None:
        """Subscribe; where the broker denies a filter, log that once and try again until it is granted."""
        backoff = Backoff(SUBSCRIBE_AGAIN_FIRST, SUBSCRIBE_AGAIN_MAX)
        while filters := await self.subscribe_once(link, *filters, qos=qos):
            await backoff.wait()

    async def subscribe_once(self, link: MqttClient, *filters: str, qos: int = 1) -> tuple[str, ...]:
        """Subscribe, and return the filters that the broker denied; each is logged once until it is granted."""
        denied = await link.subscribe_to(*filters, qos=qos)
        for topic in filters:
            self._note_subscription(topic, denied.get(topic, 0))
        return tuple(denied)

    def _note_subscription(self, topic: str, reason: int) -> None:
        if not reason:
            if self.denied.pop(topic, None) is not None:
                log.info("mqtt.subscribed", topic=topic)
            return
        if topic not in self.denied:
            hint = f"grant client {self._identifier} the right to subscribe to {topic}"
            log.error("mqtt.subscribe_denied", topic=topic, reason=hex(reason), hint=hint)
        self.denied[topic] = reason

    async def deliver(self, link: MqttClient, messages: Iterable[Message]) -> None:
        """Publish retained messages; a topic that the broker denies is logged once until it takes one.

        Before a topic is cleared, a signed message says so: an empty message can't be signed.
        """
        messages = [message._replace(payload=self.signed(*message)) for message in messages]
        if self.signer is not None:
            for topic in [message.topic for message in messages if not message.payload]:
                self.publish(link, topic, filter(None, [self.signer.clearing(topic)]), signed=True)
        refused = await link.deliver(messages)
        for message in messages:
            self.note_publish(message.topic, refused.get(message.topic, 0))

    def publish(self, link: MqttClient, topic: str, payloads: Iterable[bytes], *, signed: bool = False) -> None:
        """Publish messages with QoS 1, not retained; whether the broker accepts them is noted when it answers.

        With `signed` they are signed already.
        """
        for payload in payloads if signed else (self.signed(topic, one) for one in payloads):
            if len(payload) > link.largest(topic):
                self.note_publish(topic, TOO_LARGE)
            else:
                link.send(topic, payload, partial(self.note_publish, topic))

    def note_publish(self, topic: str, reason: int) -> None:
        """Log once that the broker refuses to publish on a topic, and once when it no longer does."""
        if reason < REFUSED:
            if topic in self._unpublished:
                self._unpublished.discard(topic)
                log.info("mqtt.publish_resumed", topic=topic)
        elif topic not in self._unpublished and len(self._unpublished) < MAX_DENIED:
            self._unpublished.add(topic)
            hint = f"grant client {self._identifier} the right to publish to {topic}"
            if reason == TOO_LARGE:
                hint = "raise the broker's limit for messages"
            log.error("mqtt.publish_denied", topic=topic, reason=hex(reason), hint=hint)


def _now_us() -> int:
    return time.time_ns() // 1000


async def handle(link: MqttClient, take: Callable[[ReceivedMessage], Awaitable[None]]) -> None:
    """Give each message that comes in to `take`, then acknowledge it. Raises `MqttError` when the link is lost."""
    while True:
        message = await link.receive()
        await take(message)
        link.acknowledge(message)
