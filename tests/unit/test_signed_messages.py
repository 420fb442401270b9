"""Signatures of messages that are not records: their form, who may sign what, and their order."""

from __future__ import annotations

import asyncio
import json
import time
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.common.rising_numbers import SAVE_EVERY, RisingNumbers
from gateway.model.machine_patterns import MachinePatterns
from gateway.model.path import MachinePath
from gateway.mqtt.messages import parse_gateway_state, parse_machine_state
from gateway.mqtt.packets import ReceivedMessage
from gateway.mqtt.session import LinkStatus
from gateway.mqtt.signed import MessageSigner, read_signed
from gateway.mqtt.topics import Topics
from gateway.mqtt.verifier import BAD_SIGNATURE, NOT_ALLOWED, REPEATED, UNSIGNED, Verdict, Verifier
from gateway.status.fleet import Fleet, fleet_report
from gateway.status.fleet_text import fleet_text

TOPICS = Topics("lineside/v1")
PRESS = MachinePath("acme", "north", "curing", "curing-1", "press-01")
OTHER = PRESS._replace(machine="press-02")
STATE = TOPICS.gateway("acme", "north", "edge-01", "state")
LEDGER = TOPICS.gateway("acme", "north", "edge-01", "ledger")
MACHINE = TOPICS.state(PRESS)
KEYS = {name: Ed25519PrivateKey.generate() for name in ("edge-01", "edge-02", "ingest-server", "new")}

ONLINE, OFFLINE = b'{"state":"online","instance":"5e01c9f2"}', b'{"state":"offline","instance":"5e01c9f2"}'
READ = b'{"state":"online","gateway":"edge-01"}'
UNREAD = b'{"state":"offline","gateway":"edge-01"}'


class Counter(RisingNumbers):
    """Numbers 1000, 1001, and so on, without a file."""

    def __init__(self, first: int = 1000) -> None:
        self.number = first - 1

    def next(self) -> int:
        self.number += 1
        return self.number


def signer(by: str = "edge-01", first: int = 1000, key: str = "") -> MessageSigner:
    return MessageSigner(by, TOPICS, Counter(first), KEYS[key or by])


def public(name: str) -> str:
    return b64encode(KEYS[name].public_key().public_bytes_raw()).decode()


def reader(*, required: bool = True, patterns: dict[str, list[str]] | None = None, **more: list[str]) -> Verifier:
    gateways = {name: [public(name)] for name in ("edge-01", "edge-02")} | more
    ingests = {"ingest-server": [public("ingest-server")]}
    return Verifier(TOPICS.root, gateways, ingests, MachinePatterns(patterns), required=required)


def heard(by: Verifier, topic: str, payload: bytes, *, retain: bool = False) -> Verdict:
    return by.check(ReceivedMessage(topic, payload, qos=1, retain=retain, mid=1))


# -- the form --


def test_a_signed_message_is_read_as_before() -> None:
    """A reader without keys, of an earlier version, or of somebody else ignores two more keys."""
    signed = signer().sign(STATE, ONLINE)
    assert parse_gateway_state(signed) == parse_gateway_state(ONLINE)
    found = json.loads(signed)
    assert found.pop("sig")
    assert found.pop("signed") == {"by": "edge-01", "key": found_key(signed), "at": 1000}
    assert found == json.loads(ONLINE)


def found_key(signed: bytes) -> str:
    parts = read_signed(signed)
    assert parts is not None
    return parts.header.key


@given(
    st.binary(max_size=300), st.sampled_from([b"", b'{"state":1', b',"signed":{', b',"signed":{}}', b"\xb1\x01\x04"])
)
def test_any_bytes_are_read(tail: bytes, head: bytes) -> None:
    """They come from any client."""
    assert read_signed(head + tail) is None


@given(st.integers(0, 400), st.integers(1, 255))
def test_each_changed_byte_is_found(at: int, by: int) -> None:
    """In the message, in the name of the signer, in its order, and in the signature.

    The last letter of base64 has bits that mean nothing.
    """
    signed = signer().sign(STATE, ONLINE)
    at %= len(signed)
    changed = signed[:at] + bytes((signed[at] ^ by,)) + signed[at + 1 :]
    assert heard(reader(), STATE, changed).fault or read_signed(changed) == read_signed(signed)


