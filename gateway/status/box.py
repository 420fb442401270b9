"""The status of one box: the services of a configuration, and the findings that a person should act on.

Everything comes from files on the box, so it is there when the broker is away and when a service is dead.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway import __version__
from gateway.common.digests import same_digest, short_digest
from gateway.common.text import counted, listed
from gateway.self_test.outcome import Report, read_report, self_test_file
from gateway.settings.sections import ClockTrust
from gateway.settings.unauthenticated import unauthenticated
from gateway.spool.inspect import NotReadable, inspect
from gateway.spool.limits import LEAST_FREE
from gateway.spool.siblings import ledger_of_all, spools_of
from gateway.status.host import clock_report, disk_report, storage_report
from gateway.status.services import ServiceState, read_gateway, read_ingests
from gateway.status.spool import iso_time, spool_report

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.settings.factory import Factory
    from gateway.status.services import GatewayOnBox, GatewayStatus, IngestOnBox, Link

FINE, FINDINGS, NOT_RUNNING = 0, 1, 3
"""Exit codes of `lineside status`."""

OLD_RECORD = 120.0
"""Seconds after which a pending record is old."""

LONG_LAG = 60_000.0
"""Milliseconds from a reading to its write that are too long."""

LONG_START = 30.0
"""Seconds after which a machine should have been read."""

MOST_MACHINES = 1_000
"""Machines of a protocol without authentication that are listed."""

NEARLY_FULL = 0.8
"""The part of `max_size` from which on a spool is nearly full."""

DOWN = {ServiceState.HANGS, ServiceState.DEAD, ServiceState.STOPPED}


class Finding(NamedTuple):
    """Something that a person should act on. `about` is its part of the status, `hint` an instruction."""

    about: str
    text: str
    hint: str = ""


class BoxStatus(NamedTuple):
    """The status of a box. `report` is its content in plain data, `code` the exit code."""

    report: dict[str, Any]
    findings: list[Finding]
    code: int


def read_box(factory: Factory) -> BoxStatus:
    """Return the status of the services of a configuration on this box."""
    gateway, ingests = read_gateway(factory), read_ingests(factory)
    spools, ledger, unreadable = _spools(factory)
    tested = read_report(self_test_file(factory.gateway.spool.folder, factory.gateway.id))
    tested_ingests = [(one, read_report(self_test_file(factory.ingest.folder, one.id))) for one in ingests]
    clock = clock_report()
    disk = disk_report(factory.gateway.spool.folder)
    report: dict[str, Any] = {
        "time": iso_time(time.time_ns() // 1000),
        "version": __version__,
        "configuration": _configuration(factory, gateway),
        "gateway": _gateway(factory, gateway),
        "ledger": ledger,
        "spools": spools,
        "ingest": [_ingest(one) | {"self_test": _self_test(found)} for one, found in tested_ingests],
        "self_test": _self_test(tested),
        "clock": clock,
        "disk": disk,
        "storage": storage_report(factory),
        "unauthenticated": [
            {
                "protocol": one.protocol,
                "machines": [str(machine.path) for machine in one.machines[:MOST_MACHINES]],
                "count": len(one.machines),
            }
            for one in unauthenticated(factory.machines)
        ],
    }
    findings = [
        *_of_gateway(factory, gateway),
        *unreadable,
        *_of_ledger(ledger),
        *(finding for one in spools for finding in _of_spool(one)),
        *(finding for one in ingests for finding in _of_ingest(factory, one)),
        *_of_self_tests(factory, tested, [found for _, found in tested_ingests]),
        *_of_box(factory, clock, disk),
    ]
    states = {gateway.state, *(one.state for one in ingests if one.id == factory.ingest.id or one.state in _UNCLEAN)}
    code = NOT_RUNNING if states & DOWN or states == {ServiceState.ABSENT} else FINDINGS if findings else FINE
    if states == {ServiceState.ABSENT}:
        hint = f"start it with: lineside run {factory.file}"
        findings.insert(0, Finding("gateway", "no service of this configuration has run on this box", hint))
    report["findings"] = [finding._asdict() for finding in findings]
    report["exit_code"] = code
    return BoxStatus(report, findings, code)


_UNCLEAN = {ServiceState.HANGS, ServiceState.DEAD}
"""States of an ingest of another id, started with `--id`, that count: one that was stopped in order may be gone."""


def _spools(factory: Factory) -> tuple[list[dict[str, Any]], dict[str, Any] | None, list[Finding]]:
    """Return the state of each spool, and their ledger; None and a finding where a spool can't be read."""
    own = factory.gateway
    found, wrong = [], []
    for files in spools_of(own.spool.folder, own.id):
        try:
            found.append((files, inspect(files)))
        except NotReadable as error:
            if files.db.exists() or files.slots.exists():
                wrong.append(Finding("spool", str(error)))
    if not found:
        return [], None, wrong
    ledger = ledger_of_all(one for _, one in found)
    reports = []
    for files, one in found:
        try:
            reports.append(spool_report(own, files, one))
        except OSError as error:
            wrong.append(Finding("spool", f"{files.letters} can't be read: {error.strerror}"))
    return reports, ledger.as_dict() | {"balanced": ledger.balanced, "missing": ledger.missing}, wrong


