"""`/api/trend`, `/api/bands`, `/api/cycles` and `/api/export.csv`: the data, and the errors."""

from __future__ import annotations

import asyncio
import csv
import io
import sqlite3
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trend_plant import PRESS, SECOND, START, Answer, ask, fill, scan, write_plant

from gateway.dashboard.trends import query as query_
from gateway.dashboard.trends import readers
from gateway.dashboard.trends.csv_lines import CsvStyle
from gateway.dashboard.trends.errors import BadRequest
from gateway.dashboard.trends.routes import Trends
from gateway.dashboard.trends.selection import moment
from gateway.stores import sqlite_rollups
from gateway.stores.base import Unavailable
from gateway.stores.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from starlette.requests import Request

    from gateway.dashboard.trends.selection import Selection

HOUR = 3600


@pytest.fixture
async def trends(tmp_path: Path) -> AsyncIterator[Trends]:
    yield (made := Trends([write_plant(tmp_path)]))
    await made.close()


def at(seconds: float) -> int:
    return START + round(seconds * SECOND)


def press(*points: str) -> list[str]:
    return [f"{PRESS}/{point}" for point in points]


async def trend(trends: Trends, *points: str, since: float = 0, until: float = 60, **query: Any) -> Any:
    answer = await ask(trends, "/api/trend", point=press(*points), **{"from": at(since), "to": at(until), **query})
    assert answer.status == 200, answer.body
    return answer.json


# -- trends --


async def test_few_readings_come_as_they_are(trends: Trends, tmp_path: Path) -> None:
    """A person who zooms in sees each reading, with why it is not good."""
    fill(
        tmp_path,
        scan(1, pressure=1.5),
        scan(2, pressure=2.5, uncertain={"pressure": "out_of_range"}),
        scan(3, bad={"pressure": "no_response"}),
    )
    answer = await trend(trends, "pressure")
    [series] = answer["series"]
    assert series["kind"] == "readings"
    assert series["time"] == [at(1), at(2), at(3)]
    assert series["value"] == [1.5, 2.5, None]
    assert series["quality"] == [1, 2, 3]
    assert series["reasons"] == {"1": "out_of_range", "2": "no_response"}
    assert (series["unit"], series["range"], series["store"], series["steps"]) == ("bar", [0, 25], "sqlite", False)
    assert series["gap"] == 2.5 * SECOND
    assert answer["missing"] == []


async def test_many_readings_come_as_buckets_and_a_gap_stays_a_gap(trends: Trends, tmp_path: Path) -> None:
    """A line over an outage would show values that nobody has measured."""
    fill(tmp_path, *(scan(n, pressure=float(n % 10)) for n in range(HOUR) if not 1000 <= n < 2000))
    [series] = (await trend(trends, "pressure", until=HOUR, width=100))["series"]
    assert (series["kind"], series["width"]) == ("buckets", 60 * SECOND)
    assert sum(series["values"]) == HOUR - 1000
    assert not [one for one in series["start"] if at(1020) <= one < at(1980)]
    assert set(series["min"]) == {0.0}
    assert set(series["max"]) == {9.0}
    assert series["uncertain"] is None
    assert series["bad"] is None


async def test_a_bucket_of_bad_readings_has_no_value(trends: Trends, tmp_path: Path) -> None:
    fill(tmp_path, scan(0, pressure=1.0), scan(70, bad={"pressure": "not_connected"}), scan(2 * HOUR, pressure=2.0))
    [series] = (await trend(trends, "pressure", until=24 * HOUR, width=500))["series"]
    assert series["kind"] == "buckets"
    assert (sum(series["bad"]), sum(series["values"])) == (1, 2)
    assert len(series["first"]) == len(series["mean"]) == len(series["start"])


async def test_the_reading_before_the_span_comes_along(trends: Trends, tmp_path: Path) -> None:
    """A state that is sent when it changes holds at the left edge, too."""
    fill(tmp_path, scan(-50, phase=2), scan(-30, phase=3), scan(40, phase=1))
    [series] = (await trend(trends, "phase"))["series"]
    assert series["time"] == [at(-30), at(40)]
    assert series["steps"] is True
    assert series["labels"] == {"0": "none", "1": "load", "2": "steam", "3": "open"}