def test_the_documented_example_is_right() -> None:
    """Another program verifies messages with it: the key is the first of RFC 8032, 7.1."""
    page = (Path(__file__).parents[2] / "docs" / "topics.md").read_text("utf-8")
    lines = page.partition("## Signed messages")[2].splitlines()
    example = next(line for line in lines if line.startswith('{"state":"degraded"')).encode()
    secret = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    key = Ed25519PrivateKey.from_private_bytes(secret)
    written = b64encode(key.public_key().public_bytes_raw()).decode()
    assert f"`{written}`" in page
    verifier = Verifier(TOPICS.root, {"edge-01": [written]})
    assert heard(verifier, MACHINE, example).verified
    message, signature = example[:-98] + b"}", b64decode(json.loads(example)["sig"])
    place = b"acme/north/curing/curing-1/press-01/state"
    key.public_key().verify(signature, b"\0".join((b"lineside message 1", place, message)))


# -- who signs what --


def test_a_message_without_the_signature_of_its_gateway_is_refused() -> None:
    """A client with too many rights can't publish in its name, and the log says which topic."""
    verifier = reader()
    with capture_logs() as logs:
        for _ in range(3):
            assert "unsigned" in heard(verifier, STATE, OFFLINE).fault
        assert "not of edge-01" in heard(verifier, STATE, signer().sign(LEDGER, OFFLINE)).fault
        assert "not one of edge-01" in heard(verifier, STATE, signer(key="new").sign(STATE, OFFLINE)).fault
        assert "may not publish" in heard(verifier, STATE, signer("edge-02").sign(STATE, OFFLINE)).fault
    assert heard(verifier, STATE, signer().sign(STATE, ONLINE)).verified
    assert verifier.refused == {UNSIGNED: 3, BAD_SIGNATURE: 2, NOT_ALLOWED: 1}
    assert {(one["event"], one["reason"]) for one in logs} == {
        ("message.signature_refused", reason) for reason in (UNSIGNED, BAD_SIGNATURE, NOT_ALLOWED)
    }


def test_a_message_of_another_machine_or_root_is_refused() -> None:
    """The place is signed: a state that is copied to another machine is not its state."""
    verifier = reader()
    assert heard(verifier, TOPICS.state(OTHER), signer().sign(MACHINE, READ)).fault
    assert heard(verifier, MACHINE, signer().sign(MACHINE, READ)).verified


def test_a_gateway_signs_for_its_own_machines_alone() -> None:
    """A gateway with a right key is an intruder on the machines of another."""
    verifier = reader(patterns={"edge-01": ["curing/*/press-01"], "edge-02": ["curing/*/press-02"]})
    forged = signer("edge-02").sign(MACHINE, UNREAD)
    assert "edge-02 may not publish" in heard(verifier, MACHINE, forged).fault
    assert heard(verifier, MACHINE, signer().sign(MACHINE, READ)).by == "edge-01"
    assert "no gateway" in heard(verifier, TOPICS.state(OTHER._replace(area="x")), READ).fault


def test_an_alarm_with_the_name_of_a_topic_of_records_is_verified() -> None:
    """The name of an alarm comes from a device."""
    verifier = reader()
    for name in ("data", "event", "command"):
        topic = TOPICS.machine(PRESS, f"alarm/{name}")
        assert heard(verifier, topic, b'{"state":"active"}').fault
        assert heard(verifier, topic, signer().sign(topic, b'{"state":"active"}')).verified


def test_gateways_without_a_key_go_on_beside_others() -> None:
    """Boxes get their keys one after the other: their machines are named, and their own topics are known."""
    patterns = {"edge-01": ["curing/*/press-01"], "edge-09": ["curing/*/press-02"]}
    verifier = reader(patterns=patterns)
    for topic in (TOPICS.gateway("acme", "north", "edge-09", "state"), TOPICS.state(OTHER)):
        verdict = heard(verifier, topic, ONLINE)
        assert (verdict.fault, verdict.verified) == ("", False)
    assert heard(verifier, MACHINE, READ).fault


