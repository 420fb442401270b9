"""`lineside oee`: the report of a shift out of the rows of a store, for machines, lines and areas."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from click.testing import CliRunner
from processes import write_factory
from production import DAY, HOLD, RUN, WAIT, Plant

from gateway.cli import main
from gateway.dashboard.production.shifts import report_of
from gateway.dashboard.stored import Source
from gateway.dashboard.trends.errors import BadRequest
from gateway.model.metadata import MachineMeta
from gateway.model.path import MachinePath
from gateway.model.production import SECOND, Tally, TimeState
from gateway.model.reading import NamedScan
from gateway.pipeline.alarms import MachineAlarms
from gateway.pipeline.calculation import Surroundings
from gateway.production.report import HourRow, MachineRows, StopRow, report
from gateway.production.stored import shift_rows
from gateway.settings.alarm_set import ALARMS, AlarmSet
from gateway.settings.calendar import CalendarSection, calendar_of
from gateway.settings.load import load_factory
from gateway.settings.production import STOP_REASONS
from gateway.stores.base import MachineScan
from gateway.stores.sqlite import SqliteSettings, SqliteStore

if TYPE_CHECKING:
    from pathlib import Path

SIX, FOURTEEN, H = 6 * 3600, 14 * 3600, 3600
SHIFT = "2025-12-01/early"
CALENDAR = {"shifts": {"early": {"begin": "06:00", "end": "14:00"}, "late": {"begin": "14:00", "end": "22:00"}}}


def factory_file(folder: Path) -> Path:
    """A line of a mixer and a press, with different templates, whose stages follow each other."""
    file = folder / "factory.yaml"
    modbus = "modbus+tcp://10.0.0.{n}:502?unit=1"
    write_factory(
        file, factory={"enterprise": "acme", "site": "north"}, gateway={"id": "edge"}, calendar=CALENDAR,
        broker={"url": "mqtt://localhost:1883"}, stores=[{"sqlite": {"path": str(folder / "readings.db")}}],
        lines={
            "l": {
                "area": "a",
                "machines": {
                    "first": {"template": "internal-mixer", "connection": modbus.format(n=1)},
                    "second": {"template": "leak-test", "connection": modbus.format(n=2)},
                },
            }
        },
    )  # fmt: skip
    return file


def shift_of(*parts: tuple[int, int, int]) -> Plant:
    """Return a machine that was in states for some seconds, from six o'clock on, with a part each ten seconds."""
    plant = Plant(calendar=CALENDAR)
    second, good = SIX, 0
    for state, length, reason in parts:
        for _ in range(length):
            good += state == RUN and second % 10 == 9
            plant.take(second, state, good, 0, 10.0, "A", reason)
            second += 1
    plant.tick(FOURTEEN + 60)
    return plant


@pytest.fixture(scope="module")
def plants() -> tuple[Plant, Plant]:
    """The first machine jams for ten minutes; the second starves a little later, for nearly as long."""
    first = shift_of((RUN, 1000, 0), (HOLD, 600, 8), (RUN, 2000, 0))
    second = shift_of((RUN, 1060, 0), (WAIT, 570, 0), (RUN, 1970, 0))
    return first, second


@pytest.fixture
def config(tmp_path: Path, plants: tuple[Plant, Plant]) -> Path:
    """A factory whose store has the rows."""
    file = factory_file(tmp_path)
    with SqliteStore(SqliteSettings.model_validate({"path": str(tmp_path / "readings.db")})) as store:
        for name, plant in zip(("first", "second"), plants, strict=True):
            write(store, name, plant)
    return file


def write(store: SqliteStore, machine: str, plant: Plant) -> None:
    contents = {"production": "production", "stops": "stops"}
    put(store, machine, contents, [("production", row["end"], row) for row in plant.rows])
    put(store, machine, contents, [("stops", row["end"], row) for row in plant.stops])


def put(
    store: SqliteStore, machine: str, contents: dict[str, str], rows: list[tuple[str, int, dict[str, Any]]]
) -> None:
    path = MachinePath("acme", "north", "a", "l", machine)
    meta = MachineMeta("t", dict.fromkeys(contents, "json"), {}, contents)
    used: set[int] = set()
    for name, time, row in rows:
        while time in used:
            time += 1  # noqa: PLW2901 - as the gateway gives each event a time of its own
        used.add(time)
        store.write([MachineScan(path, meta, NamedScan(time, {name: orjson.dumps(row).decode()}, {}, {}, {}), 0)])


