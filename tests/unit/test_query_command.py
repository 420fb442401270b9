"""`lineside query` shows what is stored, says what it leaves out, and creates nothing."""

from __future__ import annotations

import csv
import io
import json
import os
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner, Result
from press_plant import NOW, PRESS, SECOND, fill, scan, write_plant

from drivers.base import Quality
from gateway.cli import arguments, main
from gateway.cli.rows import reading_line
from gateway.model.path import MachinePath
from gateway.model.reading import Reading

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The factory's file. It is always a second after NOW, however long the tests run."""
    monkeypatch.setattr(arguments, "time", SimpleNamespace(time_ns=lambda: (NOW + SECOND) * 1000))
    return write_plant(tmp_path)


def query(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["query", str(config), *arguments])


def objects(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


# -- which store, and which points --


def test_a_query_without_a_store_says_so_and_creates_nothing(config: Path) -> None:
    """After a query by root, ingest could not write to the file and folder that root had created."""
    before = sorted(config.parent.rglob("*"))
    result = query(config)
    assert result.exit_code == 1
    assert "there is no store yet; `lineside ingest` creates it" in result.output
    assert sorted(config.parent.rglob("*")) == before


@pytest.mark.parametrize("way", ["argument", "option", "environment"])
def test_the_configuration_is_an_argument_or_an_option(config: Path, way: str) -> None:
    fill(config, scan(NOW, pressure=1.0, temperature=2.0))
    arguments = {
        "argument": [str(config), "pressure"], "option": ["pressure", "-c", str(config)], "environment": ["pressure"],
    }[way]  # fmt: skip
    environment = {"LINESIDE_CONFIG": str(config)} if way == "environment" else {}
    result = CliRunner().invoke(main, ["query", *arguments, "--format", "json"], env=environment)
    assert [one["point"] for one in objects(result)] == ["pressure"]


def test_without_a_configuration_an_example_is_shown() -> None:
    result = CliRunner().invoke(main, ["query"])
    assert result.exit_code == 2
    assert "query factory.yaml 'press-01/*'" in result.output


def test_several_patterns_choose_the_points_of_each(config: Path) -> None:
    fill(
        config, scan(NOW, pressure=1.0, temperature=2.0), scan(NOW, PRESS._replace(machine="press-02"), pressure=3.0)
    )
    found = objects(query(config, "press-01/temperature", "press-02/*", "--format", "json"))
    assert [(one["machine"], one["point"]) for one in found] == [
        ("press-01", "temperature"),
        ("press-02", "pressure"),
    ]


@pytest.mark.parametrize(
    ("pattern", "advice"),
    [
        ("presure", "did you mean 'pressure'"), ("press-1/*", "did you mean 'press-01/*'"),
        ("press-01/temperature1", "did you mean 'press-01/temperature'"), ("zzz", "`lineside show` lists the points"),
    ],
)  # fmt: skip
def test_an_unknown_name_is_answered_with_similar_names(config: Path, pattern: str, advice: str) -> None:
    """A letter that is missing must not look as if nothing was stored."""
    fill(config, scan(NOW, pressure=1.0, temperature=1.0))
    result = query(config, pattern)
    assert result.exit_code == 1
    assert f"no point matches '{pattern}'" in result.stderr
    assert advice in result.stderr


def test_points_without_stored_readings_are_named(config: Path) -> None:
    fill(config, scan(NOW, pressure=1.0))
    result = query(config, "press-01/*")
    assert result.exit_code == 0
    assert "configured, and not in the store: press-01/temperature" in result.stderr
    assert len(result.stdout.splitlines()) == 1


def test_points_that_are_no_longer_configured_are_shown_and_named(config: Path) -> None:
    """The history of a machine that was replaced is still of interest."""
    fill(config, scan(NOW, PRESS._replace(machine="press-00"), pressure=1.0))
    result = query(config, "press-00/*")
    assert "in the store, and no longer configured: press-00/pressure" in result.stderr
    assert len(result.stdout.splitlines()) == 1


def test_plants_in_one_store_are_kept_apart(config: Path) -> None:
    """A press-01 of another site must not be in this site's report."""
    other = PRESS._replace(site="qingdao")
    fill(config, scan(NOW, pressure=1.0), scan(NOW, other, pressure=2.0), scan(NOW, other, speed=3.0))
    assert [one["value"] for one in objects(query(config, "pressure", "--format", "json"))] == [1.0]
    both = objects(query(config, "pressure", "--everywhere", "--format", "json"))
    assert sorted((one["site"], one["value"]) for one in both) == [("huangdao", 1.0), ("qingdao", 2.0)]
    result = query(config, "speed")
    assert result.exit_code == 1
    assert "at this site, but at doublestar/qingdao: add --everywhere" in result.stderr


def test_a_store_without_readings_of_this_site_says_so(config: Path) -> None:
    """An empty terminal explains nothing."""
    fill(config)
    result = query(config)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "lineside: the store has no readings of doublestar/huangdao\n"
    fill(config, scan(NOW, PRESS._replace(site="qingdao"), pressure=1.0))
    assert "huangdao, but of doublestar/qingdao: add --everywhere" in query(config).stderr


def test_a_store_is_chosen_by_its_name(config: Path, tmp_path: Path) -> None:
    fill(config, scan(NOW, pressure=1.0, temperature=1.0))
    data = yaml.safe_load(config.read_text())
    data["stores"].insert(0, {"sqlite": {"path": str(tmp_path / "nothing.db")}})
    config.write_text(yaml.safe_dump(data, sort_keys=False))
    assert len(objects(query(config, "--format", "json"))) == 2
    assert query(config, "--store", "sqlite").exit_code == 1
    assert len(objects(query(config, "--store", "sqlite-2", "--format", "json"))) == 2
    result = query(config, "--store", "influxdb")
    assert result.exit_code == 2
    assert "are sqlite, sqlite-2" in result.output
    assert not (tmp_path / "nothing.db").exists()


@pytest.mark.slow
def test_a_store_that_does_not_answer_has_an_exit_code_of_its_own(config: Path) -> None:
    """A script can distinguish an outage from a mistake."""
    data = yaml.safe_load(config.read_text())
    data["stores"] = [{"influxdb": {"url": "http://127.0.0.1:1", "bucket": "telemetry"}}]
    config.write_text(yaml.safe_dump(data, sort_keys=False))
    result = query(config)
    assert result.exit_code == 3
    assert "influxdb: http://127.0.0.1:1: " in result.output
    data["stores"].append({"sqlite": {"path": str(config.parent / "folder" / "readings.db"), "keep": "3650d"}})
    config.write_text(yaml.safe_dump(data, sort_keys=False))
    fill(config, scan(NOW, pressure=1.0))
    assert len(objects(query(config, "--format", "json"))) == 1


# -- how much --


def test_a_cut_is_reported(config: Path) -> None:
    """A mean over the printed rows would otherwise be that of an unknown part."""
    fill(config, *(scan(NOW - n * SECOND, pressure=float(n)) for n in range(50)))
    cut = query(config, "pressure", "--limit", "10", "--format", "json")
    assert [one["value"] for one in objects(cut)] == [float(n) for n in range(9, -1, -1)]
    assert "cut: the newest 10 readings; --limit N or --all prints more" in cut.stderr
    for whole in (["--limit", "50"], ["--all"]):
        result = query(config, "pressure", *whole, "--format", "json")
        assert [one["value"] for one in objects(result)] == [float(n) for n in range(49, -1, -1)]
        assert "cut" not in result.stderr


def test_times_are_local_or_with_a_zone(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    try:
        begin = 1_764_000_000_000_000  # 2025-11-24T16:00Z, midnight in China
        fill(config, *(scan(begin + n * 60 * SECOND, pressure=float(n)) for n in range(-60, 60)))
        for since, until in (
            ("2025-11-25T00:10", "2025-11-25T00:12"), ("2025-11-24T16:10Z", "2025-11-24T16:12Z"),
            ("2025-11-24T19:10+03:00", "2025-11-24T19:12:00+03:00"),
        ):  # fmt: skip
            found = objects(query(config, "pressure", "--from", since, "--to", until, "--format", "json"))
            assert [one["value"] for one in found] == [10.0, 11.0]
            assert found[0]["time"] == "2025-11-24T16:10:00.000000Z"
        day = objects(query(config, "pressure", "--from", "2025-11-25", "--local", "--format", "json"))
        assert day[0]["value"] == 0.0
        assert day[0]["time"] == "2025-11-25T00:00:00.000000+08:00"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--from", "yesterday"], "'yesterday' is not a time; write 2026-11-24T06:00"),
        (["--to", "2026-01-01"], "--to needs --from"),
        (["--from", "2026-01-02", "--to", "2026-01-01"], "--to is not after --from"),
        (["--last", "1h", "--from", "2026-01-01"], "either --last, or --from and --to"),
        (["--last", "7"], "7"),
        (["--function", "max"], "--function needs --every"),
        (["--newest", "--last", "1h"], "--newest goes with neither"),
        (["--limit", "0"], "0"), (["--limit", "5", "--all"], "either --limit or --all"),
        (["--format", "parquet"], "needs --out"),
        (["--out", "nowhere/file.csv"], "the folder nowhere does not exist"),
        (["--every", "1m", "--function", "median"], "median"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(config: Path, options: list[str], error: str) -> None:
    fill(config, scan(NOW, pressure=1.0))
    result = query(config, *options)
    assert result.exit_code == 2
    assert error in result.output


def test_an_empty_span_says_when_there_was_something(config: Path) -> None:
    fill(config, scan(NOW - 3600 * SECOND, pressure=1.0, temperature=1.0))
    result = query(config, "press-01/*", "--last", "1m")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "nothing is stored in this time; the last reading before it is of 20" in result.stderr


# -- what of them --


def test_the_newest_reading_of_each_point(config: Path) -> None:
    fill(config, *(scan(NOW - n * 86_400 * SECOND, pressure=float(n)) for n in range(3)),
         scan(NOW - 9 * 86_400 * SECOND, temperature=9.0))  # fmt: skip
    found = objects(query(config, "press-01/*", "--newest", "--format", "json"))
    assert [(one["point"], one["value"]) for one in found] == [("temperature", 9.0), ("pressure", 0.0)]


def test_only_good_readings(config: Path) -> None:
    bad, odd = scan(NOW - SECOND), scan(NOW, pressure=99.0)
    bad.scan.bad["pressure"] = "no_response"
    odd.scan.uncertain["pressure"] = "out_of_range"
    fill(config, scan(NOW - 2 * SECOND, pressure=1.0), bad, odd)
    whole = objects(query(config, "pressure", "--format", "json"))
    assert [(one["value"], one["quality"], one["reason"]) for one in whole] == [
        (1.0, "good", ""), (None, "bad", "no_response"), (99.0, "uncertain", "out_of_range"),
    ]  # fmt: skip
    assert [one["value"] for one in objects(query(config, "pressure", "--good", "--format", "json"))] == [1.0]
    [bucket] = objects(query(config, "pressure", "--good", "--every", "7d", "--format", "json"))
    assert (bucket["max"], bucket["readings"]) == (1.0, 1)


def test_functions_of_spans(config: Path) -> None:
    begin = NOW // (60 * SECOND) * 60 * SECOND - 600 * SECOND
    fill(config, *(scan(begin + n * SECOND, pressure=float(n)) for n in range(120)))
    names = ["mean", "min", "max", "first", "last", "count", "sum", "range"]
    chosen = [part for name in names for part in ("--function", name)]
    found = objects(query(config, "pressure", "--last", "1h", "--every", "1m", *chosen, "--format", "json"))
    assert [[one[name] for name in names] for one in found] == [
        [29.5, 0.0, 59.0, 0.0, 59.0, 60, 1770.0, 59.0], [89.5, 60.0, 119.0, 60.0, 119.0, 60, 5370.0, 59.0],
    ]  # fmt: skip
    text = query(config, "pressure", "--last", "1h", "--every", "1m", "-f", "max", "--limit", "1")
    heading, row = (line.split() for line in text.stdout.splitlines())
    assert heading == ["time", "point", "max", "unit", "quality"]
    assert row[1:] == [f"{PRESS}/pressure", "119", "bar", "good"]
    assert "cut: the newest 1 row of 2" in text.stderr


# -- formats --


def test_csv_has_a_heading_and_every_column(config: Path) -> None:
    one = scan(NOW, pressure=1.5, note='a "b", c\nd')
    one.scan.bad["temperature"] = "refused"
    one.scan.codes["temperature"] = "exception 2"
    fill(config, one)
    rows = list(csv.DictReader(io.StringIO(query(config, "--format", "csv").stdout)))
    assert {row["point"]: row["value"] for row in rows} == {
        "pressure": "1.5", "note": 'a "b", c\nd', "temperature": "",
    }  # fmt: skip
    [bad] = [row for row in rows if row["point"] == "temperature"]
    assert (bad["quality"], bad["reason"], bad["code"], bad["late"]) == ("bad", "refused", "exception 2", "false")
    assert query(config, "note", "--last", "1us", "--format", "csv").stdout.startswith("time,enterprise,site,")


def test_a_file_gets_the_output(config: Path, tmp_path: Path) -> None:
    fill(config, scan(NOW, pressure=1.5, temperature=2.0))
    result = query(config, "--format", "json", "--out", str(tmp_path / "out.json"))
    assert (result.exit_code, result.stdout) == (0, "")
    assert len((tmp_path / "out.json").read_text().splitlines()) == 2


def test_parquet_has_typed_columns(config: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    fill(config, scan(NOW, pressure=1.5, count=2**62 + 1, on=True, recipe="R-1"))
    result = query(config, "--format", "parquet", "--out", str(tmp_path / "out.parquet"))
    assert result.exit_code == 0, result.output
    rows = {row["point"]: row for row in pq.read_table(tmp_path / "out.parquet").to_pylist()}
    assert {name: (row["value"], row["integer"], row["text"]) for name, row in rows.items()} == {
        "pressure": (1.5, None, None), "count": (float(2**62 + 1), 2**62 + 1, None), "on": (1.0, None, None),
        "recipe": (None, None, "R-1"),
    }  # fmt: skip
    assert rows["pressure"]["machine"] == "press-01"


def test_a_text_can_not_steer_the_terminal() -> None:
    """Otherwise a client that may publish a text could write to the screen of the person who reads it."""
    text = "\x1b]0;owned\x07\x1b[2J\u202e"
    reading = Reading(MachinePath(*"abcde"), text, 1_764_000_000_000_000, text, text, Quality.BAD, text, text)
    shown = reading_line(reading, "text")
    assert shown.isprintable()
    assert r"\x1b]0;owned\x07" in shown
    assert reading_line(reading, "json").count("\x1b") == 0


def test_a_time_beyond_the_calendar_is_shown_as_a_number() -> None:
    reading = Reading(MachinePath(*"abcde"), "p", 2**62, 1.0, "", Quality.GOOD)
    assert reading_line(reading, "text").startswith(f"{2**62}us")


def test_a_damaged_store_is_one_line(config: Path) -> None:
    fill(config, scan(NOW, pressure=1.0))
    path = config.parent / "folder" / "readings.db"
    for file in path.parent.iterdir():
        os.truncate(file, 0) if file != path else file.write_bytes(b"not a database" * 1000)
    result = query(config)
    assert result.exit_code == 1
    assert "readings.db: file is not a database" in result.output
    assert "Traceback" not in result.output
