"""The feed of the view of a line."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from dashboard_plant import POINTS, PRESS, SECOND, FedPlant, plants

from gateway.dashboard.feeds import line
from gateway.dashboard.feeds.base import BadArguments
from gateway.dashboard.feeds.line import PAGE, LineFeed
from gateway.model.reading import NamedScan

if TYPE_CHECKING:
    from gateway.model.path import MachinePath

MINUTE = 60 * SECOND
LINE = "acme/north/curing/curing-1"
COUNTED = POINTS | {
    "reject_count": {"type": "int", "unit": "", "every": 1.0},
    "cycle_time_last": {"type": "float", "unit": "s", "every": 1.0},
}
EXECUTE, SUSPENDED, HELD = 6, 5, 11


def machine(number: int) -> MachinePath:
    return PRESS._replace(machine=f"m-{number:04}")


def line_of(count: int, template: str = "type-{}") -> FedPlant:
    """Return a plant with a line of machines, by default each of another type."""
    fed = FedPlant()
    for number in range(count):
        fed.meta(machine(number), COUNTED, template=template.format(number))
        fed.state("online", machine(number))
    return fed


def opened(fed: FedPlant, **arguments: Any) -> LineFeed:
    feed = LineFeed(plants(fed))
    feed.choose({"path": LINE} | arguments)
    return feed


@pytest.fixture(autouse=True)
def _always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute figures and stops at each call."""
    monkeypatch.setattr(line, "FIGURES_EVERY", 0.0)
    monkeypatch.setattr(line, "STOPS_EVERY", 0.0)


def test_a_line_has_its_machines_in_their_stages_and_then_those_that_change() -> None:
    """Rows come once; a row that changed is sent with its position."""
    fed = line_of(3)
    feed = opened(fed)
    first = feed.changes()
    assert first is not None
    assert [row["path"] for row in first["machines"]] == [str(machine(number)) for number in range(3)]
    assert first["stages"] == [[0], [1], [2]]
    assert feed.changes() is None
    fed.state("offline", machine(1), reason="no_response")
    changes = feed.changes()
    assert changes is not None
    [[at, row]] = changes["changed"]
    assert (at, row["state"]) == (1, "offline")
    orjson.dumps(first, option=orjson.OPT_NON_STR_KEYS)  # as the WebSocket does


def test_a_machine_that_waits_says_what_for() -> None:
    """The neighbour that stopped is the cause."""
    now = time.time_ns() // 1000
    fed = line_of(3)
    for number, state in enumerate((HELD, SUSPENDED, EXECUTE)):
        fed.values(now - MINUTE, machine(number), state=state)
    feed = opened(fed)
    rows = feed.changes()["machines"]
    assert [row.get("waits") for row in rows] == [None, "starved", None]
    fed.values(now, machine(0), state=EXECUTE)
    fed.values(now, machine(2), state=HELD)
    changed = dict(feed.changes()["changed"])
    assert changed[1]["waits"] == "blocked"
    fed.state("offline", machine(2), reason="no_response")
    assert dict(feed.changes()["changed"])[1]["waits"] == "waits", "a machine that is offline may produce"


def test_counts_and_rates_are_those_of_the_chosen_time() -> None:
    """Ten parts in the last ten minutes are 60 an hour."""
    now = time.time_ns() // 1000 // MINUTE * MINUTE
    fed = line_of(1)
    for minute in range(31):
        fed.values(
            now - (30 - minute) * MINUTE,
            machine(0),
            good_count=minute,
            reject_count=minute // 10,
            cycle_time_last=30.0,
        )
    [figures] = opened(fed).changes()["figures"].values()
    good, reject, good_per_hour, reject_per_hour, passed, cycle_time, _ = figures
    assert 14 <= good <= 15
    assert reject in {1, 2}
    assert 55 <= good_per_hour <= 65, "by whole minutes"
    assert 3 <= reject_per_hour <= 9
    assert passed in {4, 5}
    assert cycle_time == 30.0
    [figures] = opened(fed, span=3600).changes()["figures"].values()
    assert figures[0] == 30, "all that is known of the hour"


