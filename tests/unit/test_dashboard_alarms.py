"""The alarms of the page: standing alarms, notes of operators, events out of the stores, and statistics."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from live_plant import machine_path, message, store_scans, write_live_plant
from starlette.applications import Starlette
from starlette.testclient import TestClient

from gateway.dashboard.actions import Actors, Forbidden
from gateway.dashboard.alarms.notes import NOTES, AlarmNotes, Note
from gateway.dashboard.alarms.routes import AlarmRoutes
from gateway.dashboard.alarms.statistics import (
    annunciations,
    chattering,
    level_of,
    longest_standing,
    most_frequent,
    rates,
)
from gateway.dashboard.alarms.stored import AlarmBackfill, stored_changes
from gateway.dashboard.feeds.alarms import AlarmsFeed, bits_of
from gateway.dashboard.feeds.base import BadArguments
from gateway.dashboard.live.alarms import ALARMS, CHANGES, Alarm, Alarms
from gateway.dashboard.live.points import PointInfo
from gateway.dashboard.plants import Plants
from gateway.dashboard.security import needs
from gateway.dashboard.stored import Stored
from gateway.model.alarm_rates import WINDOW
from gateway.model.reading import NamedScan
from gateway.settings.load import load_factory
from gateway.settings.templates import bundled_config

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings.factory import Factory
    from gateway.users.roles import Permission

PRESS = machine_path("curing/curing-1/press-01")
MIXER = machine_path("mixing/mixing-1/mixer-01")
SECOND = 1_000_000
START = 1_764_000_000 * SECOND


def event(**changes: Any) -> str:
    """Return an event as a gateway publishes it."""
    usual = {
        "id": "1", "type": "AlarmType", "source": "Boiler", "condition": "Level", "severity": 700, "message": "high",
        "active": True, "acknowledged": False, "condition_id": None, "branch_id": None,
    }  # fmt: skip
    return json.dumps(usual | changes)


def alarm(condition: str, at: float, *, active: bool = True) -> Alarm:
    """Return a change of an alarm, `at` seconds after the start."""
    moment = START + round(at * SECOND)
    return Alarm(
        PRESS, condition, "Boiler", condition, 700, "high", active, acknowledged=False, since=moment, time=moment
    )


# -- standing alarms --


def test_an_alarm_is_standing_until_it_is_inactive_and_acknowledged():
    """ISA-18.2: an alarm that returned to normal still asks for attention until somebody acknowledged it."""
    alarms = Alarms()
    alarms.take(PRESS, START, event())
    alarms.take(PRESS, START + 1, event(active=False))
    [standing] = alarms.of(PRESS).values()
    assert (standing.active, standing.since, standing.time) == (False, START, START + 1)
    alarms.take(PRESS, START + 2, event(active=False, acknowledged=True))
    assert alarms.of(PRESS) == {}
    assert [one.active for one in alarms.history] == [True, False, False]


def test_the_same_event_again_changes_nothing():
    """The gateway may send a record twice; a page must not count the alarm twice."""
    alarms = Alarms()
    assert alarms.take(PRESS, START, event()) is not None
    assert alarms.take(PRESS, START, event()) is None
    assert (alarms.count, len(alarms.history)) == (1, 1)


def test_an_event_that_a_gateway_sends_again_does_not_bring_an_ended_alarm_back():
    """After a lost connection a gateway sends records again that the page has heard: they are older than the end."""
    alarms = Alarms()
    over = event(active=False, acknowledged=True)
    for at, text in ((START, event()), (START + 5, over), (START, event()), (START + 5, over)):
        alarms.take(PRESS, at, text)
    assert (alarms.count, len(alarms.history)) == (0, 2)
    alarms.take(PRESS, START + 9, event())
    assert [one.since for one in alarms.of(PRESS).values()] == [START + 9]


@pytest.mark.parametrize("text", [None, 3, "{", "[]", event(active="yes"), "x" * 70_000, "[" * 60_000])
def test_what_is_not_an_event_is_counted_and_ignored(text: object):
    """Anybody who may publish can send anything; the page goes on."""
    alarms = Alarms()
    assert alarms.take(PRESS, START, text) is None
    assert (alarms.ignored, alarms.count) == (1, 0)


def test_alarms_beyond_the_limit_are_counted_and_make_no_machine_slow():
    """A server that invents conditions must not fill the memory of the page."""
    alarms = Alarms()
    for number in range(ALARMS + 5):
        alarms.take(PRESS, START + number, event(condition=f"c{number}"))
    assert (alarms.count, alarms.dropped, len(alarms.history), alarms.forgotten) == (ALARMS, 5, ALARMS + 5, 0)
    assert len(alarms.history) < CHANGES


def test_stored_changes_come_before_those_that_were_heard():
    """A page that starts later shows the alarms that were active before, with the time since when they are."""
    alarms = Alarms()
    alarms.take(PRESS, START + 20, event(condition="Level", acknowledged=True))
    alarms.take(PRESS, START + 30, event(condition="Leak", active=False, acknowledged=True))
    earlier = Alarms()
    for time_of, condition in ((START, "Level"), (START + 5, "Leak"), (START + 6, "Oil")):
        earlier.take(PRESS, time_of, event(condition=condition))
    alarms.take_stored(list(earlier.history))
    assert {one.name: one.since for one in alarms.of(PRESS).values()} == {"Level": START, "Oil": START + 6}
    assert [one.name for one in alarms.history] == ["Level", "Leak", "Oil", "Level", "Leak"]


# -- statistics --


def test_rates_count_annunciations_in_windows_of_ten_minutes():
    """EEMUA 191 rates an alarm system by the number of alarms in ten minutes."""
    changes = [alarm(f"a{n}", n) for n in range(12)] + [alarm("b", 700), alarm("b", 705), alarm("c", 1100)]
    found = rates(changes, START, START + 2 * WINDOW)
    assert found.counts == [12, 2]
    assert (found.average, found.peak, found.floods) == (7.0, 12, 1)
    assert level_of(found) == "very likely unacceptable"
    assert rates([], START, START + 1).counts == [0]


@given(
    st.lists(st.tuples(st.integers(0, 3600), st.sampled_from("abc"), st.booleans()), max_size=80),
    st.integers(1, 7200),
)
def test_every_annunciation_of_a_span_is_in_one_window(found: list[tuple[int, str, bool]], seconds: int):
    """A count that loses or doubles alarms at the edges of windows would be worthless."""
    changes = [alarm(name, at, active=active) for at, name, active in sorted(found, key=lambda one: one[0])]
    until = START + seconds * SECOND
    counted = sum(START <= one.time < until for one in annunciations(changes))
    assert sum(rates(changes, START, until).counts) == counted
    ranked = most_frequent(changes, 10)
    assert sum(one.times for one in ranked) == len(list(annunciations(changes)))


def test_an_alarm_that_comes_three_times_in_a_minute_chatters():
    """ISA-18.2: such alarms hide others, so they are the first to mend."""
    often = [alarm("door", 10 * n, active=n % 2 == 0) for n in range(10)]
    rarely = [alarm("leak", 40 * n, active=n % 2 == 0) for n in range(10)]
    changes = sorted([*often, *rarely], key=lambda one: one.time)
    assert [(one.alarm.name, one.times) for one in chattering(changes, 10)] == [("door", 3)]


def test_the_longest_standing_alarms_are_active_ones():
    """A stale alarm is one that stays active; one that ended only waits for a click."""
    standing = [alarm("a", 30), alarm("b", 10), alarm("c", 0, active=False)]
    assert [one.name for one in longest_standing(standing, 10)] == ["b", "a"]


# -- notes --


def note(kind: str = "shelved", key: str = "k", until: int = START + 60 * SECOND, since: int = START) -> Note:
    return Note.model_validate(
        {"kind": kind, "path": str(PRESS), "key": key, "who": "anna", "at": START, "comment": "known", "since": since,
         "until": until}
    )  # fmt: skip


async def test_notes_survive_a_restart(tmp_path: Path):
    """A shelved alarm that came back with an update of the gateway would be noise, and nobody would know why."""
    notes = AlarmNotes(tmp_path / "notes.json")
    notes.set(note())
    notes.set(note(key="gone"))
    notes.remove((PRESS, "gone"))
    assert await notes.save()
    again = AlarmNotes(tmp_path / "notes.json")
    shelved = alarm("k", 0)
    assert again.of(shelved, START) == note()
    assert again.of(shelved, START + 60 * SECOND) is None
    assert again.expire(START + 60 * SECOND) == [note()]
    assert again.of(alarm("gone", 0), START) is None


async def test_a_damaged_file_of_notes_is_replaced(tmp_path: Path):
    """A power cut must not keep the page from starting."""
    file = tmp_path / "notes.json"
    for content in ("{", '{"a": {"kind": "other"}}', "[]"):
        file.write_text(content, encoding="utf-8")
        notes = AlarmNotes(file)
        assert notes.of(alarm("k", 0), START) is None
        notes.set(note())
        assert await notes.save()
        assert AlarmNotes(file).of(alarm("k", 0), START) == note()


def test_an_acknowledgement_holds_until_the_alarm_comes_again():
    """The next occurrence is another event, which nobody has seen yet."""
    notes = AlarmNotes()
    notes.set(note("acknowledged", until=0))
    assert notes.of(alarm("k", 0), START + 10**12) is not None
    assert notes.of(alarm("k", 5), START + 10**12) is None


def test_notes_are_bounded():
    """An operator can't fill the disk with notes."""
    notes = AlarmNotes()
    for number in range(NOTES + 3):
        notes.set(note(key=f"k{number}"))
    assert notes.of(alarm("k2", 0), START) is None
    assert notes.of(alarm(f"k{NOTES + 2}", 0), START) is not None


