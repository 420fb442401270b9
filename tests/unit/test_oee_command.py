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
from starlette.applications import Starlette
from starlette.testclient import TestClient

from gateway.cli import main
from gateway.dashboard.actions import Actors, Forbidden
from gateway.dashboard.commanding import Became, Outcome
from gateway.dashboard.plants import Plants
from gateway.dashboard.production.shifts import report_of
from gateway.dashboard.production.stops import StopRoutes
from gateway.dashboard.security import needs
from gateway.dashboard.stored import Source, Stored
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
from gateway.settings.commands_section import CommandsSection
from gateway.settings.dashboard_section import PageCommandsSection
from gateway.settings.load import load_factory
from gateway.settings.production import STOP_REASONS
from gateway.stores.base import MachineScan
from gateway.stores.sqlite import SqliteSettings, SqliteStore

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.users.roles import Permission

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


def given(folder: Path, at: int, reason: str) -> None:
    """Store the reason of the stop of the first machine."""
    row = {"begin": DAY + (SIX + 1000) * SECOND, "reason": reason, "comment": "", "by": "anna"}
    with SqliteStore(SqliteSettings.model_validate({"path": str(folder / "readings.db")})) as store:
        put(store, "first", {STOP_REASONS: STOP_REASONS}, [(STOP_REASONS, at, row)])


def test_the_stops_of_a_shift_have_their_reasons(config: Path) -> None:
    """In the order of their begins, which the command for a reason takes."""
    given(config.parent, DAY + FOURTEEN * SECOND, "<b>glove</b>")
    text = ran(str(config), "--shift", SHIFT, "--stops")
    first = next(line for line in text.splitlines() if "l/first" in line)
    assert first.split() == [
        "2025-12-01T06:16:40+00:00", "l/first", "down", "10", "min", "00", "s", "jam", "<b>glove</b>"
    ]  # fmt: skip
    found = json.loads(ran(str(config), "--shift", SHIFT, "--stops", "--format", "json"))
    stop = next(one for one in found["stops"] if one["machine"].endswith("first") and one["state"] == "down")
    assert (stop["begin"], stop["label"], stop["reason"]) == ("2025-12-01T06:16:40.000000Z", "held", "jam")
    assert [one["begin"] for one in found["stops"]] == sorted(one["begin"] for one in found["stops"])


IMPOSSIBLE: list[tuple[str, dict[str, Any]]] = [
    ("production", {"down_time": 1.7e308}),
    ("production", {"production_time": -1e300, "target": 1e308}),
    ("production", {"good": 2**63 - 1, "begin": 2**63 - 1, "end": 2**62}),
    ("production", {"begin": -(2**63), "reasons": {"jam": 1e308}}),
    ("production", {"cycles": {"level": 0, "sum": 1e308, "bars": {"100000": 2**62}}}),
    ("production", {"cycles": {"level": 8, "sum": 1, "bars": {"-9": 1, "2": -5}}}),
    ("production", {"cycles": {"level": 0, "sum": 1, "bars": {"9" * 30: 1}}}),
    ("stops", {"begin": -(2**63), "planned_time": 1e308}),
    ("stops", {"end": 2**63 - 1}),
]


@pytest.mark.parametrize(("content", "cells"), IMPOSSIBLE, ids=[str(cells)[:40] for _, cells in IMPOSSIBLE])
def test_an_impossible_row_does_not_end_the_report(
    config: Path, plants: tuple[Plant, Plant], content: str, cells: dict[str, Any]
) -> None:  # fmt: skip
    """Any client that may publish can write one; it ended the report of the whole plant, until it was deleted."""
    first, second = plants
    good = next(row for row in first.rows if row["kind"] == "hour") if content == "production" else first.stops[0]
    with SqliteStore(SqliteSettings.model_validate({"path": str(config.parent / "readings.db")})) as store:
        put(store, "first", {content: content}, [(content, good["end"] + 7, good | cells)])
    found = json.loads(ran(str(config), "--shift", SHIFT, "--format", "json"))
    other = found["lines"][0]["machines"][1]
    assert other["good"] == second.shift()["good"]
    assert "shift 2025-12-01/early" in ran(str(config), "--shift", SHIFT)
    stops = json.loads(ran(str(config), "--shift", SHIFT, "--stops", "--format", "json"))["stops"]
    assert [one["state"] for one in stops if one["machine"].endswith("/second")] == ["waiting"]
    assert "l/second" in ran(str(config), "--shift", SHIFT, "--stops")