def test_the_bottleneck_and_who_stopped_whom_are_found() -> None:
    """The second machine stopped for two minutes, and the third waited."""
    now = time.time_ns() // 1000
    fed = line_of(3)
    for number in range(3):
        fed.values(now - 30 * MINUTE, machine(number), state=EXECUTE)
    fed.values(now - 12 * MINUTE, machine(0), state=SUSPENDED)
    fed.values(now - 10 * MINUTE, machine(0), state=EXECUTE)
    fed.values(now - 5 * MINUTE, machine(1), state=HELD)
    fed.values(now - 4 * MINUTE, machine(2), state=SUSPENDED)
    fed.values(now - 3 * MINUTE, machine(1), state=EXECUTE)
    fed.values(now - 2 * MINUTE, machine(2), state=EXECUTE)
    content = opened(fed).changes()
    assert content["bottleneck"]["stage"] == 1
    [stop] = content["stops"]
    assert (stop["machine"], stop["begin"], stop["end"], stop["kind"]) == (
        1,
        now - 5 * MINUTE,
        now - 3 * MINUTE,
        "held",
    )
    assert stop["affected"] == [[2, now - 4 * MINUTE, "starved"]]
    assert content["timelines"][1] == [
        [now - 30 * MINUTE, "execute", "producing"], [now - 5 * MINUTE, "held", "held"],
        [now - 3 * MINUTE, "execute", "producing"],
    ]  # fmt: skip


def test_timelines_are_sent_of_visible_machines_alone() -> None:
    """A page sees forty of a thousand machines."""
    now = time.time_ns() // 1000
    fed = line_of(100, "press")
    for number in range(100):
        fed.values(now, machine(number), state=EXECUTE)
    feed = opened(fed, first=0, last=2)
    assert feed.changes()["timelines"].keys() == {0, 1}
    feed.choose({"path": LINE, "first": 1, "last": 3})
    assert feed.changes()["timelines"].keys() == {2}
    feed.choose({"path": LINE, "first": 90, "last": 130})
    assert feed.changes()["timelines"].keys() == set(range(90, 100))


@pytest.mark.slow
def test_a_line_of_a_thousand_machines_is_computed_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other page waits for the figures of a long line."""
    fed = line_of(1000)
    now = time.time_ns() // 1000
    for number in range(1000):
        fed.values(now - MINUTE, machine(number), state=EXECUTE, good_count=1)
    feed = opened(fed, last=40)
    monkeypatch.setattr(line, "FIGURES_EVERY", 3600.0)
    first = feed.changes()
    assert len(first["machines"]) == 1000
    computed = [*first["figures"]]
    while (more := feed.changes()) is not None:
        assert len(more["figures"]) <= line.SLICE
        computed += more["figures"]
    assert computed == list(range(1000))


def test_an_unknown_line_is_said_once_and_shown_when_it_comes() -> None:
    """The page says so in words; a machine that is heard later makes the line."""
    fed = FedPlant()
    feed = opened(fed)
    assert feed.changes() == {"missing": True}
    assert feed.changes() is None
    fed.meta(machine(0))
    content = feed.changes()
    assert [row["path"] for row in content["machines"]] == [str(machine(0))]
    assert content["bottleneck"] is None


def test_a_machine_without_state_and_counters_is_shown_as_far_as_it_is_known() -> None:
    """Not all machines speak PackML."""
    fed = FedPlant()
    fed.meta(machine(0), {"pressure": {"type": "float", "unit": "bar"}})
    fed.scan(NamedScan(1, {"pressure": 1.0}), path=machine(0))
    content = opened(fed).changes()
    assert content["figures"] == {0: [None] * 7}
    assert "timelines" not in content
    assert content["stops"] == []


@pytest.mark.parametrize(
    "arguments",
    [{"path": "a/b"}, {"path": 7}, {"span": 60}, {"first": -1}, {"first": 0, "last": PAGE + 1},
     {"first": 2, "last": 1}, {"first": True}, {"last": "40"}],
)  # fmt: skip
def test_wrong_arguments_of_a_line_are_refused(arguments: dict[str, Any]) -> None:
    """A page may be opened by anyone, who may send anything."""
    with pytest.raises(BadArguments):
        opened(FedPlant(), **arguments)