def test_a_shelved_alarm_comes_back_when_its_time_is_over(factory: Factory):
    """Shelving hides an alarm for a time, and never permanently (ISA-18.2, 11.7)."""
    plants = Plants([factory])
    plants.plants[0].take(message(PRESS, now() - SECOND, "event", alarms=event()))
    [standing] = plants.plants[0].alarms
    shelved = note(key=standing.key, until=now() + 3600 * SECOND)
    plants.notes.set(shelved)
    feed = AlarmsFeed(plants)
    feed.choose({})
    assert feed.changes()["order"] == []
    plants.notes.set(shelved.model_copy(update={"until": now() - 1}))
    assert len(feed.changes()["rows"]) == 1
    assert [one.event for one in plants.journal.since(0) if one.kind == "operator"] == ["shelving ended"]


# -- feed and routes --


@pytest.fixture
def factory(tmp_path: Path) -> Factory:
    word = {"address": "holding 0", "description": "Bit 0: too hot"}
    return write_live_plant(
        tmp_path,
        {
            "curing/curing-1/press-01": ("opcua", {"alarms": {"node": "i=2253", "mode": "events"}}),
            "mixing/mixing-1/mixer-01": ("modbus", {"alarm_word": word}),
        },
    )


def now() -> int:
    return time.time_ns() // 1000


