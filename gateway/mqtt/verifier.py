"""Verify messages that are not records, with the public keys of gateways and ingests, in every reader.

| topic | who signs |
|---|---|
| of a gateway, but `confirmed`, `wanted` and `command` | this gateway |
| `confirmed` and `wanted` of a gateway | any ingest |
| of an ingest | this ingest |
| `meta`, `state` and alarms of a machine | a gateway that may publish for it |

A message is refused if its signature is missing or wrong, if its signer may not publish it, and if it repeats an
earlier one: `at` and `connection` of `gateway.mqtt.signed` rise. No clock is compared, so a gateway whose clock is
wrong is believed, and one that is set back goes on above its last number.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import structlog

from gateway.common.public_keys import key_id, public_key
from gateway.common.state_log import RepeatLog
from gateway.model.machine_patterns import MachinePatterns, full_pattern
from gateway.mqtt.signed import CLEARED, read_signed, signed_text
from gateway.mqtt.topics import GATEWAYS, INGESTS, Topics
from gateway.settings.sections import Signatures

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from gateway.mqtt.packets import ReceivedMessage
    from gateway.mqtt.signed import Signed, SignedMessage
    from gateway.mqtt.topics import Site
    from gateway.settings.factory import Factory

log = structlog.get_logger(__name__)

UNSIGNED, BAD_SIGNATURE, NOT_ALLOWED, REPEATED = "unsigned", "bad_signature", "not_allowed", "repeated"
"""Why a message is refused."""

REASONS = (BAD_SIGNATURE, NOT_ALLOWED, REPEATED, UNSIGNED)

HINTS = {
    UNSIGNED: "find its publisher; a gateway of an earlier version signs records alone: upgrade it, or set "
    "ingest.message_signatures: accepted",
    BAD_SIGNATURE: "find its publisher; if the signer has a new key, add its public key",
    NOT_ALLOWED: "find its publisher; if this gateway has the machine now, change ingest.gateways",
    REPEATED: "once it may be a will that came late; if it goes on, find who publishes old messages again",
}
"""What to do about a refused message, by reason."""

MAX_HEARD = 200_000
"""Topics whose last message is remembered; beyond it the topic that was remembered first is forgotten."""

_OTHERS = ""
"""Gateways without a key that no pattern names."""

_BY_INGESTS = frozenset({"confirmed", "wanted"})
_UNSIGNED_LEAVES = frozenset({"command", "data", "event", "share"})
"""Ends of topics without messages of this kind: records and commands have signatures of their own."""

_RECORDS = ("/data", "/event")
"""Ends of the topics of records; an alarm may have the same name."""

_REPORTS = frozenset({"ledger", "report"})
"""Ends of topics where a broker retains one message of several, so that an old message comes at each subscription."""


class Verdict(NamedTuple):
    """The result for one message.

    `payload` is what to read: empty also for the message that says that a topic is cleared. `verified` is whether its
    signature is right, `fault` why it must not be believed; empty if it may. `reason` is the reason for which it
    is counted; an old report that a broker retains is not. `connection` is that of its signer.
    """

    payload: bytes
    verified: bool = False
    fault: str = ""
    reason: str = ""
    by: str = ""
    connection: int = 0


@dataclass(slots=True)
class _Heard:
    """The last message of a signer on a topic, and the connection whose will has come."""

    at: int = 0
    ended: int = 0
    cleared: bool = False


class Verifier:
    """The keys of gateways and ingests by name, and the order of their messages on each topic.

    `refused` counts the messages that must not be believed, by reason. `required` is whether a signer with a key has
    to sign; otherwise its unsigned messages are believed, and not verified. Without patterns of `machines` all
    gateways with keys may sign for each machine; with `others` there are gateways without keys, too.
    """

    def __init__(
        self,
        root: str,
        gateways: Mapping[str, Iterable[str]],
        ingests: Mapping[str, Iterable[str]] | None = None,
        machines: MachinePatterns | None = None,
        *,
        required: bool = True,
        others: bool = False,
    ) -> None:
        self.refused: Counter[str] = Counter()
        self._topics = Topics(root)
        self._keys = {GATEWAYS: _by_id(gateways), INGESTS: _by_id(ingests or {})}
        self._has_keys = any(self._keys.values())
        self._machines = machines or MachinePatterns()
        self._required = required
        self._others = (_OTHERS,) if others else ()
        self._heard: dict[tuple[str, str], _Heard] = {}
        self._connections: dict[tuple[str, Site, str], int] = {}
        self._repeats = RepeatLog(log)

    def __bool__(self) -> bool:
        return self._has_keys

    def connection_of(self, kind: str, site: Site, by: str) -> int:
        """Return the newest connection of a gateway or ingest of a site; 0 if it is not known."""
        return self._connections.get((kind, site, by), 0)

    def check(self, message: ReceivedMessage) -> Verdict:
        """Return whether a message may be believed; one that may not is counted, and logged once for each topic."""
        topic = message.topic
        if not self._has_keys or (topic.endswith(_RECORDS) and "/alarm/" not in topic):  # at once: records are many
            return Verdict(message.payload)
        verdict, reason = self._judge(message)
        if reason:
            self.refused[reason] += 1
            self._repeats.error(
                "message.signature_refused", key=f"{topic} {reason}", topic=topic, by=verdict.by,
                reason=reason, error=verdict.fault, hint=HINTS[reason],
            )  # fmt: skip
            return verdict._replace(reason=reason)
        return verdict

    # -- who signs --

    def _judge(self, message: ReceivedMessage) -> tuple[Verdict, str]:
        """Return the result for a message, and why it counts as refused; empty if it does not."""
        topic, payload = message.topic, message.payload
        kind, signers = self._signers_of(topic)
        if signers is None:
            return Verdict(payload), ""
        found = read_signed(payload) if payload else None
        if found is None:
            fault = self._fault_of_unsigned(topic, payload, kind, signers)
            counts = fault and (payload or self._knows(topic, signers))  # nothing is there that could be cleared
            return Verdict(payload, fault=fault), UNSIGNED if counts else ""
        by = found.header.by
        if by not in signers:
            return Verdict(payload, fault=f"{by} may not publish there", by=by), NOT_ALLOWED
        if self._keys[kind].get(by) is None and not self._needs(kind, signers):
            return Verdict(payload), ""  # a gateway whose key is not known here yet
        if fault := self._fault_of_signature(topic, kind, found):
            return Verdict(payload, fault=fault, by=by), BAD_SIGNATURE
        return self._in_order(message, kind, found)

    def _signers_of(self, topic: str) -> tuple[str, tuple[str, ...] | None]:
        """Return the kind and the names of those who may sign on a topic; no names if nobody has to."""
        member = self._topics.member_of(topic)
        if member is not None:
            if member.leaf in _UNSIGNED_LEAVES:
                return member.kind, None
            if member.leaf in _BY_INGESTS:
                return INGESTS, tuple(self._keys[INGESTS]) or None
            return member.kind, (member.name,) if member.name in self._keys[member.kind] else None
        found = alarm = self._topics.alarm_of(topic)
        if alarm is None:
            found = self._topics.machine_of(topic)
        if found is None or (alarm is None and found[1] in _UNSIGNED_LEAVES) or not self._keys[GATEWAYS]:
            return GATEWAYS, None
        if self._machines:
            return GATEWAYS, tuple(self._machines.gateways_of(found[0]))
        return GATEWAYS, (*self._keys[GATEWAYS], *self._others)

    def _needs(self, kind: str, signers: Iterable[str]) -> bool:
        """Return whether all who may publish on a topic have keys."""
        return all(name in self._keys[kind] for name in signers)

    def _fault_of_unsigned(self, topic: str, payload: bytes, kind: str, signers: tuple[str, ...]) -> str:
        if not self._required or not self._needs(kind, signers):
            return ""
        if not signers:
            return "no gateway may publish there"
        if payload:
            return f"it is unsigned: {_names(signers)} signs its messages"
        if any((heard := self._heard.get((topic, one))) and heard.cleared for one in signers):
            return ""
        return f"it is empty, and {_names(signers)} has not said that it clears the topic"

    def _knows(self, topic: str, signers: Iterable[str]) -> bool:
        """Return whether a message of a signer was believed on a topic."""
        return any((topic, one) in self._heard for one in signers)

    def _fault_of_signature(self, topic: str, kind: str, found: SignedMessage) -> str:
        header = found.header
        key = self._keys[kind].get(header.by, {}).get(header.key)
        if key is None:
            return f"its key {header.key} is not one of {header.by}"
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - few need it

        try:
            key.verify(found.signature, signed_text(self._topics.place(topic), found.content))
        except InvalidSignature:
            return f"the signature is not of {header.by} for this topic"
        return ""

    # -- the order --

    def _in_order(self, message: ReceivedMessage, kind: str, found: SignedMessage) -> tuple[Verdict, str]:
        """Return the result for a message with a right signature: it may repeat an earlier one."""
        header, topic = found.header, message.topic
        known = self._heard.get((topic, header.by)) or _Heard()
        cleared = found.content.startswith(CLEARED)
        verdict = Verdict(
            b"" if cleared else message.payload, verified=True, by=header.by, connection=header.connection
        )
        enterprise, site, *_ = self._topics.place(topic).split("/", 2)
        newest = self.connection_of(kind, (enterprise, site), header.by)
        if fault := _fault_of_order(header, known, newest):
            quiet = message.retain and topic.rpartition("/")[2] in _REPORTS
            return verdict._replace(fault=fault), "" if quiet else REPEATED
        if header.is_will:
            known.ended = header.connection
        known.at, known.cleared = max(known.at, header.at), cleared
        self._remember(topic, header.by, known)
        if header.connection:
            self._connections[kind, (enterprise, site), header.by] = max(header.connection, newest)
        return verdict, ""

    def _remember(self, topic: str, by: str, heard: _Heard) -> None:
        if (topic, by) not in self._heard and len(self._heard) >= MAX_HEARD:
            del self._heard[next(iter(self._heard))]
        self._heard[topic, by] = heard


def _fault_of_order(header: Signed, known: _Heard, connection: int) -> str:
    """Return why a message is not newer than those before it; empty if it is, or if it is the last of them again."""
    if header.connection and header.connection < connection:
        return "it is of an earlier connection of its signer"
    if header.is_will:
        return ""
    if header.connection and header.connection <= known.ended:
        return "its connection has ended"
    return "it repeats an earlier message" if header.at < known.at else ""


def _by_id(keys: Mapping[str, Iterable[str]]) -> dict[str, dict[str, Ed25519PublicKey]]:
    """Return public keys by the name of their owner, and by their ids."""
    return {name: {key_id(key): key for key in map(public_key, some)} for name, some in keys.items()}


def _names(signers: tuple[str, ...]) -> str:
    return signers[0] if len(signers) == 1 else "each gateway or ingest that may publish there"


def verifier_of(*factories: Factory) -> Verifier:
    """Return the verifier of the messages at the broker of some configurations; it is false without keys.

    A gateway may have the keys of each configuration that names it.
    """
    gateways: dict[str, list[str]] = {}
    ingests: dict[str, list[str]] = {}
    patterns: dict[str, list[str]] = {}
    for factory in factories:
        own, place = factory.ingest, factory.factory
        for found, keys in ((gateways, own.public_keys), (ingests, factory.gateway.ingest_keys)):
            for name, some in keys.items():
                found.setdefault(name, []).extend(some)
        for name, written in own.gateways.items():
            patterns.setdefault(name, []).extend(full_pattern(one, place.enterprise, place.site) for one in written)
    keyed = [one.ingest for one in factories if one.ingest.public_keys or one.gateway.ingest_keys]
    return Verifier(
        factories[0].broker.root, gateways, ingests,
        MachinePatterns(patterns if all(one.ingest.gateways for one in factories) else None),
        required=all(one.message_signatures is Signatures.REQUIRED for one in keyed),
        others=len(keyed) < len(factories),
    )  # fmt: skip
