"""Topics: a subscriber recognizes every topic that Lineside publishes, and no other topic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from gateway.common.setting_types import check_name
from gateway.model.path import MachinePath
from gateway.mqtt.topics import GATEWAYS, Topics

TOPICS = Topics("lineside/v1")
PATH = MachinePath("acme", "one", "curing", "curing-1", "press-01")

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,5}", fullmatch=True)
ROOTS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


def test_topics_are_as_documented() -> None:
    """Others subscribe to them."""
    assert TOPICS.data(PATH) == "lineside/v1/acme/one/curing/curing-1/press-01/data"
    assert TOPICS.meta(PATH) == "lineside/v1/acme/one/curing/curing-1/press-01/meta"
    assert TOPICS.state(PATH) == "lineside/v1/acme/one/curing/curing-1/press-01/state"
    assert TOPICS.gateway("acme", "one", "edge-1", "confirmed") == "lineside/v1/acme/one/_gateways/edge-1/confirmed"


@given(ROOTS, st.builds(MachinePath, NAMES, NAMES, NAMES, NAMES, NAMES))
def test_a_machine_is_found_in_its_topics(root: str, path: MachinePath) -> None:
    """The filters for all machines match its topics, and no other filter does."""
    topics = Topics(root)
    for leaf, topic in (("data", topics.data(path)), ("meta", topics.meta(path)), ("state", topics.state(path))):
        assert topics.machine_of(topic) == (path, leaf)
        assert topics.gateway_of(topic) is None
        assert topic_matches_sub(topics.all_machines(leaf), topic)
        assert not topic_matches_sub(topics.all_gateways(leaf), topic)


@given(ROOTS, NAMES, NAMES, NAMES, st.sampled_from(["state", "confirmed", "ledger"]))
def test_a_gateway_is_found_in_its_topics(root: str, enterprise: str, site: str, gateway: str, leaf: str) -> None:
    """The filter for all gateways matches its topics, and no other filter does."""
    topics = Topics(root)
    topic = topics.gateway(enterprise, site, gateway, leaf)
    assert topics.gateway_of(topic) == ((enterprise, site, gateway), leaf)
    assert topics.machine_of(topic) is None
    assert topic_matches_sub(topics.all_gateways(leaf), topic)
    assert not topic_matches_sub(topics.all_machines(leaf), topic)


@pytest.mark.parametrize(
    "topic",
    [
        "", "/", "lineside/v1", "lineside/v1/", "lineside/v1/acme/one/curing/curing-1/press-01",
        "lineside/v1/acme/one/curing/curing-1/press-01/data/more",
        "lineside/v2/acme/one/curing/curing-1/press-01/data",
        "lineside/v10/acme/one/curing/curing-1/press-01/data", "x/lineside/v1/acme/one/curing/curing-1/press-01/data",
        "lineside/v1-acme/one/curing/curing-1/press-01/data", "lineside/v1-acme/one/_gateways/edge-1/state",
        "lineside/v1/acme/one/_gateways/edge-1", "lineside/v1/acme/one/gateways/edge-1/state",
        "lineside/v1/acme/one/_gateways/a/b/state", "$SYS/broker/uptime",
    ],
)  # fmt: skip
def test_other_topics_are_nobodys(topic: str) -> None:
    """Others use the same broker."""
    assert TOPICS.machine_of(topic) is None
    assert TOPICS.gateway_of(topic) is None


def test_no_area_can_be_named_like_the_level_of_the_gateways() -> None:
    """Then machines and gateways would share topics."""
    with pytest.raises(ValueError, match="not a name"):
        check_name(GATEWAYS)