def test_a_plant_with_configured_alarms_is_watched(factory: Factory):
    """The page says that nothing is watched only where that is so."""

    def sources(*factories: Factory) -> int | None:
        feed = AlarmsFeed(Plants(factories, everything=not factories))
        feed.choose({})
        number: int | None = feed.changes()["summary"]["sources"]
        return number

    plant = load_factory(bundled_config() / "appliance-plant.yaml")
    configured = sum(len(machine.alarms.alarms) for machine in plant.machines)
    assert sources(plant) == configured > 30
    assert sources(plant, factory) == configured + 1
    assert sources() is None, "a page without a configuration knows nothing of it"


def test_the_feed_sends_alarms_by_priority_then_time_and_later_what_changed(factory: Factory):
    """The worst is on top; a page that is up to date gets the rows that changed alone."""
    plants = Plants([factory])
    plant, feed = plants.plants[0], AlarmsFeed(plants)
    at = now()
    for number, severity in enumerate((400, 900, 900, 100)):
        plant.take(message(PRESS, at + number, "event", alarms=event(condition=f"c{number}", severity=severity)))
    feed.choose({})
    first = feed.changes()
    rows = {row["id"]: row for row in first["rows"]}
    assert [rows[number]["name"] for number in first["order"]] == ["c2", "c1", "c0", "c3"]
    assert first["summary"]["priorities"] == [2, 0, 1, 1]
    assert first["summary"]["sources"] == 1
    assert feed.changes() is None
    plant.take(message(PRESS, at + 9, "event", alarms=event(condition="c0", severity=400, acknowledged=True)))
    changed = feed.changes()
    assert [row["name"] for row in changed["rows"]] == ["c0"]
    assert "order" not in changed


