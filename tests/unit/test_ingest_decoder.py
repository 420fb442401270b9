"""A message from the broker is a record, metadata, or set aside; none stops the rest."""

from __future__ import annotations

from typing import Any, cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codecs import CODECS
from gateway.ingest import metadata_requests
from gateway.ingest.batch import Batch
from gateway.ingest.decoder import NO_METADATA, MessageDecoder
from gateway.ingest.metadata_registry import MetadataRegistry
from gateway.ingest.metadata_requests import MetadataRequests
from gateway.ingest.status import IngestStatus
from gateway.model.metadata import MachineMeta, write_meta
from gateway.model.path import MachinePath
from gateway.model.reading import NamedScan
from gateway.model.record import Record
from gateway.mqtt.messages import encode_metadata
from gateway.mqtt.packets import ReceivedMessage
from gateway.mqtt.topics import Topics

PATH = MachinePath("e", "s", "a", "l", "m")
DATA = f"lineside/v1/{PATH}/data"
META = MachineMeta("t", {"p": "float"}, {"p": "bar"})


def message(topic: str, payload: bytes) -> ReceivedMessage:
    return ReceivedMessage(topic, payload, qos=1, mid=1)


def record(meta: str = "") -> bytes:
    return CODECS["json"].encode(Record("edge", "sp", 7, [NamedScan(5, {"p": 1.5}), NamedScan(6, {"p": 2.5})], meta))


class Intake:
    """A decoder with all that it writes to. `now` is the time of the clock."""

    def __init__(self, *, gateway_resends: bool = True) -> None:
        self.now = 1000.0
        self.metadata = MetadataRegistry()
        self.status = IngestStatus()
        self.requests = MetadataRequests(lambda: self.now)
        self.batch = Batch(cast("Any", None))
        self._decoder = MessageDecoder(
            Topics("lineside/v1"), self.metadata, self.requests, self.status,
            gateway_resends=gateway_resends,
        )  # fmt: skip

    def add(self, topic: str, payload: bytes) -> None:
        self._decoder.add(self.batch, message(topic, payload))

    def answer(
        self, known: tuple[MachineMeta, ...] = (), unknown: tuple[str, ...] = (), gateway: str = "edge"
    ) -> None:
        """Let a gateway answer."""
        for payload in encode_metadata({meta.id: (PATH, meta) for meta in known}, unknown):
            self.add(f"lineside/v1/e/s/_gateways/{gateway}/metadata", payload)

    def reasons(self) -> list[str]:
        letters = [*self.batch.other_letters, *(one for letters in self.batch.letters.values() for one in letters)]
        return [letter.reason for letter in letters]


@pytest.fixture
def intake() -> Intake:
    return Intake()


def test_a_record_goes_into_the_batch_with_its_description(intake: Intake) -> None:
    intake.metadata.add(PATH, [META])
    intake.add(DATA, record(META.id))
    intake.add(DATA, record())
    assert [(one.path, one.meta, one.scan.time, one.record) for one in intake.batch.scans] == [
        (PATH, META, 5, 0), (PATH, META, 6, 0), (PATH, META, 5, 1), (PATH, META, 6, 1),
    ]  # fmt: skip
    assert intake.batch.readings == 4
    assert len(intake.batch.messages) == 2


@pytest.mark.parametrize(
    "topic",
    [
        "lineside/v1/e/s/a/l/data", "lineside/v1/e/s/a/l/m/n/data", "lineside/v1/e/s/a/l//data",
        "other/e/s/a/l/m/data",
        "lineside/v1/e/s/_gateways/l/m/data", "lineside/v1/e/s/_gateways/l/state",
    ],
)  # fmt: skip
def test_a_topic_of_no_machine_is_set_aside(intake: Intake, topic: str) -> None:
    """Two names that a store makes one of would be one machine."""
    intake.add(topic, record())
    assert intake.reasons() == ["no machine has this topic"]
    assert (len(intake.batch.messages), intake.batch.scans) == (1, [])


