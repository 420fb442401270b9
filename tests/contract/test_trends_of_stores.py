"""The routes of the trends with each kind of store: the chart of a press is the same, whatever keeps its readings."""

from __future__ import annotations

import asyncio
import csv
import io
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from processes import free_port
from read_back import InfluxTarget
from trend_plant import META, PRESS, SECOND, START, ask, write_plant

from gateway.dashboard.trends.routes import Trends
from gateway.model.reading import NamedScan
from gateway.stores.base import MachineScan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from read_back import Target

    from gateway.model.path import MachinePath

MINUTE, HOUR, DAY = 60, 3600, 86_400


class Charted(NamedTuple):
    """A press whose readings are in one store, and the routes that read them."""

    target: Target
    trends: Trends
    press: MachinePath

    def write(self, *scans: NamedScan) -> None:
        with self.target.store() as store:
            store.write([MachineScan(self.press, META, one, 0) for one in scans])
        if scans:
            self.target.settle()

    async def get(self, path: str, *points: str, since: float, until: float, **query: Any) -> Any:
        """Return the answer of a route for a span in seconds after `START`."""
        span = {"from": at(since), "to": at(until)}
        named = {"point": [f"{self.press}/{point}" for point in points]} if points else {"machine": str(self.press)}
        answer = await ask(self.trends, path, **named, **span, **query)
        assert answer.status == 200, answer.body
        return answer.body if path.endswith(".csv") else answer.json


def at(seconds: float) -> int:
    return START + round(seconds * SECOND)


def scan(seconds: float, *, bad: str = "", uncertain: str = "", **values: Any) -> NamedScan:
    """Return a scan; the pressure is bad, or uncertain, for a reason."""
    return NamedScan(
        at(seconds), values, {"pressure": bad} if bad else None, {"pressure": uncertain} if uncertain else None
    )


@asynccontextmanager
async def charted(target: Target, folder: Path, enterprise: str) -> AsyncIterator[Charted]:
    entry = target.entry
    if "sqlite" in entry:
        entry = {"sqlite": entry["sqlite"] | {"keep": "3650d"}}
        target.entry = entry
    trends = Trends([write_plant(folder, [entry], enterprise)])
    try:
        yield Charted(target, trends, PRESS._replace(enterprise=enterprise))
    finally:
        await trends.close()


@pytest.fixture
async def chart(target: Target, tmp_path: Path, enterprise: str) -> AsyncIterator[Charted]:
    async with charted(target, tmp_path, enterprise) as made:
        yield made


async def test_few_readings_come_as_they_are_with_their_quality(chart: Charted) -> None:
    """A person who zooms in sees each reading, with why it is not good."""
    chart.write(
        scan(1, pressure=1.5), scan(2, pressure=2.5, uncertain="out_of_range"), scan(3, bad="no_response"),
        scan(4, pressure=3.5),
    )  # fmt: skip
    answer = await chart.get("/api/trend", "pressure", "phase", since=0, until=60)
    [series] = answer["series"]
    assert (series["kind"], series["unit"]) == ("readings", "bar")
    assert series["time"] == [at(1), at(2), at(3), at(4)]
    assert series["value"] == [1.5, 2.5, None, 3.5]
    assert series["quality"] == [1, 2, 3, 1]
    assert series["reasons"] == {"1": "out_of_range", "2": "no_response"}
    assert series["store"] == next(iter(chart.target.entry))
    assert answer["missing"] == [f"{chart.press}/phase"]


async def test_many_readings_are_reduced_and_a_gap_stays_a_gap(chart: Charted) -> None:
    """A line over an outage would show values that nobody has measured."""
    chart.write(*(scan(n, pressure=float(n % 10)) for n in range(HOUR) if not 1000 <= n < 2000))
    [series] = (await chart.get("/api/trend", "pressure", since=0, until=HOUR, width=100))["series"]
    assert (series["kind"], series["width"]) == ("buckets", 60 * SECOND)
    assert sum(series["values"]) == HOUR - 1000
    assert not [one for one in series["start"] if at(1020) <= one < at(1980)]
    assert set(series["min"]) == {0.0}
    assert set(series["max"]) == {9.0}
    whole = [n for n, one in enumerate(series["start"]) if one < at(960)]
    assert {series["mean"][n] for n in whole} == {4.5}
    assert {(series["first"][n], series["last"][n]) for n in whole} == {(0.0, 9.0)}