# -- the report --


def _configuration(factory: Factory, gateway: GatewayOnBox) -> dict[str, Any]:
    reload = gateway.reload
    return {
        "file": str(factory.file),
        "config": factory.digest,
        "running": None if reload is None or gateway.state not in _THERE else reload.config,
        "last_reload": None if reload is None else {"outcome": reload.outcome, "time": iso_time(reload.time)},
    }


_THERE = {ServiceState.RUNNING, ServiceState.HANGS}


def _gateway(factory: Factory, gateway: GatewayOnBox) -> dict[str, Any]:
    parts = gateway.parts
    there = gateway.state in _THERE
    counts: Counter[str] = Counter()
    for part in parts:
        counts.update(part.machines.counts)
    schedules = [part.report.schedule for part in parts]
    return {
        "id": factory.gateway.id,
        "state": gateway.state.value,
        "since": _time(gateway.since),
        "silent_seconds": None if gateway.silent is None else round(gateway.silent, 1),
        "pid": gateway.reload.pid if gateway.reload is not None and there else None,
        "version": parts[0].version if parts else "",
        "seen": _time(max((part.time for part in parts), default=0)),
        "workers": len(parts) if len(parts) > 1 or gateway.missing else 1,
        "workers_silent": list(gateway.missing),
        "machines": {"configured": len(factory.machines), **counts},
        "not_online": [
            {"machine": one.machine, "state": one.state, "reason": one.reason, "since": _time(one.since)}
            for part in parts
            for one in part.machines.not_online
        ],
        "schedule": {
            "due": sum(one.due for one in schedules),
            "missed": sum(one.missed for one in schedules),
            "missed_recently": sum(part.recent.missed for part in parts),
        },
        "dropped_recently": sum(part.recent.dropped for part in parts),
        "broker": [_link(part.broker) for part in parts],
        "clock": None if not parts or parts[0].report.clock is None else parts[0].report.clock.model_dump(),
    }


def _ingest(ingest: IngestOnBox) -> dict[str, Any]:
    status = ingest.status
    found: dict[str, Any] = {
        "id": ingest.id,
        "state": ingest.state.value,
        "since": _time(ingest.since),
        "silent_seconds": None if ingest.silent is None else round(ingest.silent, 1),
    }
    if status is None:
        return found
    report = status.report
    return found | {
        "pid": status.pid if ingest.state in _THERE else None,
        "version": status.version,
        "seen": _time(status.time),
        "config": status.config,
        "broker": _link(status.broker),
        "records": report.records,
        "readings": report.readings,
        "stored": _time(report.stored),
        "lag_ms": report.lag_ms,
        "latency_ms": report.latency_ms,
        "dead_letters": report.dead_letters,
        "stores": [one.model_dump() | {"since": _time(one.since)} for one in report.stores],
    }


def _self_test(tested: Report | None) -> dict[str, Any] | None:
    if tested is None:
        return None
    results = {one.check: one.result.value for one in tested.outcomes}
    notes = {one.check: "; ".join(one.notes) for one in tested.outcomes if one.notes}
    return {"time": _time(tested.time), "results": results, "problems": tested.problems, "notes": notes}


