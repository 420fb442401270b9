"""A gateway learns from the birth messages of ingests which processes were replaced."""

from __future__ import annotations

import json

from gateway.mqtt.topics import Topics
from gateway.publish import ingest_watch as ingests
from gateway.publish.ingest_watch import IngestWatch

TOPICS = Topics("lineside/v1")


def came(*messages: tuple[str, object]) -> list[str]:
    """Return the replaced instance for each birth message; empty if it replaces no other instance."""
    found: list[str] = []
    watch = IngestWatch(found.append)
    for name, payload in messages:
        watch.heard(TOPICS.ingest("acme", "one", name), json.dumps(payload).encode())
    return found


def online(instance: str) -> dict[str, str]:
    return {"state": "online", "instance": instance}


def test_a_new_process_is_reported_with_the_instance_that_it_replaces():
    """The records that the earlier instance had accepted are lost with it."""
    assert came(("a", online("1")), ("b", online("5")), ("a", online("2"))) == ["", "", "1"]


def test_an_ingest_that_only_lost_its_connection_replaces_no_other():
    """It still confirms the records that it has accepted."""
    assert came(("a", online("1")), ("a", {"state": "offline", "instance": "1"}), ("a", online("1"))) == ["", ""]


def test_a_message_without_an_instance_is_not_a_birth_message():
    """Any client may have published the message."""
    assert came(("a", "online"), ("a", {}), ("a", {"state": "online"}), ("a", [1]), ("a", online("1"))) == [""]


def test_the_number_of_known_ingests_is_bounded(monkeypatch):
    """Names may come and go for years."""
    monkeypatch.setattr(ingests, "MAX_INGESTS", 2)
    assert came(*((name, online("1")) for name in "abc"), ("a", online("2")), ("c", online("2"))) == [
        "",
        "",
        "",
        "",
        "1",
    ]


def test_the_topic_of_an_ingest_is_known_and_no_other():
    """The states of machines and gateways have other topics."""
    assert TOPICS.is_ingest(TOPICS.ingest("acme", "one", "ingest-edge-01"))
    for topic in (
        TOPICS.gateway("acme", "one", "edge-01", "state"), "lineside/v1/acme/one/_ingests/x",
        "other/a/b/_ingests/x/state", "lineside/v1/acme/one/_ingests/x/state/y",
    ):  # fmt: skip
        assert not TOPICS.is_ingest(topic)