def test_unsigned_messages_are_believed_while_gateways_are_upgraded() -> None:
    """With `accepted`; a wrong signature is refused nevertheless."""
    verifier = reader(required=False)
    verdict = heard(verifier, STATE, ONLINE)
    assert (verdict.fault, verdict.verified, verdict.payload) == ("", False, ONLINE)
    assert heard(verifier, STATE, signer(key="new").sign(STATE, OFFLINE)).fault
    assert not heard(verifier, STATE, b"").fault


def test_topics_of_ingests_are_signed_by_ingests() -> None:
    """State and report by the ingest itself, confirmations and wanted ids by any ingest, and none by a gateway."""
    verifier = reader()
    own = [TOPICS.ingest("acme", "north", "ingest-server", leaf) for leaf in ("state", "report")]
    own += [TOPICS.gateway("acme", "north", "edge-01", leaf) for leaf in ("confirmed", "wanted")]
    for topic in own:
        assert heard(verifier, topic, ONLINE).fault
        assert heard(verifier, topic, signer("edge-01").sign(topic, ONLINE)).fault
        assert heard(verifier, topic, signer("ingest-server").sign(topic, ONLINE)).verified


def test_records_and_commands_have_signatures_of_their_own() -> None:
    """They are not looked at here."""
    verifier = reader()
    for leaf in ("data", "command"):
        assert heard(verifier, TOPICS.gateway("acme", "north", "edge-01", leaf), b"x") == Verdict(b"x")
    assert heard(verifier, TOPICS.data(PRESS), b"x") == Verdict(b"x")


def test_without_keys_nothing_is_verified() -> None:
    """As in plants that do not sign."""
    verifier = Verifier(TOPICS.root, {})
    assert not verifier
    assert heard(verifier, STATE, OFFLINE) == Verdict(OFFLINE)
    assert heard(verifier, STATE, signer().sign(STATE, ONLINE)).fault == ""


def test_a_gateway_may_have_two_keys_while_one_is_replaced() -> None:
    """The old key's messages are retained until the gateway has published with the new key."""
    verifier = reader(**{"edge-01": [public("edge-01"), public("new")]})
    assert heard(verifier, STATE, signer().sign(STATE, OFFLINE), retain=True).verified
    assert heard(verifier, STATE, signer(key="new", first=2000).sign(STATE, ONLINE)).verified


# -- the order --


def test_an_old_message_is_refused_and_the_same_again_is_not() -> None:
    """A broker sends a retained message again at each subscription, an intruder an earlier one."""
    verifier, own = reader(), signer()
    old, new = own.sign(MACHINE, UNREAD), own.sign(MACHINE, READ)
    assert heard(verifier, MACHINE, old).verified
    assert heard(verifier, MACHINE, new).verified
    assert heard(verifier, MACHINE, new, retain=True).fault == ""
    assert "repeats" in heard(verifier, MACHINE, old).fault
    assert verifier.refused == {REPEATED: 1}


def test_a_will_is_the_last_message_of_its_connection() -> None:
    """It was signed before the birth, and comes after it; a birth that is published again does not undo it."""
    verifier, own = reader(), signer()
    will, birth = own.sign_will(STATE, OFFLINE), own.sign(STATE, ONLINE)
    again = own.sign(STATE, ONLINE)
    for payload in (birth, again, will, will):
        assert heard(verifier, STATE, payload).fault == ""
    for replayed in (birth, again):
        assert "ended" in heard(verifier, STATE, replayed).fault
    next_will, next_birth = own.sign_will(STATE, OFFLINE), own.sign(STATE, ONLINE)
    assert heard(verifier, STATE, next_birth).verified
    assert "earlier connection" in heard(verifier, STATE, will).fault
    assert heard(verifier, STATE, next_will).verified


def test_an_old_will_is_refused_by_a_reader_that_has_heard_the_ledger_alone() -> None:
    """It was not there for the birth: the connection of any message says which states are too old."""
    verifier, own = reader(), signer()
    will = own.sign_will(STATE, OFFLINE)
    own.sign_will(STATE, OFFLINE)
    assert heard(verifier, LEDGER, own.sign(LEDGER, b'{"balanced":true}')).verified
    assert "earlier connection" in heard(verifier, STATE, will, retain=True).fault


