"""What a gateway concludes from the births of ingests."""

from __future__ import annotations

import json

from gateway.mqtt.topics import Topics
from gateway.publish import ingest_watch as ingests
from gateway.publish.ingest_watch import IngestWatch

TOPICS = Topics("lineside/v1")


def came(*told: tuple[str, object]) -> list[str]:
    """Return what `came` is called with."""
    found: list[str] = []
    watch = IngestWatch(found.append)
    for name, payload in told:
        watch.heard(TOPICS.ingest("acme", "one", name), json.dumps(payload).encode())
    return found


def online(instance: str) -> dict[str, str]:
    return {"state": "online", "instance": instance}


def test_a_process_in_the_place_of_another_is_told_with_the_one_before():
    """What that had taken is lost with it."""
    assert came(("a", online("1")), ("b", online("5")), ("a", online("2"))) == ["", "", "1"]


def test_one_that_has_only_lost_its_link_holds_what_it_held():
    """It will confirm that."""
    assert came(("a", online("1")), ("a", {"state": "offline", "instance": "1"}), ("a", online("1"))) == ["", ""]


def test_what_says_nothing_is_no_birth():
    """What is on a topic may be by anyone."""
    assert came(("a", "online"), ("a", {}), ("a", {"state": "online"}), ("a", [1]), ("a", online("1"))) == [""]


def test_what_is_kept_in_mind_is_bounded(monkeypatch):
    """Names that come and go, for years."""
    monkeypatch.setattr(ingests, "MAX_INGESTS", 2)
    assert came(*((name, online("1")) for name in "abc"), ("a", online("2")), ("c", online("2"))) == [
        "",
        "",
        "",
        "",
        "1",
    ]


def test_the_topic_of_an_ingest_is_known_and_no_other():
    """Machines' states go another way."""
    assert TOPICS.is_ingest(TOPICS.ingest("acme", "one", "ingest-edge-01"))
    for topic in (
        TOPICS.gateway("acme", "one", "edge-01", "state"), "lineside/v1/acme/one/_ingests/x",
        "other/a/b/_ingests/x/state", "lineside/v1/acme/one/_ingests/x/state/y",
    ):  # fmt: skip
        assert not TOPICS.is_ingest(topic)
