"""Add up the reports of several processes to the report of one gateway."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, Any

from gateway.common.counters import summed
from gateway.model.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Report = dict[str, Any]
"""A report as `GatewayService` makes it."""

SINCE_START = ("broker", "schedule", "drivers")
"""The parts of a report that count since the start of a process; the ledger is in the spool, and the rest is now."""


def ledger_of(report: Mapping[str, Any]) -> Ledger:
    """Return the ledger of a report."""
    counts = report["ledger"]
    return Ledger(**counts | {"dropped": Counter(counts["dropped"])})


def past_of(report: Mapping[str, Any]) -> Report:
    """Return the counts of a process that has ended, for `summed_reports` with the report of its successor."""
    return {part: report[part] for part in SINCE_START}


def summed_past(past: Sequence[Mapping[str, Any]]) -> Report:
    """Return the sum of the counts of processes that have ended."""
    return {
        "broker": summed(one["broker"] for one in past),
        "schedule": summed_schedules([one["schedule"] for one in past]),
        "drivers": summed(one["drivers"] for one in past),
    }


def at_rest(report: Mapping[str, Any]) -> Report:
    """Return the report of a worker without a process: its ledger is on disk, and no point is read."""
    points = dict.fromkeys(report["points"], 0) | {"configured": report["points"]["configured"]}
    return dict(report) | summed_past([]) | {"points": points}


def summed_reports(
    reports: Sequence[Mapping[str, Any]], past: Sequence[Mapping[str, Any]], retired: Ledger
) -> Report:
    """Return the sum of the reports of all workers, with the counts of their past processes and retired spools."""
    ledger = Ledger()
    for one in (*map(ledger_of, reports), retired):
        ledger.add(one)
    clocks = [report["clock"] for report in reports]
    ages = [report["oldest_seconds"] for report in reports]
    return {
        "ledger": ledger.as_dict(),
        "balanced": ledger.balanced,
        "spool_bytes": sum(report["spool_bytes"] for report in reports),
        "oldest_seconds": None if None in ages else max(ages, default=0.0),
        "broker": summed(report["broker"] for report in (*reports, *past)),
        "schedule": summed_schedules([report["schedule"] for report in (*reports, *past)]),
        "clock": {
            "trusted": all(clock["trusted"] for clock in clocks),
            "steps": max((clock["steps"] for clock in clocks), default=0),
            "ahead_ms": max((clock["ahead_ms"] for clock in clocks), default=0.0),
        },
        "points": summed(report["points"] for report in reports),
        "drivers": summed(report["drivers"] for report in (*reports, *past)),
    }


def summed_schedules(schedules: Sequence[Mapping[str, Any]]) -> Report:
    """Return the sum of counts of scans, in the form of reports; the mean of a time is that of all acquired scans."""
    found: Report = {name: sum(one[name] for one in schedules) for name in ("due", "taken", "missed")}
    for time in ("late_ms", "lasted_ms"):
        total = sum(one[time]["mean"] * one["taken"] for one in schedules)
        found[time] = {
            "mean": round(total / max(1, found["taken"]), 2),
            "most": max((one[time]["most"] for one in schedules), default=0.0),
        }
    return found


def joined_details(closing: Iterable[Mapping[str, Any]]) -> Report:
    """Return the parts of closing reports that list machines, points and devices; no machine is in two reports."""
    closing = list(closing)
    devices: dict[str, list[Mapping[str, int]]] = {}
    for name, counts in chain.from_iterable(report.get("devices", {}).items() for report in closing):
        devices.setdefault(name, []).append(counts)
    return {
        "never_good": [point for report in closing for point in report.get("never_good", ())],
        "devices": {name: summed(several) for name, several in devices.items()},
        "clocks_ahead": {name: ahead for report in closing for name, ahead in report.get("clocks_ahead", {}).items()},
        "machines": {path: counts for report in closing for path, counts in report.get("machines", {}).items()},
    }