def test_a_reason_needs_a_stop_that_began_then(config: Path) -> None:
    """A mistyped time would be a reason that nobody finds; the broker is not asked."""
    for machine, begin, message in (
        ("first", "2025-12-01T06:16:39Z", "no stop of acme/north/a/l/first began at 2025-12-01T06:16:39"),
        ("third", "2025-12-01T06:16:40Z", "matches no machine"),
        ("first", "yesterday", "is not a time"),
    ):
        result = CliRunner().invoke(main, ["oee", "reason", str(config), machine, begin, "jam"])
        assert result.exit_code == 2
        assert message in result.output


def page_of(config: Path, operator: Any, recorded: list[Any]) -> tuple[Plants, TestClient]:
    """Return the routes of stops on the page of a factory whose gateway takes commands."""
    factory = load_factory(config)
    takes = factory.gateway.model_copy(update={"commands": CommandsSection(unsigned_alarms=True)})
    factory = replace(factory, gateway=takes)
    plants = Plants([factory], commands=PageCommandsSection())
    routes = StopRoutes(plants, Stored([factory]), Actors(operator, lambda *one: recorded.append(one))).routes()
    return plants, TestClient(Starlette(routes=routes))


def test_the_page_has_stops_without_a_reason_first(tmp_path: Path) -> None:
    """Then those that wait for nobody, the newest first."""
    config = factory_file(tmp_path)
    plant = shift_of((RUN, 100, 0), (HOLD, 100, 0), (RUN, 100, 0), (HOLD, 100, 8), (RUN, 100, 0), (WAIT, 100, 0))
    with SqliteStore(SqliteSettings.model_validate({"path": str(tmp_path / "readings.db")})) as store:
        write(store, "first", plant)
    _, client = page_of(config, lambda *_: "anna", [])
    found = client.get("/api/stops", params={"path": "acme/north", "shift": SHIFT}).json()
    assert [(one["state"], one["wanted"]) for one in found["stops"]] == [
        ("down", True),
        ("waiting", False),
        ("down", False),
    ]
    assert found["machines"]["acme/north/a/l/first"] == {"reasons": [], "may": True}
    assert "there is no shift" in client.get("/api/stops", params={"shift": "<x>"}).json()["problems"][0]
    assert client.get("/api/stops", params={"path": "acme/south", "shift": SHIFT}).status_code == 404


def test_a_reason_on_the_page_needs_the_right_and_a_valid_request(config: Path) -> None:
    """Else nothing is sent; a command is recorded with its outcome."""
    recorded: list[Any] = []

    def refuse(request: object, permission: Permission) -> str:
        del request
        raise Forbidden(needs(permission))

    body = {"path": "acme/north/a/l/first", "begin": DAY, "reason": "jam\u202e\x00"}
    plants, client = page_of(config, refuse, recorded)
    assert client.post("/api/stops/reason", json=body).status_code == 403
    plants, client = page_of(config, lambda *_: "anna", recorded)
    for bad in (
        {"path": "acme"}, {"begin": -1}, {"begin": 2**60}, {"begin": "1"}, {"reason": " "}, {"reason": "x" * 101},
        {"comment": "x" * 501}, {"extra": 1},
    ):  # fmt: skip
        assert client.post("/api/stops/reason", json=body | bad).status_code == 400
    assert client.post("/api/stops/reason", data=body).status_code == 400
    assert recorded == []
    sent: list[Any] = []

    async def send(*wanted: Any) -> Outcome:
        sent.append(wanted)
        return Outcome(Became.FAILED, "the stop begins in the future", "x")

    plants.commander.send = send  # type: ignore[method-assign] # there is no broker
    answer = client.post("/api/stops/reason", json=body).json()
    assert (answer["outcome"], answer["text"]) == ("failed", "the stop begins in the future")
    [(who, path, wanted)] = sent
    assert (who, str(path), wanted.arguments["reason"]) == ("anna", body["path"], "jam")
    [(who, action, what, _, after)] = recorded
    assert (who, action, what, after["outcome"]) == ("anna", "stop-reason", body["path"], "failed")


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