@pytest.mark.parametrize(
    ("machine", "reason"),
    [
        ("m\n1", "a line feed"), ("\x7f", "a control character"), ("a\\", "a backslash"), ('a"b', "a double quote"),
        ("\u2028", "line separator"), ("a\u202eb", "right-to-left override"), ("x" * 300, "300 characters long"),
    ],
)  # fmt: skip
def test_a_machine_name_that_no_store_can_keep_is_set_aside(intake: Intake, machine: str, reason: str) -> None:
    """It would break out of its place in a line of text, or be another machine's."""
    intake.add(f"lineside/v1/e/s/a/l/{machine}/data", record())
    [found] = intake.reasons()
    assert reason in found
    assert intake.batch.scans == []


@pytest.mark.parametrize("text", ["a\\", "a\\,b", 'a"', "a\nb", "\x00", "\x9b1m", "\u2029", "x" * 300])
@pytest.mark.parametrize("kind", ["point", "template", "unit", "value's point"])
def test_names_and_units_that_no_store_can_hold_are_set_aside(intake: Intake, kind: str, text: str) -> None:
    """One record of any machine could otherwise rewrite any series in InfluxDB."""
    template, point, unit = (text if kind == name else "t" for name in ("template", "point", "unit"))
    if kind == "value's point":
        intake.add(DATA, orjson.dumps(orjson.loads(record()) | {"scans": [{"t": 5, "values": {text: 1.5}}]}))
    else:
        meta = {"template": template, "points": {point: {"type": "float", "unit": unit}}}
        intake.add(f"lineside/v1/{PATH}/meta", orjson.dumps(meta))
    assert len(intake.reasons()) == 1
    assert (len(intake.metadata), intake.batch.scans) == (0, [])


@pytest.mark.slow
def test_metadata_with_thousands_of_earlier_versions_is_set_aside(intake: Intake) -> None:
    """60,000 of them took 470 MB."""
    earlier = [{"template": f"t{number}", "points": {}} for number in range(60_000)]
    intake.add(f"lineside/v1/{PATH}/meta", orjson.dumps({"template": "t", "points": {}, "earlier": earlier}))
    [reason] = intake.reasons()
    assert reason.startswith("is not metadata: earlier")
    assert len(intake.metadata) == 0


# -- records that wait for their metadata --


def test_a_record_waits_in_memory_until_its_metadata_is_known(intake: Intake) -> None:
    """It is acknowledged and accepted, so that nothing behind it waits, and confirmed when it is stored."""
    intake.add(DATA, record(META.id))
    assert (len(intake.batch.messages), intake.batch.records, intake.status.waiting_for_metadata) == (1, [], 1)
    assert [one.seq for one in intake.batch.accepted()] == [7]
    assert list(intake.batch.confirmations()) == []
    assert list(intake.requests.due().values()) == [[META.id]]
    intake.add(f"lineside/v1/{PATH}/meta", orjson.dumps(write_meta(META)))
    assert [(one.meta, one.scan.time) for one in intake.batch.scans] == [(META, 5), (META, 6)]
    assert [(one.seq, one.set_aside) for one in intake.batch.confirmations()] == [(7, 0)]
    assert len(intake.requests) == 0


def test_a_gateway_answers_with_metadata_that_no_broker_retains(intake: Intake) -> None:
    """A box that worked for months before its server was set up has changed its points more than once."""
    intake.add(DATA, record(META.id))
    intake.answer(known=(META,))
    assert [one.meta for one in intake.batch.scans] == [META] * 2
    assert intake.metadata.find(PATH, "") is None


def test_an_unrequested_answer_is_ignored(intake: Intake) -> None:
    """It could displace the metadata of any machine."""
    intake.answer(known=(META,))
    assert (len(intake.metadata), intake.reasons()) == (0, [])


