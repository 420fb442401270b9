"""The machines that a gateway may publish records of, and retained messages where none belong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from aiomqtt import MqttError
from structlog.testing import capture_logs

from gateway.codecs import CODECS
from gateway.ingest import learned_owners
from gateway.ingest.batch import Batch, Sender
from gateway.ingest.decoder import MessageDecoder
from gateway.ingest.metadata_registry import MetadataRegistry
from gateway.ingest.metadata_requests import FORGET, MetadataRequests
from gateway.ingest.owners import MachineOwners
from gateway.ingest.retained import RetainedRecords
from gateway.ingest.status import IngestStatus
from gateway.model.path import MachinePath
from gateway.model.reading import NamedScan
from gateway.model.record import GatewayRecord, PlacedScan, Record
from gateway.mqtt.packets import ReceivedMessage
from gateway.mqtt.session import MAX_DENIED, Session
from gateway.mqtt.topics import Topics
from gateway.settings.sections import BrokerSection, IngestSection

if TYPE_CHECKING:
    from collections.abc import Callable

TOPICS = Topics("lineside/v1")
PRESS = MachinePath("acme", "north", "curing", "curing-1", "press-01")
EVIL = MachinePath("acme", "north", "evil", "evil-1", "m")
GATEWAYS = {"edge-01": ("curing/curing-1/*", "mixing/*/mixer-0?"), "edge-02": ("evil/evil-1/m",)}


class Intake:
    """A decoder, and the machines of two gateways, which are fixed or learned."""

    def __init__(self, *, fixed: bool) -> None:
        self.status, self.batch = IngestStatus(), Batch(cast("Any", None))
        self.requests = MetadataRequests(lambda: 0.0)
        owners = MachineOwners(self.status, GATEWAYS if fixed else {}, ("acme", "north"))
        self.retained = RetainedRecords(self.status, may_clear=True)
        self.decoder = MessageDecoder(
            TOPICS, MetadataRegistry(), self.requests, self.status, owners, self.retained, gateway_resends=True
        )

    def add(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self.decoder.add(self.batch, ReceivedMessage(topic, payload, qos=1, retain=retain, mid=1))

    def record(self, path: MachinePath, gateway: str, seq: int = 1) -> None:
        self.add(TOPICS.data(path), CODECS["json"].encode(Record(gateway, "9f2c", seq, [NamedScan(seq, {"p": 1.5})])))

    @property
    def stored(self) -> list[tuple[str, int]]:
        return [(one.sender.gateway, one.seq) for one in self.batch.confirmations()]


def test_a_record_of_a_machine_of_another_gateway_is_set_aside_and_not_confirmed():
    """A client that may publish one line named another gateway as the sender, whose records ingest then confirmed."""
    intake = Intake(fixed=True)
    with capture_logs() as logs:
        intake.record(PRESS, "edge-01", 1)
        for _ in range(3):  # an honest gateway sends it again until the configuration is right
            intake.record(EVIL, "edge-01", 2)
        intake.record(EVIL, "edge-02", 3)
        intake.record(PRESS, "edge-02", 4)
        intake.record(PRESS, "edge-03", 5)
    assert intake.stored == [("edge-01", 1), ("edge-02", 3)]
    assert [letter.reason for letter in intake.batch.other_letters] == [
        "gateway edge-01 may not publish records of acme/north/evil/evil-1/m",
        "gateway edge-02 may not publish records of acme/north/curing/curing-1/press-01",
        "gateway edge-03 may not publish records of acme/north/curing/curing-1/press-01",
    ]
    assert intake.status.not_stored == {"other_gateway": 3}
    assert list(intake.batch.accepted()) == list(intake.batch.confirmations())
    assert {event["event"] for event in logs} >= {"gateway.not_allowed"}


def test_a_record_of_a_gateway_is_set_aside_whole():
    """One of its machines is not its own, and which of them is invented nobody knows."""
    intake = Intake(fixed=True)
    scans = [PlacedScan(path, "", NamedScan(1, {"p": 1.5})) for path in (PRESS, EVIL)]
    topic = TOPICS.gateway("acme", "north", "edge-01", "data")
    intake.add(topic, CODECS["json"].encode(GatewayRecord("edge-01", "9f2c", 1, scans)))
    intake.add(topic, CODECS["binary"].encode(GatewayRecord("edge-01", "9f2c", 2, scans[:1])))
    assert intake.stored == [("edge-01", 2)]
    assert intake.status.not_stored == {"other_gateway": 2}


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("acme/north/curing/curing-1/press-99", True),
        ("acme/north/mixing/any/mixer-07", True),
        ("acme/north/mixing/any/mixer-10", False),
        ("acme/south/curing/curing-1/press-01", False),
        ("curing/curing-1/curing/curing-1/press-01", False),
        ("acme/north/x/curing/curing-1", False),
    ],
)
def test_a_pattern_matches_level_by_level(path: str, *, allowed: bool):
    """A glob over the whole path would match a machine of another place with the same end."""
    owners = MachineOwners(IngestStatus(), GATEWAYS, ("acme", "north"))
    denied = owners.denied(Sender("acme", "north", "edge-01", "9f2c"), [MachinePath(*path.split("/"))])
    assert (denied is None) is allowed


def test_without_configuration_a_change_of_the_gateway_is_logged_and_counted(monkeypatch: pytest.MonkeyPatch):
    """A box may be replaced, so its records are stored; a person has to know of it."""
    monkeypatch.setattr(learned_owners, "MAX_MACHINES", 2)
    intake = Intake(fixed=False)
    with capture_logs() as logs:
        for seq, gateway in enumerate(("edge-01", "edge-01", "edge-02", "edge-02"), 1):
            intake.record(PRESS, gateway, seq)
        for number in range(5):  # a flood of names displaces no known machine
            intake.record(EVIL._replace(machine=f"m{number}"), "edge-02", 10 + number)
        intake.record(PRESS, "edge-01", 20)
    found = [event for event in logs if event["event"] == "machine.other_gateway"]
    assert [(event["before"], event["gateway"]) for event in found] == [
        ("edge-01", "edge-02"),
        ("edge-02", "edge-01"),
    ]
    assert intake.status.machines_claimed == 2
    assert len(intake.stored) == 10


@pytest.mark.parametrize("pattern", ["press-01", "curing/*", "a/b/c/d", "a//b", "curing/curing-1/+", "a/b/#", ""])
def test_a_wrong_pattern_is_refused(pattern: str):
    """A pattern that matches nothing would set all records aside."""
    with pytest.raises(ValueError, match="is not a pattern of machines"):
        IngestSection.model_validate({"gateways": {"edge-01": [pattern]}})
    assert IngestSection.model_validate({"gateways": {"edge-01": "a/b/*"}}).gateways == {"edge-01": ("a/b/*",)}


# -- retained messages --


class Client:
    """Keeps the retained messages that are sent, and their callbacks."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self.answers: list[Callable[[int], None]] = []

    def send(self, topic: str, payload: bytes, answer: Callable[[int], None], *, retain: bool) -> None:
        assert retain
        self.sent.append((topic, payload))
        self.answers.append(answer)


