"""From the spool to the broker: records with QoS 1; descriptions and states of machines, retained.

Records in flight are bounded. A record that is not confirmed in time is sent again. With `confirm: store` only
the store's confirmation, which ingest passes on, frees the spool; the broker's acknowledgement says little.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import orjson
import structlog
from aiomqtt import MqttError

from gateway.common.state_log import RepeatLog
from gateway.common.tasks import cancel_and_wait, errors_of
from gateway.model.part import WHOLE_GATEWAY
from gateway.mqtt.client import Message
from gateway.mqtt.messages import BadMessage, encode_metadata, parse_confirmation, parse_wanted
from gateway.mqtt.session import Session, handle
from gateway.mqtt.verifier import verifier_of
from gateway.publish.dispatch import FreshFirst, InOrder
from gateway.publish.identity import GatewayIdentity
from gateway.publish.ingest_watch import IngestWatch
from gateway.publish.message_signer import gateway_signer
from gateway.publish.proofs import UNPROVED, WRONG_PROOF, Proofs
from gateway.publish.retained_cleanup import CLEARED
from gateway.publish.wanted import WantedIds
from gateway.settings.sections import Confirm, ConfirmProof, Order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gateway.common.setting_types import Secret
    from gateway.model.metadata import MachineMeta
    from gateway.model.part import Part
    from gateway.model.path import MachinePath
    from gateway.mqtt.client import MqttClient
    from gateway.mqtt.messages import Confirmation
    from gateway.mqtt.packets import ReceivedMessage
    from gateway.mqtt.session import LinkStatus, Presence
    from gateway.mqtt.topics import Topics
    from gateway.publish.command_link import CommandLink
    from gateway.publish.in_flight import InFlight
    from gateway.publish.retained_cleanup import RetainedCleanup
    from gateway.publish.retained_messages import RetainedMessages
    from gateway.settings.factory import Factory
    from gateway.settings.sections import BrokerSection
    from gateway.spool.files import Spooled
    from gateway.spool.spool import Spool

log = structlog.get_logger(__name__)

_HINTS = {
    UNPROVED: "upgrade this ingest, or set gateway.confirm_proof: accept_unproved; if there is none without proofs, "
    "allow only ingest to publish on the topic",
    WRONG_PROOF: "a client confirms records that it did not receive, or publishes records in the name of this "
    "gateway: allow only ingest to publish on the topic, set ingest.gateways, and compare gateway.confirm_key",
}
"""What to do about refused confirmations, by reason."""

CONFIRMATION_REFUSED = "confirmation-refused"
"""The action of a client that confirms records without a proof, or with a wrong proof."""


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
    """The gateway's side of the broker, or that of one of its workers.

    A worker publishes its records and the states and descriptions of its machines, over a connection of its own. The
    supervisor publishes the birth, the death and the ledger.
    """

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
        describe: Callable[[Sequence[str]], Mapping[str, tuple[MachinePath, MachineMeta]]] | None = None,
        part: Part = WHOLE_GATEWAY,
        retained: RetainedMessages | None = None,
        commands: CommandLink | None = None,
    ) -> None:
        """Prepare; `report` returns the payload of the ledger.

        `too_large` is called with a record that the broker does not take, and the bytes that it does. `describe`
        returns the descriptions that are known, by id, with their machines; without it nobody is answered. `retained`
        are messages of calculations. Without `commands` this process takes none.
        """
        own, gateway = factory.factory, factory.gateway
        self._gateway = gateway.id
        self._settings = gateway
        self._by_broker = gateway.confirm is Confirm.BROKER
        self._topics = topics
        self._spool = spool
        self._states = states
        self._descriptions = descriptions
        self._describe = describe
        self._retained = retained
        self._commands = commands
        self._wanted = WantedIds()
        self._ignored = RepeatLog(log)
        self.note_refused: Callable[[str, str, str, str, int], None] | None = None
        """Is called with an action, the name of a confirmation's sender, the topic, the reason and the records."""
        self._logged: Counter[str] = Counter()
        self._topic = {
            leaf: topics.gateway(own.enterprise, own.site, gateway.id, leaf)
            for leaf in ("confirmed", "wanted", "metadata")
        }
        dispatch = InOrder if gateway.order is Order.STRICT else FreshFirst
        self.proofs = Proofs(topics.root, accept_unproved=gateway.confirm_proof is ConfirmProof.ACCEPT_UNPROVED)
        self._dispatch = dispatch(
            spool, too_large, partial(topics.rebase, gateway=gateway.id), self.proofs, by_broker=self._by_broker
        )
        self._ingests = IngestWatch(self._dispatch.ingest_came)
        self._verifier = verifier_of(factory)
        self._identity = (
            GatewayIdentity(factory, topics, cleanup, report, self._birth_details) if part.has_identity else None
        )
        self._session = Session(factory.broker, part.client(gateway.id), presence=self.presence)
        self._digest = factory.digest
        self._configured = asyncio.Event()
        self._other_broker = False
        self._allowed = asyncio.Event()
        self._allowed.set()
        self._paused = asyncio.Event()

    @property
    def presence(self) -> Presence | None:
        """The birth and death on the gateway's state topic; None in a worker."""
        return None if self._identity is None else self._identity.presence

    async def run(self) -> None:
        """Connect and publish until cancelled; an outage is logged once. A worker does not while it is paused.

        Raises `MissingSecret` before the first attempt.
        """
        self.proofs.key = self._settings.reveal_confirm_key()
        if self._settings.sign_key is not None:
            self._dispatch.sign = self._signing(self._settings.sign_key)
            self._session.signer = await gateway_signer(self._settings, self._topics)
        if self._identity is not None:
            await self._session.run(self._serve)
            return
        while True:
            await self._allowed.wait()
            serving = asyncio.create_task(self._session.run(self._serve), name="broker session")
            pausing = asyncio.create_task(self._paused.wait(), name="pause of the broker session")
            try:
                await asyncio.wait((serving, pausing), return_when=asyncio.FIRST_COMPLETED)
            finally:
                await cancel_and_wait(serving, pausing)
            if not serving.cancelled():
                serving.result()  # raises the error that ended the session

    def _signing(self, secret: Secret) -> Callable[[str, bytes], bytes]:
        """Return what signs a record for its topic. Raises `MissingSecret`."""
        from gateway.publish.signer import Signer  # noqa: PLC0415 - few need it

        signer, place = Signer(secret.reveal().encode()), self._topics.place
        return lambda topic, payload: signer.sign(place(topic), payload)

    def pause(self, *, paused: bool) -> None:
        """Disconnect a worker from the broker, or let it connect again."""
        for event, is_set in ((self._paused, paused), (self._allowed, not paused)):
            if is_set:
                event.set()
            else:
                event.clear()

    async def _serve(self, link: MqttClient) -> None:
        session, identity = self._session, self._identity
        self._other_broker = False
        denied = () if identity is None else await identity.begin(session, link)
        await self._publish_descriptions(link, self._descriptions.payloads)
        self._states.take_changed()
        await self._publish_states(link, self._states.machines)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(link.lost(), name="broker link")
                tasks.create_task(handle(link, self._take(link)), name="incoming messages")
                tasks.create_task(self._send_records(link, tasks), name="records")
                if identity is not None:
                    for name, job in identity.jobs(session, link, denied).items():
                        tasks.create_task(job, name=name)
                if not self._by_broker:
                    ingests = session.subscribe(link, self._topics.all_ingests(), qos=0)
                    tasks.create_task(ingests, name="subscribe to ingests")
                if self._describe is not None:
                    tasks.create_task(self._answer_wanted(link, self._describe), name="wanted descriptions")
                if self._retained is not None:
                    tasks.create_task(self._follow_retained(link, self._retained), name="retained messages")
                if self._commands is not None:
                    tasks.create_task(self._commands.run(session, link), name="commands")
                tasks.create_task(self._follow_states(link), name="states")
                tasks.create_task(self._follow_descriptions(link), name="descriptions")
                tasks.create_task(self._follow_configuration(link), name="configuration")
                if session.signer is not None:
                    tasks.create_task(session.signer.numbers.keep(), name="numbers of signed messages")
        except BaseExceptionGroup as group:
            if lost := errors_of(group, MqttError):
                raise lost[0] from None
            raise
        finally:
            self._dispatch.take_back()

    async def _send_records(self, link: MqttClient, tasks: asyncio.TaskGroup) -> None:
        """Start to send records; where stores confirm them, once their confirmations can arrive."""
        if not self._by_broker:
            await self._session.subscribe(link, self._topic["confirmed"])
        for name, job in self._dispatch.jobs(link).items():
            tasks.create_task(job, name=name)

    def reconfigure(self, broker: BrokerSection, digest: str) -> None:
        """Apply a changed configuration: connect to another broker, publish the digest."""
        self._other_broker = self._other_broker or broker != self._session.broker
        self._session.broker = broker
        self._digest = digest
        self._configured.set()

    @property
    def session(self) -> Session:
        """The session with the broker."""
        return self._session

    @property
    def window(self) -> InFlight:
        """The records that were sent and are not confirmed."""
        return self._dispatch.window

    @property
    def link(self) -> LinkStatus:
        """The status of the connection to the broker."""
        return self._session.link

    @property
    def counts(self) -> dict[str, int]:
        """What went wrong on the way to the broker since the start, in records."""
        counts = self.window.counts
        return {name: counts[name] for name in ("again", "nobody", "refused")}

    # -- incoming messages --

    def _take(self, link: MqttClient) -> Callable[[ReceivedMessage], Any]:
        """Return what reads the messages of a connection."""

        async def take(message: ReceivedMessage) -> None:
            topic, payload, identity = message.topic, message.payload, self._identity
            if (identity is not None and identity.heard_state(self._session, message)) or self._refuses(message):
                pass
            elif topic in {self._topic["confirmed"], self._topic["wanted"]}:
                if message.retain:
                    await self._clear(link, topic)
                elif payload:  # else a retained message was cleared
                    self._read(topic, payload)
            elif self._commands is not None and topic == self._commands.topic:
                await self._commands.take(self._session, link, message)
            elif self._topics.is_ingest(topic):
                self._ingests.heard(topic, payload)
            elif identity is not None:
                await identity.clean(self._session, link, message)

        return take

    def _refuses(self, message: ReceivedMessage) -> bool:
        """Return whether a message of an ingest is not signed as it has to be; a retained message is cleared."""
        if not self._verifier:
            return False
        own = message.topic in {self._topic["confirmed"], self._topic["wanted"]}
        if message.retain and own:
            return False
        return (own or self._topics.is_ingest(message.topic)) and bool(self._verifier.check(message).fault)

    async def _clear(self, link: MqttClient, topic: str) -> None:
        """Ignore a retained message where none belongs, and clear it: it would come again at every connection."""
        self._ignored.warning("mqtt.retained_ignored", key=topic, topic=topic, hint="publish there without retain")
        await self._session.deliver(link, [Message(topic, CLEARED)])

    def _read(self, topic: str, payload: bytes) -> None:
        try:
            if topic == self._topic["confirmed"]:
                self._confirm(parse_confirmation(payload))
            else:
                self._wanted.add(parse_wanted(payload).ids)
        except BadMessage as error:
            self._ignored.warning("mqtt.message_ignored", key=topic, topic=topic, error=str(error))

    def _confirm(self, message: Confirmation) -> None:
        """Free the records that are proved to be stored. Raises `BadMessage` for numbers that were never used."""
        if message.spool != self._spool.id:
            return  # of another worker, or of a spool that this gateway had before
        if message.last >= self._spool.next_seq:
            raise BadMessage(f"names record {message.last}, and the next is {self._spool.next_seq}")
        proved = self.proofs.check(message)
        if proved.taken:
            self._dispatch.accepted(proved.taken, message.instance)
        if proved.ranges:
            self._dispatch.confirmed(proved.ranges, proved.set_aside)
        if proved.lost:
            self._dispatch.lost_by_store(proved.lost)
        self._log_refused(message.by)

    def _log_refused(self, by: str) -> None:
        """Log once for each reason that records of confirmations are not proved."""
        for reason, hint in _HINTS.items():
            if (refused := self.proofs.refused[reason]) > self._logged[reason]:
                if self.note_refused is not None:
                    topic, records = self._topic["confirmed"], refused - self._logged[reason]
                    self.note_refused(CONFIRMATION_REFUSED, by, topic, reason, records)
                self._logged[reason] = refused
                self._ignored.warning(
                    "records.confirmation_refused", key=reason, topic=self._topic["confirmed"], by=by, reason=reason,
                    records=refused, hint=hint,
                )  # fmt: skip

    # -- descriptions that ingest lacks --

    async def _answer_wanted(
        self,
        link: MqttClient,
        describe: Callable[[Sequence[str]], Mapping[str, tuple[MachinePath, MachineMeta]]],
    ) -> None:
        """Publish the descriptions that ingest asks for, and, in a gateway without workers, which are unknown.

        Ingest gives up the records of an unknown id, and one worker does not know which ids the others know.
        """
        await self._session.subscribe(link, self._topic["wanted"])
        while True:
            ids = await self._wanted.first()
            known = describe(ids)
            unknown = [key for key in ids if key not in known] if self._identity is not None else ()
            self._session.publish(link, self._topic["metadata"], encode_metadata(known, unknown))
            await self._wanted.answered(ids)

    # -- outgoing messages --

    def _birth_details(self) -> dict[str, str]:
        return {"spool": self._spool.id, "config": self._digest}

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

    async def _follow_retained(self, link: MqttClient, retained: RetainedMessages) -> None:
        """Publish all retained messages of calculations, then those that change."""
        messages: Mapping[str, bytes] = retained.all()
        try:
            while True:
                await retained.remember(messages)
                await self._session.deliver(link, [Message(topic, payload) for topic, payload in messages.items()])
                await retained.delivered(messages)
                messages = await retained.take_changed()
        finally:
            retained.idle.set()  # messages under way come again on the next connection

    async def _follow_configuration(self, link: MqttClient) -> None:
        while True:
            await self._configured.wait()
            self._configured.clear()
            if self._other_broker:
                raise MqttError("the configuration has another broker")
            if self._identity is not None:
                await self._identity.publish_birth(self._session, link)