def test_a_record_whose_metadata_its_gateway_does_not_know_is_set_aside(intake: Intake) -> None:
    """With its raw values, counted, and confirmed as set aside: it never blocks."""
    intake.add(DATA, record(META.id))
    intake.answer(unknown=(META.id,), gateway="other")
    assert len(intake.requests) == 1
    intake.answer(unknown=(META.id,))
    assert intake.reasons() == [f"gateway edge does not know its metadata {META.id}"]
    assert intake.batch.letters[0][0].payload == record(META.id)
    assert [(one.seq, one.set_aside) for one in intake.batch.confirmations()] == [(7, 2)]
    assert intake.status.not_stored == {"unknown_metadata": 2}
    assert len(intake.requests) == 0


def test_a_gateway_that_sends_and_never_answers_is_not_waited_for(intake: Intake) -> None:
    """A release that does not know the request must not stall in strict order."""
    intake.add(DATA, record(META.id))
    for _ in range(100):
        intake.now += 1.0
        intake.requests.due()
    assert len(intake.requests) == 1  # it may be away itself
    intake.add(DATA, record(META.id))
    assert intake.reasons() == [f"gateway edge does not answer for its metadata {META.id}"]
    assert len(intake.requests) == 0


def test_a_request_is_repeated_with_growing_pauses(intake: Intake) -> None:
    intake.add(DATA, record(META.id))
    asked = []
    for second in range(200):
        intake.now = 1000.0 + second
        if intake.requests.due():
            asked.append(second)
    assert asked == [0, 5, 15, 35, 75, 135, 195]


def test_a_record_that_is_sent_again_waits_once(intake: Intake) -> None:
    for _ in range(5):
        intake.add(DATA, record(META.id))
    assert len(intake.requests) == 1
    intake.answer(known=(META,))
    assert len(intake.batch.records) == 1


def test_waiting_records_are_bounded(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records without room stay in their spools; they are accepted, so that their gateway sends on."""
    monkeypatch.setattr(metadata_requests, "MAX_WAITING_BYTES", 10_000)
    for seq in range(1, 101):
        intake.add(DATA, CODECS["json"].encode(Record("edge", "sp", seq, [NamedScan(seq, {"p": 1.5})], META.id)))
    assert 10 < len(intake.requests) < 50
    assert len(list(intake.batch.accepted())) == 100


def test_a_record_that_would_not_come_again_is_set_aside() -> None:
    """With `confirm: broker` its gateway has forgotten it: somebody may still put it right by hand."""
    intake = Intake(gateway_resends=False)
    intake.add(DATA, record(META.id))
    assert intake.batch.scans == []
    assert intake.reasons() == [f"its meta {META.id} was never published"]


def test_a_record_of_others_without_any_description_is_stored(intake: Intake) -> None:
    intake.add(DATA, record())
    assert [one.meta for one in intake.batch.scans] == [NO_METADATA] * 2


def test_an_empty_description_is_ignored(intake: Intake) -> None:
    """In MQTT an empty retained message removes the retained message of a topic."""
    intake.add(f"lineside/v1/{PATH}/meta", b"")
    assert intake.reasons() == []


TOPICS = st.sampled_from([DATA, f"lineside/v1/{PATH}/meta", "lineside/v1/e/s/_gateways/edge/metadata"]) | st.text(
    max_size=30
).map(lambda t: f"lineside/v1/{t}")
PAYLOADS = st.binary(max_size=60) | st.sampled_from(
    [record(), record("x"), b'{"template":"t","points":{}}', b'{"v":1,"unknown":["x"]}']
)


@given(st.lists(st.tuples(TOPICS, PAYLOADS), max_size=8))
def test_nothing_that_can_be_published_stops_the_decoder(
    story: list[tuple[str, bytes]],
) -> None:
    """One publisher must not end the ingest of all others."""
    intake = Intake()
    for topic, payload in story:
        intake.add(topic, payload)
    assert len(intake.batch.messages) == len(story)
