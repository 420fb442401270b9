"""The page `/metrics` of VictoriaMetrics: its flags, and its start time. Pure.

The server holds rows in memory before it writes them to disk, stores a row twice that is written twice unless
`-dedup.minScrapeInterval` is set, and drops rows older than its `-retentionPeriod`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

DEDUP_NEEDED = 0.001
"""Seconds: its time resolution, so that only rows that were written twice are merged."""

FLUSH_DEFAULT = 5.0
"""Seconds from memory to disk without `-inmemoryDataFlushInterval`; fixed in releases before 1.85."""

RETENTION_NEEDED = 365 * 86400.0
"""Seconds: a year. It answers success for rows older than its retention, and drops them."""

RETENTION_DEFAULT = "1"
"""The retention of releases that do not show the flag."""

MONTH = 31 * 86400.0
"""Seconds in a month as VictoriaMetrics counts it: the unit of a retention without one."""

FLUSH_MARGIN = 5.0
"""Seconds for writing to disk, beyond the interval."""

YOUNG = 3
"""Seconds of uptime until the start time identifies a process: it has whole seconds, on a page up to a second old."""

FUTURE_DEFAULT = 2 * 86400.0
"""Seconds ahead of the server's clock from which on it ignores rows; releases before `-futureRetention` fix it."""

_IGNORED = re.compile(r'^vm_rows_ignored_total\{.*?reason="(?P<reason>[^"]+)".*?\} (?P<rows>\d+)', re.MULTILINE)

_FLAG = re.compile(r'^flag\{name="(?P<name>[^"]+)", value="(?P<value>[^"]*)"', re.MULTILINE)
_STARTED = re.compile(r"^process_start_time_seconds (\S+)", re.MULTILINE)
_UPTIME = re.compile(r"^vm_app_uptime_seconds (\d+)", re.MULTILINE)
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|h|m|M|s|d|w|y)")
_SECONDS = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800,
    "M": MONTH, "y": 365 * 86400,
}  # fmt: skip


class ServerProcess(NamedTuple):
    """A process of the server.

    `started` is its start time as text, `young` whether that does not identify it yet, `ignored` the rows that it has
    ignored since then, by its reason.
    """

    started: str
    flags: dict[str, str]
    young: bool
    ignored: dict[str, int]

    @property
    def durable_after(self) -> float:
        """Return the seconds after an answer in which a kill loses the rows.

        A part in memory is looked at once an interval, and written when it is an interval old: twice the interval.
        Measured with 1.79.5 and its 5 s: lost rows were up to 10.0 s old.
        """
        return 2 * self._seconds("inmemoryDataFlushInterval", FLUSH_DEFAULT) + FLUSH_MARGIN

    def misconfiguration(self) -> str:
        """Return the flag to change and why; empty where the flags are right."""
        interval = self._seconds("dedup.minScrapeInterval", 0.0)
        if interval == DEDUP_NEEDED:
            return ""
        needed = "start it with -dedup.minScrapeInterval=1ms"
        if not interval:
            return f"it stores rows twice that are written twice; {needed}"
        return f"it keeps one reading of each {interval:g} s and drops the others; {needed}"

    @property
    def short_retention(self) -> str:
        """Return a hint where readings are dropped before they are a year old; else empty."""
        kept = self.retention
        if kept >= RETENTION_NEEDED:
            return ""
        return (
            f"it drops readings older than {kept / 86400:g} days without an error; start it with -retentionPeriod=5y"
        )

    @property
    def retention(self) -> float:
        """Return the age in seconds from which on it ignores rows."""
        written = self.flags.get("retentionPeriod") or RETENTION_DEFAULT
        months = re.fullmatch(r"\d+(?:\.\d+)?", written)
        return float(written) * MONTH if months else self._seconds("retentionPeriod", 0.0)

    @property
    def future(self) -> float:
        """Return the seconds ahead of its clock from which on it ignores rows."""
        return max(FUTURE_DEFAULT, self._seconds("futureRetention", FUTURE_DEFAULT))

    def _seconds(self, flag: str, default: float) -> float:
        written = self.flags.get(flag)
        if not written:
            return default
        return sum(float(number) * _SECONDS.get(unit, 0.0) for number, unit in _PART.findall(written))


def read_metrics(page: str) -> ServerProcess | None:
    """Return the process that a page `/metrics` describes; None for a page of another server."""
    started = _STARTED.search(page)
    flags = {match["name"]: match["value"] for match in _FLAG.finditer(page)}
    if started is None or "dedup.minScrapeInterval" not in flags:
        return None
    uptime = _UPTIME.search(page)
    ignored: dict[str, int] = {}
    for match in _IGNORED.finditer(page):
        ignored[match["reason"]] = ignored.get(match["reason"], 0) + int(match["rows"])
    return ServerProcess(started[1], flags, uptime is not None and int(uptime[1]) < YOUNG, ignored)
