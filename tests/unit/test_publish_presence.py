"""A gateway distinguishes another gateway with its id from its own former runs, on the state topic."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from structlog.testing import capture_logs

from gateway import __version__
from gateway.common.rising_numbers import RisingNumbers
from gateway.mqtt.messages import parse_gateway_state
from gateway.mqtt.session import MAX_INSTANCES, Presence
from gateway.mqtt.signed import MessageSigner
from gateway.mqtt.topics import Topics

if TYPE_CHECKING:
    from pathlib import Path


def other(state: str, instance: str = "other", birth: int = 1) -> bytes:
    return json.dumps({"state": state, "instance": instance, "host": "box-2", "birth": birth}).encode()


def connect(presence: Presence, times: int = 1, *, born: bool = True) -> None:
    for _ in range(times):
        presence.connected()
        if born:
            presence.born()


@pytest.mark.parametrize(
    ("connects", "payload", "retained", "contested"),
    [
        pytest.param(1, other("online"), True, False, id="a former run was killed"),
        pytest.param(1, other("offline"), True, False, id="a former run stopped"),
        pytest.param(1, other("offline"), False, False, id="the last will of a former run"),
        pytest.param(1, other("online"), False, True, id="another is born"),
        pytest.param(2, other("offline"), False, True, id="another dies"),
        pytest.param(2, other("online"), True, False, id="a broker has forgotten the messages after a former run"),
        pytest.param(2, b'{"state": "online", "spool": "x"}', True, False, id="unsigned"),
        pytest.param(2, b"", True, False, id="cleared"),
        pytest.param(2, b"[1]", True, False, id="no object"),
    ],
)
def test_another_gateway_with_this_id_is_distinguished_from_a_former_run(
    connects: int, payload: bytes, *, retained: bool, contested: bool
):
    """A false alarm at every restart would be as bad as no alarm."""
    presence = Presence("root/state", "edge-01")
    with capture_logs() as logs:
        connect(presence, connects)
        presence.heard(payload, retained=retained)
    assert presence.contested is contested
    assert len(logs) == contested
    if contested:
        assert logs[0]["event"] == "gateway.id_in_use"
        assert logs[0]["other"] == {"host": "box-2", "instance": "other"}


@pytest.mark.parametrize("others", [MAX_INSTANCES - 1, MAX_INSTANCES])
def test_a_bounded_number_of_others_is_remembered(others: int):
    """A client that invents instances must not fill the memory; the instance heard longest ago is forgotten."""
    presence = Presence("root/state", "edge-01")
    presence.heard(other("online", birth=4), retained=True)
    for number in range(others):
        presence.heard(other("online", f"other {number}"), retained=True)
    connect(presence, 2)
    presence.heard(other("online", birth=5), retained=True)
    assert presence.contested is (others < MAX_INSTANCES), "a forgotten instance counts as heard for the first time"


@pytest.mark.parametrize("state", ["online", "offline"])
@pytest.mark.parametrize("first", [1, 2])
def test_another_gateway_with_a_later_birth_is_running_now(first: int, state: str):
    """Each gateway disconnects the other, and some brokers report this to neither."""
    presence = Presence("root/state", "edge-01")
    connect(presence, first)
    presence.heard(other("online", birth=4), retained=True)
    connect(presence)
    presence.heard(other(state, birth=5), retained=True)
    assert presence.contested


def test_a_state_that_a_killed_broker_restores_is_not_another_gateway():
    """Mosquitto saves retained messages every half hour: after each kill it publishes an old state again."""
    presence = Presence("root/state", "edge-01")
    connect(presence)
    presence.heard(other("offline", birth=7), retained=True)
    for birth in (7, 3, 3, 5):
        connect(presence)
        presence.heard(other("online", birth=birth), retained=True)
        assert not presence.contested


def test_a_former_run_is_not_another_gateway_before_our_birth_message():
    """The first connection may be lost before the birth message has replaced the old state."""
    presence = Presence("root/state", "edge-01")
    connect(presence, 2, born=False)
    presence.heard(other("offline"), retained=True)
    assert not presence.contested


def test_our_own_messages_are_not_another_gateway():
    """After a lost connection our own will message is on the topic."""
    presence = Presence("root/state", "edge-01")
    connect(presence, 2)
    for payload in (presence.birth(), presence.death("stopped"), presence.will()):
        presence.heard(payload, retained=True)
    assert not presence.contested


def test_births_and_deaths_have_times_and_the_version():
    """A fleet shows since when each box is there, or not."""
    presence = Presence("root/state", "edge-01")
    before = time.time_ns() // 1000
    presence.connected()
    birth, death, will = (
        parse_gateway_state(one) for one in (presence.birth(), presence.death("stopped"), presence.will())
    )
    after = time.time_ns() // 1000
    assert {birth.version, death.version, will.version} == {__version__}
    assert before <= birth.since <= death.since <= after
    assert birth.started <= birth.since == death.online_since
    assert (will.since, before <= will.online_since <= after) == (0, True)
    assert parse_gateway_state(presence.birth()).since == birth.since, "a later birth of the connection is the same"


def test_a_contested_id_is_logged_once():
    """Two gateways may disconnect each other every minute, for days."""
    presence = Presence("root/state", "edge-01")
    with capture_logs() as logs:
        for _ in range(5):
            presence.connected()
            presence.taken_over()
            assert presence.contested
    assert len(logs) == 1


async def test_a_forged_birth_does_not_keep_a_gateway_that_signs_away(tmp_path: Path):
    """It would wait for minutes after the next lost connection. A copied box has the same key, and is noticed."""
    topics, numbers = Topics("lineside/v1"), RisingNumbers(tmp_path / "numbers")
    topic = topics.gateway("acme", "north", "edge-01", "state")
    own, wrong = (MessageSigner("edge-01", topics, numbers, Ed25519PrivateKey.generate()) for _ in range(2))
    presence = Presence(topic, "edge-01")
    connect(presence)
    with capture_logs() as logs:
        for payload in (
            other("online"),
            wrong.sign(topic, other("online")),
            own.sign("lineside/v1/x", other("online")),
        ):
            presence.heard(payload, retained=False, signer=own)
            presence.heard(payload, retained=True, signer=own)  # of a former run with another key
    assert not presence.contested
    assert [event["event"] for event in logs] == ["presence.not_signed"]
    presence.heard(own.sign(topic, other("online")), retained=False, signer=own)
    assert presence.contested