async def test_a_span_that_many_readings_fill_is_reduced_in_the_page_as_in_the_store(chart: Charted) -> None:
    """Below a minute a bucket the page reduces the readings itself; a reader sees no difference."""
    chart.write(*(scan(n / 2, pressure=float(n % 20)) for n in range(1800)))
    [series] = (await chart.get("/api/trend", "pressure", since=0, until=900, width=90))["series"]
    assert (series["kind"], series["width"]) == ("buckets", 10 * SECOND)
    assert series["values"] == [20] * 90
    assert set(series["mean"]) == {9.5}
    [fine] = (await chart.get("/api/trend", "pressure", since=0, until=900, width=4000))["series"]
    assert (fine["kind"], len(fine["time"])) == ("readings", 1800)


async def test_a_month_has_its_weekends_and_its_bad_readings(chart: Charted) -> None:
    """Four working weeks: five days with a reading every ten minutes, then two without."""
    days = [day for day in range(28) if day % 7 < 5]
    times = [day * DAY + minute * MINUTE for day in days for minute in range(0, 24 * 60, 10)]
    chart.write(
        *(
            scan(time, bad="not_connected") if n % 100 == 99 else scan(time, pressure=float(n % 50))
            for n, time in enumerate(times)
        )
    )
    [series] = (await chart.get("/api/trend", "pressure", since=0, until=28 * DAY, width=700))["series"]
    assert (series["kind"], series["width"]) == ("buckets", HOUR * SECOND)
    good = sum(n % 100 != 99 for n in range(len(times)))
    assert sum(series["values"]) == good
    assert sum(series["bad"]) == len(times) - good
    weekend = [one for one in series["start"] if at(5 * DAY) <= one < at(7 * DAY)]
    assert weekend == []
    assert min(one for one in series["min"] if one is not None) == 0.0
    assert max(one for one in series["max"] if one is not None) == 49.0


async def test_a_year_is_a_picture_of_all_its_readings(chart: Charted) -> None:
    """A reading an hour, with a shutdown of four weeks; the chart shows each extreme."""
    hours = [n for n in range(365 * 24) if not 200 * 24 <= n < 228 * 24]
    chart.write(*(scan(n * HOUR - 366 * DAY, pressure=25.0 if n == 4321 else float(n % 24)) for n in hours))
    answer = await chart.get("/api/trend", "pressure", since=-366 * DAY, until=0, width=1000)
    [series] = answer["series"]
    assert series["kind"] == "buckets"
    assert 300 <= len(series["start"]) <= 1000
    assert sum(series["values"]) == len(hours)
    assert max(series["max"]) == 25.0
    begin = at(200 * DAY - 366 * DAY)
    assert not [one for one in series["start"] if begin + series["width"] <= one < begin + 27 * DAY * SECOND]
    # zoomed in, the extreme has its time
    moment = 4321 * HOUR - 366 * DAY
    [zoomed] = (await chart.get("/api/trend", "pressure", since=moment - HOUR, until=moment + HOUR))["series"]
    assert zoomed["kind"] == "readings"
    assert dict(zip(zoomed["time"], zoomed["value"], strict=True))[at(moment)] == 25.0


async def test_the_reading_before_a_span_holds_at_its_beginning(chart: Charted) -> None:
    """A state that is sent when it changes would be missing at the left edge."""
    chart.write(scan(-50, phase=2), scan(-30, phase=3), scan(40, phase=1))
    [series] = (await chart.get("/api/trend", "phase", since=0, until=60))["series"]
    assert (series["time"], series["value"]) == ([at(-30), at(40)], [3, 1])
    assert series["steps"] is True


async def test_a_store_without_history_is_an_empty_chart_that_names_its_points(chart: Charted) -> None:
    """A plant on its first day: no error, and the chart shows live values."""
    chart.write()
    for until in (HOUR, 400 * DAY):
        answer = await chart.get("/api/trend", "pressure", "phase", since=0, until=until)
        assert (answer["series"], answer["problems"]) == ([], [])
        assert answer["missing"] == [f"{chart.press}/pressure", f"{chart.press}/phase"]
    assert (await chart.get("/api/bands", since=0, until=HOUR))["lanes"] == []
    assert (await chart.get("/api/cycles", "phase", since=0, until=HOUR))["cycles"] == []
    content = await chart.get("/api/export.csv", "pressure", since=0, until=HOUR)
    assert len(content.splitlines()) == 1


