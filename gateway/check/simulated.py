"""A factory's whole way with simulated machines: gateway, broker, ingest and store, and what the store holds then."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from gateway.check.judge import HELD, Circumstances, judged
from gateway.check.results import CheckedMachine, Report, Verdict, doubt, wrong
from gateway.check.tally import Tally, Window, tallies
from gateway.common.text import listed
from gateway.settings.line_inputs import with_inputs
from gateway.stores.base import END_OF_TIME, FIRST_TIME
from gateway.stores.sqlite import SqliteSettings, SqliteStore
from gateway.trial.configuration import only
from gateway.trial.trial import Options, Trial, TrialFailed
from simulators.truth import Truth

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.check.results import Finding
    from gateway.settings.factory import Factory, Machine
    from gateway.settings.point import Point

TRUTH_POINTS = 5000
"""Points up to which what machines show is written down and compared: of more, writing would take a processor."""

HEARD_SECONDS = 30.0
"""A machine that nothing was heard of by then is not waited for."""

SHARE = 4
"""A point that would hardly be read in the time is read this often in it."""

ON_THE_WAY = 0.01
"""The part of all readings that may be pending at the end: the readings of the last scans."""

SAMPLES = 2
"""Periods of a point in which at least one sample is read, on a busy machine as well."""


async def check_simulated(
    factory: Factory, machines: Sequence[Machine], seconds: float, seed: str, progress: Callable[[str], None]
) -> Report:
    """Try machines of a factory for some seconds after all were heard, and return the report.

    Machines that their derived points use points of are read, too. `progress` receives the current step as text.
    """
    began = time.monotonic()
    tried = with_inputs(machines, factory.machines)
    foreign = sorted({str(one.path) for one in tried if not one.protocol.simulator})
    if foreign:
        text = f"no simulated machine speaks the protocol of {', '.join(foreign)}; leave them out with --machine"
        return Report(str(factory.file), 0.0, [], findings=[wrong("protocol", text)])
    whole = len(tried) == len(factory.machines)
    compared = sum(len(machine.points) for machine in tried) <= TRUTH_POINTS
    with tempfile.TemporaryDirectory(prefix="lineside-check-") as folder:
        # a process of the trial knows the variables of the environment, and not the values of the command line
        as_it_is = whole and not factory.overrides
        config = factory.file if as_it_is else _alone(factory, tried, Path(folder, "some"))
        options = Options(seed, truth=compared, patient=True, change=in_time(tried, seconds))
        trial = Trial(Path(folder), [config], options)
        try:
            progress(f"starting {len(tried):,} simulated machines, gateway, broker, ingest and store")
            async with trial:
                await trial.hold(heard(trial.store, len(tried)))
                progress(f"reading them for {seconds:g} s")
                since = time.time_ns() // 1000
                await trial.hold(asyncio.sleep(seconds))
                window = Window(since, time.time_ns() // 1000)
                progress("stopping")
        except TrialFailed as error:
            findings = [wrong("not_started", str(error))]
            return Report(str(factory.file), time.monotonic() - began, [], findings=findings)
        progress("comparing")
        report = await asyncio.to_thread(_judged, trial, factory, machines, window, compared=compared)
    progress("")
    asked = {one.path for one in machines}
    if also := [one.path.machine for one in tried if one.path not in asked]:
        report.notes.append(f"read for derived points of others, and not judged: {listed(also)}")
    report.seconds = time.monotonic() - began
    return report


def _alone(factory: Factory, machines: Sequence[Machine], folder: Path) -> Path:
    """Write a configuration with these machines alone."""
    folder.mkdir()
    file = folder / factory.file.name
    file.write_text(only(factory, machines), encoding="utf-8")
    return file


def in_time(machines: Sequence[Machine], seconds: float) -> Callable[[dict[str, Any]], None]:
    """Return a function that shortens the periods of a configuration, so that every point is read in the time."""
    points = {machine.path[2:]: machine.points for machine in machines}

    def change(data: dict[str, Any]) -> None:
        for line, section in data["lines"].items():
            for name, machine in section["machines"].items():
                own = machine.setdefault("points", {})
                for point in points[section["area"], line, name]:
                    if (every := period(point.every, seconds)) != point.every:
                        whole = point.name if point.name in own else point.name.rpartition("_")[0]
                        own.setdefault(whole if whole in own else point.name, {})["every"] = f"{every:g}s"

    return change


def period(every: float, seconds: float) -> float:
    """Return the period at which a point is read here, where its own is `every`."""
    return every if every <= seconds / 2 else float(f"{seconds / SHARE:.3g}")


async def heard(store: Path, machines: int) -> None:
    """Wait until the store has something of so many machines, or long enough."""
    deadline = time.monotonic() + HEARD_SECONDS
    while await asyncio.to_thread(_heard, store) < machines:
        if time.monotonic() > deadline:
            return
        await asyncio.sleep(0.1)


def _heard(store: Path) -> int:
    if not store.exists():
        return 0
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
        try:
            [count] = db.execute("select count(*) from (select distinct area, line, machine from series)").fetchone()
        except sqlite3.OperationalError:  # it is being made
            return 0
    return int(count)


def _judged(trial: Trial, factory: Factory, machines: Sequence[Machine], window: Window, *, compared: bool) -> Report:
    """Compare stored readings with the truth logs, and return the report."""
    name = factory.file.stem
    gateways, ingest = trial.reports()
    gateway, errors = gateways[name], _errors(trial, name)
    truth = Truth(trial.truth(name)) if compared else None
    with SqliteStore(SqliteSettings.model_validate({"path": str(trial.store)})) as store:
        readings = store.range(store.series(), FIRST_TIME, END_OF_TIME, newest_first=True)
        derived = {
            (str(machine.path), point.name) for machine in machines for point in (*machine.derived, *machine.results)
        }
        stored = tallies(readings, window, truth, derived, _late(machines, gateway, window.seconds))
    tried = {machine.path: machine for machine in trial.factories[0].machines}
    found = []
    for machine in machines:
        checked = CheckedMachine(machine.path, machine.template, str(tried[machine.path].connection))
        schedule = gateway["machines"][str(machine.path)]["schedule"]
        checked.notes = [f"scans due {schedule['due']}, taken {schedule['taken']}, missed {schedule['missed']}"]
        if schedule["missed"] > (1 - HELD) * schedule["due"]:
            text = f"{schedule['missed']} of {schedule['due']} scans were missed"
            checked.findings.append(wrong("rate", f"{text}: its periods can't be kept, at least not on this machine"))
        if error := errors.get(str(tried[machine.path].connection.shared())):
            checked.findings.append(wrong("not_connected", error))
        searched = {search.name: _found(machine, search, stored) for search in machine.searches}
        for name_, points in searched.items():
            checked.findings += [] if points else [wrong("search", f"{name_}: nothing that it finds was stored")]
        at = "/".join(machine.path[2:])
        for point in (*machine.points, *machine.derived, *chain.from_iterable(searched.values())):
            tally = stored.get((str(machine.path), point.name), Tally())
            every = period(point.every, window.seconds)
            changes = None
            compare = truth is not None and point not in machine.derived  # of which the machine knows nothing
            if truth is not None and compare:
                moved = at, point.name, tally.first_good or window.began, window.ended
                # a quantity that rests at 0 trembles half of the time: samples may meet it there again and again
                met_again = truth.longest_deviation(*moved) < SAMPLES * every * 1e6
                changes = 0 if met_again else max(0, len(truth.values_between(*moved)) - 1)
            # pending readings are reported once for all points
            short = schedule["missed"] > 0 and not gateway["ledger"]["pending"]
            context = Circumstances(machine.protocol.explore, window, every, short, changes, compare)
            checked.points.append(judged(point, tally, context))
        found.append(checked)
    rows = sum(tally.stored for tally in stored.values())
    return _whole(factory, found, gateway, ingest, rows, compared=compared)


def _late(machines: Sequence[Machine], gateway: Mapping[str, Any], seconds: float) -> dict[str, int]:
    """Return how late responses of each machine may be, in microseconds, by its path.

    A computer that is suspended finds a response in its buffer afterwards, with the value from before. Each period of
    that time is a missed scan.
    """
    return {
        str(machine.path): round(1e6 * missed * min(period(point.every, seconds) for point in machine.points))
        for machine in machines
        if machine.points and (missed := gateway["machines"][str(machine.path)]["schedule"]["missed"])
    }


def _found(machine: Machine, search: Point, stored: Mapping[tuple[str, str], Tally]) -> list[Point]:
    """Return the points of a search that are stored; the real machine may have others."""
    known = {point.name for point in machine.all_points}
    names = (point for path, point in stored if path == str(machine.path) and point not in known)
    return [search.model_copy(update={"name": one}) for one in sorted(names) if one.startswith(f"{search.name}_")]


def _errors(trial: Trial, name: str) -> dict[str, str]:
    """Return why devices could not be talked to at the end, by their connections, as the gateway's log has it."""
    errors: dict[str, str] = {}
    for line in trial.log("run", name).read_bytes().splitlines():
        if not line.startswith(b"{"):
            continue
        event = orjson.loads(line)
        if event["event"] in {"driver.not_connected", "driver.misconfigured"}:
            errors[event["device"]] = event["error"]
        elif event["event"] == "driver.connected":
            errors.pop(event["device"], None)
    return errors


