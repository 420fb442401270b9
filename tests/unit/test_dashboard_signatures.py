"""The page with the keys of gateways: refused messages change nothing, and people see them."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from dashboard_plant import PRESS, ROOT, FedPlant, events_of, plants
from processes import write_factory

from gateway.codecs import CODECS
from gateway.codecs.signature import signed_text, with_signature
from gateway.common.rising_numbers import RisingNumbers
from gateway.dashboard.feeds.delivery import DeliveryFeed
from gateway.dashboard.feeds.machine_rows import row_of
from gateway.dashboard.live.journal import Journal
from gateway.dashboard.live.plant import Plant
from gateway.model.reading import NamedScan
from gateway.model.record import Record
from gateway.mqtt.signed import MessageSigner
from gateway.mqtt.topics import Topics
from gateway.settings.load import load_factory

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.mqtt.verifier import Verdict

KEY, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
GATEWAY = "acme/north/_gateways/edge-01"
ONLINE = {"state": "online", "instance": "5e01c9f2", "spool": "9f2c81aa"}
OFFLINE = {"state": "offline", "reason": "connection lost", "instance": "5e01c9f2"}
DESCRIBED = {"v": 1, "id": "5d0c9e3f7a21", "template": "press", "points": {"p": {"type": "float", "unit": "bar"}}}


def public(key: Ed25519PrivateKey) -> str:
    return b64encode(key.public_key().public_bytes_raw()).decode()


class SignedPlant(FedPlant):
    """A plant whose page has the keys of two gateways."""

    def __init__(self, folder: Path, **ingest: Any) -> None:
        machine = {"template": "curing-press", "connection": "modbus+tcp://127.0.0.1:1"}
        keys = {"edge-01": public(KEY), "edge-02": public(OTHER)}
        file = write_factory(
            folder / "page.yaml", factory={"enterprise": "acme", "site": "north"},
            broker={"url": "mqtt://127.0.0.1:1"}, ingest={"public_keys": keys} | ingest,
            lines={"other": {"area": "other", "machines": {"m-01": machine}}},
        )  # fmt: skip
        factory = load_factory(file)
        Plant.__init__(self, factory.broker, Journal(), [factory])
        self.signer = MessageSigner("edge-01", Topics(ROOT), RisingNumbers(folder / "numbers"), KEY)
        self.noted: list[tuple[str, str]] = []
        self.refused = self._note_for_audit

    def _note_for_audit(self, topic: str, verdict: Verdict) -> None:
        self.noted.append((topic.removeprefix(f"{ROOT}/"), verdict.reason))

    def sign(self, topic: str, content: Any) -> bytes:
        return self.signer.sign(f"{ROOT}/{topic}", json.dumps(content, separators=(",", ":")).encode())

    def connect(self) -> None:
        """Hear the birth of a new connection."""
        self.will = self.signer.sign_will(f"{ROOT}/{GATEWAY}/state", json.dumps(OFFLINE).encode())
        self.hear(f"{GATEWAY}/state", self.sign(f"{GATEWAY}/state", ONLINE), retain=True)

    def machine_state(self, state: str) -> bytes:
        return self.sign(f"{PRESS}/state", {"state": state, "gateway": "edge-01", "since": 1})

    def row(self) -> dict[str, Any]:
        return row_of(plants(self), self, self.machines[PRESS])

    def members(self) -> list[dict[str, Any]]:
        message = DeliveryFeed(plants(self)).changes()
        assert message is not None
        found: list[dict[str, Any]] = message["members"]
        return found


@pytest.fixture
def plant(tmp_path: Path) -> SignedPlant:
    return SignedPlant(tmp_path)


def test_a_forged_state_of_a_machine_or_gateway_changes_nothing(plant: SignedPlant):
    """It is counted, noted once in the journal and the audit log, and a problem of the gateway."""
    plant.connect()
    plant.hear(f"{PRESS}/meta", plant.sign(f"{PRESS}/meta", DESCRIBED), retain=True)
    plant.hear(f"{PRESS}/state", plant.machine_state("online"), retain=True)
    for _ in range(3):
        plant.hear(f"{PRESS}/state", {"state": "offline", "gateway": "edge-01"})
        plant.hear(f"{GATEWAY}/state", OFFLINE)
    plant.hear(f"{PRESS}/meta", DESCRIBED | {"points": {"p": {"type": "float", "unit": "kPa"}}})
    assert plant.row()["state"] == "online"
    assert [point.unit for point in plant.machines[PRESS].points] == ["bar"]
    [gateway] = plant.members()
    assert (gateway["state"], gateway["problems"]) == ("online", [["refused", 2, {"reason": "unsigned"}]])
    refused = [(f"{PRESS}/state", "unsigned"), (f"{GATEWAY}/state", "unsigned"), (f"{PRESS}/meta", "unsigned")]
    assert plant.noted == refused
    assert plant.ignored == 7
    assert ("acme/north/edge-01", "message refused") in events_of(plant, "gateway")
    assert (str(PRESS), "message refused") in events_of(plant, "machine")


def test_a_state_that_is_not_verified_is_shown_as_that(plant: SignedPlant):
    """A page that is started finds a forged message: it knows no other state."""
    plant.hear(f"{PRESS}/meta", plant.sign(f"{PRESS}/meta", DESCRIBED), retain=True)
    plant.hear(f"{PRESS}/state", {"state": "online", "gateway": "edge-01"}, retain=True)
    plant.hear(f"{GATEWAY}/state", ONLINE, retain=True)
    assert (plant.row()["state"], plant.row()["reason"]) == ("not verified", "unsigned")
    assert [(one["name"], one["state"], one["level"]) for one in plant.members()] == [("edge-01", "not verified", 2)]
    plant.connect()
    plant.hear(f"{PRESS}/state", plant.machine_state("online"))
    assert plant.row()["state"] == "online"
    assert plant.members()[0]["state"] == "online"


def test_a_state_of_an_earlier_connection_is_not_verified(plant: SignedPlant):
    """Somebody has published the state of yesterday again, before the page was started."""
    plant.connect()
    old, will = plant.machine_state("online"), plant.will
    plant.connect()
    plant.hear(f"{PRESS}/state", old, retain=True)
    plant.hear(f"{GATEWAY}/state", will)
    assert PRESS not in plant.machines
    assert plant.members()[0]["state"] == "online"
    assert [reason for _, reason in plant.noted] == ["repeated", "repeated"]


def test_the_order_of_retained_messages_does_not_matter(plant: SignedPlant):
    """A page that is started may hear the old state of a machine first, and the state of its gateway then."""
    plant.signer.sign_will("x", b"{}")
    old = plant.machine_state("online")
    plant.hear(f"{PRESS}/state", old, retain=True)
    assert plant.row()["state"] == "online"
    plant.connect()
    assert (plant.row()["state"], plant.row()["reason"]) == ("not verified", "repeated")
    plant.hear(f"{PRESS}/state", plant.machine_state("degraded"))
    assert plant.row()["state"] == "degraded"


def test_an_alarm_is_neither_forged_nor_hidden(plant: SignedPlant):
    """An empty message would hide an alarm from operators."""
    alarm = f"{PRESS}/alarm/hot"
    plant.hear(f"{PRESS}/meta", plant.sign(f"{PRESS}/meta", DESCRIBED), retain=True)
    plant.hear(alarm, b"")
    plant.hear(f"{PRESS}/alarm/cold", {"alarm": "cold", "state": "unacknowledged"})
    assert [topic for topic, _ in plant.noted] == [f"{PRESS}/alarm/cold"]
    plant.hear(alarm, plant.sign(alarm, {"v": 1}))  # believed, and not valid
    plant.hear(alarm, b"")
    assert plant.noted[-1] == (alarm, "unsigned")
    plant.hear(alarm, plant.signer.clearing(f"{ROOT}/{alarm}"))
    plant.hear(alarm, b"")
    assert len(plant.noted) == 2


def test_a_machine_is_removed_if_its_gateway_says_so(plant: SignedPlant):
    """An empty message alone removes nothing."""
    plant.connect()
    plant.hear(f"{PRESS}/state", plant.machine_state("online"), retain=True)
    plant.hear(f"{PRESS}/state", b"")
    assert PRESS in plant.machines
    plant.hear(f"{PRESS}/state", plant.signer.clearing(f"{ROOT}/{PRESS}/state"))
    assert PRESS not in plant.machines


def test_the_signer_of_a_state_is_the_gateway_in_it(plant: SignedPlant):
    """A gateway with a key can't say that another gateway reads the machine."""
    plant.hear(f"{PRESS}/state", plant.sign(f"{PRESS}/state", {"state": "online", "gateway": "edge-02"}))
    assert plant.machines[PRESS].gateway == ""
    assert plant.ignored == 1


