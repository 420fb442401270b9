"""Parts on the page: where a serial number was seen, and which parts are in work."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from live_plant import machine_path, message, store_scans, write_live_plant
from starlette.applications import Starlette
from starlette.testclient import TestClient

from drivers.base import Quality
from gateway.dashboard.feeds.parts import PartsFeed
from gateway.dashboard.parts.routes import PartRoutes
from gateway.dashboard.parts.visits import MAX_SUGGESTIONS, MAX_VISITS, Search, prefix_of, result_points
from gateway.dashboard.plants import Plants
from gateway.dashboard.stored import Stored
from gateway.model.metadata import MachineMeta
from gateway.model.reading import NamedScan, Reading
from gateway.stores.base import MachineScan
from gateway.stores.sqlite import SqliteSettings, SqliteStore

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings.factory import Factory

SECOND = 1_000_000
TBM = machine_path("building/building-1/tbm-01")
PRESS = machine_path("curing/curing-1/press-01")


def reading(at: int, value: str | None, point: str = "serial_number") -> Reading:
    return Reading(PRESS, point, at, value, "", Quality.GOOD if value is not None else Quality.BAD)


@given(st.lists(st.sampled_from(["A", "B", "", None]), max_size=40), st.integers(1, 7))
def test_visits_are_the_runs_of_readings_that_name_the_part(values: list[str | None], size: int):
    """However the readings are cut into slices, a visit begins and ends where the readings say."""
    readings = [reading(at, value) for at, value in enumerate(values)]
    search = Search("A")
    for end in range(len(readings), 0, -size):
        search.add(reversed(readings[max(0, end - size) : end]))
    expected, at = [], 0
    while at < len(values):
        if values[at] != "A":
            at += 1
            continue
        begin = at
        while at < len(values) and values[at] == "A":
            at += 1
        after = at if at < len(values) else None
        expected.append((begin, after, after is not None and values[after] is None))
    assert [(one.begin, one.end, one.lost) for one in search.visits()] == expected


def test_similar_serial_numbers_are_suggested_and_all_is_bounded():
    """Half of a number from a torn label finds the part; a device that sends noise fills nothing."""
    search = Search("tyre-1")
    search.add(reading(-at, f"TYRE-{at}") for at in range(200))
    found = search.suggestions()
    assert [one.serial for one in found[:3]] == ["TYRE-1", "TYRE-10", "TYRE-11"]
    assert len(found) == MAX_SUGGESTIONS
    search = Search("A")
    search.add(reading(-at, "A" if at % 2 else "B") for at in range(3 * MAX_VISITS))
    assert search.full


@pytest.mark.parametrize(
    ("point", "prefix", "results"),
    [
        ("serial_number", "", []),
        ("result_serial_number_left", "result", ["result_left", "result_force_left", "result_grade"]),
        ("record_serial_number", "record", ["record_charge"]),
        ("carton_barcode", "carton", ["carton_weight"]),
    ],
)
def test_results_belong_to_the_serial_number_with_the_same_words(point: str, prefix: str, results: list[str]):
    """A result of the right mould must not appear at the tyre of the left mould."""
    others = [
        "serial_number", "result_left", "result_right", "result_force_left", "result_force_right", "result_grade",
        "result_serial_number_left", "result_serial_number_right", "record_charge", "carton_weight", "resulting",
    ]  # fmt: skip
    assert prefix_of(point) == prefix
    assert result_points(point, others) == results


TEXT = {"raw": "string", "length": 16, "on_change": True}
BUILDING = {"serial_number": {"address": "holding 0", **TEXT}}
CURING = {
    "serial_number_left": {"address": "holding 0", **TEXT},
    "result_serial_number_left": {"address": "holding 20", **TEXT},
    "result_left": {"address": "holding 40", "on_change": True, "labels": {1: "good", 2: "undercured"}},
    "pressure": {"address": "holding 41", "raw": "float32", "unit": "bar", "range": [0, 30]},
}
TYPES = {
    "serial_number": "string", "serial_number_left": "string", "result_serial_number_left": "string",
    "result_left": "int", "pressure": "float",
}  # fmt: skip


@pytest.fixture
def factory(tmp_path: Path) -> Factory:
    return write_live_plant(
        tmp_path,
        {"building/building-1/tbm-01": ("modbus", BUILDING), "curing/curing-1/press-01": ("modbus", CURING)},
    )


def ask(plants: Plants, factory: Factory, serial: str, **query: object) -> dict:
    client = TestClient(Starlette(routes=PartRoutes(plants, Stored([factory])).routes()))
    answer = client.get("/api/parts", params={"serial": serial, **query})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_serial_number_shows_the_machines_in_order_with_results_and_trends(tmp_path: Path, factory: Factory):
    """A complaint about a tyre begins with its number; the page answers where, when, and with what result."""
    begin = time.time_ns() // 1000 - 3600 * SECOND
    scans = [
        (TBM, {"serial_number": "T-1"}), (TBM, {"serial_number": "T-2"}),
        (PRESS, {"serial_number_left": "T-1", "result_left": 2}),
        (PRESS, {"result_serial_number_left": "T-0"}),
        (PRESS, {"serial_number_left": "", "result_serial_number_left": "T-1", "result_left": 1}),
        (PRESS, {"result_serial_number_left": "T-9", "result_left": 2}),
    ]  # fmt: skip
    timed = [(path, NamedScan(begin + at * 10 * SECOND, dict(values))) for at, (path, values) in enumerate(scans)]
    store_scans(tmp_path, timed, TYPES)
    plants = Plants([factory])
    plants.plants[0].take(message(TBM, begin + 3000 * SECOND, "data", serial_number="T-1"))
    found = ask(plants, factory, " T-1 ")
    seen = [(one["path"], one["point"], one["from"] - begin, one["result"]) for one in found["visits"]]
    assert seen == [
        (str(TBM), "serial_number", 0, False),
        (str(PRESS), "serial_number_left", 20 * SECOND, False),
        (str(PRESS), "result_serial_number_left", 40 * SECOND, True),
    ]
    assert [one["to"] - begin for one in found["visits"]] == [10 * SECOND, 40 * SECOND, 50 * SECOND]
    [result] = found["visits"][2]["results"]
    assert (result["point"], result["value"], result["label"]) == ("result_left", 1, "good")
    assert found["visits"][1]["trends"] == ["pressure"]
    assert found["live"] == [{"path": str(TBM), "point": "serial_number"}]
    assert (found["machines"], found["points"], found["problems"]) == (2, 3, [])


def test_an_unknown_serial_number_says_what_was_searched(tmp_path: Path, factory: Factory):
    """Nothing found is an answer only together with where it was looked for."""
    begin = time.time_ns() // 1000 - 60 * SECOND
    store_scans(tmp_path, [(TBM, NamedScan(begin, {"serial_number": "T-100"}))], TYPES)
    found = ask(Plants([factory]), factory, "t-10", **{"from": "-1h"})
    assert (found["visits"], found["points"], found["machines"]) == ([], 1, 1)
    assert found["known_since"] == found["from"]
    assert [one["serial"] for one in found["suggestions"]] == ["T-100"]


def test_a_store_that_is_not_there_is_said_and_a_bad_request_too(factory: Factory):
    """The search fails with its reason, and never with a blank page."""
    found = ask(Plants([factory]), factory, "T-1")
    assert "unavailable" in found["problems"][0]
    client = TestClient(Starlette(routes=PartRoutes(Plants([factory]), Stored([])).routes()))
    assert client.get("/api/parts?serial=T-1").json()["problems"]
    for query in ("", "?serial=%20", f"?serial={'x' * 201}", "?serial=a&from=now"):
        assert client.get(f"/api/parts{query}").status_code == 400


def test_the_recorded_operations_of_a_part_and_the_uses_of_a_lot(tmp_path: Path, factory: Factory):
    """Out of the tables of the store, in the order of their times."""
    begin = time.time_ns() // 1000 - 3600 * SECOND
    records = [
        (PRESS, {"serial": "T-1", "operation": "curing", "began": begin + 9,
                 "materials": [{"name": "tyre", "lot": "G-1"}],
                 "values": [{"name": "p", "value": 2.0, "unit": "bar"}], "curves": ["pressure"], "lot": "L-1"}),
        (TBM, {"serial": "T-1", "operation": "building", "began": begin}),
    ]  # fmt: skip
    meta = MachineMeta("t", {"part": "json"}, {}, {"part": "part"})
    with SqliteStore(SqliteSettings(path=tmp_path / "readings.db")) as store:
        for at, (path, record) in enumerate(records):
            scan = NamedScan(begin + at, {"part": orjson.dumps(record).decode()})
            store.write([MachineScan(path, meta, scan, 0)])
    client = TestClient(Starlette(routes=PartRoutes(Plants([factory]), Stored([factory])).routes()))
    found = client.get("/api/parts/history", params={"serial": " T-1 "}).json()
    assert [(one["operation"], one["path"], one["run"]) for one in found["operations"]] == [
        ("building", str(TBM), 1), ("curing", str(PRESS), 1),
    ]  # fmt: skip
    curing = found["operations"][1]
    assert (curing["values"][0]["value"], curing["curves"], curing["facts"]) == (2.0, ["pressure"], {"lot": "L-1"})
    assert (found["problems"], found["live"]) == ([], [])
    uses = client.get("/api/parts/uses", params={"lot": "G-1"}).json()
    assert [(one["serial"], one["path"], one["level"]) for one in uses["uses"]] == [("T-1", str(PRESS), 1)]
    assert not uses["cut"]
    twice = TestClient(Starlette(routes=PartRoutes(Plants([factory]), Stored([factory, factory])).routes()))
    assert len(twice.get("/api/parts/uses", params={"lot": "G-1"}).json()["uses"]) == 1, "two files share a store"
    for query in ("history", "history?serial=", "uses?lot=%20", f"uses?lot={'x' * 201}"):
        assert client.get(f"/api/parts/{query}").status_code == 400
    empty = TestClient(Starlette(routes=PartRoutes(Plants([factory]), Stored([])).routes()))
    assert empty.get("/api/parts/history?serial=T-1").json()["problems"]


def test_the_feed_names_the_parts_in_work_of_each_machine(factory: Factory):
    """A hostile number is text that is cut, like any other."""
    plants = Plants([factory])
    feed = PartsFeed(plants)
    feed.choose({})
    assert [row["parts"] for row in feed.changes()["machines"]] == [[], []]
    at = time.time_ns() // 1000
    serial = "<script>" * 100
    plants.plants[0].take(
        message(PRESS, at, "data", serial_number_left=serial, result_serial_number_left="T-0", result_left=1)
    )
    [row] = feed.changes()["changed"]
    assert (row["parts"], row["results"]) == ([serial[:200]], ["T-0"])
    assert feed.changes() is None