@pytest.mark.parametrize(
    "topic",
    [
        TOPICS.data(PRESS),
        TOPICS.event(PRESS),
        "lineside/v1/acme/north/_gateways/edge-01/metadata",
        "lineside/v1/acme/north/_gateways/edge-01/data",
        "lineside/v1/acme/north/curing//press-01/data",
    ],
)
def test_a_retained_record_is_ignored_counted_and_cleared(topic: str):
    """It would be stored and confirmed again at every subscription, and displace the reading of no time."""
    intake, client = Intake(fixed=False), Client()
    payload = CODECS["json"].encode(Record("edge-01", "9f2c", 1, [NamedScan(1, {"p": 1.5})]))
    intake.add(topic, payload, retain=True)
    intake.retained.clear(cast("Any", client))
    assert client.sent == [(topic, b"")]
    client.answers[0](0)
    if "//" not in topic:
        intake.add(topic, b"")  # the broker passes on the message that clears it
    assert (intake.batch.records, intake.batch.other_letters) == ([], [])
    assert intake.status.retained_ignored == 1


def test_topics_are_cleared_one_at_a_time_and_the_first_refusal_is_the_last():
    """Usually ingest may not publish records, and a broker may close its connection for the attempt."""
    status, client, following = IngestStatus(), Client(), Client()
    retained = RetainedRecords(status, may_clear=True)
    for topic in ("a", "b", "c"):
        retained.ignore(topic)
        retained.clear(cast("Any", client))
    assert client.sent == [("a", b"")]
    client.answers[0](0)
    assert client.sent == [("a", b""), ("b", b"")]
    client.answers[1](0x87)
    retained.ignore("d")
    retained.clear(cast("Any", following))
    assert following.sent == []
    assert status.retained_ignored == 4


def test_a_connection_that_ends_at_the_attempt_is_not_ended_again():
    retained, client, following = RetainedRecords(IngestStatus(), may_clear=True), Client(), Client()
    retained.ignore("a")
    retained.clear(cast("Any", client))
    retained.ignore("a")
    retained.clear(cast("Any", following))
    assert following.sent == []


def test_a_lost_connection_is_raised():
    class Lost:
        def send(self, *_: object, **__: object) -> None:
            raise MqttError("lost")

    retained = RetainedRecords(IngestStatus(), may_clear=True)
    retained.ignore("a")
    with pytest.raises(MqttError):
        retained.clear(cast("Any", Lost()))


# -- bounds --


def test_records_of_invented_gateways_do_not_keep_the_room_of_others():
    """A client can name any gateway and any metadata, and nobody answers for them."""
    now = 0.0
    requests = MetadataRequests(lambda: now)
    intake = Intake(fixed=False)
    intake.decoder = MessageDecoder(TOPICS, MetadataRegistry(), requests, intake.status, gateway_resends=True)
    for number in range(20):
        record = Record(f"invented-{number}", "9f2c", 1, [NamedScan(1, {"p": 1.5})], f"meta-{number}")
        intake.add(TOPICS.data(EVIL), CODECS["json"].encode(record))
    assert len(requests) == len(requests.due()) == 20
    now = FORGET - 1
    assert len(requests.due()) == 20
    now = FORGET + 1
    assert requests.due() == {}
    assert len(requests) == 0


def test_denied_topics_are_remembered_up_to_a_limit():
    """Ingest confirms to each gateway that a record names, and a broker may deny each of these topics."""
    session = Session(BrokerSection(url="mqtt://127.0.0.1"), "client")
    with capture_logs() as logs:
        for _ in range(2):
            for number in range(MAX_DENIED + 50):
                session.note_publish(f"lineside/v1/acme/north/_gateways/{number}/confirmed", 0x87)
        session.note_publish("lineside/v1/acme/north/_gateways/7/confirmed", 0)
        session.note_publish(f"lineside/v1/acme/north/_gateways/{MAX_DENIED}/confirmed", 0x87)
    denied = [event["topic"] for event in logs if event["event"] == "mqtt.publish_denied"]
    assert len(denied) == MAX_DENIED + 1
    assert denied[-1].endswith(f"/{MAX_DENIED}/confirmed"), "there is room again"