def test_records_without_the_signature_of_their_gateway_are_not_shown(plant: SignedPlant):
    """The page shows the readings that ingest stores."""
    plant.connect()
    plant.hear(f"{PRESS}/meta", plant.sign(f"{PRESS}/meta", DESCRIBED), retain=True)
    record = CODECS["json"].encode(Record("edge-01", "9f2c81aa", 1, [NamedScan(1, {"p": 1.5})], "5d0c9e3f7a21"))
    plant.hear(f"{PRESS}/data", record)
    assert plant.machines[PRESS].values == [None]
    plant.hear(f"{PRESS}/data", with_signature(record, KEY.sign(signed_text(f"{PRESS}/data", record))))
    assert plant.machines[PRESS].values == [1.5]
    assert plant.noted == [(f"{PRESS}/data", "bad_signature")]


def test_gateways_that_do_not_sign_are_named_while_they_are_upgraded(tmp_path: Path):
    """With `accepted` they are believed."""
    plant = SignedPlant(tmp_path, message_signatures="accepted")
    plant.hear(f"{GATEWAY}/state", ONLINE, retain=True)
    plant.hear(f"{PRESS}/state", {"state": "online", "gateway": "edge-01"}, retain=True)
    [gateway] = plant.members()
    assert (gateway["state"], gateway["problems"]) == ("online", [["unsigned", 1, {}]])
    assert plant.row()["state"] == "online"