def ran(*arguments: str) -> str:
    result = CliRunner().invoke(main, ["oee", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_text_has_factors_losses_and_who_stopped_whom(config: Path) -> None:
    """A shift leader reads it on a terminal."""
    text = ran(str(config), "--shift", SHIFT)
    assert f"shift {SHIFT}: 2025-12-01 06:00 to 14:00 UTC" in text
    assert "down: jam" in text
    assert "first down at 06:16 for 10 min 00 s (jam): second starved 9 min 30 s" in text
    assert "areas" in text


def test_the_document_is_that_of_the_rows(config: Path, plants: tuple[Plant, Plant]) -> None:
    """Hours add up to the shift, and time without a row is unknown."""
    found = json.loads(ran(str(config), "--shift", SHIFT, "--format", "json"))
    [line] = found["lines"]
    assert (found["begin"], found["end"]) == ("2025-12-01T06:00:00.000000Z", "2025-12-01T14:00:00.000000Z")
    for machine, plant in zip(line["machines"], plants, strict=True):
        row = plant.shift()
        for figure in ("availability", "performance", "quality_ratio", "oee", "good"):
            assert machine[figure] == pytest.approx(row[figure], rel=1e-5)
        assert sum(machine["times"].values()) == 8 * H
        assert machine["times"]["unknown"] == row["unknown_time"]
    [cause] = line["stopped"]
    assert (cause["machine"], cause["reason"]) == ("first", "jam")
    assert cause["affected"] == [{"machine": "second", "cause": "starved", "seconds": 570}]
    assert line["summary"]["good"] == line["machines"][1]["good"]


def test_a_reason_that_a_person_gave_counts_in_place_of_that_of_the_machine(config: Path) -> None:
    """The last of several; the time of the loss stays the same."""
    factory = load_factory(config)
    calendar = calendar_of(factory.calendar)
    shift = calendar.find(SHIFT, 0)
    begin = DAY + (SIX + 1000) * SECOND
    with SqliteStore(SqliteSettings.model_validate({"path": str(config.parent / "readings.db")})) as store:
        rows = [
            (STOP_REASONS, shift.end + n, {"begin": begin, "reason": reason, "comment": "", "by": "anna"})
            for n, reason in enumerate(("glove", "bladder"))
        ]
        put(store, "first", {STOP_REASONS: STOP_REASONS}, rows)
        found = report(shift_rows(store, factory.machines, shift), shift, calendar.planned(shift), shift.end)
    losses = {(one.kind, one.reason): one.time / SECOND for one in found.lines[0].machines[0].losses}
    assert losses["down", "bladder"] == 600
    assert ("down", "jam") not in losses


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--shift", "2025-12-01/earlyy"), "did you mean 'early'?"),
        (("--shift", "yesterday"), "write last, current"),
        (("--line", "x"), "the lines with a production are l"),
    ],
)  # fmt: skip
def test_wrong_names_are_refused_with_those_there_are(config: Path, arguments: tuple[str, ...], message: str) -> None:
    """Before the store is read."""
    result = CliRunner().invoke(main, ["oee", str(config), *arguments])
    assert result.exit_code == 2
    assert message in result.output


def machine(name: str, template: str, waiting: int, cycle: int) -> MachineRows:
    """Return rows of an hour: the seconds of waiting, and the planned seconds of each of a hundred parts."""
    tally = Tally(parts=100, good=100, planned_production=100 * cycle * SECOND)
    tally.times[TimeState.WAITING], tally.times[TimeState.PRODUCTION] = waiting * SECOND, (H - waiting) * SECOND
    path = MachinePath("acme", "north", "a", "l", name)
    return MachineRows(path, template, [HourRow(DAY, DAY + H * SECOND, "", "", tally)])


def test_the_bottleneck_waits_least_or_has_the_longest_cycle() -> None:
    """Two machines side by side share the work of their stage."""
    calendar = calendar_of(CalendarSection())
    shift = calendar.find("2025-12-01/day", 0)

    def of(*machines: MachineRows) -> tuple[list[str], str]:
        [line] = report(machines, shift, [(DAY, DAY + H * SECOND)], DAY + H * SECOND).lines
        return line.bottleneck, line.why

    assert of(machine("a", "x", 900, 20), machine("b", "y", 60, 20), machine("c", "z", 900, 20)) == (["b"], "waiting")
    both = machine("b1", "y", 60, 30), machine("b2", "y", 60, 30)
    assert of(machine("a", "x", 60, 20), *both) == (["a"], "cycle_time")
    assert of(machine("a", "x", 60, 20)) == ([], "")


def test_time_without_a_row_is_unknown_and_makes_no_figure_better() -> None:
    """A machine whose gateway was off all shift is in the report."""
    calendar = calendar_of(CalendarSection.model_validate_json(orjson.dumps(CALENDAR)))
    shift = calendar.find(SHIFT, 0)
    path = MachinePath("acme", "north", "a", "l", "m")
    found = report([MachineRows(path, "t")], shift, calendar.planned(shift), shift.end)
    [one] = found.lines[0].machines
    assert (one.known, one.figures.oee, one.tally.times[TimeState.UNKNOWN]) == (0.0, None, 8 * H * SECOND)
    stop = StopRow(shift.begin, shift.end, TimeState.UNKNOWN, "", "", 0)
    assert (
        report([MachineRows(path, "t", [], [stop])], shift, calendar.planned(shift), shift.end).lines[0].causes == []
    )


def test_a_machine_with_a_production_alone_has_no_alarms(config: Path) -> None:
    """It has results all the same."""
    machine = load_factory(config).machines[0]
    results = tuple(point for point in machine.results if point.name != ALARMS)
    assert results
    machine = replace(machine, alarms=AlarmSet(), results=results)
    around = Surroundings(lambda _, __: lambda _: None, lambda: 0, lambda: 0.0, lambda: None)
    assert MachineAlarms.of(machine, around) is None


@pytest.mark.parametrize(
    ("wanted", "now", "text"),
    [
        ("current", DAY + 3 * H * SECOND, "there is no shift now"),
        ("2025-12-01/nightly", DAY, "there is no shift 2025-12-01/nightly"),
    ],
)
def test_the_page_says_which_shift_there_is_not(config: Path, wanted: str, now: int, text: str) -> None:
    """Nobody has asked for a shift of that name, if it is the current one."""
    unused: Any = None
    with pytest.raises(BadRequest, match=text):
        report_of(Source(load_factory(config), unused, unused, lambda _: True), (), wanted, now)