def test_gateways_of_two_sites_may_have_one_id() -> None:
    """An id is unique in its site: the connections of one say nothing about the other."""
    verifier, south = reader(), TOPICS.gateway("acme", "south", "edge-01", "state")
    north, other = signer(first=5000), signer(first=100)
    for own, topic in ((north, STATE), (other, south), (north, STATE)):
        own.sign_will(topic, OFFLINE)
        assert heard(verifier, topic, own.sign(topic, ONLINE)).verified


def test_an_old_ledger_that_a_broker_retains_is_no_attack() -> None:
    """A reader that connects again gets the retained ledger, after later ledgers that were not retained."""
    verifier, own = reader(), signer()
    retained, live = own.sign(LEDGER, b'{"balanced":true}'), own.sign(LEDGER, b'{"balanced":true}')
    assert heard(verifier, LEDGER, live).verified
    assert heard(verifier, LEDGER, retained, retain=True).fault
    assert not verifier.refused
    assert heard(verifier, LEDGER, retained).fault
    assert verifier.refused == {REPEATED: 1}


def test_a_machine_may_go_from_one_gateway_to_another_with_a_clock_behind() -> None:
    """Numbers are those of one signer."""
    verifier = reader()
    assert heard(verifier, MACHINE, signer(first=5000).sign(MACHINE, READ)).verified
    assert heard(verifier, MACHINE, signer("edge-02", first=100).sign(MACHINE, READ)).verified


def test_a_topic_is_cleared_only_if_its_signer_says_so() -> None:
    """An empty message has no signature, and would hide an alarm."""
    verifier, own = reader(), signer()
    topic = TOPICS.machine(PRESS, "alarm/hot")
    assert heard(verifier, topic, b"").fault
    assert not verifier.refused  # there was nothing to clear
    assert heard(verifier, topic, own.sign(topic, b'{"state":"active"}')).verified
    assert "has not said" in heard(verifier, topic, b"").fault
    assert verifier.refused == {UNSIGNED: 1}
    said = own.clearing(topic)
    assert heard(verifier, topic, said) == Verdict(b"", verified=True, by="edge-01")
    assert heard(verifier, topic, b"").fault == ""
    assert heard(verifier, topic, own.sign(topic, b'{"state":"active"}')).verified
    assert "repeats" in heard(verifier, topic, said).fault
    assert own.clearing(STATE.replace("state", "wanted")) == b""


# -- the numbers --


def test_numbers_rise_over_restarts_with_a_clock_that_is_set_back(tmp_path: Path, monkeypatch) -> None:
    """A box whose battery is empty starts in the year 2000: readers believe it, and no message of before."""
    monkeypatch.setattr("gateway.common.rising_numbers.time.time_ns", lambda: 1_764_000_000 * 10**9)

    async def run() -> None:
        file = tmp_path / "edge-01.signed.json"
        first = RisingNumbers(file)
        await first.begin()
        last = [first.next() for _ in range(100)][-1]
        assert last >= 1_764_000_000 * 10**6 + 99
        monkeypatch.setattr("gateway.common.rising_numbers.time.time_ns", lambda: 946_684_800 * 10**9)
        assert first.next() > last
        second = RisingNumbers(file)
        await second.begin()
        assert second.next() > last + round(SAVE_EVERY * 1e6) - 10**6
        await first.save()
        third = RisingNumbers(file)
        await third.begin()
        assert third.next() > second.next()

    asyncio.run(run())


@pytest.mark.parametrize("content", [b"", b"[]", b'{"number": -1}', b'{"number": 1e400}', b"x" * 2000])
def test_numbers_begin_with_the_clock_after_a_damaged_file(tmp_path: Path, content: bytes) -> None:
    """A damaged file is logged, and does not end the gateway."""
    file = tmp_path / "edge-01.signed.json"
    file.write_bytes(content)

    async def run() -> int:
        numbers = RisingNumbers(file)
        await numbers.begin()
        return numbers.next()

    with capture_logs() as logs:
        assert asyncio.run(run()) > 1_764_000_000 * 10**6
    assert [one["event"] for one in logs] == ["sign_numbers.unreadable"]
    assert json.loads(file.read_bytes())["number"] > 1_764_000_000 * 10**6


