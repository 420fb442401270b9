"""The feed of a machine beside its readings: groups, timelines, trails, faults, and counters of drivers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from dashboard_plant import POINTS, PRESS, SECOND, T0, FedPlant, plants
from points import node, register

from drivers.base import Connection
from gateway.acquisition.device_metadata import encode_meta
from gateway.dashboard.feeds import machine as feed_of_machine
from gateway.dashboard.feeds.machine import MachineFeed
from gateway.dashboard.live.machine import LEARNED, TRAIL, TRAIL_STEP, Trail
from gateway.model.reading import NamedScan
from gateway.mqtt.messages import BadMessage, parse_displayed_meta, parse_ledger
from gateway.settings.factory import Machine

if TYPE_CHECKING:
    from collections.abc import Mapping

LEDGER: Mapping[str, Any] = {
    "balanced": True, "spool_bytes": 0, "time": T0, "schedule": {"due": 100, "missed": 3},
    "ledger": {"acquired": 1, "unchanged": 0, "pending": 0, "confirmed": 1, "dropped": {}},
}  # fmt: skip


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> FedPlant:
    monkeypatch.setattr(feed_of_machine, "FAULTS_EVERY", 0.0)
    plant = FedPlant()
    plant.meta()
    plant.state("online")
    return plant


def opened(fed: FedPlant, *visible: int) -> MachineFeed:
    feed = MachineFeed(plants(fed))
    feed.choose({"path": str(PRESS), "visible": list(visible)})
    return feed


def test_points_come_in_groups(fed: FedPlant) -> None:
    """Positions of points, in the order in which the page shows them."""
    assert opened(fed).changes()["groups"] == [("state", [0]), ("production", [2]), ("part", [3]), ("pressure", [1])]


def test_all_points_that_are_not_good_are_counted_by_reason(fed: FedPlant) -> None:
    """The page looks for two bad points of ten thousand, which it does not see."""
    feed = opened(fed)
    assert feed.changes()["faults"] == {"not_good": [], "reasons": [], "refused": [], "silent": 4, "quiet": 0}
    fed.scan(
        NamedScan(T0, {"state": 6}, {"pressure": "refused", "good_count": "no_response"}, codes={"pressure": "2"})
    )
    fed.scan(NamedScan(T0 + 1, {"state": 6}, uncertain={"state": "clock"}))
    assert feed.changes()["faults"] == {
        "not_good": [0, 1, 2],
        "reasons": [[3, "refused", 1], [3, "no_response", 1], [2, "clock", 1]],
        "refused": [[1, "refused", "2"]],
        "silent": 1,
        "quiet": 0,
    }
    fed.values(T0 + 2, state=6, pressure=1.0, good_count=1, serial_number="SN")
    assert feed.changes()["faults"] == {"not_good": [], "reasons": [], "refused": [], "silent": 0, "quiet": 0}


def test_a_point_whose_first_event_has_not_happened_lacks_no_reading(fed: FedPlant) -> None:
    """A machine without a stop so far has no problem."""
    stops = {"type": "json", "unit": "", "every": 1.0, "content": "stops"}
    fed.meta(points=POINTS | {"stops": stops}, id="5d0c9e3f7a22")
    faults = opened(fed).changes()["faults"]
    assert (faults["silent"], faults["quiet"]) == (4, 1)


def test_a_timeline_is_sent_once_and_then_its_further_states(fed: FedPlant) -> None:
    """Eight hours of states are not sent with each change."""
    fed.values(T0, state=4)
    fed.values(T0 + 10, state=6)
    feed = opened(fed)
    first = feed.changes()
    assert first["timeline"] == [[T0, "idle", "idle"], [T0 + 10, "execute", "producing"]]
    assert [state for _, state, _ in first["connection"]] == ["online"]
    fed.values(T0 + 20, state=11)
    fed.values(T0 + 30, state=6)
    changes = feed.changes()
    assert changes["more"] == [[T0 + 20, "held", "held"], [T0 + 30, "execute", "producing"]]
    assert "connection" not in changes
    fed.state("degraded", reason="no_response", since=T0 + 40)
    assert feed.changes()["connection"][-1] == [T0 + 40, "degraded", "no_response"]


def test_a_history_that_is_read_later_replaces_the_timeline(fed: FedPlant) -> None:
    """The store is read while the page is open."""
    fed.values(T0, state=6)
    feed = opened(fed)
    feed.changes()
    machine = fed.machines[PRESS]
    machine.take_history([machine.production[0]._replace(time=T0 - 100, state="idle")])
    assert feed.changes()["timeline"] == [[T0 - 100, "idle", "idle"], [T0, "execute", "producing"]]


def test_a_trail_is_sent_when_its_point_becomes_visible(fed: FedPlant) -> None:
    """The last minutes, with a bad reading as a gap."""
    fed.values(T0, pressure=16.0200004)
    fed.scan(NamedScan(T0 + 3 * SECOND, {}, {"pressure": "refused"}))
    feed = opened(fed)
    assert "trails" not in feed.changes()
    feed.choose({"path": str(PRESS), "visible": [1]})
    assert feed.changes()["trails"] == {1: [T0, [0, 3000], [16.02, None]]}
    assert "trails" not in (feed.changes() or {})


def test_the_usual_range_has_nine_tenths_of_the_readings() -> None:
    """A value that leaves it is worth a look; a single outlier does not widen it."""
    trail = Trail()
    for turn in range(LEARNED - 1):
        trail.add((turn + 1) * TRAIL_STEP, 100.0 + turn % 21 - 10)
    assert trail.usual is None
    for turn in range(2000):
        trail.add((LEARNED + turn) * TRAIL_STEP, 100.0 + turn * 13 % 21 - 10)
    trail.add((LEARNED + 2000) * TRAIL_STEP, 5000.0)
    assert trail.usual is not None
    low, high = trail.usual
    assert 89 <= low <= 93
    assert 107 <= high <= 112
    assert len(list(trail)) == TRAIL


def test_a_value_that_does_not_change_has_no_usual_range() -> None:
    """A band without height can't be seen."""
    trail = Trail()
    for turn in range(2 * LEARNED):
        trail.add((turn + 1) * TRAIL_STEP, 7.0)
    assert trail.usual is None