async def test_values_have_their_declared_types(chart: Charted) -> None:
    """VictoriaMetrics has numbers alone: a bit would be 1, and a state 6.0, which has no label."""
    chart.write(scan(1, closed=True, phase=2, recipe="R-1"), scan(2, closed=False, phase=3, recipe="R-2"))
    closed, phase, recipe = (await chart.get("/api/trend", "closed", "phase", "recipe", since=0, until=60))["series"]
    assert [type(one) for one in closed["value"] + phase["value"]] == [bool, bool, int, int]
    assert (closed["value"], phase["value"], recipe["value"]) == ([True, False], [2, 3], ["R-1", "R-2"])


async def test_states_are_bands_and_cycles_are_found(chart: Charted) -> None:
    chart.write(*(scan(n, state=6 if n < 70 else 9, phase=(0, 1, 2, 3)[n // 10 % 4]) for n in range(0, 100, 5)))
    found = (await chart.get("/api/bands", since=0, until=99))["lanes"]
    lanes = {one["lane"]: [(band["begin"], band["label"]) for band in one["bands"]] for one in found}
    assert lanes["state"] == [(at(0), "execute"), (at(70), "aborted")]
    assert lanes["phase"][0] == (at(10), "load")
    cycles = await chart.get("/api/cycles", "phase", since=0, until=100)
    assert [(one["begin"], one["end"]) for one in cycles["cycles"]] == [(at(10), at(50)), (at(50), at(90))]


async def test_a_file_has_all_readings_or_the_means(chart: Charted) -> None:
    chart.write(*(scan(n, pressure=float(n)) for n in range(120)), scan(130, bad="refused"))
    content = await chart.get("/api/export.csv", "pressure", since=0, until=HOUR)
    _, *rows = csv.reader(io.StringIO(content.decode("utf-8-sig")))
    assert len(rows) == 121
    assert rows[1][3:6] == ["1", "bar", "good"] or rows[1][3:6] == ["1.0", "bar", "good"]
    assert rows[-1][3:] == ["", "bar", "bad", "refused"]
    content = await chart.get("/api/export.csv", "pressure", since=0, until=HOUR, every="1m")
    heading, *rows = csv.reader(io.StringIO(content.decode("utf-8-sig")))
    means = [row[heading.index("mean")] for row in rows]
    assert [float(one) for one in means[:2]] == [29.5, 89.5]


@pytest.mark.parametrize("kind", ["influxdb", "victoria_metrics"])
async def test_a_server_that_is_away_is_named_with_its_reason(kind: str, tmp_path: Path, enterprise: str) -> None:
    """The page says why there is no trend, and shows live values meanwhile."""
    url = f"http://127.0.0.1:{free_port()}"
    more = {"api": "v1", "database": "x"} if kind == "influxdb" else {"bucket": "telemetry"}
    trends = Trends([write_plant(tmp_path, [{"influxdb": {"url": url, **more}}], enterprise)])
    point = f"{PRESS._replace(enterprise=enterprise)}/pressure"
    for path in ("/api/trend", "/api/export.csv"):
        answer = await ask(trends, path, point=point, language="de")
        assert (answer.status, answer.json["kind"]) == (503, "store_unavailable")
        assert "influxdb" in answer.json["error"]
        assert answer.json["error"].startswith("Der Datenspeicher influxdb")
    await trends.close()


@pytest.mark.parametrize("target", ["influxdb", "victoria_metrics"], indirect=True)
async def test_a_server_that_hangs_ends_no_other_query(
    chart: Charted, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """A frozen server costs its own queries their time, and the page answers again when it works."""
    server = request.getfixturevalue("influxd" if isinstance(chart.target, InfluxTarget) else "victoria_metrics")
    chart.write(scan(1, pressure=1.5))
    monkeypatch.setattr("gateway.dashboard.trends.routes.QUERY_SECONDS", 0.5)
    server.signal(signal.SIGSTOP)
    try:
        answer = await ask(
            chart.trends, "/api/trend", point=f"{chart.press}/pressure", **{"from": at(0), "to": at(60)}
        )
        assert (answer.status, answer.json["kind"]) == (504, "timed_out")
    finally:
        server.signal(signal.SIGCONT)
    monkeypatch.setattr("gateway.dashboard.trends.routes.QUERY_SECONDS", 30.0)
    async with asyncio.timeout(60):
        # a busy server that goes on shows its series a moment later
        while not (series := (await chart.get("/api/trend", "pressure", since=0, until=60))["series"]):  # noqa: ASYNC110 - a server
            await asyncio.sleep(0.2)
    assert series[0]["value"] == [1.5]
