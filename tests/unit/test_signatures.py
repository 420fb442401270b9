"""Signatures of records: a form beside the record, keys, and the check in ingest."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.codecs import CODECS, Undecodable, decode
from gateway.codecs.signature import BYTES, LARGEST, split, with_signature
from gateway.common.setting_types import MissingSecret
from gateway.ingest.batch import Batch
from gateway.ingest.decoder import MessageDecoder
from gateway.ingest.metadata_registry import MetadataRegistry
from gateway.ingest.metadata_requests import MetadataRequests
from gateway.ingest.signatures import Signatures
from gateway.ingest.status import IngestStatus
from gateway.ingest.tail import RecordReader
from gateway.model.path import MachinePath
from gateway.model.reading import NamedScan
from gateway.model.record import Record
from gateway.mqtt.packets import ReceivedMessage
from gateway.mqtt.topics import Topics
from gateway.mqtt.verifier import UNSIGNED, Verifier
from gateway.publish.signer import Signer
from gateway.settings.sections import IngestSection

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

TOPICS = Topics("lineside/v1")
PRESS = MachinePath("acme", "north", "curing", "curing-1", "press-01")
OTHER = PRESS._replace(machine="press-02")

KEYS = [Ed25519PrivateKey.generate() for _ in range(3)]


def pem(key: Ed25519PrivateKey | RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public(key: Ed25519PrivateKey) -> str:
    return b64encode(key.public_key().public_bytes_raw()).decode()


def record(codec: str, seq: int = 1, value: float = 1.5, gateway: str = "edge-01") -> bytes:
    scans = [NamedScan(seq, {f"p{n}": value + n for n in range(40)})]
    return CODECS[codec].encode(Record(gateway, "9f2c", seq, scans, tag="00112233aabbccdd"))


def signed(codec: str, seq: int = 1, key: Ed25519PrivateKey = KEYS[0], path: MachinePath = PRESS) -> bytes:
    return Signer(pem(key)).sign(str(path) + "/data", record(codec, seq))


class Intake:
    """A decoder that knows the keys of one gateway."""

    def __init__(self, *keys: Ed25519PrivateKey) -> None:
        self.status, self.batch = IngestStatus(), Batch(cast("Any", None))
        signatures = Signatures({"edge-01": [public(key) for key in keys]})
        self.decoder = MessageDecoder(
            TOPICS, MetadataRegistry(), MetadataRequests(lambda: 0.0), self.status, signatures=signatures,
            gateway_resends=True,
        )  # fmt: skip

    def add(self, payload: bytes, path: MachinePath = PRESS) -> None:
        self.decoder.add(self.batch, ReceivedMessage(TOPICS.data(path), payload, qos=1, retain=False, mid=1))

    @property
    def stored(self) -> list[int]:
        return [one.seq for one in self.batch.confirmations()]


@pytest.mark.parametrize("codec", CODECS)
def test_a_signature_is_beside_the_record(codec: str) -> None:
    """A gateway that does not sign sends the same bytes as before; a signed record can be read by others."""
    payload = record(codec)
    assert split(payload) == (payload, b"")
    signature = bytes(range(BYTES))
    both = with_signature(payload, signature)
    assert split(both) == (payload, signature)
    assert 0 < len(both) - len(payload) <= LARGEST
    assert decode(both) == decode(payload) == CODECS[codec].decode(payload)


def test_a_signed_record_in_json_is_still_json() -> None:
    """A consumer of its own reads on, and an ingest of an earlier version, too."""
    both = with_signature(record("json"), bytes(BYTES))
    assert CODECS["json"].decode(both) == decode(record("json"))
    assert both.endswith(b'"}')


@given(st.binary(max_size=300), st.sampled_from([b"", b"\xb1\x01\x04", b'{"v":1', b',"sig":"']))
def test_any_bytes_can_be_split(tail: bytes, head: bytes) -> None:
    """They come from any client; a signature makes no record of other bytes."""
    content, signature = split(head + tail)
    assert len(signature) in {0, BYTES}
    assert len(content) <= len(head + tail)
    with pytest.raises(Undecodable):
        decode(head + tail)


@pytest.mark.parametrize("codec", CODECS)
def test_only_signed_records_of_a_gateway_with_a_key_are_stored(codec: str) -> None:
    """A client with too many rights can't publish in its name; a moved or changed record is not its record."""
    intake = Intake(KEYS[0])
    changed = signed(codec, 4)
    changed = changed.replace(b"5.5", b"9.9") if codec == "json" else changed[:-1] + bytes((changed[-1] ^ 1,))
    with capture_logs() as logs:
        intake.add(signed(codec, 1))
        for _ in range(3):  # an honest gateway sends it again until the key is right
            intake.add(record(codec, 2))
        intake.add(signed(codec, 3, KEYS[1]))
        intake.add(changed)
        intake.add(signed(codec, 5), OTHER)
        intake.add(record(codec, 6, gateway="edge-02"))  # which need not sign
    assert intake.stored == [1, 6]
    assert [letter.reason for letter in intake.batch.other_letters] == [
        "the record has no signature of gateway edge-01",
        *["the signature is not of gateway edge-01"] * 3,
    ]
    assert intake.status.not_stored == {"bad_signature": 160}
    assert intake.status.set_aside == 160
    refused = [event for event in logs if event["event"] == "record.signature_refused"]
    assert {event["topic"] for event in refused} == {TOPICS.data(PRESS), TOPICS.data(OTHER)}


