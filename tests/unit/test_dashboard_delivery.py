"""The delivery feed: who is dead, mute or wrong, and whether every reading is accounted for."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from gateway.dashboard.feeds.base import BadArguments
from gateway.dashboard.feeds.delivery import MAX_MEMBERS, DeliveryFeed
from gateway.dashboard.live.rates import LONGEST, TREND, Rates
from gateway.dashboard.plants import Plants
from gateway.mqtt.packets import ReceivedMessage
from gateway.mqtt.session import LinkStatus
from gateway.settings.load import load_factory

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.dashboard.live.plant import Plant

FACTORY = """format: 1
factory: {enterprise: acme, site: north}
gateway: {id: edge-01, spool: {max_size: 1MiB}}
broker: {url: "mqtt://127.0.0.1:1883"}
lines:
  l1:
    area: a1
    machines:
      m1: {template: t, connection: modbus+tcp://127.0.0.1:1502}
templates: .
"""
TEMPLATE = "format: 1\nprotocol: modbus\npoints: {p: {address: holding 0}}\n"

GATEWAY, INGEST = "acme/north/_gateways/edge-01", "acme/north/_ingests/ingest-edge-01"


@pytest.fixture
def plants(tmp_path: Path) -> Plants:
    """The plant of one factory, connected for a minute."""
    (tmp_path / "f.yaml").write_text(FACTORY)
    (tmp_path / "t.yaml").write_text(TEMPLATE)
    found = Plants([load_factory(tmp_path / "f.yaml")])
    connect(found.plants[0], seconds=60)
    return found


def connect(plant: Plant, seconds: float) -> None:
    since = time.time_ns() // 1000 - round(seconds * 1e6)
    plant.connection_changed(LinkStatus(connected=True, since=since, broker="mqtt://127.0.0.1:1883"))


def deliver(plants: Plants, topic: str, content: Any, *, retain: bool = False) -> None:
    payload = content if isinstance(content, bytes) else json.dumps(content).encode()
    plants.plants[0].take(ReceivedMessage(f"lineside/v1/{topic}", payload, retain=retain))


def born(**more: Any) -> dict[str, Any]:
    return {"state": "online", "instance": "a1", "host": "box-17", "birth": 1, "since": 1_764_000_000_000_000} | more


def ledger(seconds: float = 12.0, **more: Any) -> dict[str, Any]:
    """Return the report of a gateway, as it is published."""
    return {
        "gateway": "edge-01", "time": 1_764_000_000_000_000 + round(seconds * 1e6), "seconds": seconds,
        "balanced": True, "spool_bytes": 4096, "oldest_seconds": 0.2,
        "ledger": {"acquired": 100, "unchanged": 60, "dropped": {}, "pending": 5, "confirmed": 35},
        "schedule": {"due": 64, "taken": 60, "missed": 4, "late_ms": {"mean": 0.4, "most": 2.1}},
        "clock": {"trusted": True, "steps": 0, "ahead_ms": 0.0}, "broker": {"again": 0, "nobody": 0, "refused": 0},
    } | more  # fmt: skip


def stored(**more: Any) -> dict[str, Any]:
    return {"time": 1_764_000_000_000_000, "records": 10, "readings": 35, "dead_letters": 0, "lag_ms": 20.0} | more


def codes(message: dict[str, Any] | None, name: str = "edge-01") -> list[str]:
    """Return the codes of the problems of a member."""
    assert message is not None
    [row] = [row for row in message.get("members", message.get("changed", [])) if row["name"] == name]
    return [problem[0] for problem in row["problems"]]


def opened(plants: Plants, *visible: str) -> DeliveryFeed:
    feed = DeliveryFeed(plants)
    feed.choose({"visible": list(visible)})
    return feed


def test_a_plant_that_is_well_has_no_problem_and_an_account_that_balances(plants: Plants):
    """A normal state must not ask for attention."""
    config = plants.factories[0].digest
    deliver(plants, f"{GATEWAY}/state", born(config=config))
    deliver(plants, f"{GATEWAY}/ledger", ledger())
    deliver(plants, f"{INGEST}/state", born(config=config))
    deliver(plants, f"{INGEST}/report", stored(stores=[{"store": "sqlite", "state": "available"}]))
    message = opened(plants).changes()
    assert codes(message) == codes(message, "ingest-edge-01") == []
    [site] = message["sites"]
    assert site["acquired"] == site["unchanged"] + site["pending"] + site["confirmed"] == 100
    assert (site["balanced"], site["missing"], site["offline"], site["unknown"]) == (True, 0, [], [])
    assert "figures" not in message


def test_only_what_changed_is_sent_and_figures_only_of_what_is_visible(plants: Plants):
    """A page with a hundred gateways shows the figures of a few."""
    deliver(plants, f"{GATEWAY}/state", born())
    deliver(plants, f"{GATEWAY}/ledger", ledger())
    feed = opened(plants)
    assert feed.changes() is not None
    assert feed.changes() is None
    feed.choose({"visible": ["gateway/acme/north/edge-01", "gateway/acme/north/other"]})
    message = feed.changes()
    assert list(message) == ["figures"]
    [figures] = message["figures"].values()
    assert (figures["schedule"]["taken"], figures["spool_limit"], figures["missing"]) == (60, 2**20, 0)
    deliver(plants, f"{GATEWAY}/state", born(state="offline", reason="connection lost", online_since=7))
    message = feed.changes()
    assert codes(message) == ["offline"]
    assert "members" not in message


def test_an_offline_gateway_says_why_and_when_it_was_seen_last(plants: Plants):
    """A will message has no time of its own; the retained report does."""
    deliver(
        plants, f"{GATEWAY}/state", {"state": "offline", "instance": "a1", "reason": "connection lost"}, retain=True
    )
    deliver(plants, f"{GATEWAY}/ledger", ledger(), retain=True)
    message = opened(plants).changes()
    [[code, level, more]] = message["members"][0]["problems"]
    assert (code, level, more["reason"]) == ("offline", 2, "connection lost")
    assert more["seen"] == 1_764_000_012_000_000
    assert message["sites"][0]["offline"] == ["edge-01"]


def test_a_member_that_is_online_and_silent_is_mute(plants: Plants, monkeypatch: pytest.MonkeyPatch):
    """A process that hangs keeps its connection, and its state stays online."""
    deliver(plants, f"{GATEWAY}/state", born())
    deliver(plants, f"{GATEWAY}/ledger", ledger())
    deliver(plants, f"{INGEST}/state", born())
    deliver(plants, f"{INGEST}/report", stored())
    feed = opened(plants)
    assert codes(feed.changes()) == []
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 16)
    assert codes(feed.changes()) == ["mute"]
    monkeypatch.setattr(time, "monotonic", lambda: now + 26)
    assert codes(feed.changes(), "ingest-edge-01") == ["mute"]


def test_a_member_that_has_just_come_is_not_mute(plants: Plants, monkeypatch: pytest.MonkeyPatch):
    """Its first report is still on its way, however old the report before is."""
    deliver(plants, f"{GATEWAY}/state", born())
    feed = opened(plants)
    assert codes(feed.changes()) == []
    deliver(plants, f"{GATEWAY}/ledger", ledger())
    deliver(plants, f"{GATEWAY}/state", born(state="offline", reason="stopped"))
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 50)
    assert codes(feed.changes()) == ["offline"]
    deliver(plants, f"{GATEWAY}/state", born(instance="a2"))
    assert codes(feed.changes()) == []
    monkeypatch.setattr(time, "monotonic", lambda: now + 66)
    assert codes(feed.changes()) == ["mute"]


def test_silence_counts_only_while_the_page_listens(plants: Plants):
    """A page that connected a moment ago, or that the broker denies the reports, knows nothing of a silence."""
    plant = plants.plants[0]
    deliver(plants, f"{GATEWAY}/state", born(), retain=True)
    connect(plant, seconds=5)
    assert codes(opened(plants).changes()) == []
    connect(plant, seconds=16)
    plant.connection_changed(LinkStatus(connected=True, since=time.time_ns() // 1000 - 16_000_000, broker="b"))
    assert codes(opened(plants).changes()) == ["mute"]
    plant.subscriptions_denied(["lineside/v1/acme/north/_gateways/+/ledger"])
    assert codes(opened(plants).changes()) == []
    plant.subscriptions_denied([])
    plant.connection_changed(LinkStatus(connected=False, since=1, broker="b", error="refused"))
    assert codes(opened(plants).changes()) == []


def test_a_configured_gateway_that_nobody_heard_is_shown(plants: Plants):
    """A gateway that was never started is as dead as one that was stopped."""
    message = opened(plants).changes()
    assert codes(message) == ["unheard"]
    assert message["sites"][0]["unknown"] == ["edge-01"]
    connect(plants.plants[0], seconds=1)
    plants.plants[0].connection_changed(LinkStatus(connected=True, since=time.time_ns() // 1000, broker="b"))
    assert opened(plants).changes()["members"] == []


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (ledger(balanced=False), ["unbalanced"]),
        (ledger(clock={"trusted": False, "steps": 2}), ["clock"]),
        (ledger(oldest_seconds=130.0), ["waiting"]),
        (ledger(config="0123456789ab"), ["other_file"]),
        (ledger(oldest_seconds=None), []),
    ],
)
def test_each_problem_of_a_gateway_is_named(plants: Plants, report: dict[str, Any], expected: list[str]):
    """The page has a text for each code."""
    deliver(plants, f"{GATEWAY}/state", born())
    deliver(plants, f"{GATEWAY}/ledger", report)
    assert codes(opened(plants).changes()) == expected


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (stored(stores=[{"store": "influxdb", "state": "unavailable", "error": "refused"}]), ["store_unavailable"]),
        (stored(stores=[{"store": "influxdb", "state": "opening"}]), ["store_opening"]),
        (stored(lag_ms=61_000), ["lag"]),
        (stored(config="0123456789ab"), ["other_gateway"]),
    ],
)
def test_each_problem_of_an_ingest_is_named(plants: Plants, report: dict[str, Any], expected: list[str]):
    """An ingest with another configuration than its gateway may write to another store."""
    deliver(plants, f"{GATEWAY}/state", born(config=plants.factories[0].digest))
    deliver(plants, f"{GATEWAY}/ledger", ledger())
    deliver(plants, f"{INGEST}/state", born())
    deliver(plants, f"{INGEST}/report", report)
    assert codes(opened(plants).changes(), "ingest-edge-01") == expected


def test_readings_that_are_dropped_now_are_a_problem_and_earlier_ones_are_a_count(plants: Plants):
    """Old losses stay in the account permanently, and nobody can act on them."""
    deliver(plants, f"{GATEWAY}/state", born())
    lost = {"acquired": 105, "unchanged": 60, "dropped": {"spool_full": 5}, "pending": 5, "confirmed": 35}
    deliver(plants, f"{GATEWAY}/ledger", ledger(12.0, ledger=lost))
    message = opened(plants).changes()
    assert codes(message) == []
    assert message["sites"][0]["dropped"] == {"spool_full": 5}
    more = lost | {"acquired": 115, "dropped": {"spool_full": 15}}
    deliver(plants, f"{GATEWAY}/ledger", ledger(14.0, ledger=more))
    message = opened(plants, "gateway/acme/north/edge-01").changes()
    assert codes(message) == ["dropping"]
    [figures] = message["figures"].values()
    assert (figures["rates"]["dropped"], figures["rates"]["acquired"]) == (5.0, 5.0)
    deliver(plants, f"{GATEWAY}/state", born(state="offline", reason="stopped"))
    message = opened(plants, "gateway/acme/north/edge-01").changes()
    assert codes(message) == ["offline"]  # its present losses are not known
    assert message["figures"]["gateway/acme/north/edge-01"]["rates"] == {}


def test_counts_that_anybody_published_do_not_break_the_feed(plants: Plants):
    """The sum of counts that fit may be one that JSON does not hold."""
    most = 2**63 - 1
    huge = {"acquired": 0, "unchanged": most, "pending": most, "confirmed": most, "dropped": {"a": most, "b": most}}
    for name in ("edge-01", "edge-02"):
        deliver(plants, f"acme/north/_gateways/{name}/state", born(host="<script>"))
        deliver(plants, f"acme/north/_gateways/{name}/ledger", ledger(ledger=huge, balanced=False))
    message = opened(plants, "gateway/acme/north/edge-02").changes()
    assert orjson.dumps(message)
    assert message["sites"][0]["missing"] == -most


def test_of_very_many_members_those_that_are_offline_are_shown(plants: Plants):
    """Anybody who may publish can make up members."""
    for number in range(MAX_MEMBERS + 20):
        deliver(plants, f"acme/north/_gateways/g{number:05}/state", born())
    deliver(plants, f"{GATEWAY}/state", born(state="offline"))
    message = opened(plants).changes()
    assert len(message["members"]) == MAX_MEMBERS
    assert message["more"] == 21
    assert codes(message) == ["offline"]
    assert message["sites"][0]["gateways"] == MAX_MEMBERS + 21


@pytest.mark.parametrize("visible", ["edge-01", [1], [["x"]], ["x"] * 51, {"a": 1}])
def test_arguments_that_do_not_fit_are_refused(plants: Plants, visible: object):
    """A page that sends them has a defect."""
    with pytest.raises(BadArguments, match="a list of at most 50 keys"):
        DeliveryFeed(plants).choose({"visible": visible})


def test_a_rate_is_that_of_the_last_seconds_and_begins_anew_with_another_process():
    """A restart must not show a negative rate, nor the counts of a whole life as those of a second."""
    rates = Rates()
    for second in range(30):
        rates.take(float(second), {"acquired": 100 * second}, second)
    assert rates.per_second == {"acquired": 100.0}
    rates.take(29.0, {"acquired": 2900}, 29)
    rates.take(1.0, {"acquired": 2950}, 31)
    assert rates.per_second == {}
    rates.take(3.0, {"acquired": 3000}, 33)
    assert rates.per_second == {"acquired": 25.0}
    rates.take(4.0 + LONGEST, {"acquired": 99_000}, 90)
    assert rates.per_second == {}
    for second in range(100, 100 + 7 * TREND):
        rates.take(float(second), {"acquired": 99_000 + second}, second)
    assert len(rates.times) == len(rates.trend) == TREND
    assert rates.trend[-1] == 1.0
