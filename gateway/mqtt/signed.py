"""Signatures of messages that are not records: states, metadata, reports, alarms and answers.

A signed message is JSON with two more keys at its end, which a reader without keys ignores:

    {"state":"online",...,"signed":{"by":"edge-01","key":"21fe31dfa154a261","at":1764000000123456},"sig":"..."}

`sig` is Ed25519 (RFC 8032) in base64, over the bytes of the message before it with its `}`, and over its place:

    "lineside message 1" NUL place NUL message

`at` rises with each message of the signer, also over restarts, so no old message can pass for a present message.
Messages of the connection that has a last will name it in `connection`, a number of the same kind. The `at` of the
will is its `connection`: it was signed before all other messages of its connection, and is the last of them.

An empty message, which clears a retained message, can't be signed. A signed message that says so comes before it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, NamedTuple

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.codecs.signature import split, with_signature
from gateway.common.public_keys import key_id
from gateway.common.sign_key import load_sign_key
from gateway.model.text import MAX_NAME

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from gateway.common.rising_numbers import RisingNumbers
    from gateway.common.setting_types import Secret
    from gateway.mqtt.topics import Topics

NUMBERS = ".signed.json"
"""The end of the name of the file that has the last number of a gateway or an ingest."""

_DOMAIN = b"lineside message 1\0"
"""The beginning of every signed text: a signature of a message is that of no record and no command."""

_BEGIN = b',"signed":'

_SIGNED = re.compile(rb',"signed":(\{[^{}]{1,800}\})\}\Z')
"""The end of a message before its signature. No name has a brace or a quotation mark."""

_LONGEST = 900
"""Bytes at the end of a message in which the signer is looked for."""

CLEARED = b'{"cleared":true'
"""A message that says that the retained message of its topic is about to be cleared, without its last brace."""

_OF_OTHERS = frozenset({"command", "confirmed", "wanted"})
"""The ends of topics whose retained messages a gateway clears without being their publisher."""


class Signed(BaseModel):
    """The signer of a message, its key, and the place of the message in the order of the signer's messages."""

    model_config = ConfigDict(strict=True, frozen=True)

    by: Annotated[str, Field(min_length=1, max_length=2 * MAX_NAME)]
    key: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    at: Annotated[int, Field(ge=1, lt=2**63)]
    connection: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """The number of the connection with a last will; 0 for a message of a connection without one."""

    @property
    def is_will(self) -> bool:
        """Whether the message is the last will of its connection."""
        return self.at == self.connection


class SignedMessage(NamedTuple):
    """A signed message in parts: its header, the bytes that are signed, and the signature."""

    header: Signed
    content: bytes
    signature: bytes


def read_signed(payload: bytes) -> SignedMessage | None:
    """Return the parts of a message, None if it is not signed. The signature is not verified."""
    content, signature = split(payload)
    found = _SIGNED.search(content, max(0, len(content) - _LONGEST)) if signature else None
    if found is None:
        return None
    try:
        return SignedMessage(Signed.model_validate_json(found[1]), content, signature)
    except ValidationError:
        return None


def signed_text(place: str, content: bytes) -> bytes:
    """Return the text that is signed; `place` is the topic below the root."""
    return b"".join((_DOMAIN, place.encode(), b"\0", content))


class MessageSigner:
    """Signs the messages of a gateway or an ingest; `by` is its name in the topics."""

    def __init__(self, by: str, topics: Topics, numbers: RisingNumbers, key: Ed25519PrivateKey) -> None:
        self.numbers = numbers
        self.connection = 0
        """The number of the present connection; 0 if it has no will."""
        self._by = by
        self._topics = topics
        self._key = key
        self._id = key_id(key.public_key())

    @classmethod
    def of_secret(
        cls, by: str, topics: Topics, numbers: RisingNumbers, secret: Secret | None, option: str
    ) -> MessageSigner | None:
        """Return a signer with the key of a secret, None without one.

        Raises `MissingSecret`, whose text names the key of the configuration: `option`.
        """
        if secret is None:
            return None
        return cls(by, topics, numbers, load_sign_key(secret.reveal().encode(), option))

    def sign(self, topic: str, payload: bytes) -> bytes:
        """Return a message with its signature; an empty message has none."""
        return self._sign(topic, payload, self.numbers.next()) if payload else payload

    def sign_will(self, topic: str, payload: bytes) -> bytes:
        """Return the last will of the next connection with its signature. The connection begins with it."""
        self.connection = self.numbers.next()
        return self._sign(topic, payload, self.connection)

    def has_signed(self, topic: str, payload: bytes) -> bool:
        """Return whether a message of a topic has a right signature of this key."""
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - few need it

        found = read_signed(payload)
        if found is None:
            return False
        text = signed_text(self._topics.place(topic), found.content)
        try:
            self._key.public_key().verify(found.signature, text)
        except InvalidSignature:
            return False
        return True

    def clearing(self, topic: str) -> bytes:
        """Return the message to publish before a topic is cleared; empty for a topic of others."""
        own = topic.rpartition("/")[2] not in _OF_OTHERS
        return self.sign(topic, CLEARED + b"}") if own else b""

    def _sign(self, topic: str, payload: bytes, at: int) -> bytes:
        header: dict[str, str | int] = {"by": self._by, "key": self._id, "at": at}
        if self.connection:
            header["connection"] = self.connection
        content = b"".join((payload[:-1], _BEGIN, orjson.dumps(header), b"}"))
        place = self._topics.place(topic)
        return with_signature(content, self._key.sign(signed_text(place, content)))
