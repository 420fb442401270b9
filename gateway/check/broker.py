"""Try at a broker which rights the user of a configuration has: all that its part needs, and no others.

No attempt has an effect on a plant. Messages are empty and go to names that nobody has, or to topics of the part
itself whose empty messages everybody ignores. Nothing is retained, and the sessions end with the check.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from aiomqtt import MqttError
from paho.mqtt.client import topic_matches_sub

from gateway.acl.accounts import ANY, PREFIX, Action, gateway_account, ingest_account, reader_account
from gateway.model.path import MachinePath
from gateway.mqtt.client import MqttClient
from gateway.mqtt.constants import ANSWER_TIMEOUT, REFUSED
from gateway.mqtt.topics import GATEWAYS, INGESTS, MACHINES, USES, Party, Topics
from gateway.settings.sections import Version

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

    from gateway.acl.accounts import Account
    from gateway.mqtt.topics import Use
    from gateway.settings.factory import Factory
    from gateway.settings.sections import BrokerSection

LISTEN = 2.0
"""Seconds to listen after the subscriptions: some brokers grant all of them, and deliver only readable messages."""

CONNECTS, CONNECT_PAUSE = 4, 1.0
"""Attempts to connect, and seconds between them: NATS refuses an id for a moment after it has disconnected it."""

HARMLESS = frozenset({
    (MACHINES, "data"), (MACHINES, "event"), (GATEWAYS, "data"), (GATEWAYS, "metadata"), (GATEWAYS, "confirmed"),
    (GATEWAYS, "wanted"), (GATEWAYS, "command"), (GATEWAYS, "answer"), (INGESTS, "share"),
})  # fmt: skip
"""Topics on which every part ignores an empty message, also for names that exist."""

PARTS = {Party.GATEWAY: gateway_account, Party.INGEST: ingest_account, Party.READER: reader_account}
"""The parts whose rights can be tried, and their accounts."""

CLIENT_ID = "client id"
"""The kind of the attempt to disconnect a client of another user."""


class Outcome(StrEnum):
    """The answer of a broker to an attempt; `UNKNOWN` if its answer does not show the outcome."""

    ALLOWED = "allowed"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Attempt(NamedTuple):
    """An attempt, and whether it should be `allowed`. `kind` is an action or `CLIENT_ID`, `target` a topic or id."""

    kind: str
    target: str
    allowed: bool
    outcome: Outcome
    detail: str = ""

    @property
    def unexpected(self) -> bool:
        """Whether the broker should have given the other answer."""
        return self.outcome is not Outcome.UNKNOWN and (self.outcome is Outcome.ALLOWED) is not self.allowed

    def as_dict(self) -> dict[str, Any]:
        """Return what programs read."""
        return {
            "kind": self.kind, "target": self.target, "expected": "allowed" if self.allowed else "refused",
            "outcome": self.outcome.value, "unexpected": self.unexpected, "detail": self.detail,
        }  # fmt: skip


async def try_rights(factory: Factory, party: Party, other: BrokerSection | None = None) -> list[Attempt]:
    """Return the attempts of the user of a configuration as a part; `other` has another user of the broker.

    Raises `MqttError` if the broker does not answer, or refuses the user.
    """
    attempts = _Attempts(factory, party)
    async with MqttClient(factory.broker, attempts.identifier):
        pass  # else everything would look refused
    found = [*await attempts.publish(), *await attempts.subscribe()]
    return [*found, await attempts.take_client_id(other)]


class _Attempts:
    def __init__(self, factory: Factory, party: Party) -> None:
        self._factory, self._broker = factory, factory.broker
        self._topics = Topics(factory.broker.root)
        self._account: Account = PARTS[party](factory)
        self._party = party
        self._probe = f"probe-{secrets.token_hex(4)}"
        self.identifier = f"{PREFIX}check-{secrets.token_hex(4)}"

    # -- publish --

    async def publish(self) -> list[Attempt]:
        """Publish on each topic of invented names, and on the harmless topics of the part itself."""
        wanted = [(self._invented(use), False) for use in USES]
        wanted += [(topic, retain) for topic, retain in self._own() if (topic, retain) not in wanted]
        return [await self._publish(topic, retain=retain) for topic, retain in wanted]

    def _invented(self, use: Use) -> str:
        own, name = self._factory.factory, self._probe
        use = use._replace(leaf=use.leaf.replace("+", name))
        if use.kind == GATEWAYS:
            return self._topics.gateway(own.enterprise, own.site, name, use.leaf)
        if use.kind == INGESTS:
            return self._topics.ingest(own.enterprise, own.site, name, use.leaf)
        return self._topics.machine(MachinePath(own.enterprise, own.site, name, name, name), use.leaf)

    def _own(self) -> Iterator[tuple[str, bool]]:
        """Yield harmless topics of the part itself, and whether it publishes retained messages there."""
        own, factory = self._factory.factory, self._factory
        for use in USES:
            if (use.kind, use.leaf) not in HARMLESS:
                continue
            if self._party is Party.GATEWAY and use.kind == GATEWAYS:
                # an empty retained message is how a gateway clears a message that does not belong there
                yield self._topics.gateway(own.enterprise, own.site, factory.gateway.id, use.leaf), bool(use.clears)
            elif self._party is Party.GATEWAY and use.kind == MACHINES and factory.machines:
                yield self._topics.machine(factory.machines[0].path, use.leaf), False
            elif self._party is Party.INGEST and use.kind == INGESTS:
                member = f"{factory.ingest.id}-{factory.gateway.id}"
                yield self._topics.ingest(own.enterprise, own.site, member, use.leaf), False

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[MqttClient]:
        """Connect, again after a moment if need be. Raises `MqttError`."""
        async with AsyncExitStack() as stack:
            for attempt in range(1, CONNECTS + 1):
                try:
                    client = await stack.enter_async_context(MqttClient(self._broker, self.identifier))
                    break
                except MqttError:
                    if attempt == CONNECTS:
                        raise
                    await asyncio.sleep(CONNECT_PAUSE)
            yield client

    async def _publish(self, topic: str, *, retain: bool) -> Attempt:
        answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def answer(reason: int) -> None:
            if not answered.done():
                answered.set_result(reason)

        outcome, detail = Outcome.REFUSED, "the broker ended the connection"
        async with self._client() as client:
            with suppress(MqttError):
                client.send(topic, b"", answer, retain=retain)
                lost = asyncio.ensure_future(client.lost())
                done, _ = await asyncio.wait(
                    (answered, lost), timeout=ANSWER_TIMEOUT, return_when=asyncio.FIRST_COMPLETED
                )
                lost.cancel()
                await asyncio.gather(lost, return_exceptions=True)
                if not done:
                    outcome, detail = Outcome.UNKNOWN, f"no answer within {ANSWER_TIMEOUT:g} s"
        if answered.done():
            outcome, detail = self._read(answered.result())
        return Attempt(Action.PUBLISH, topic, self._account.may(Action.PUBLISH, topic), outcome, detail)

    def _read(self, reason: int) -> tuple[Outcome, str]:
        if reason >= REFUSED:
            return Outcome.REFUSED, f"reason code {reason:#x}"
        if self._broker.version is Version.V311:
            return Outcome.UNKNOWN, "MQTT 3.1.1 acknowledges a refused message, too"
        return Outcome.ALLOWED, ""

    # -- subscribe --

    async def subscribe(self) -> list[Attempt]:
        """Subscribe to each filter of the part, and to those of all others; listen for messages."""
        rights = [right for right in self._account.rights if right.action is Action.SUBSCRIBE]
        shared = [right.topic for right in rights if right.share not in {"", ANY}]
        plain = [right.topic for right in rights if not right.share]
        foreign = [one for use in USES if (one := self._topics.all_of(use)) not in {*plain, *shared}]
        refused: dict[str, str] = {}
        heard: set[str] = set()
        for some in (plain, [*foreign, f"{self._topics.root}/#"]):
            heard |= await self._listen(some, refused)
        found = [
            Attempt(
                Action.SUBSCRIBE, topic, allowed=True,
                outcome=Outcome.REFUSED if topic in refused else Outcome.ALLOWED, detail=refused.get(topic, ""),
            )
            for topic in plain
        ]  # fmt: skip
        found += [
            Attempt(
                Action.SUBSCRIBE, topic, allowed=True, outcome=Outcome.UNKNOWN,
                detail="not tried: it would receive records of an ingest",
            )
            for topic in shared
        ]  # fmt: skip
        return found + [self._foreign(topic, refused, heard) for topic in [*foreign, f"{self._topics.root}/#"]]

    def _foreign(self, topic: str, refused: dict[str, str], heard: Iterable[str]) -> Attempt:
        """Return the attempt to subscribe to a filter with topics of others."""
        if topic in refused:
            return Attempt(Action.SUBSCRIBE, topic, allowed=False, outcome=Outcome.REFUSED, detail=refused[topic])
        leaked = sorted(
            one for one in heard if topic_matches_sub(topic, one) and not self._account.may(Action.SUBSCRIBE, one)
        )
        if leaked:
            return Attempt(
                Action.SUBSCRIBE, topic, allowed=False, outcome=Outcome.ALLOWED, detail=f"received {leaked[0]}"
            )
        detail = f"granted, and nothing of others came in {LISTEN:g} s"
        return Attempt(Action.SUBSCRIBE, topic, allowed=False, outcome=Outcome.UNKNOWN, detail=detail)

    async def _listen(self, topics: Sequence[str], refused: dict[str, str]) -> set[str]:
        """Subscribe, and return the topics of all messages; add the filters that the broker denies to `refused`.

        Raises `MqttError` if no connection can be made: nothing is known then of the filters that were not tried.
        """
        waiting, heard = list(topics), set[str]()
        while waiting:
            async with self._client() as client:
                try:
                    while waiting:
                        if reason := (await client.subscribe_to(waiting[0], qos=0)).get(waiting[0]):
                            refused[waiting[0]] = f"reason code {reason:#x}"
                        del waiting[0]
                    for use in USES:  # where it may publish, there is something to hear even in a silent plant
                        client.send_unacknowledged(self._invented(use), b"")
                    with suppress(TimeoutError):
                        async with asyncio.timeout(LISTEN):
                            while True:
                                heard.add((await client.receive()).topic)
                except MqttError:  # some brokers end the connection of a client that does a thing without the right
                    if waiting:
                        refused[waiting.pop(0)] = "the broker ended the connection"
        return heard

    # -- client id --

    async def take_client_id(self, other: BrokerSection | None) -> Attempt:
        """Connect with the client id of a connection of the other user: a broker disconnects one of the two."""
        identifier = f"{PREFIX}{self._probe}"
        if other is None:
            return Attempt(
                CLIENT_ID, identifier, allowed=False, outcome=Outcome.UNKNOWN, detail="not tried: use --other CONFIG"
            )
        async with MqttClient(other, identifier) as victim:
            lost = asyncio.ensure_future(victim.lost())
            try:
                async with MqttClient(self._broker, identifier):
                    await asyncio.wait((lost,), timeout=LISTEN)
            except MqttError as error:
                return Attempt(CLIENT_ID, identifier, allowed=False, outcome=Outcome.REFUSED, detail=str(error))
            finally:
                taken = lost.done()
                lost.cancel()
                await asyncio.gather(lost, return_exceptions=True)
        return Attempt(
            CLIENT_ID, identifier, allowed=False, outcome=Outcome.ALLOWED if taken else Outcome.REFUSED,
            detail=f"it disconnected the user {other.username}" if taken else "",
        )  # fmt: skip