def test_refused_metadata_is_said_for_the_audit_log() -> None:
    """A person who reads the log finds the attempt, and not only the count."""
    noted: list[tuple[str, str, str, str]] = []
    status, topic = IngestStatus(), TOPICS.meta(PRESS)
    decoder = MessageDecoder(
        TOPICS, MetadataRegistry(), MetadataRequests(lambda: 0.0), status, gateway_resends=True,
        verifier=Verifier(TOPICS.root, {"edge-01": [public(KEYS[0])]}),
        note_refused=lambda *said: noted.append(said),
    )  # fmt: skip
    batch = Batch(cast("Any", None))
    for _ in range(2):
        decoder.add(batch, ReceivedMessage(topic, b'{"metas":[]}', qos=1, retain=True, mid=1))
    assert noted == [("message-refused", "", topic, UNSIGNED)] * 2
    assert len(batch.other_letters) == 1
    assert status.messages_refused == {UNSIGNED: 2}


def test_a_gateway_may_have_two_keys_while_one_is_replaced() -> None:
    """Records of the old key are on the way when the gateway starts with the new key."""
    intake = Intake(KEYS[1], KEYS[0])
    for seq, key in enumerate(KEYS, 1):
        intake.add(signed("json", seq, key))
    assert intake.stored == [1, 2]


@pytest.mark.parametrize(
    "wrong", [b"", b"a password", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"]
)
def test_a_key_of_another_kind_is_refused_at_the_start(wrong: bytes) -> None:
    """With a command that makes one, and without the text that may be a secret."""
    with pytest.raises(MissingSecret, match="openssl genpkey -algorithm ed25519") as refused:
        Signer(wrong)
    assert "password" not in str(refused.value)
    with pytest.raises(MissingSecret):
        Signer(pem(generate_private_key(65537, 2048)))


@pytest.mark.parametrize(
    "wrong", ["", "edge", b64encode(bytes(30)).decode(), b64encode(bytes(33)).decode(), "ä" * 44, 5]
)
def test_a_wrong_public_key_is_refused(wrong: object) -> None:
    """With a command that prints it."""
    with pytest.raises(ValueError, match=r"openssl pkey|valid string|valid tuple"):
        IngestSection.model_validate({"public_keys": {"edge-01": wrong}})
    right = public(KEYS[0])
    shown = IngestSection.model_validate({"public_keys": {"edge-01": right}}).public_keys
    assert shown == {"edge-01": (f"MCowBQYDK2VwAyEA{right}",)}


def test_tail_leaves_out_records_without_the_signature_of_their_gateway() -> None:
    """A person who looks at readings sees those of the gateway alone."""
    reader = RecordReader(TOPICS, signatures=Signatures({"edge-01": [public(KEYS[0])]}))
    topic = TOPICS.data(PRESS)
    assert len(reader.readings(ReceivedMessage(topic, signed("json")))) == 40
    for forged in (record("json"), signed("json", key=KEYS[1])):
        with pytest.raises(Undecodable, match="gateway edge-01"):
            reader.readings(ReceivedMessage(topic, forged))
    assert len(reader.readings(ReceivedMessage(topic, record("json", gateway="edge-02")))) == 40