def test_the_feed_filters_by_place_priority_text_and_state(factory: Factory):
    """In a flood the shift leader looks at one line, or at the two highest priorities."""
    plants = Plants([factory])
    plant, feed = plants.plants[0], AlarmsFeed(plants)
    for number, (path, severity, acknowledged) in enumerate(
        [(PRESS, 900, False), (PRESS, 100, True), (MIXER, 900, True)]
    ):
        text = event(condition=f"c{number}", severity=severity, acknowledged=acknowledged, message=f"Oil {number}")
        plant.take(message(path, now() + number, "event", alarms=text))

    def names(**arguments: object) -> set[str]:
        feed = AlarmsFeed(plants)
        feed.choose(arguments)
        return {row["name"] for row in (feed.changes() or {}).get("rows", [])}

    assert names() == {"c0", "c1", "c2"}
    assert names(path="acme/north/curing") == {"c0", "c1"}
    assert names(priorities=[1]) == {"c0", "c2"}
    assert names(text="OIL 2") == {"c2"}
    assert names(state="unacknowledged") == {"c0"}
    assert names(shelved=True) == set()
    for bad in ({"priorities": [7]}, {"text": 3}, {"state": "?"}, {"limit": 0}, {"path": 1}):
        with pytest.raises(BadArguments):
            feed.choose(bad)


def test_an_alarm_word_without_texts_shows_its_bits(factory: Factory):
    """The page invents no text: it says which bits are set, and what the point's description says."""
    plants = Plants([factory])
    plant, feed = plants.plants[0], AlarmsFeed(plants)
    feed.choose({})
    assert feed.changes()["words"] == []
    plant.take(message(MIXER, now(), "data", alarm_word=5))
    [word] = feed.changes()["words"]
    assert word == {
        "path": str(MIXER), "point": "alarm_word", "description": "Bit 0: too hot", "bits": [0, 2],
    }  # fmt: skip
    machine = plant.machines[MIXER]
    machine.describe("", "modbus", (PointInfo("alarm_word", "int", labels={"5": "too hot"}),))
    assert feed.changes()["words"][0]["label"] == "too hot"
    assert bits_of(-1) == list(range(64))


def test_a_flood_loses_no_alarm_and_takes_no_time_from_others(factory: Factory):
    """500 alarms in two seconds: each is shown, counted and remembered, and the feeds take milliseconds."""
    plants = Plants([factory])
    plant, feed = plants.plants[0], AlarmsFeed(plants)
    feed.choose({"limit": 1000})
    feed.changes()
    at, seen, slowest = now(), {}, 0.0
    began = time.perf_counter()
    for number in range(500):
        plant.take(message(PRESS, at + number, "event", alarms=event(condition=f"c{number}", severity=number + 1)))
        if number % 50 == 0:
            looked = time.perf_counter()
            seen |= {row["id"]: row for row in (feed.changes() or {}).get("rows", [])}
            slowest = max(slowest, time.perf_counter() - looked)
    assert time.perf_counter() - began < 2.0
    last = feed.changes()
    seen |= {row["id"]: row for row in last["rows"]}
    assert {seen[number]["name"] for number in last["order"]} == {f"c{number}" for number in range(500)}
    assert last["summary"]["standing"] == 500
    assert sum(event_.kind == "alarm" for event_ in plants.journal.since(0)) == 500
    assert slowest < 0.25


class Recorded(list[tuple[object, ...]]):
    """An audit log for a test."""

    def __call__(self, identity: str, action: str, object: str, before: Any, after: Any) -> None:  # noqa: A002
        self.append((identity, action, object, before, after))


def test_an_operator_shelves_an_alarm_and_that_is_recorded(factory: Factory):
    """Who, when, why, until when: and the machine is not changed."""
    plants, recorded = Plants([factory]), Recorded()
    plant = plants.plants[0]
    plant.take(message(PRESS, now(), "event", alarms=event()))
    routes = AlarmRoutes(plants, Stored([]), Actors(lambda *_: "anna", recorded)).routes()
    client = TestClient(Starlette(routes=routes))
    [standing] = plant.alarms
    body = {"action": "shelve", "alarms": [{"path": str(PRESS), "key": standing.key}], "comment": "spare\x00part"}
    answer = client.post("/api/alarms/notes", json=body)
    assert answer.json() == {"changed": 1, "gone": 0, "saved": True, "commands": []}
    [(who, action, what, before, after)] = recorded
    assert (who, action, before) == ("anna", "alarm.shelve", None)
    assert str(PRESS) in what
    assert after["comment"] == "spare part"
    feed = AlarmsFeed(plants)
    feed.choose({"shelved": True})
    assert feed.changes()["rows"][0]["note"]["who"] == "anna"
    assert [event_.event for event_ in plants.journal.since(0) if event_.kind == "operator"] == ["shelved"]
    body["action"] = "remove"
    assert client.post("/api/alarms/notes", json=body).json()["changed"] == 1
    assert client.post("/api/alarms/notes", json=body).json()["changed"] == 0


