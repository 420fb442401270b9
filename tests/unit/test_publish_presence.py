"""Who is told from whom on the state topic of a gateway."""

from __future__ import annotations

import json

import pytest
from structlog.testing import capture_logs

from gateway.presence import Presence


def other(state: str, instance: str = "other") -> bytes:
    return json.dumps({"state": state, "instance": instance, "host": "box-2"}).encode()


@pytest.mark.parametrize(
    ("connects", "payload", "retained", "contested"),
    [
        pytest.param(1, other("online"), True, False, id="a former run was killed"),
        pytest.param(1, other("offline"), True, False, id="a former run stopped"),
        pytest.param(1, other("offline"), False, False, id="the last will of a former run"),
        pytest.param(1, other("online"), False, True, id="another is born"),
        pytest.param(2, other("offline"), True, True, id="another was here while we were away"),
        pytest.param(2, other("online"), True, True, id="another is here"),
        pytest.param(2, b'{"state": "online", "spool": "x"}', True, False, id="unsigned"),
        pytest.param(2, b"", True, False, id="cleared"),
        pytest.param(2, b"[1]", True, False, id="no object"),
    ],
)
def test_another_gateway_of_this_name_is_told_from_a_former_run(
    connects: int, payload: bytes, *, retained: bool, contested: bool
):
    """A false alarm at every restart would be as bad as none."""
    presence = Presence("edge-01")
    with capture_logs() as told:
        for _ in range(connects):
            presence.connected()
        presence.heard(payload, retained=retained)
    assert presence.contested is contested
    assert len(told) == contested
    if contested:
        assert told[0]["event"] == "gateway.id_in_use"
        assert told[0]["other"] == {"host": "box-2", "instance": "other"}


def test_our_own_words_are_no_other_gateway():
    """After a lost link our own last will stands there."""
    presence = Presence("edge-01")
    presence.connected()
    presence.connected()
    for payload in (presence.birth("spool"), presence.death("connection lost")):
        presence.heard(payload, retained=True)
    assert not presence.contested


def test_it_is_told_once():
    """The two may meet every minute, for days."""
    presence = Presence("edge-01")
    with capture_logs() as told:
        for _ in range(5):
            presence.connected()
            presence.thrown_out()
            assert presence.contested
    assert len(told) == 1