async def test_values_of_every_type_keep_it(trends: Trends, tmp_path: Path) -> None:
    fill(tmp_path, scan(1, closed=True, recipe="R-1", phase=1), scan(2, closed=False, recipe="x" * 300, phase=2**60))
    closed, recipe, phase = (await trend(trends, "closed", "recipe", "phase"))["series"]
    assert closed["value"] == [True, False]
    assert recipe["value"] == ["R-1", "x" * 200 + "…"]
    assert phase["value"] == [1, float(2**60)]


async def test_points_of_one_request_may_need_readings_or_buckets(trends: Trends, tmp_path: Path) -> None:
    """A state that changes twice an hour is exact beside a value of every second."""
    fill(tmp_path, *(scan(n, pressure=1.0) for n in range(900)), scan(100, phase=1), scan(800, phase=2))
    pressure, phase = (await trend(trends, "pressure", "phase", until=900, width=100))["series"]
    assert (pressure["kind"], phase["kind"]) == ("buckets", "readings")
    assert pressure["width"] == 9 * SECOND
    assert sum(pressure["values"]) == 900


async def test_too_many_readings_are_reduced_by_the_store(
    trends: Trends, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory stays bounded, whatever rate a point has."""
    monkeypatch.setattr(query_, "MAX_READINGS", 100)
    fill(tmp_path, *(scan(n / 10, phase=n % 3) for n in range(500)))
    [series] = (await trend(trends, "phase", width=4000))["series"]
    assert series["kind"] == "buckets"
    assert sum(series["values"]) == 500


async def test_a_point_that_the_store_does_not_know_is_named(trends: Trends, tmp_path: Path) -> None:
    fill(tmp_path, scan(1, pressure=1.0))
    answer = await trend(trends, "pressure", "nothing")
    assert [one["point"] for one in answer["series"]] == press("pressure")
    assert answer["missing"] == press("nothing")


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ({}, "no point is chosen"),
        ({"point": "press-01/pressure"}, "is not a point; write enterprise/site/area/line/machine/point"),
        ({"point": press("pressure"), "from": "yesterday"}, "'yesterday' is not a time"),
        ({"point": press("pressure"), "from": "-3x"}, "is not a duration"),
        ({"point": press("pressure"), "from": "now", "to": "-1h"}, "`to` is not after `from`"),
        ({"point": press("pressure"), "from": "1", "to": str(10**17)}, "is longer than"),
        ({"point": press("pressure"), "width": "0"}, "width is a whole number from 1 to 4000"),
        ({"point": press("pressure"), "width": "9" * 30}, "width is a whole number"),
        ({"point": press("pressure"), "zone": "../etc/passwd"}, "is not a time zone"),
        ({"point": [f"{PRESS}/p-{n}" for n in range(51)]}, "51 points are chosen, and 50 are the most"),
    ],
)
async def test_a_request_that_makes_no_sense_gets_a_hint(trends: Trends, query: dict[str, Any], text: str) -> None:
    answer = await ask(trends, "/api/trend", **query)
    assert (answer.status, answer.json["kind"]) == (400, "bad_request")
    assert text in answer.json["error"]


async def test_a_store_that_is_away_is_named_and_read_again_when_it_is_back(trends: Trends, tmp_path: Path) -> None:
    """The page says why there is no trend, and shows live values meanwhile."""
    answer = await ask(trends, "/api/trend", point=press("pressure"))
    assert (answer.status, answer.json["kind"]) == (503, "store_unavailable")
    assert answer.json["error"].startswith("the store sqlite is unavailable: ")
    fill(tmp_path, scan(1, pressure=1.0))
    assert (await trend(trends, "pressure"))["series"][0]["value"] == [1.0]


async def test_a_store_that_fails_while_it_is_read_is_opened_again(
    trends: Trends, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, scan(1, pressure=1.0))
    with monkeypatch.context() as patched:

        def fails(*_: object, **__: object) -> None:
            raise Unavailable("disk I/O error")

        patched.setattr(SqliteStore, "range", fails)
        answer = await ask(trends, "/api/trend", point=press("pressure"), **{"from": at(0), "to": at(60)})
    assert (answer.status, answer.json["error"]) == (503, "the store sqlite is unavailable: disk I/O error")
    assert (await trend(trends, "pressure"))["series"][0]["value"] == [1.0]


async def test_a_factory_without_a_store_says_so(tmp_path: Path) -> None:
    trends = Trends([write_plant(tmp_path, stores=[])])
    answer = await ask(trends, "/api/trend", point=press("pressure"))
    assert (answer.status, answer.json) == (
        404, {"error": "this factory has no store that can be read", "kind": "no_store"},
    )  # fmt: skip
    await trends.close()


@pytest.mark.slow
async def test_a_defect_is_an_answer_too(trends: Trends, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, scan(1, pressure=1.0))
    monkeypatch.setattr(SqliteStore, "series", lambda *_: 1 / 0)
    answer = await ask(trends, "/api/trend", point=press("pressure"))
    assert (answer.status, answer.json["kind"]) == (500, "failed")


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Callable[[], tuple[threading.Event, threading.Event]]:
    """A function after which each query waits; it returns events: a query waits, and let it go on."""

    def become_slow() -> tuple[threading.Event, threading.Event]:
        waits, go = threading.Event(), threading.Event()
        plain = SqliteStore.series

        def series(store: SqliteStore, pattern: str = "*") -> Any:
            waits.set()
            go.wait(60)
            return plain(store, pattern)

        monkeypatch.setattr(SqliteStore, "series", series)
        return waits, go

    return become_slow


async def test_a_browser_that_goes_ends_its_query(
    trends: Trends, tmp_path: Path, slow: Callable[[], tuple[threading.Event, threading.Event]]
) -> None:
    """A person who zooms on and on must not leave a queue of queries behind."""
    fill(tmp_path, scan(1, pressure=1.0))
    waits, go = slow()
    gone = asyncio.Event()
    asking = asyncio.create_task(ask(trends, "/api/trend", gone, point=press("pressure")))
    await asyncio.to_thread(waits.wait, 60)
    gone.set()
    assert (await asking).status == 499
    go.set()
    assert (await trend(trends, "pressure"))["series"]


async def test_a_query_that_takes_too_long_is_given_up(
    trends: Trends, tmp_path: Path, slow: Callable[[], tuple[threading.Event, threading.Event]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from gateway.dashboard.trends import routes

    fill(tmp_path, scan(1, pressure=1.0))
    _, go = slow()
    monkeypatch.setattr(routes, "QUERY_SECONDS", 0.05)
    answer = await ask(trends, "/api/trend", point=press("pressure"))
    assert (answer.status, answer.json["kind"]) == (504, "timed_out")
    go.set()


async def test_queries_beyond_the_threads_wait_and_too_many_are_refused(
    trends: Trends, tmp_path: Path, slow: Callable[[], tuple[threading.Event, threading.Event]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(readers, "MAX_WAITING", 2)
    fill(tmp_path, scan(1, pressure=1.0))
    waits, go = slow()
    ask_one = lambda: ask(trends, "/api/trend", point=press("pressure"))  # noqa: E731 - a short name
    waiting = [asyncio.create_task(ask_one()) for _ in range(4)]
    await asyncio.to_thread(waits.wait, 60)
    refused = await ask_one()
    assert (refused.status, refused.json["kind"]) == (503, "busy")
    go.set()
    assert [(await one).status for one in waiting] == [200] * 4


# -- times --


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("now", START), ("-1h", START - HOUR * SECOND), ("-90s", START - 90 * SECOND), (str(START + 5), START + 5),
        ("2025-11-24T16:00:01Z", START + SECOND), ("2025-11-24T17:00:01+01:00", START + SECOND),
        ("2025-11-24T17:00:01 01:00", START + SECOND), ("2025-11-24T17:00:01", START + SECOND),
    ],
)  # fmt: skip
def test_a_time_has_many_forms(written: str, expected: int) -> None:
    assert moment(written, START, ZoneInfo("Europe/Berlin")) == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2026-10-25T02:30:00", "2026-10-25T00:30:00Z"),  # twice: the first, in summer time
        ("2026-10-25T02:30:00+01:00", "2026-10-25T01:30:00Z"),
        ("2026-10-25T03:30:00", "2026-10-25T02:30:00Z"),
        ("2026-03-29T02:30:00", "2026-03-29T01:30:00Z"),  # it does not exist: the clock goes from 2 to 3
        ("2026-03-29T03:30:00", "2026-03-29T01:30:00Z"),
    ],
)
def test_a_time_near_a_change_of_the_clock_is_one_time(written: str, expected: str) -> None:
    """A link of the night of the change must show the same hour to everybody."""
    assert moment(written, START, ZoneInfo("Europe/Berlin")) == moment(expected, START)


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    with suppress(BadRequest):
        assert isinstance(moment(text, START), int)


# -- bands and cycles --


async def bands(trends: Trends, **span: int) -> dict[str, list[tuple[Any, ...]]]:
    answer = await ask(trends, "/api/bands", machine=str(PRESS), **span)
    assert answer.status == 200, answer.body
    return {
        lane["lane"]: [(one["begin"], one["end"], one["label"], one["kind"]) for one in lane["bands"]]
        for lane in answer.json["lanes"]
    }


async def test_states_phases_and_alarms_are_bands(trends: Trends, tmp_path: Path) -> None:
    fill(
        tmp_path,
        scan(0, state=4, phase=0, alarm_word=0),
        scan(10, state=6, phase=1, alarm_word=0),
        scan(20, state=6, phase=2, alarm_word=0b101),
        scan(30, state=9, phase=2, alarm_word=0),
        scan(40, bad={"state": "not_connected"}, phase=2, alarm_word=0),
    )
    found = await bands(trends, **{"from": at(0), "to": at(41)})
    assert found["state"] == [
        (at(0), at(10), "idle", "idle"), (at(10), at(30), "execute", "producing"),
        (at(30), at(40), "aborted", "aborted"), (at(40), None, "not_connected", "offline"),
    ]  # fmt: skip
    assert found["phase"] == [(at(10), at(20), "load", "phase-1"), (at(20), None, "steam", "phase-2")]
    assert found["alarms"] == [(at(20), at(30), "2", "alarm")]


async def test_a_state_is_not_known_when_nothing_came_for_long(trends: Trends, tmp_path: Path) -> None:
    """A gateway that was off must not have its last state drawn over the night."""
    fill(tmp_path, scan(0, state=6), scan(60, state=6), scan(900, state=6))
    found = await bands(trends, **{"from": at(0), "to": at(960)})
    (begin, end, *_), (again, lasts, *_) = found["state"]
    assert (begin, again, lasts) == (at(0), at(900), None)
    # 2.5 periods after the time after which an unchanged value is sent, to within a minute
    assert at(60 + 62.5) <= end <= at(120 + 62.5)


async def test_bands_of_a_long_span_have_the_grain_of_the_buckets(trends: Trends, tmp_path: Path) -> None:
    day = 24 * HOUR
    fill(
        tmp_path,
        *(scan(n * 60, state=6) for n in range(600)),
        *(scan(n * 60, state=2 if n % 2 else 6) for n in range(600, 700)),
        *(scan(n * 60, state=2) for n in range(700, 1000)),
    )
    found = (await bands(trends, **{"from": at(0), "to": at(5 * day)}))["state"]
    assert {(label, kind) for _, _, label, kind in found} == {
        ("execute", "producing"), ("several", "several"), ("stopped", "stopped"),
    }  # fmt: skip
    assert len(found) < 10


async def cycles(trends: Trends, point: str, until: float, **query: Any) -> Answer:
    return await ask(trends, "/api/cycles", point=press(point)[0], **{"from": at(0), "to": at(until), **query})


def phases(number: int) -> Iterator[Any]:
    """Yield a cycle of 100 s: load, steam, open, with readings each second."""
    for n in range(100):
        yield scan(number * 100 + n, phase=1 if n < 10 else 2 if n < 80 else 3)


async def test_a_cycle_lies_between_two_beginnings_of_the_first_phase(trends: Trends, tmp_path: Path) -> None:
    fill(tmp_path, *(one for number in range(5) for one in phases(number)))
    answer = (await cycles(trends, "phase", 500)).json
    assert answer["begins"] == 1
    assert [(one["begin"], one["end"], one["whole"]) for one in answer["cycles"]] == [
        (at(n * 100), at(n * 100 + 100), True) for n in (1, 2, 3)
    ]
    answer = (await cycles(trends, "phase", 500, value="steam", limit=2)).json
    assert [one["begin"] for one in answer["cycles"]] == [at(210), at(310)]
    assert (answer["complete"], answer["number"]) == (False, 4)


async def test_a_cycle_with_an_outage_is_not_whole(trends: Trends, tmp_path: Path) -> None:
    """Its length may be that of two cycles."""
    scans = [one for number in range(4) for one in phases(number)]
    fill(tmp_path, *scans[:240], scan(245, bad={"phase": "no_response"}), *scans[250:])
    answer = (await cycles(trends, "phase", 400)).json
    assert [one["whole"] for one in answer["cycles"]] == [True, False]


@pytest.mark.parametrize("rolled", [False, True])
async def test_changes_are_the_same_with_and_without_buckets(trends: Trends, tmp_path: Path, *, rolled: bool) -> None:
    """Minutes without a change are not read, and none is overlooked."""
    fill(tmp_path, *(one for number in range(40) for one in phases(number)))
    if rolled:
        db = sqlite3.connect(tmp_path / "readings.db", isolation_level=None)
        for block, mark in db.execute("select block, mark from unrolled").fetchall():
            assert sqlite_rollups.roll_up(db, block, mark)
        db.close()
    answer = (await cycles(trends, "phase", 4000)).json
    assert [one["begin"] for one in answer["cycles"]] == [at(n * 100) for n in range(1, 39)]


async def test_each_change_of_a_counter_begins_a_cycle(trends: Trends, tmp_path: Path) -> None:
    fill(tmp_path, *(scan(n, alarm_word=n // 20) for n in range(100)))
    answer = (await cycles(trends, "alarm_word", 100)).json
    spans = [(one["begin"], one["end"]) for one in answer["cycles"]]
    assert spans == [(at(20), at(40)), (at(40), at(60)), (at(60), at(80))]


async def test_a_text_begins_a_cycle_where_it_changes(trends: Trends, tmp_path: Path) -> None:
    fill(tmp_path, *(scan(n, recipe=f"R-{n // 400}") for n in range(0, 2000, 10)))
    answer = (await cycles(trends, "recipe", 2000)).json
    assert [one["begin"] for one in answer["cycles"]] == [at(400), at(800), at(1200)]


async def test_a_beginning_that_is_no_value_of_the_point_is_refused(trends: Trends) -> None:
    answer = await cycles(trends, "phase", 100, value="sream")
    assert answer.status == 400
    assert "load, steam, open" in answer.json["error"]


# -- points --


async def test_points_are_found_by_words_of_path_name_and_description(trends: Trends) -> None:
    found = await ask(trends, "/api/points", search="PRESS-01 bladder")
    assert [one["point"] for one in found.json["points"]] == press("pressure")
    assert found.json["points"][0] | {"labels": {}} == {
        "point": press("pressure")[0], "unit": "bar", "type": "float", "description": "Bladder", "labels": {},
        "steps": False, "every": 1.0,
    }  # fmt: skip
    assert (await ask(trends, "/api/points", search="nothing")).json == {"points": [], "complete": True}


async def test_a_search_finds_a_bounded_number_of_points(trends: Trends) -> None:
    """A plant has ten thousands of points, and a person reads a few."""
    found = (await ask(trends, "/api/points", machine=str(PRESS), limit=2)).json
    assert (len(found["points"]), found["complete"]) == (2, False)


# -- files --


def table(answer: Answer, delimiter: str = ",") -> list[list[str]]:
    assert answer.status == 200, answer.body
    return list(csv.reader(io.StringIO(answer.body.decode("utf-8-sig")), delimiter=delimiter))


async def export(trends: Trends, *points: str, **query: Any) -> Answer:
    return await ask(trends, "/api/export.csv", point=press(*points), **{"from": at(0), "to": at(HOUR), **query})


async def test_a_file_has_the_readings_in_the_order_of_their_times(trends: Trends, tmp_path: Path) -> None:
    fill(tmp_path, scan(1, pressure=1.5, closed=True), scan(2.5, bad={"pressure": "no_response"}))
    answer = await export(trends, "pressure", "closed")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="press-01-1764000000.csv"'
    heading, *rows = table(answer)
    assert heading == ["time", "machine", "point", "value", "unit", "quality", "reason"]
    assert sorted(rows) == [
        ["2025-11-24T16:00:01.000000Z", str(PRESS), "closed", "true", "", "good", ""],
        ["2025-11-24T16:00:01.000000Z", str(PRESS), "pressure", "1.5", "bar", "good", ""],
        ["2025-11-24T16:00:02.500000Z", str(PRESS), "pressure", "", "bar", "bad", "no_response"],
    ]


async def test_a_file_follows_the_reader_s_spreadsheet(trends: Trends, tmp_path: Path) -> None:
    """With a decimal comma, a comma can't separate columns."""
    fill(tmp_path, scan(1, pressure=-1.5))
    _, row = table(await export(trends, "pressure", decimal="comma", zone="Europe/Berlin"), ";")
    assert row[0] == "2025-11-24T17:00:01.000000+01:00"
    assert row[3] == "-1,5"


async def test_times_of_an_hour_that_comes_twice_differ_in_a_file(trends: Trends, tmp_path: Path) -> None:
    """In the night of the change two readings an hour apart have one time of day: the offset is the difference."""
    first = moment("2026-10-25T00:30:00Z", START)
    fill(tmp_path, *(scan((first - START) / SECOND + n * HOUR, pressure=float(n)) for n in range(3)))
    answer = await export(
        trends, "pressure", zone="Europe/Berlin", **{"from": first, "to": first + 3 * HOUR * SECOND}
    )
    assert [row[0] for row in table(answer)[1:]] == [
        "2026-10-25T02:30:00.000000+02:00", "2026-10-25T02:30:00.000000+01:00", "2026-10-25T03:30:00.000000+01:00",
    ]  # fmt: skip


async def test_a_text_of_a_device_is_no_formula(trends: Trends, tmp_path: Path) -> None:
    """A spreadsheet would run it (CSV injection)."""
    fill(
        tmp_path, *(scan(n, recipe=text) for n, text in enumerate(["=1+1", "@SUM(A1)", "-2+3", "+1", "\t=1", "R-1"]))
    )
    assert [row[3] for row in table(await export(trends, "recipe"))[1:]] == [
        "'=1+1", "'@SUM(A1)", "'-2+3", "'+1", "'\t=1", "R-1",
    ]  # fmt: skip


@given(st.text() | st.floats(allow_nan=False) | st.booleans() | st.integers())
def test_no_cell_begins_a_formula(value: Any) -> None:
    cell = CsvStyle().cell(value)
    assert not cell.startswith(("=", "+", "@", "\t", "\r", "\n"))
    assert not cell.startswith("-") or not isinstance(value, str)


async def test_a_file_may_have_buckets(trends: Trends, tmp_path: Path) -> None:
    fill(tmp_path, *(scan(n, pressure=float(n % 60)) for n in range(600)))
    heading, *rows = table(await export(trends, "pressure", every="1m"))
    assert len(rows) == 10
    assert dict(zip(heading, rows[0], strict=True)) | {"machine": ""} == {
        "time": "2025-11-24T16:00:00.000000Z", "machine": "", "point": "pressure", "mean": "29.5", "min": "0.0",
        "max": "59.0", "first": "0.0", "last": "59.0", "unit": "bar", "quality": "good", "values": "60",
        "uncertain": "0", "bad": "0",
    }  # fmt: skip


async def test_who_takes_readings_away_is_noted(trends: Trends, tmp_path: Path) -> None:
    noted: list[tuple[str, list[str]]] = []

    def note(request: Request, selection: Selection) -> None:
        noted.append((request.url.path, [str(one) for one in selection.points]))

    fill(tmp_path, scan(1, pressure=1.0))
    span = {"from": at(0), "to": at(HOUR)}
    answer = await ask(trends, "/api/export.csv", on_export=note, point=press("pressure"), **span)
    assert answer.status == 200
    assert noted == [("/api/export.csv", press("pressure"))]


async def test_a_store_that_is_away_is_an_error_before_a_file_begins(trends: Trends) -> None:
    answer = await export(trends, "pressure")
    assert (answer.status, answer.json["kind"]) == (503, "store_unavailable")


async def test_a_file_that_nobody_reads_further_frees_the_store(trends: Trends, tmp_path: Path) -> None:
    """A browser that closes in the middle of a year's file."""
    fill(tmp_path, *(scan(n, pressure=1.0) for n in range(HOUR)))
    gone = asyncio.Event()
    gone.set()
    began = time.monotonic()
    with pytest.raises(IndexError):  # nothing was sent
        await ask(trends, "/api/export.csv", gone, point=press("pressure"), **{"from": at(0), "to": at(HOUR)})
    assert len(table(await export(trends, "pressure"))) == HOUR + 1
    assert time.monotonic() - began < 60
