"""A message from the broker is a record, metadata, or set aside; none stops the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import MQTTMessage

from gateway.codecs import CODECS
from gateway.common.dead_letters import DeadLetters
from gateway.ingest.batch import Batch
from gateway.ingest.decoder import NO_METADATA, MessageDecoder
from gateway.ingest.metadata_registry import MetadataRegistry
from gateway.ingest.set_aside import SetAside
from gateway.ingest.status import IngestStatus
from gateway.model.metadata import MachineMeta
from gateway.model.path import MachinePath
from gateway.model.reading import NamedScan
from gateway.model.record import Record
from gateway.mqtt.topics import Topics

if TYPE_CHECKING:
    from pathlib import Path

PATH = MachinePath("e", "s", "a", "l", "m")
DATA = f"lineside/v1/{PATH}/data"
META = MachineMeta("t", {"p": "float"}, {"p": "bar"})


def message(topic: str, payload: bytes) -> MQTTMessage:
    made = MQTTMessage(1, topic.encode())
    made.payload = payload
    made.qos = 1
    return made


def record(meta: str = "") -> bytes:
    return CODECS["json"].encode(Record("edge", "sp", 7, [NamedScan(5, {"p": 1.5}), NamedScan(6, {"p": 2.5})], meta))


class Intake:
    """A decoder with all that it writes to."""

    def __init__(self, folder: Path, *, gateway_resends: bool = True) -> None:
        self.letters = DeadLetters(folder / "letters.jsonl", 2**20)
        self.metadata = MetadataRegistry()
        self.status = IngestStatus()
        self.batch = Batch(cast("Any", None))
        self._decoder = MessageDecoder(
            Topics("lineside/v1"), CODECS["json"], self.metadata, SetAside(self.letters, self.status), self.status,
            gateway_resends=gateway_resends,
        )  # fmt: skip

    def add(self, topic: str, payload: bytes) -> None:
        self._decoder.add(self.batch, message(topic, payload))

    def reasons(self) -> list[str]:
        if not self.letters.file.exists():
            return []
        return [orjson.loads(line)["reason"] for line in self.letters.file.read_bytes().splitlines()]


@pytest.fixture
def intake(tmp_path: Path) -> Intake:
    return Intake(tmp_path)


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
        "lineside/v1/e/s/_gateways/l/m/data", "lineside/v1/e/s/a/l/m\n1/data", "lineside/v1/e/s/a/l/\x7f/data",
    ],
)  # fmt: skip
def test_a_topic_of_no_machine_is_set_aside(intake: Intake, topic: str) -> None:
    """Two names that a store makes one of would be one machine."""
    intake.add(topic, record())
    assert intake.reasons() == ["no machine has this topic"]
    assert (len(intake.batch.messages), intake.batch.scans) == (1, [])


def test_a_record_without_its_description_waits_at_its_gateway(intake: Intake) -> None:
    """It is acknowledged, to take no slot, and not confirmed: so it comes again."""
    intake.add(DATA, record(META.id))
    assert (len(intake.batch.messages), intake.batch.records, intake.status.waiting_for_metadata) == (1, [], 1)
    intake.metadata.add(PATH, [META])
    intake.add(DATA, record(META.id))
    assert len(intake.batch.records) == 1


def test_a_record_that_would_not_come_again_is_set_aside(tmp_path: Path) -> None:
    """With `confirm: broker` its gateway has forgotten it: somebody may still put it right by hand."""
    intake = Intake(tmp_path, gateway_resends=False)
    intake.add(DATA, record(META.id))
    assert intake.batch.records == []
    assert intake.reasons() == [f"its meta {META.id} was never published"]


def test_a_record_of_others_without_any_description_is_stored(intake: Intake) -> None:
    intake.add(DATA, record())
    assert [one.meta for one in intake.batch.scans] == [NO_METADATA] * 2


def test_a_description_that_is_taken_back_is_nothing(intake: Intake) -> None:
    """An empty retained message is how MQTT forgets one."""
    intake.add(f"lineside/v1/{PATH}/meta", b"")
    assert intake.reasons() == []


def test_dead_letters_that_can_not_be_written_stop_nothing(tmp_path: Path) -> None:
    """A full disk would else end ingest at each poisoned message, and at each start anew."""
    intake = Intake(tmp_path)
    (tmp_path / "letters.jsonl").mkdir()
    intake.add(DATA, b"poison")
    assert intake.status.dead_letters == 1
    assert len(intake.batch.messages) == 1


TOPICS = st.sampled_from([DATA, f"lineside/v1/{PATH}/meta"]) | st.text(max_size=30).map(lambda t: f"lineside/v1/{t}")
PAYLOADS = st.binary(max_size=60) | st.sampled_from([record(), record("x"), b'{"template":"t","points":{}}'])


@given(st.lists(st.tuples(TOPICS, PAYLOADS), max_size=8))
def test_nothing_that_can_be_published_stops_the_decoder(
    tmp_path_factory: pytest.TempPathFactory, story: list[tuple[str, bytes]]
) -> None:
    """One publisher must not end the ingest of all others."""
    intake = Intake(tmp_path_factory.mktemp("intake"))
    for topic, payload in story:
        intake.add(topic, payload)
    assert len(intake.batch.messages) == len(story)
