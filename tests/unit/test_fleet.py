"""The fleet: which members a person should act on, out of the messages of a broker."""

from __future__ import annotations

import json

import pytest

from gateway.mqtt.packets import ReceivedMessage
from gateway.mqtt.session import LinkStatus
from gateway.status.fleet import Fleet, fleet_report

LINK = LinkStatus(connected=True, since=0, broker="mqtts://broker.example", error="")


def report(versions: dict[str, str]) -> tuple[str | None, list[str]]:
    """Return the newest version, and the findings about versions, of gateways and an ingest."""
    fleet = Fleet("lineside/v1")
    for name, version in versions.items():
        kind = "_ingests" if name.startswith("ingest") else "_gateways"
        state = {"v": 1, "state": "online", "instance": "i", "version": version}
        topic = f"lineside/v1/acme/north/{kind}/{name}/state"
        fleet.take(ReceivedMessage(topic, json.dumps(state).encode(), retain=True))
    found = fleet_report(fleet, LINK)
    assert found["ignored_messages"] == 0
    return found["newest_version"], [one for one in found["findings"] if "version" in one]


def test_a_member_with_an_older_version_than_the_newest_is_a_finding() -> None:
    """The plant updates one box, and sees the boxes that are left."""
    newest, findings = report({"edge-01": "0.9.0", "edge-02": "0.10.0", "edge-03": "0.10.0rc1", "ingest-01": "0.2.0"})
    text = "it runs version {}, and 0.10.0 is the newest that was seen; update it"
    assert newest == "0.10.0"
    assert findings == [
        f"gateway north/edge-01: {text.format('0.9.0')}",
        f"gateway north/edge-03: {text.format('0.10.0rc1')}",
        f"ingest north/ingest-01: {text.format('0.2.0')}",
    ]


@pytest.mark.parametrize("version", ["", "unknown", "1" * 30, "9..9"])
def test_a_version_that_is_none_is_no_finding(version: str) -> None:
    """Any client of the broker may publish a state."""
    assert report({"edge-01": "0.9.0", "edge-02": version}) == ("0.9.0", [])