def test_a_machine_state_keeps_its_gateway() -> None:
    """The name in the state is read as before."""
    assert parse_machine_state(signer().sign(MACHINE, READ)).gateway == "edge-01"


# -- the fleet --

REPORT = {
    "balanced": True, "spool_bytes": 0, "schedule": {"due": 0, "missed": 0},
    "ledger": {"acquired": 0, "unchanged": 0, "pending": 0, "confirmed": 0, "dropped": {}},
}  # fmt: skip


def ledger(own: MessageSigner, at: float = 0.0, *, balanced: bool = True) -> bytes:
    report = REPORT | {"balanced": balanced, "time": round((at or time.time()) * 1e6)}
    return own.sign(LEDGER, json.dumps(report, separators=(",", ":")).encode())


def take(fleet: Fleet, topic: str, payload: bytes, *, retain: bool = False) -> None:
    fleet.take(ReceivedMessage(topic, payload, qos=0, retain=retain))


def report_of(fleet: Fleet) -> dict[str, Any]:
    return fleet_report(fleet, LinkStatus(connected=True, since=1, broker="mqtt://127.0.0.1:1"))


def test_a_fleet_keeps_the_last_state_that_was_verified() -> None:
    """A forged end and a forged ledger change nothing, and are findings; a person sees who is not verified."""
    fleet, own = Fleet(TOPICS.root, reader()), signer()
    own.sign_will(STATE, OFFLINE)
    take(fleet, STATE, own.sign(STATE, ONLINE))
    take(fleet, LEDGER, ledger(own, balanced=False))
    take(fleet, STATE, OFFLINE)
    take(fleet, LEDGER, json.dumps(REPORT).encode())
    take(fleet, TOPICS.gateway("acme", "north", "edge-02", "state"), ONLINE)
    report = report_of(fleet)
    first, second = report["gateways"]
    assert (first["state"], first["verified"], first["balanced"], first["refused_messages"]) == (
        "online", True, False, 2,
    )  # fmt: skip
    assert (second["id"], second["state"], second["verified"]) == ("edge-02", "not verified", False)
    assert report["findings"] == [
        "gateway north/edge-01: 2 messages refused, the last because it is unsigned: edge-01 signs its messages",
        "gateway north/edge-01: the ledger does not balance",
        "gateway north/edge-02: 1 message refused, the last because it is unsigned: edge-02 signs its messages",
    ]
    lines = fleet_text(report).splitlines()
    assert "not verified" in next(line for line in lines if line.startswith("north/edge-02"))
    assert "not verified" not in next(line for line in lines if line.startswith("north/edge-01"))


def test_a_state_that_was_replaced_by_an_earlier_state_is_found_by_a_new_reader() -> None:
    """It has heard nothing before: the ledger of the newest connection, once a second, gives the state away."""
    fleet, own = Fleet(TOPICS.root, reader()), signer()
    old = own.sign_will(STATE, OFFLINE)
    own.sign_will(STATE, OFFLINE)
    take(fleet, STATE, old, retain=True)
    assert [state.state for state, _ in fleet.gateways] == ["offline"]
    take(fleet, LEDGER, ledger(own))
    assert report_of(fleet)["gateways"][0]["state"] == "not verified"
    take(fleet, STATE, own.sign(STATE, ONLINE))
    assert report_of(fleet)["gateways"][0]["state"] == "online"


def test_recorded_reports_that_are_published_again_are_a_finding_of_a_new_reader() -> None:
    """They are signed and in order. Their time is not that of this computer, or one of the clocks is wrong."""
    fleet, own = Fleet(TOPICS.root, reader()), signer()
    take(fleet, STATE, own.sign(STATE, ONLINE), retain=True)
    take(fleet, LEDGER, ledger(own, time.time() - 3600))
    assert "reports are 3,600 s behind the clock of this computer" in report_of(fleet)["findings"][0]


def test_states_without_a_signature_are_marked_where_others_have_it() -> None:
    """While gateways are upgraded their states are believed; without keys nothing is marked."""
    for verifier, marked in ((reader(required=False), True), (Verifier(TOPICS.root, {}), False)):
        fleet = Fleet(TOPICS.root, verifier)
        take(fleet, STATE, ONLINE, retain=True)
        assert ("online, not verified" in fleet_text(report_of(fleet))) is marked