def test_a_note_needs_the_right_and_a_valid_request(factory: Factory):
    """A form of another site, or a body of a gigabyte, changes nothing."""
    plants, recorded = Plants([factory]), Recorded()

    def refuse(request: object, permission: Permission) -> str:
        del request
        raise Forbidden(needs(permission))

    client = TestClient(Starlette(routes=AlarmRoutes(plants, Stored([]), Actors(refuse, recorded)).routes()))
    body = {"action": "shelve", "alarms": [{"path": str(PRESS), "key": "k"}]}
    assert client.post("/api/alarms/notes", json=body).status_code == 403
    assert client.post("/api/alarms/notes", data=body).status_code == 400
    for bad in ({"action": "stop"}, {"minutes": 0}, {"alarms": []}, {"comment": "x" * 501}, {"extra": 1}):
        assert client.post("/api/alarms/notes", json=body | bad).status_code == 400
    large = client.post("/api/alarms/notes", content=b" " * 2**21, headers={"content-type": "application/json"})
    assert large.status_code == 400
    assert not recorded


def test_the_history_says_since_when_it_is_known(factory: Factory):
    """Without a store the page knows what it has heard, and says so."""
    plants = Plants([factory])
    plant = plants.plants[0]
    plant.take(message(PRESS, now() - SECOND, "event", alarms=event()))
    actors = Actors(lambda *_: "local", Recorded())
    client = TestClient(Starlette(routes=AlarmRoutes(plants, Stored([]), actors).routes()))
    found = client.get("/api/alarms/history?from=-1h").json()
    assert [one["name"] for one in found["changes"]] == ["Level"]
    assert found["known_since"] == plants.started
    assert found["rates"]["peak"] == 1
    assert client.get("/api/alarms/history?from=-1h&priorities=x").status_code == 400
    assert client.get("/api/alarms/history?from=now").status_code == 400


async def test_the_history_has_the_alarms_of_gateways(tmp_path: Path, factory: Factory):
    """They are results, and stored under a point that no device has."""
    template = tmp_path / "machines" / "mixer-01.yaml"
    alarms = {"hot": {"point": "alarm_word", "high": 5}}
    template.write_text(json.dumps(yaml.safe_load(template.read_text()) | {"alarms": alarms}))
    at = now() - 60 * SECOND
    transition = event(condition="hot", condition_id="lineside:hot")
    store_scans(tmp_path, [(MIXER, NamedScan(at, {"alarms": transition}))], {"alarms": "json"})
    stored = Stored([load_factory(factory.file)])
    found, problems = await stored.each(lambda source: stored_changes(source, at, at + 2), 5.0)
    assert not problems
    assert [(one.path, one.key) for part in found for one in part.changes] == [(MIXER, "lineside:hot")]
    await stored.close()


async def test_alarms_that_were_active_before_the_page_started_come_out_of_the_store(
    tmp_path: Path, factory: Factory
):
    """An active alarm is sent once: a page that starts later would never hear of it."""
    at = now() - 3600 * SECOND
    scans = [
        (PRESS, NamedScan(at, {"alarms": event(condition="Oil")})),
        (PRESS, NamedScan(at + SECOND, {"alarms": event(condition="Leak")})),
        (PRESS, NamedScan(at + 2 * SECOND, {"alarms": event(condition="Leak", active=False, acknowledged=True)})),
        (PRESS, NamedScan(at + 3 * SECOND, {"alarms": "no event"})),
    ]
    store_scans(tmp_path, scans, {"alarms": "string"})
    plants, stored = Plants([factory]), Stored([factory])
    plant = plants.plants[0]
    plant.take(message(PRESS, now(), "event", alarms=event(condition="Oil", acknowledged=True)))
    await AlarmBackfill(plants, stored).run()
    assert [(one.name, one.since, one.acknowledged) for one in plant.alarms] == [("Oil", at, True)]
    assert plants.alarms_since < at
    found = await stored.each(lambda source: stored_changes(source, at, at + 2 * SECOND), 5.0, ("acme", "north"))
    assert [[one.name for one in part.changes] for part in found[0]] == [["Oil", "Leak"]]
    await stored.close()
