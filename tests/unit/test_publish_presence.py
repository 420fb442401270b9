"""Who is told from whom on the state topic of a gateway."""

from __future__ import annotations

import json

import pytest
from structlog.testing import capture_logs

from gateway.mqtt.session import MAX_INSTANCES, Presence


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
        pytest.param(2, other("online"), True, False, id="a broker has forgotten what came after a former run"),
        pytest.param(2, b'{"state": "online", "spool": "x"}', True, False, id="unsigned"),
        pytest.param(2, b"", True, False, id="cleared"),
        pytest.param(2, b"[1]", True, False, id="no object"),
    ],
)
def test_another_gateway_of_this_name_is_told_from_a_former_run(
    connects: int, payload: bytes, *, retained: bool, contested: bool
):
    """A false alarm at every restart would be as bad as none."""
    presence = Presence("root/state", "edge-01")
    with capture_logs() as told:
        connect(presence, connects)
        presence.heard(payload, retained=retained)
    assert presence.contested is contested
    assert len(told) == contested
    if contested:
        assert told[0]["event"] == "gateway.id_in_use"
        assert told[0]["other"] == {"host": "box-2", "instance": "other"}


@pytest.mark.parametrize("others", [MAX_INSTANCES - 1, MAX_INSTANCES])
def test_a_bounded_number_of_others_is_remembered(others: int):
    """A client that makes names up must not fill the memory; the one heard longest ago is forgotten."""
    presence = Presence("root/state", "edge-01")
    presence.heard(other("online", birth=4), retained=True)
    for number in range(others):
        presence.heard(other("online", f"other {number}"), retained=True)
    connect(presence, 2)
    presence.heard(other("online", birth=5), retained=True)
    assert presence.contested is (others < MAX_INSTANCES), "one that is forgotten is as one heard first"


@pytest.mark.parametrize("state", ["online", "offline"])
@pytest.mark.parametrize("first", [1, 2])
def test_another_that_was_born_again_since_it_was_heard_first_is_there_now(first: int, state: str):
    """It throws us out and we throw it out, which some brokers tell neither."""
    presence = Presence("root/state", "edge-01")
    connect(presence, first)
    presence.heard(other("online", birth=4), retained=True)
    connect(presence)
    presence.heard(other(state, birth=5), retained=True)
    assert presence.contested


def test_what_a_killed_broker_shows_of_a_former_run_is_no_other_gateway():
    """Mosquitto saves what is retained every half hour: after a kill it shows who was there then, for ever anew."""
    presence = Presence("root/state", "edge-01")
    connect(presence)
    presence.heard(other("offline", birth=7), retained=True)
    for birth in (7, 3, 3, 5):
        connect(presence)
        presence.heard(other("online", birth=birth), retained=True)
        assert not presence.contested


def test_a_former_run_is_no_other_gateway_until_our_birth_has_replaced_what_it_left():
    """The first connection may be lost before that."""
    presence = Presence("root/state", "edge-01")
    connect(presence, 2, born=False)
    presence.heard(other("offline"), retained=True)
    assert not presence.contested


def test_our_own_words_are_no_other_gateway():
    """After a lost link our own last will stands there."""
    presence = Presence("root/state", "edge-01")
    connect(presence, 2)
    for payload in (presence.birth(), presence.death("stopped"), presence.will()):
        presence.heard(payload, retained=True)
    assert not presence.contested


def test_it_is_told_once():
    """The two may meet every minute, for days."""
    presence = Presence("root/state", "edge-01")
    with capture_logs() as told:
        for _ in range(5):
            presence.connected()
            presence.taken_over()
            assert presence.contested
    assert len(told) == 1