def test_the_counters_of_the_drivers_are_sent_as_the_gateway_reports_them(fed: FedPlant) -> None:
    """Requests and retries are sums over the gateway; the page says as of when."""
    feed = opened(fed)
    assert feed.changes()["driver"] == {}
    fed.hear("acme/north/_gateways/edge-01/ledger", LEDGER | {"drivers": {"requests": 7, "timeouts": 1}})
    assert feed.changes()["driver"] == {
        "time": T0, "counters": {"requests": 7, "timeouts": 1}, "due": 100, "missed": 3,
    }  # fmt: skip
    assert feed.changes() is None


@pytest.mark.parametrize(
    "drivers", [{"requests": -1}, {"requests": "7"}, {"": 1}, {f"c{at}": 1 for at in range(101)}, [], {"a": True}]
)
def test_counters_that_no_gateway_has_are_refused(drivers: Any) -> None:
    """Anyone may publish on the topic: numbers and names are bounded."""
    with pytest.raises(BadMessage):
        parse_ledger(orjson.dumps(dict(LEDGER) | {"drivers": drivers}))


def test_a_gateway_of_an_earlier_version_reports_no_counters() -> None:
    """A page is often newer than the gateways that it shows."""
    assert parse_ledger(orjson.dumps(dict(LEDGER))).drivers == {}


def test_the_metadata_says_how_long_a_point_may_be_silent() -> None:
    """Each reading is sent, or a change and a repetition; the page greys a point that is silent for longer."""
    points = (
        register("each", every="2s"),
        register("changed", on_change=True),
        register("moved", deadband=5, at_least_every="5m"),
        node("pushed", type="int"),
        node("repeated", type="int", at_least_every="30s"),
    )
    protocol: Any = type("Protocol", (), {"name": "modbus"})
    machine = Machine(PRESS, "press", protocol, Connection(), points)
    found = parse_displayed_meta(encode_meta(machine)).points
    assert {name: point.at_least_every for name, point in found.items()} == {
        "each": 2.0, "changed": 60.0, "moved": 300.0, "pushed": 0.0, "repeated": 30.0,
    }  # fmt: skip


def test_a_point_without_a_limit_is_never_silent_for_too_long(fed: FedPlant) -> None:
    """An OPC UA server sends nothing while a value stays."""
    assert opened(fed).changes()["points"][1]["quiet"] == 0.0
    fed.meta(points={"pressure": POINTS["pressure"] | {"at_least_every": 30.0}}, id="6d0c9e3f7a22")
    assert opened(fed).changes()["points"][0]["quiet"] == 30.0