def _link(link: Link) -> dict[str, Any]:
    return link.model_dump() | {"since": _time(link.since)}


def _time(micros: int) -> str | None:
    return iso_time(micros) if micros else None


# -- the findings --


def _of_gateway(factory: Factory, gateway: GatewayOnBox) -> Iterator[Finding]:
    own = factory.gateway.id
    if gateway.state in DOWN:
        yield _down("gateway", f"gateway {own}", gateway.state, gateway.silent, f"lineside run {factory.file}")
    if gateway.state not in _THERE:
        return
    reload = gateway.reload
    if reload is not None and not same_digest(reload.config, factory.digest):
        if reload.file != str(factory.file.resolve()):
            yield Finding("configuration", f"gateway {own} runs another file, {reload.file}")
        elif reload.outcome == "refused":
            first = reload.problems[0] if reload.problems else "its log has the reasons"
            yield Finding(
                "configuration", f"the gateway has refused the changed file: {first}", _reload_hint(factory)
            )
        else:
            text = (
                f"the file has changed since the gateway loaded it: {short_digest(reload.config)} runs, the file is"
            )
            yield Finding("configuration", f"{text} {short_digest(factory.digest)}", _reload_hint(factory))
    for number in gateway.missing:
        what = (
            "the gateway" if len(gateway.missing) == 1 and number == 1 and not gateway.parts else f"worker {number}"
        )
        yield Finding("gateway", f"{what} has not written its status file", "its log has the reason")
    for part in gateway.parts:
        yield from _of_part(part)
    yield from _of_machines(factory, gateway)


def _of_part(part: GatewayStatus) -> Iterator[Finding]:
    name = f"worker {part.worker}" if part.worker else "the gateway"
    if part.version != __version__:
        text = f"{name} runs version {part.version}, and {__version__} is installed"
        yield Finding("gateway", text, "restart it; that loses nothing")
    if not part.broker.connected:
        error = f": {part.broker.error}" if part.broker.error else ""
        text = f"{name} is not connected to {part.broker.broker} since {_time(part.broker.since)}{error}"
        yield Finding("broker", text, "records wait in the spool until the broker is back")
    if part.recent.missed:
        text = f"{part.recent.missed:,} scans were missed within the last {part.recent.seconds} s"
        yield Finding("schedule", text, "lineside plan CONFIG shows the load of each connection")
    if part.recent.dropped:
        text = f"{part.recent.dropped:,} readings were dropped within the last {part.recent.seconds} s"
        yield Finding("ledger", text, "lineside ledger CONFIG shows the reasons")
    if part.report.clock is not None and not part.report.clock.trusted:
        yield Finding("clock", f"{name} does not trust the clock of this box", "check time synchronisation")


def _of_machines(factory: Factory, gateway: GatewayOnBox) -> Iterator[Finding]:
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for part in gateway.parts:
        for one in part.machines.not_online:
            if one.state != "starting" or part.time - one.since > LONG_START * 1e6:
                groups[one.state, one.reason].append(one.machine)
    for (state, reason), machines in sorted(groups.items()):
        why = f" ({reason})" if reason else ""
        names = listed([name.rpartition("/")[2] for name in machines])
        verb = "is" if len(machines) == 1 else "are"
        text = f"{counted(len(machines), 'machine')} {verb} {state}{why}: {names}"
        yield Finding("machines", text, f"lineside check {factory.file} shows the points that are not good")


def _of_ledger(ledger: dict[str, Any] | None) -> Iterator[Finding]:
    if ledger is not None and not ledger["balanced"]:
        text = f"the ledger does not balance: {ledger['missing']:,} readings are not accounted for"
        yield Finding("ledger", text, "report it, with an archive of: lineside diagnose CONFIG")