def _whole(
    factory: Factory,
    machines: list[CheckedMachine],
    gateway: Mapping[str, Any],
    ingest: Mapping[str, Any],
    rows: int,
    *,
    compared: bool,
) -> Report:
    ledger, schedule = gateway["ledger"], gateway["schedule"]
    dropped = sum(ledger["dropped"].values())
    balance = "balanced" if gateway["balanced"] else "NOT BALANCED"
    became = ("unchanged", "pending", "confirmed")
    readings = " + ".join([*(f"{key} {ledger[key]:,}" for key in became), f"dropped {dropped:,}"])
    scans = f"due {schedule['due']:,} = taken {schedule['taken']:,} + missed {schedule['missed']:,}"
    notes = [
        f"readings: acquired {ledger['acquired']:,} = {readings}; {balance}; {rows:,} stored",
        f"scans: {scans}",
    ]
    differ = sum(point.more.get("truth") == "differs" for machine in machines for point in machine.points)
    comparison = f"{differ:,} points differ from it" if differ else "equal, reading by reading"
    notes.append(
        f"compared with the values of the machines: {comparison}"
        if compared
        else f"not compared with the values of the machines: that is done up to {TRUTH_POINTS:,} points"
    )
    totals = {
        "simulated": True, "ledger": ledger, "balanced": gateway["balanced"], "schedule": schedule, "stored": rows,
        "compared": compared, "latency_ms": ingest["latency_ms"],
    }  # fmt: skip
    findings = of_all(gateway, rows)
    report = Report(str(factory.file), 0.0, machines, notes, findings, totals)
    if not report.machines or report.count(Verdict.GOOD) == 0:
        report.findings.append(wrong("nothing", "not one point was read good"))
    return report


def of_all(gateway: Mapping[str, Any], rows: int) -> list[Finding]:
    """Return the findings about a whole run, given the gateway's closing report and how many readings are stored."""
    ledger, schedule = gateway["ledger"], gateway["schedule"]
    findings: list[Finding] = []
    if not gateway["balanced"]:
        findings.append(wrong("not_balanced", "the ledger does not balance"))
    if any(ledger["dropped"].values()):
        findings.append(wrong("dropped", f"readings were dropped: {ledger['dropped']}"))
    if not ledger["confirmed"] <= rows <= ledger["confirmed"] + ledger["pending"]:
        findings.append(wrong("stored", f"{ledger['confirmed']:,} readings are confirmed, and {rows:,} are stored"))
    if pending := ledger["pending"]:
        text = f"{pending:,} readings had not got to the store by the end"
        if pending > ON_THE_WAY * ledger["acquired"]:
            more = "this machine can't keep up: try some machines alone, with --machine"
            findings.append(wrong("pending", f"{text}: {more}"))
        else:
            findings.append(doubt("pending", text))
    if schedule["missed"]:
        findings.append(doubt("missed", f"{schedule['missed']:,} scans were missed, of {schedule['due']:,} due"))
    return findings
