"""The status of a box as text, for people."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gateway.common.digests import same_digest, short_digest
from gateway.common.text import counted, printable
from gateway.status.box import record_age

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.status.box import BoxStatus

WIDTH = 14
"""Columns of the names on the left."""

_MINUTE, _HOUR, _DAY = 60, 3600, 86400

_BEFORE_DAYS = 2 * _DAY

MOST_MACHINES = 20
"""Machines that are listed."""


def box_text(status: BoxStatus) -> str:
    """Return the status as lines of text."""
    lines = [f"{name:<{WIDTH}}{printable(text)}" for name, text in _lines(status.report)]
    lines.append("")
    if not status.findings:
        lines.append("nothing to act on")
    for finding in status.findings:
        lines.append(printable(f"{finding.about}: {finding.text}"))
        lines += [f"  {printable(finding.hint)}"] if finding.hint else []
    return "\n".join(lines)


def _lines(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield from _of_gateway(report)
    if report["ledger"] is not None:
        ledger = report["ledger"]
        dropped = sum(ledger["dropped"].values())
        first = f"acquired {ledger['acquired']:,} = unchanged {ledger['unchanged']:,} + dropped {dropped:,}"
        rest = f"pending {ledger['pending']:,} + confirmed {ledger['confirmed']:,}"
        yield "ledger", f"{first} + {rest}   {'balanced' if ledger['balanced'] else 'NOT BALANCED'}"
    for spool in report["spools"]:
        age = record_age(spool["oldest"])
        oldest = "" if age is None else f", the oldest {ago(age)} old"
        waiting = f"{counted(spool['records'], 'record')}, {size_text(spool['bytes'])} pending{oldest}"
        yield "spool", f"{waiting}; at most {size_text(spool['max_size'])}"
    for ingest in report["ingest"]:
        yield from _of_ingest(ingest)
    if report["self_test"] is not None:
        tested = report["self_test"]
        results = [result for check, result in tested["results"].items()
                   if result != "passed" and check not in tested["notes"]]  # fmt: skip
        outcome = f"{len(results)} of {counted(len(tested['results']), 'check')} NOT passed" if results else "passed"
        yield "self-test", f"{outcome}{since(tested['time']).replace(' since ', ' at ')}"
        if "software" in tested["notes"]:
            yield "software", tested["notes"]["software"]
    clock, disk = report["clock"], report["disk"]
    yield "clock", "synchronised" if clock["synchronised"] else "the kernel does not call it synchronised"
    if disk is not None:
        yield "disk", f"{size_text(disk['free'])} of {size_text(disk['size'])} free in {disk['folder']}"
    yield "storage", _storage(report["storage"])


def _storage(folders: list[dict[str, Any]]) -> str:
    """Return the folders by their states, as `not encrypted: spool, audit (sda2); memory: swap`."""
    states: dict[tuple[str, str], list[str]] = {}
    for one in folders:
        device = "" if one["folder"] == "swap" else one["device"]
        states.setdefault((one["state"].replace("_", " "), device), []).append(one["folder"])
    texts = [
        f"{state}: {', '.join(dict.fromkeys(names))}" + (f" ({device})" if device else "")
        for (state, device), names in states.items()
    ]
    return "; ".join(texts)


def _of_gateway(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    gateway, configuration = report["gateway"], report["configuration"]
    yield "gateway", f"{gateway['id']} {_state(gateway)}"
    running = configuration["running"]
    if running is not None:
        same = same_digest(running, configuration["config"])
        other = "" if same else f", and the file is {short_digest(configuration['config'])}"
        yield "configuration", f"{short_digest(running)}{other} ({configuration['file']})"
    if not gateway["seen"]:
        return
    counts = dict(gateway["machines"])
    total = counts.pop("configured")
    states = ", ".join(f"{n:,} {state}" for state, n in sorted(counts.items(), key=lambda one: one[0] != "online"))
    yield "machines", f"{total:,} configured" + (f": {states}" if states else "")
    for one in gateway["not_online"][:MOST_MACHINES]:
        reason = f" ({one['reason']})" if one["reason"] else ""
        yield "", f"{one['machine']} {one['state']}{reason}{since(one['since'])}"
    if (more := len(gateway["not_online"]) - MOST_MACHINES) > 0:
        yield "", f"and {more:,} more; --format json lists them"
    schedule = gateway["schedule"]
    recent = f" ({schedule['missed_recently']:,} in the last minute)" if schedule["missed"] else ""
    yield "schedule", f"{schedule['due']:,} scans due, {schedule['missed']:,} missed{recent} since the start"
    for link in gateway["broker"]:
        yield "broker", _link(link)


def _of_ingest(ingest: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if ingest["state"] == "absent":
        yield "ingest", f"{ingest['id']} has not run on this box"
        return
    yield "ingest", f"{ingest['id']} {_state(ingest)}"
    if "records" not in ingest:
        return
    lag = "" if ingest["lag_ms"] is None else f", lag {ingest['lag_ms']:,.0f} ms at {ingest['stored']}"
    letters = counted(ingest["dead_letters"], "dead letter")
    yield "", f"{ingest['records']:,} records, {ingest['readings']:,} readings, {letters} since the start{lag}"
    for store in ingest["stores"]:
        error = f": {store['error']}" if store["error"] else ""
        yield "store", f"{store['store']} {store['state']}{since(store['since'])}{error}"
    yield "broker", _link(ingest["broker"])


def _state(service: dict[str, Any]) -> str:
    if service["state"] == "absent":
        return "has not run on this box"
    version = f", version {service['version']}" if service.get("version") else ""
    process = f", process {service['pid']}" if service.get("pid") else ""
    word = {"hangs": "HANGS", "dead": "is DEAD, last seen", "stopped": "is stopped"}.get(service["state"], "runs")
    when = since(service["since"])
    return f"{word}{when.removeprefix(' since') if service['state'] == 'dead' else when}{process}{version}"


def _link(link: dict[str, Any]) -> str:
    state = "connected to" if link["connected"] else "NOT CONNECTED to"
    error = f": {link['error']}" if link["error"] else ""
    return f"{state} {link['broker']}{since(link['since'])}{error}"


def since(time: str | None) -> str:
    """Return the begin of a state in words, as ` since 2026-12-01 06:00:02 (5 min)`; empty without a time."""
    if not time:
        return ""
    then = datetime.fromisoformat(time)
    return f" since {then:%Y-%m-%d %H:%M:%S} ({ago((datetime.now(UTC) - then).total_seconds())})"


def ago(seconds: float) -> str:
    """Return a length of time in its largest unit: `5 s`, `7 min`, `3 h`, `12 d`."""
    for unit, size, below in (("s", 1, 2 * _MINUTE), ("min", _MINUTE, 2 * _HOUR), ("h", _HOUR, _BEFORE_DAYS)):
        if seconds < below:
            return f"{max(0.0, seconds) / size:.0f} {unit}"
    return f"{seconds / _DAY:.0f} d"


def size_text(size: float) -> str:
    """Return a number of bytes in its unit: `12 kB`, `1.5 MB`, `78.2 GB`."""
    for unit, bytes_, digits in (("GB", 1e9, 1), ("MB", 1e6, 1)):
        if size >= bytes_:
            return f"{size / bytes_:,.{digits}f} {unit}"
    return f"{size / 1e3:,.0f} kB"