def _of_spool(report: dict[str, Any]) -> Iterator[Finding]:
    if report["damage"]:
        hint = "the gateway repairs it, at the latest when it starts"
        yield Finding("spool", f"{report['file']} is damaged: {report['damage']}", hint)
    if report["bytes"] > NEARLY_FULL * report["max_size"]:
        full = report["bytes"] / report["max_size"]
        yield Finding("spool", f"the spool is {full:.0%} full; when it is full: {report['when_full']}")
    age = record_age(report["oldest"])
    if age is not None and age > OLD_RECORD:
        text = f"the oldest of {report['records']:,} pending records is from {report['oldest']['time']}"
        yield Finding("spool", text, "check the broker, ingest and its stores")
    for file, number in report["set_aside"].items():
        if number:
            text = f"{counted(number, 'record')} set aside in {file}"
            yield Finding("spool", text, "lineside spool dead-letters CONFIG shows the reasons; remove the file then")
    for other in report["other_gateways"]:
        text = f"{other['records']:,} records of gateway {other['gateway']} wait in the same folder"
        yield Finding("spool", text, f"lineside spool adopt CONFIG --from {other['gateway']}")


def record_age(end: dict[str, Any] | None) -> float | None:
    """Return the seconds since the time of a record in a spool's report; None if there is none."""
    if end is None or end["time"] is None:
        return None
    return max(0.0, time.time() - datetime.fromisoformat(end["time"]).timestamp())


def _of_ingest(factory: Factory, ingest: IngestOnBox) -> Iterator[Finding]:
    name, status = f"ingest {ingest.id}", ingest.status
    if ingest.state in (DOWN if ingest.id == factory.ingest.id else _UNCLEAN):
        yield _down("ingest", name, ingest.state, ingest.silent, f"lineside ingest {factory.file}")
    if ingest.state is not ServiceState.RUNNING or status is None:
        return
    if not same_digest(status.config, factory.digest) and status.file == str(factory.file.absolute()):
        yield Finding("configuration", f"the file has changed since {name} loaded it", "restart it; nothing is lost")
    if status.version != __version__:
        text = f"{name} runs version {status.version}, and {__version__} is installed"
        yield Finding("ingest", text, "restart it; that loses nothing")
    if not status.broker.connected:
        error = f": {status.broker.error}" if status.broker.error else ""
        yield Finding("broker", f"{name} is not connected since {_time(status.broker.since)}{error}")
    for store in status.report.stores:
        if store.state != "available":
            error = f": {store.error}" if store.error else ""
            yield Finding("ingest", f"store {store.store} is {store.state} since {_time(store.since)}{error}")
    if status.report.lag_ms is not None and status.report.lag_ms > LONG_LAG:
        yield Finding(
            "ingest", f"the latest readings were stored {status.report.lag_ms / 1000:,.0f} s after their time"
        )
    if status.report.dead_letters:
        text = f"{counted(status.report.dead_letters, 'dead letter')} since the start of {name}"
        yield Finding("ingest", text, "lineside spool dead-letters CONFIG shows the reasons")


def _of_self_tests(factory: Factory, gateway: Report | None, ingests: Sequence[Report | None]) -> Iterator[Finding]:
    """Yield each problem once: gateway and ingest look at the same software."""
    seen: set[str] = set()
    for tested in filter(None, (gateway, *ingests)):
        for problem in tested.problems:
            if problem in seen:
                continue
            seen.add(problem)
            text = f"{problem} (as of {_time(tested.time)})"
            yield Finding("self-test", text, f"when it is mended: lineside self-test {factory.file} --record")


def _of_box(factory: Factory, clock: dict[str, Any], disk: dict[str, Any] | None) -> Iterator[Finding]:
    if factory.gateway.clock is ClockTrust.REQUIRE_SYNC and not clock["synchronised"]:
        yield Finding("clock", "nothing synchronises the clock of this box", "start chrony or systemd-timesyncd")
    if disk is not None and disk["free"] < LEAST_FREE:
        yield Finding("disk", f"only {disk['free'] / 1e6:,.0f} MB are free in {disk['folder']}", "free space")


def _down(about: str, name: str, state: ServiceState, silent: float | None, start: str) -> Finding:
    if state is ServiceState.HANGS:
        seconds = f" for {silent:,.0f} s" if silent is not None else ""
        return Finding(about, f"{name} has given no sign of life{seconds}", "restart it; that loses nothing")
    if state is ServiceState.DEAD:
        text = f"{name} has ended without a stop: it was killed, or the box was switched off"
        return Finding(about, text, f"start it with: {start}")
    return Finding(about, f"{name} is stopped", f"start it with: {start}")


def _reload_hint(factory: Factory) -> str:
    return f"lineside reload {factory.file}"
